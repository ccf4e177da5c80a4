//! What the project promises, all in one place, and whether a figure keeps it. Pure.

use serde::{Deserialize, Serialize};

use super::metric::Metric;
use super::record::Row;
use super::spread::Spread;
use Bound::{AtLeast, AtMost};
use Of::{Ratio, Value};

/// A bound on a median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) of: Of,
    pub(crate) bound: Bound,
}

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Of {
    /// The ratio to the baseline.
    Ratio,
    /// The value itself, in the metric's unit.
    Value,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Suite, setting, subject, metric, and the bound. A `*` at the end stands for anything.
type Promise = (&'static str, &'static str, &'static str, Metric, Of, Bound);

const PROMISES: &[Promise] = &[
    ("dataplane", "wire", "clear", Metric::Tcp1, Ratio, AtLeast(1.0)),
    ("dataplane", "super", "clear", Metric::Tcp1, Ratio, AtLeast(0.55)),
    ("dataplane", "wire", "clear", Metric::Tcp4, Ratio, AtLeast(1.0)),
    ("dataplane", "super", "clear", Metric::Tcp4, Ratio, AtLeast(0.55)),
    ("dataplane", "wire", "secure", Metric::Tcp1, Ratio, AtLeast(0.75)),
    ("dataplane", "super", "secure", Metric::Tcp1, Ratio, AtLeast(0.35)),
    ("dataplane", "wire", "clear", Metric::Small, Ratio, AtLeast(2.0)),
    ("dataplane", "super", "clear", Metric::Small, Ratio, AtLeast(2.2)),
    ("dataplane", "wire", "clear-sleep", Metric::RoundTripP50, Ratio, AtMost(2.2)),
    ("dataplane", "super", "clear-sleep", Metric::RoundTripP50, Ratio, AtMost(2.2)),
    ("dataplane", "wire", "clear", Metric::RoundTripP50, Ratio, AtMost(1.2)),
    ("dataplane", "super", "clear", Metric::RoundTripP50, Ratio, AtMost(1.1)),
    ("dataplane", "wire", "clear", Metric::CpuPerGb, Ratio, AtMost(1.3)),
    ("dataplane", "super", "clear", Metric::CpuPerGb, Ratio, AtMost(2.0)),
    ("dataplane", "all", "clear", Metric::MemoryPeak, Value, AtMost(96.0)),
    ("dataplane", "all", "secure", Metric::MemoryPeak, Value, AtMost(96.0)),
    ("lookup", "10 rules", "hit, bursty", Metric::FrameTime, Value, AtMost(5.0)),
    ("lookup", "1000 rules", "hit, bursty", Metric::FrameTime, Value, AtMost(5.0)),
    ("lookup", "100000 rules", "hit, bursty", Metric::FrameTime, Value, AtMost(12.0)),
    // To 10 rules: flat within three times.
    ("lookup", "1000000 rules", "hit, bursty", Metric::FrameTime, Ratio, AtMost(3.0)),
    ("lookup", "1000000 rules", "hit, bursty", Metric::Allocations, Value, AtMost(0.0)),
    ("lookup", "10000000 addresses scanned", "running pairs", Metric::FrameRate, Ratio, AtLeast(0.9)),
    ("lookup", "10000000 addresses scanned", "running pairs", Metric::Allocations, Value, AtMost(0.0)),
    // A cache of 131,072 keys of 64 octets, and what is counted.
    ("lookup", "10000000 addresses scanned", "one worker", Metric::StateMemory, Value, AtMost(12.0)),
    ("planner", "random instances", "greedy and refined", Metric::OptimumMedian, Value, AtLeast(95.0)),
    ("planner", "random instances", "greedy and refined", Metric::OptimumP5, Value, AtLeast(85.0)),
    ("planner", "random instances", "greedy and refined", Metric::BelowStar, Value, AtMost(0.0)),
    ("planner", "1000 nodes*", "*", Metric::Plan, Value, AtMost(1000.0)),
    ("abi", "send, batch 32", "shared object", Metric::FrameTime, Ratio, AtMost(1.05)),
    ("abi", "recv, batch 32", "shared object", Metric::FrameTime, Ratio, AtMost(1.05)),
    // One percent of the throughput, and of the round trip what two runs of one subject differ by anyway.
    ("inference", "wire", "inferring", Metric::Tcp1, Ratio, AtLeast(0.99)),
    ("inference", "super", "inferring", Metric::Tcp1, Ratio, AtLeast(0.99)),
    ("inference", "wire", "inferring", Metric::RoundTripP50, Ratio, AtMost(1.02)),
    ("inference", "super", "inferring", Metric::RoundTripP50, Ratio, AtMost(1.02)),
    ("inference", "1000000 pairs of 10000 guests", "lead", Metric::Interval, Value, AtMost(1000.0)),
    ("inference", "1000000 pairs of 10000 guests", "lead", Metric::StateMemory, Value, AtMost(1024.0)),
    ("topology", "10 % noise", "*", Metric::Recognised, Value, AtLeast(99.0)),
    ("topology", "10 % noise, unequal", "*", Metric::Recognised, Value, AtLeast(99.0)),
    ("topology", "*", "random graphs", Metric::FalseNames, Value, AtMost(1.0)),
    ("scale", "guests", "*", Metric::SpreadTcp, Ratio, AtLeast(0.9)),
    ("scale", "guests", "*", Metric::SpreadSmall, Ratio, AtLeast(0.9)),
    ("scale", "links", "*", Metric::SpreadTcp, Ratio, AtLeast(0.9)),
    ("scale", "rules change", "*", Metric::SpreadTcp, Ratio, AtLeast(0.95)),
    ("peers", "wire", "clear vs *", Metric::Tcp1, Ratio, AtLeast(5.0)),
    ("peers", "super", "clear vs *", Metric::Tcp1, Ratio, AtLeast(5.0)),
    ("peers", "*", "clear vs *", Metric::Small, Ratio, AtLeast(3.0)),
    ("peers", "*", "clear vs *", Metric::RoundTripP99, Ratio, AtMost(1.0)),
    ("peers", "wire", "secure vs *", Metric::Tcp1, Ratio, AtLeast(3.0)),
    ("peers", "super", "secure vs *", Metric::Tcp1, Ratio, AtLeast(3.0)),
    ("peers", "*", "secure vs *", Metric::Small, Ratio, AtLeast(3.0)),
    ("peers", "*", "secure vs *", Metric::RoundTripP99, Ratio, AtMost(1.0)),
];

impl Target {
    /// Whether the median keeps it; nothing if what is bounded was not measured.
    pub(crate) fn holds(self, value: Spread, ratio: Option<Spread>) -> Option<bool> {
        let median = match self.of {
            Of::Ratio => ratio?.median,
            Of::Value => value.median,
        };
        Some(match self.bound {
            Bound::AtLeast(least) => median >= least,
            Bound::AtMost(most) => median <= most,
        })
    }

    /// As in "≥ 0.55".
    pub(crate) fn text(self) -> String {
        match self.bound {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
        }
    }
}

/// What is promised for a quantity.
pub(crate) fn of(suite: &str, setting: &str, subject: &str, metric: Metric) -> Option<Target> {
    let promise =
        PROMISES.iter().find(|promise| promise.0 == suite && is_about(promise, setting, subject, metric));
    promise.map(|&(_, _, _, _, of, bound)| Target { of, bound })
}

/// The promises of a suite for which there is no row.
pub(crate) fn unmeasured(suite: &str, rows: &[Row]) -> Vec<String> {
    let is_measured =
        |promise: &&Promise| rows.iter().any(|row| is_about(promise, &row.setting, &row.subject, row.metric));
    let absent = PROMISES.iter().filter(|promise| promise.0 == suite).filter(|promise| !is_measured(promise));
    absent.map(|(_, at, who, metric, ..)| format!("{at} {who} {}: not measured", metric.label())).collect()
}

fn is_about(promise: &Promise, setting: &str, subject: &str, metric: Metric) -> bool {
    let fits = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => text == pattern,
    };
    promise.3 == metric && fits(promise.1, setting) && fits(promise.2, subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_quantity_is_promised_once() {
        for (nth, promise) in PROMISES.iter().enumerate() {
            let key = |promise: &Promise| (promise.0, promise.1, promise.2, promise.3);
            assert!(PROMISES[..nth].iter().all(|other| key(other) != key(promise)), "{promise:?}");
        }
    }

    #[test]
    fn a_bound_includes_itself_and_a_ratio_without_a_baseline_is_no_answer() {
        let target = of("dataplane", "wire", "clear", Metric::Tcp1).unwrap();
        let exactly = Spread::of([1.0]);
        assert_eq!(target.holds(exactly.unwrap(), exactly), Some(true));
        assert_eq!(target.holds(exactly.unwrap(), Spread::of([0.99])), Some(false));
        assert_eq!(target.holds(exactly.unwrap(), None), None);
    }
}
