//! The document of the machine, `docs/reservation-machine.md`: written from the transition table, and
//! checked against it. `VRESERVE_WRITE_DOCS=1 cargo test -p vreserve-core document` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::*;

const PREFACE: &str = "\
# The reservation machine

Written from `TRANSITIONS` in `framework/core/src/reservation.rs`; `cargo test -p vreserve-core document` fails when
the two differ, and with `VRESERVE_WRITE_DOCS=1` writes this file anew.

What a backend is capable of picks the flow: **fused** (`fused_activation`: a yes means active, as with ODIN),
**two-phase** (`two_phase`: a yes means held until it is committed, as with NSI), **stepwise** (neither: a yes means
booked, and it is switched through later, as with GARA). Everything else is common. An event that has no row in the
state it meets changes nothing and is told as a contradiction. A report of the state a reservation is in already needs
no row.
";

const MEANINGS: &str = "\
## What the events mean

| event | meaning |
|---|---|
| submit, commit taken (`committed`), activate, deactivated, abort, cancel | what we ask for, or what came of it |
| granted, refused, gone, cancelled | the provider's answer; to an activation or a cancel, refused changes nothing |
| outcome unknown | a call was cut off: it is looked up before anything else is done |
| hold expired | our own clock says that a hold has run out, whatever the provider still shows |
| reported *state* | the provider's answer to a look-up |
";

fn flow_name(flow: Flow) -> &'static str {
    match flow {
        Flow::Fused => "fused",
        Flow::TwoPhase => "two-phase",
        Flow::Stepwise => "stepwise",
    }
}

fn label(row: &Transition) -> String {
    let flow = row.flow.map(|flow| format!(" ({})", flow_name(flow))).unwrap_or_default();
    format!("{}{flow}", row.event)
}

/// The way of a reservation that nothing befalls, as a diagram: what we do and what the provider answers.
fn diagram() -> String {
    let is_shown = |row: &&Transition| {
        let is_way =
            matches!((row.from, row.to), (Activating, Active) | (Active, Degraded) | (Degraded, Active));
        let is_mishap = matches!(row.event, Reported(_) | OutcomeUnknown | Gone);
        row.from != row.to && row.from != Unknown && (is_way || !is_mishap)
    };
    let mut arrows: BTreeMap<(ReservationState, ReservationState), Vec<String>> = BTreeMap::new();
    for row in TRANSITIONS.iter().filter(is_shown) {
        arrows.entry((row.from, row.to)).or_default().push(label(row));
    }
    let mut text = String::from("```mermaid\nstateDiagram-v2\n    [*] --> intent\n");
    for ((from, to), labels) in arrows {
        writeln!(text, "    {from} --> {to}: {}", labels.join(", ")).expect("text takes text");
    }
    text.push_str("    released --> [*]\n    failed --> [*]\n```\n");
    text
}

/// Every row: one line per state, event and state reached.
fn table() -> String {
    let mut text = String::from("| from | event | to |\n|---|---|---|\n");
    for (state, _) in ReservationState::ALL {
        let mut reached: BTreeMap<ReservationState, Vec<String>> = BTreeMap::new();
        for row in TRANSITIONS.iter().filter(|row| row.from == state) {
            reached.entry(row.to).or_default().push(label(row));
        }
        for (to, labels) in reached {
            writeln!(text, "| {state} | {} | {to} |", labels.join(", ")).expect("text takes text");
        }
    }
    text
}

fn document() -> String {
    format!(
        "{PREFACE}\n{MEANINGS}\n## Without mishap\n\nWhat is cut off or gone, and most of what is reported, is left out here.\n\n{}\n## Every row\n\n{}",
        diagram(),
        table()
    )
}

#[test]
fn the_document_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reservation-machine.md");
    if std::env::var_os("VRESERVE_WRITE_DOCS").is_some() {
        std::fs::write(&path, document()).expect("the documents can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document(), "{} differs from TRANSITIONS: write it anew", path.display());
}

#[test]
fn the_document_names_every_state_and_every_row() {
    let table = table();
    let lines: BTreeSet<_> = table.lines().collect();
    for row in TRANSITIONS {
        let found = lines.iter().any(|line| {
            line.starts_with(&format!("| {} |", row.from))
                && line.ends_with(&format!("| {} |", row.to))
                && line.contains(&label(row))
        });
        assert!(found, "{row:?}");
    }
}
