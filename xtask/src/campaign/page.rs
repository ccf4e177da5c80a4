//! A record as a short page for people, in Markdown.

use std::fmt::Write;

use super::record::{Part, Record};

/// The page under this title; `json` is the name of the file with all figures.
pub(super) fn of<P: Part>(record: &Record<P>, title: &str, json: &str) -> String {
    let mut page = format!("# {title}\n\n");
    let machine = &record.machine;
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "`cargo xtask campaign {}`, {} build, kernel {}, {} processors. What is done and how it is judged: \
         `xtask/src/campaign`. All figures: `{json}`.\n",
        record.campaign(),
        record.profile,
        machine.kernel,
        machine.processors,
    );
    let missed = record.missed();
    if missed.is_empty() {
        page += "**Everything is as it must be.**\n";
    } else {
        page += "**Not as it must be:**\n\n";
        missed.iter().for_each(|what| page += &format!("- {what}\n"));
    }
    record.phases.iter().for_each(|part| page += &section(part));
    page
}

fn section(part: &impl Part) -> String {
    let mut text = format!("\n## {}\n\n| what | found | must be | |\n|---|---|---|---|\n", part.name());
    part.checks().iter().for_each(|check| text += &check.row());
    text + "\n" + &part.details()
}

#[cfg(test)]
mod tests {
    use super::super::findings::{Findings, Phase};
    use super::*;

    #[test]
    fn a_page_says_first_what_is_wrong() {
        let mut record = Record::new("mixed", "release");
        assert!(of(&record, "Mixed traffic", "x.json").contains("Everything is as it must be"));
        record.phases.push(Phase::judge("kernel-vxlan", "wire", 90, Findings::default()));
        let page = of(&record, "Mixed traffic", "x.json");
        assert!(page.starts_with("# Mixed traffic\n"), "{page}");
        assert!(page.contains("- kernel-vxlan/wire: runs of iperf3: 0"), "{page}");
        assert!(page.contains("## kernel-vxlan/wire\n") && page.contains("Over 1.5 min."), "{page}");
    }
}
