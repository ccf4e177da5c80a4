//! Suite `inference`: what it costs to watch. Guest to guest with inference on against off, in interleaved pairs; and
//! what the lead pays for merging, inferring and planning, by number of active pairs.
//!
//! "Off" is a report an hour: workers count each frame either way, as the look-up does it. The second part is the
//! program `inference` of `tests/instructions`, whose JSON is read here.

use serde::Deserialize;

use super::contest::{Contest, Outcome, Ratio};
use super::dataplane::CLEAR;
use super::ground::Ground;
use super::load::Load;
use super::metric::Metric;
use super::node::{self, Variant};
use super::record::{Record, Sample};
use super::underlay::Underlay;
use super::{Options, machine, program};
use crate::artifacts::{Artifacts, Profile};
use crate::interrupt;

const SUITE: &str = "inference";
const ON: Variant = Variant { name: "inferring", infer: "report_interval = \"500ms\"", ..CLEAR };
/// In an hour from now nobody measures any more.
const OFF: Variant =
    Variant { name: "off", infer: "report_interval = \"1h\"\nsilent_after = \"2h\"", ..CLEAR };
const LOADS: [Load; 2] = [Load::Tcp1, Load::RoundTrip];
const UNDERLAYS: [Underlay; 2] = [Underlay::Wire, Underlay::Super];
/// Pairs of measurements that a report has at least.
const PAIRS: usize = 10;
const OCTETS_OF_MIB: f64 = 1024.0 * 1024.0;

/// What the program prints.
#[derive(Deserialize)]
struct Printed {
    rounds: Vec<Round>,
}

#[derive(Deserialize)]
struct Round {
    sizes: Vec<Size>,
}

#[derive(Deserialize)]
struct Size {
    pairs: u64,
    guests: u64,
    reports: u64,
    merge_s: f64,
    infer_s: f64,
    plan_s: f64,
    whole_s: f64,
    held_bytes: f64,
}

/// Measures.
///
/// # Errors
/// If a daemon or the program cannot be run, or a signal came.
pub(super) fn run(options: &Options, built: &Artifacts) -> anyhow::Result<Record> {
    // One round is a look at whether everything works.
    let rounds = if options.rounds == 1 { 1 } else { options.rounds.max(PAIRS) };
    let mut outcome = pairs(options, built, rounds)?;
    let times = options.rounds.to_string();
    let printed: Printed = program::measure(SUITE, Profile::Release, &["cost", &times])?;
    for (nth, round) in printed.rounds.iter().enumerate() {
        outcome.samples.extend(round.sizes.iter().flat_map(|size| of_size(nth, size)));
    }
    let mut record = Record::new(SUITE, rounds, options.length.as_secs_f64(), outcome.samples);
    record.skipped = outcome.failures;
    let iperf3 = machine::version_of("iperf3", "--version");
    record.versions.extend(iperf3.map(|text| ("iperf3".to_owned(), text)));
    record.note("\"off\" is one report an hour; frames are counted either way".to_owned());
    record.note("the lead alone is timed in the median of five intervals a round, on one thread".to_owned());
    Ok(record)
}

/// On against off on each underlay.
fn pairs(options: &Options, built: &Artifacts, rounds: usize) -> anyhow::Result<Outcome> {
    let ground = Ground::set(&options.lab, built, &[ON.seat(), OFF.seat()])?;
    let mut on = node::start(&ground, built, &ON, 0)?;
    let mut off = node::start(&ground, built, &OFF, 1)?;
    let mut outcome = Outcome::default();
    for round in 0..rounds {
        for underlay in UNDERLAYS {
            ground.lay(underlay, None)?;
            for load in LOADS {
                interrupt::check()?;
                let name = format!("{}/{}/{}", underlay.name(), load.name(), on.name);
                let contest = Contest {
                    ground: &ground,
                    setting: underlay.name().to_owned(),
                    load,
                    length: options.length,
                    baseline: &off,
                    others: [&on].into_iter().filter(|_| options.wants(&name)).collect(),
                    ratio: Ratio::ToBaseline,
                };
                contest.round(round, &mut outcome)?;
            }
        }
    }
    on.processes.end()?;
    off.processes.end()?;
    Ok(outcome)
}

fn of_size(round: usize, size: &Size) -> Vec<Sample> {
    let setting = format!("{} pairs of {} guests", size.pairs, size.guests);
    let sample = |metric, value| Sample {
        round,
        setting: setting.clone(),
        subject: "lead".to_owned(),
        metric,
        value,
        baseline: None,
    };
    vec![
        sample(Metric::Merge, 1e6 * size.merge_s / size.reports as f64),
        sample(Metric::Infer, 1e3 * size.infer_s),
        sample(Metric::Plan, 1e3 * size.plan_s),
        sample(Metric::Interval, 1e3 * size.whole_s),
        sample(Metric::StateMemory, size.held_bytes / OCTETS_OF_MIB),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_becomes_rows_that_are_judged() {
        let size = |pairs: u64, seconds: f64| {
            serde_json::json!({
                "pairs": pairs, "guests": pairs / 100, "reports": 1_000, "report_octets": 18_000,
                "merge_s": seconds / 2.0, "infer_s": seconds / 4.0, "plan_s": seconds / 4.0, "whole_s": seconds,
                "held_bytes": 536_870_912,
            })
        };
        let printed =
            serde_json::json!({ "rounds": [{ "sizes": [size(100_000, 0.1), size(1_000_000, 1.2)] }] });
        let printed: Printed = serde_json::from_value(printed).unwrap();
        let samples = printed.rounds[0].sizes.iter().flat_map(|size| of_size(0, size)).collect();
        let record = Record::new(SUITE, 1, 0.0, samples);
        let slow = "1000000 pairs of 10000 guests lead time per interval";
        assert!(record.missed().contains(&slow.to_owned()), "{:?}", record.missed());
        let merge = record.rows.iter().find(|row| row.metric == Metric::Merge).unwrap();
        assert_eq!((merge.value.median, merge.unit.as_str()), (50.0, "µs"));
    }
}
