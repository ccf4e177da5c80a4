//! Suite `lookup`: the forwarding core alone, without a frame on any wire: hits in the cache by number of rules,
//! a linear scan over the rules beside them, misses, new rules, and a scan of addresses between running pairs.
//!
//! Measured by the program `lookup` of `tests/instructions`, whose JSON is read here.

use serde::Deserialize;

use super::metric::Metric;
use super::record::{Record, Sample};
use super::{Options, program};
use crate::artifacts::Profile;

const PROGRAM: &str = "lookup";
const OCTETS_OF_MIB: f64 = 1024.0 * 1024.0;

/// What the program prints.
#[derive(Deserialize)]
struct Printed {
    rounds: Vec<Round>,
}

#[derive(Deserialize)]
struct Round {
    /// By number of rules, the smallest first: it is what the others are compared with.
    sizes: Vec<Size>,
    default_cache: Crowded,
    scan: Scan,
}

#[derive(Deserialize)]
struct Size {
    rules: u64,
    hit_bursty_ns: f64,
    hit_random_ns: f64,
    miss_ns: f64,
    install_ns: f64,
    linear_scan_ns: f64,
    allocations: f64,
}

#[derive(Deserialize)]
struct Crowded {
    rules: u64,
    bursty_ns: f64,
}

#[derive(Deserialize)]
struct Scan {
    others_without_ns: f64,
    others_with_ns: f64,
    scanned_ns: f64,
    held_bytes: f64,
    allocations: f64,
}

/// Measures.
///
/// # Errors
/// If the program cannot be built, fails or prints something else; a signal.
pub(super) fn run(options: &Options) -> anyhow::Result<Record> {
    let rounds = options.rounds.to_string();
    let printed: Printed = program::measure(PROGRAM, Profile::Release, &[&rounds])?;
    let mut samples = Vec::new();
    for (nth, round) in printed.rounds.iter().enumerate() {
        samples.extend(of_round(nth, round).into_iter().filter(|sample| options.wants(&name_of(sample))));
    }
    let mut record = Record::new(PROGRAM, options.rounds, 0.0, samples);
    record.note("a ratio of times is to the same with the fewest rules".to_owned());
    record.note(
        "\"hit\" includes counting; the cache has room for all pairs but where the default is named"
            .to_owned(),
    );
    Ok(record)
}

fn name_of(sample: &Sample) -> String {
    format!("{}/{}", sample.setting, sample.subject)
}

fn of_round(round: usize, found: &Round) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut keep = |setting: &str, subject: &str, metric, value, baseline| {
        let (setting, subject) = (setting.to_owned(), subject.to_owned());
        samples.push(Sample { round, setting, subject, metric, value, baseline });
    };
    let fewest = found.sizes.first();
    for size in &found.sizes {
        let setting = format!("{} rules", size.rules);
        let mut time = |subject: &str, of: fn(&Size) -> f64| {
            keep(&setting, subject, Metric::FrameTime, of(size), fewest.map(of));
        };
        time("hit, bursty", |size| size.hit_bursty_ns);
        time("hit, random", |size| size.hit_random_ns);
        time("miss", |size| size.miss_ns);
        time("linear scan", |size| size.linear_scan_ns);
        keep(&setting, "new rules", Metric::Install, size.install_ns, None);
        keep(&setting, "hit, bursty", Metric::Allocations, size.allocations, None);
    }
    let crowded = format!("{} rules", found.default_cache.rules);
    let (crowded_ns, least) = (found.default_cache.bursty_ns, fewest.map(|size| size.hit_bursty_ns));
    keep(&crowded, "default cache, bursty", Metric::FrameTime, crowded_ns, least);
    let scan = &found.scan;
    let rate = |nanoseconds: f64| 1000.0 / nanoseconds;
    let setting = "10000000 addresses scanned";
    let without = Some(rate(scan.others_without_ns));
    keep(setting, "running pairs", Metric::FrameRate, rate(scan.others_with_ns), without);
    keep(setting, "running pairs", Metric::Allocations, scan.allocations, None);
    keep(setting, "a scanned address", Metric::FrameTime, scan.scanned_ns, None);
    keep(setting, "one worker", Metric::StateMemory, scan.held_bytes / OCTETS_OF_MIB, None);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_becomes_rows_with_every_promise_measured() {
        let size = |rules: u64, nanoseconds: f64| {
            serde_json::json!({
                "rules": rules, "hit_bursty_ns": nanoseconds, "hit_random_ns": 9.0, "miss_ns": 200.0,
                "install_ns": 40, "linear_scan_ns": 100.0, "allocations": 0,
            })
        };
        let printed = serde_json::json!({ "rounds": [{
            "sizes": [size(10, 3.0), size(1_000, 3.5), size(100_000, 5.0), size(1_000_000, 9.5)],
            "default_cache": { "rules": 1_000_000, "bursty_ns": 12.0 },
            "scan": {
                "others_without_ns": 4.0, "others_with_ns": 4.2, "scanned_ns": 150.0,
                "held_bytes": 1_048_576, "allocations": 0,
            },
        }] });
        let printed: Printed = serde_json::from_value(printed).unwrap();
        let record = Record::new(PROGRAM, 1, 0.0, of_round(0, &printed.rounds[0]));
        assert_eq!(record.missed(), ["1000000 rules hit, bursty time per frame"]);
        let memory = record.rows.iter().find(|row| row.metric == Metric::StateMemory).unwrap();
        assert_eq!(memory.value.median, 1.0);
    }
}
