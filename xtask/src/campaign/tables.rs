//! The figures of a phase of mixed traffic as tables for people.

use super::findings::Phase;

/// Markdown below the phase's checks.
pub(super) fn of(phase: &Phase) -> String {
    let mut text = format!("Over {:.1} min.\n", phase.seconds as f64 / 60.0);
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
