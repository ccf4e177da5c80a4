//! A record as a short page for people, in Markdown.

use std::fmt::Write;

use super::record::{Check, Phase, Record, Wanted};

/// The page.
pub(super) fn of(record: &Record) -> String {
    let mut page = String::from("# Mixed traffic\n\n");
    let machine = &record.machine;
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "`cargo xtask campaign mixed`, {} build, kernel {}, {} processors. What is done and how it is judged: \
         `xtask/src/campaign`. All figures: `mixed-traffic.json`.\n",
        record.profile, machine.kernel, machine.processors,
    );
    let missed = record.missed();
    if missed.is_empty() {
        page += "**Everything is as it must be.**\n";
    } else {
        page += "**Not as it must be:**\n\n";
        missed.iter().for_each(|what| page += &format!("- {what}\n"));
    }
    record.phases.iter().for_each(|phase| page += &section(phase));
    page
}

fn section(phase: &Phase) -> String {
    let minutes = phase.seconds as f64 / 60.0;
    let mut text = format!("\n## {} over `{}`, {minutes:.1} min\n\n", phase.far, phase.underlay);
    text += "| what | found | must be | |\n|---|---|---|---|\n";
    phase.checks.iter().for_each(|check| text += &row(check));
    text += "\n| TCP | way | runs | mean | retransmitted |\n|---|---|---|---|---|\n";
    for lane in &phase.findings.bulk {
        let rate = lane.mbits_per_second();
        text += &format!(
            "| {} | {} | {} | {rate:.0} Mbit/s | {} |\n",
            lane.course, lane.way, lane.runs, lane.retransmits
        );
    }
    text += "\n| numbered datagrams | way | sent | lost | overtaken |\n|---|---|---|---|---|\n";
    for flow in &phase.findings.numbered {
        let tally = flow.tally;
        text += &format!(
            "| {} | {} | {} | {} | {} |\n",
            flow.kind, flow.way, tally.sent, tally.lost, tally.reordered
        );
    }
    text += "\n| typing | echoes | p50 | p99 | longest |\n|---|---|---|---|---|\n";
    for typing in &phase.findings.typing {
        text += &format!(
            "| {} | {} | {:.2} ms | {:.2} ms | {:.0} ms |\n",
            typing.way, typing.echoes, typing.p50_ms, typing.p99_ms, typing.longest_ms
        );
    }
    text += "\n| sampled at | frames | right | left to the guest's kernel | without checksum | wrong |\n\
             |---|---|---|---|---|---|\n";
    for (spot, one) in &phase.findings.samples {
        text += &format!(
            "| {spot} | {} | {} | {} | {} | {} |\n",
            one.frames, one.right, one.partial, one.unchecked, one.wrong
        );
    }
    text + &remarks(phase)
}

/// Counts that explain others.
fn remarks(phase: &Phase) -> String {
    let findings = &phase.findings;
    let drops: Vec<_> =
        findings.drops().map(|(member, name, count)| format!("{member} {name} {count}")).collect();
    let drops = if drops.is_empty() { "none".to_owned() } else { drops.join(", ") };
    let mut text = format!("\nThrown away, as counters tell: {drops}.\n");
    let of_bulk = findings.bulk.iter().flat_map(|lane| &lane.failures);
    let of_tls = findings.downloads.iter().flat_map(|downloads| &downloads.failures);
    for failure in findings.broken.iter().chain(of_bulk).chain(of_tls) {
        text += &format!("\nFailed: {failure}\n");
    }
    text
}

fn row(check: &Check) -> String {
    let wanted = match check.wanted {
        Wanted::AtMost(0) => "0".to_owned(),
        Wanted::AtMost(most) => format!("≤ {most}"),
        Wanted::AtLeast(least) => format!("≥ {least}"),
    };
    let mark = if check.holds { "✓" } else { "✗" };
    format!("| {} | {} | {wanted} | {mark} |\n", check.what, check.found)
}

#[cfg(test)]
mod tests {
    use super::super::record::Findings;
    use super::*;

    #[test]
    fn a_page_says_first_what_is_wrong() {
        let mut record = Record::new("release");
        assert!(of(&record).contains("Everything is as it must be"));
        record.phases.push(Phase::judge("kernel-vxlan", "wire", 90, Findings::default()));
        let page = of(&record);
        assert!(page.contains("- kernel-vxlan/wire: runs of iperf3: 0"), "{page}");
        assert!(page.contains("## kernel-vxlan over `wire`, 1.5 min"), "{page}");
    }
}
