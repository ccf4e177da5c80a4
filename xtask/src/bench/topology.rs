//! Suite `topology`: how often inference recognises each named pattern under noise, and how often it names a random
//! graph. No time is measured, and a seed gives the same figures everywhere.
//!
//! The trials are in the program `inference` of `tests/instructions`, whose JSON is read here.

use serde::Deserialize;

use super::Options;
use super::metric::Metric;
use super::program::Program;
use super::record::{Record, Sample};
use crate::artifacts::Profile;

const SUITE: &str = "topology";

/// What the program prints.
#[derive(Deserialize)]
struct Printed {
    rounds: Vec<Round>,
}

#[derive(Deserialize)]
struct Round {
    seed: usize,
    kinds: Vec<Kind>,
}

/// All trials of one kind.
#[derive(Deserialize)]
struct Kind {
    /// In percent.
    noise: u32,
    unequal: bool,
    /// None: random graphs.
    pattern: Option<String>,
    trials: u32,
    hits: u32,
    /// The first of those that were named wrongly.
    others: Vec<String>,
}

/// Measures.
///
/// # Errors
/// If the program cannot be built, fails or prints something else; a signal.
pub(super) fn run(options: &Options) -> anyhow::Result<Record> {
    let rounds = options.rounds.to_string();
    let printed: Printed = Program::new("inference").measure(Profile::Release, &[SUITE, &rounds])?;
    let samples = samples(&printed).into_iter().filter(|sample| options.wants(&name_of(sample)));
    let mut record = Record::new(SUITE, options.rounds, 0.0, samples.collect());
    let all = printed.rounds.iter().flat_map(|round| &round.kinds).map(|kind| kind.trials).sum::<u32>();
    record.note(format!(
        "{all} trials; \"all patterns\" is the share of all trials, every other row of its own"
    ));
    for kind in printed.rounds.iter().flat_map(|round| &round.kinds).filter(|kind| !kind.others.is_empty()) {
        let subject = kind.pattern.as_deref().unwrap_or("random graph");
        println!("{}: {subject}: {}", setting(kind), kind.others.join(", "));
    }
    Ok(record)
}

fn setting(kind: &Kind) -> String {
    format!("{} % noise{}", kind.noise, if kind.unequal { ", unequal" } else { "" })
}

fn name_of(sample: &Sample) -> String {
    format!("{}/{}", sample.setting, sample.subject)
}

fn samples(printed: &Printed) -> Vec<Sample> {
    let mut samples = Vec::new();
    for round in &printed.rounds {
        let mut keep = |setting: &str, subject: &str, metric, hits: u32, trials: u32| {
            samples.push(Sample {
                round: round.seed,
                setting: setting.to_owned(),
                subject: subject.to_owned(),
                metric,
                value: 100.0 * f64::from(hits) / f64::from(trials.max(1)),
                baseline: None,
            });
        };
        for kind in &round.kinds {
            let (metric, subject) = match &kind.pattern {
                Some(pattern) => (Metric::Recognised, pattern.as_str()),
                None => (Metric::FalseNames, "random graphs"),
            };
            keep(&setting(kind), subject, metric, kind.hits, kind.trials);
        }
        let mut settings: Vec<_> = round.kinds.iter().map(setting).collect();
        settings.dedup();
        for of in settings {
            let named = round.kinds.iter().filter(|kind| kind.pattern.is_some() && setting(kind) == of);
            let (hits, trials) =
                named.fold((0, 0), |(hits, trials), kind| (hits + kind.hits, trials + kind.trials));
            keep(&of, "all patterns", Metric::Recognised, hits, trials);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_trials_become_rows_that_are_judged() {
        let kind = |noise: u32, pattern: Option<&str>, hits: u32| {
            serde_json::json!({
                "noise": noise, "unequal": noise > 0, "pattern": pattern, "trials": 200, "hits": hits, "others": [],
            })
        };
        let kinds = [
            kind(0, Some("ring"), 200),
            kind(10, Some("ring"), 196),
            kind(10, Some("mesh-2d"), 200),
            kind(10, None, 2),
        ];
        let printed = serde_json::json!({ "rounds": [{ "seed": 0, "kinds": kinds }] });
        let record = Record::new(SUITE, 1, 0.0, samples(&serde_json::from_value(printed).unwrap()));
        assert_eq!(
            record.missed(),
            ["10 % noise, unequal ring recognised", "10 % noise * recognised: not measured"]
        );
        let all = record.rows.iter().filter(|row| row.subject == "all patterns");
        assert_eq!(all.map(|row| row.value.median).collect::<Vec<_>>(), [100.0, 99.0]);
    }
}
