//! Suite `abi`: what the plugin boundary costs per frame, by the length of batches: a plugin as a shared object beside the
//! same one linked in, both called as the host's workers do; and the linked one beside the same work without a plugin.
//!
//! Measured by the program `abi` of `tests/instructions`, whose JSON is read here.

use serde::Deserialize;

use super::metric::Metric;
use super::record::{Record, Sample};
use super::{Options, program};

const PROGRAM: &str = "abi";

/// What the program prints.
#[derive(Deserialize)]
struct Printed {
    rounds: Vec<Round>,
}

#[derive(Deserialize)]
struct Round {
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    call: String,
    batch: u64,
    bare_ns: f64,
    linked_ns: f64,
    shared_ns: f64,
}

/// Measures.
///
/// # Errors
/// If the program cannot be built, fails or prints something else; a signal.
pub(super) fn run(options: &Options) -> anyhow::Result<Record> {
    let rounds = options.rounds.to_string();
    let printed: Printed = program::measure(PROGRAM, options.profile, &[&rounds])?;
    let mut samples = Vec::new();
    for (nth, round) in printed.rounds.iter().enumerate() {
        samples.extend(of_round(nth, round).into_iter().filter(|sample| options.wants(&sample.setting)));
    }
    let mut record = Record::new(PROGRAM, options.rounds, 0.0, samples);
    record.note(
        "the baseline of \"shared object\" is \"linked\", of which the baseline is the same work without a plugin"
            .to_owned(),
    );
    record.note(
        "a round takes all three in turn, 51 slices of 65,536 frames each, and gives medians".to_owned(),
    );
    Ok(record)
}

fn of_round(round: usize, found: &Round) -> Vec<Sample> {
    let of_cell = |cell: &Cell| {
        let setting = format!("{}, batch {}", cell.call, cell.batch);
        let sample = |subject: &str, value, baseline| Sample {
            round,
            setting: setting.clone(),
            subject: subject.to_owned(),
            metric: Metric::FrameTime,
            value,
            baseline: Some(baseline),
        };
        [
            sample("shared object", cell.shared_ns, cell.linked_ns),
            sample("linked", cell.linked_ns, cell.bare_ns),
        ]
    };
    found.cells.iter().flat_map(of_cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_becomes_rows_with_every_promise_measured() {
        let cell = |call: &str, batch: u64, shared: f64| {
            serde_json::json!({
                "call": call, "batch": batch, "bare_ns": 1.0, "linked_ns": 2.0, "shared_ns": shared,
            })
        };
        let cells = [cell("send", 1, 3.0), cell("send", 32, 2.1), cell("recv", 32, 2.2)];
        let printed = serde_json::json!({ "rounds": [{ "cells": cells }] });
        let printed: Printed = serde_json::from_value(printed).unwrap();
        let record = Record::new(PROGRAM, 1, 0.0, of_round(0, &printed.rounds[0]));
        assert_eq!(record.missed(), ["recv, batch 32 shared object time per frame"]);
        let first = &record.rows[0];
        assert_eq!((first.ratio.unwrap().median, first.baseline.unwrap().median), (1.5, 2.0));
    }
}
