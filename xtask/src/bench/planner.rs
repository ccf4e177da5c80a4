//! Suite `planner`: adapt-vadapt's choice alone. How close it comes to the exact optimum of small random problems, which
//! measures no time, and how long a plan for a thousand nodes takes.
//!
//! Measured by the plugin's example `planner`, whose JSON is read here.

use serde::Deserialize;

use super::Options;
use super::metric::Metric;
use super::program;
use super::record::{Record, Sample};
use crate::artifacts::Profile;

const PACKAGE: &str = "vreserve-adapt-vadapt";
const PROGRAM: &str = "planner";
/// The parts, as `--only` and the program know them.
const PARTS: [&str; 2] = ["quality", "time"];

/// What the program prints.
#[derive(Deserialize)]
struct Printed {
    instances: u64,
    rounds: Vec<Round>,
}

#[derive(Deserialize)]
struct Round {
    quality: Option<Quality>,
    plans: Option<Plans>,
}

#[derive(Deserialize)]
struct Quality {
    greedy: Shares,
    refined: Shares,
}

/// In percent of the optimum.
#[derive(Deserialize)]
struct Shares {
    median: f64,
    p5: f64,
    least: f64,
    gain_median: f64,
    gain_p5: f64,
    below_star: f64,
}

#[derive(Deserialize)]
struct Plans {
    nodes: u64,
    demands: u64,
    first_s: f64,
    next_s: f64,
}

/// Measures.
///
/// # Errors
/// If the program cannot be built, fails or prints something else; a signal.
pub(super) fn run(options: &Options) -> anyhow::Result<Record> {
    let rounds = options.rounds.to_string();
    let parts: Vec<&str> = PARTS.into_iter().filter(|part| options.wants(part)).collect();
    let arguments = [&[rounds.as_str()][..], &parts].concat();
    let printed: Printed = program::measure_example(PACKAGE, PROGRAM, options.profile, &arguments)?;
    let mut record = Record::new(PROGRAM, options.rounds, 0.0, samples(&printed));
    record.note(format!("each round has {} other instances", printed.instances));
    if options.profile == Profile::Dev && options.wants("time") {
        record.note("built as for tests: every time is too long".to_owned());
    }
    for part in PARTS.iter().filter(|part| !options.wants(part)) {
        record.skipped.push(format!("{part}: not asked for"));
    }
    Ok(record)
}

fn samples(printed: &Printed) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (round, found) in printed.rounds.iter().enumerate() {
        let mut keep = |setting: &str, subject: &str, metric, value| {
            let (setting, subject) = (setting.to_owned(), subject.to_owned());
            samples.push(Sample { round, setting, subject, metric, value, baseline: None });
        };
        if let Some(quality) = &found.quality {
            for (subject, shares) in [("greedy", &quality.greedy), ("greedy and refined", &quality.refined)] {
                let setting = "random instances";
                keep(setting, subject, Metric::OptimumMedian, shares.median);
                keep(setting, subject, Metric::OptimumP5, shares.p5);
                keep(setting, subject, Metric::OptimumLeast, shares.least);
                keep(setting, subject, Metric::GainMedian, shares.gain_median);
                keep(setting, subject, Metric::GainP5, shares.gain_p5);
                keep(setting, subject, Metric::BelowStar, shares.below_star);
            }
        }
        if let Some(plans) = &found.plans {
            let setting = format!("{} nodes, {} guest pairs", plans.nodes, plans.demands);
            keep(&setting, "first plan", Metric::Plan, plans.first_s * 1000.0);
            keep(&setting, "next plan", Metric::Plan, plans.next_s * 1000.0);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_becomes_rows_with_every_promise_judged() {
        let shares = |p5: f64| {
            serde_json::json!({
                "median": 99.0, "p5": p5, "least": 60.0, "gain_median": 98.0, "gain_p5": 70.0, "below_star": 0,
            })
        };
        let printed = serde_json::json!({ "instances": 500, "rounds": [{
            "quality": { "greedy": shares(80.0), "refined": shares(84.0) },
            "plans": { "nodes": 1000, "demands": 100_000, "first_s": 0.4, "next_s": 1.2 },
        }] });
        let printed: Printed = serde_json::from_value(printed).unwrap();
        let record = Record::new(PROGRAM, 1, 0.0, samples(&printed));
        assert_eq!(
            record.missed(),
            [
                "random instances greedy and refined of the optimum, 5th percentile",
                "1000 nodes, 100000 guest pairs next plan time to plan"
            ]
        );
    }
}
