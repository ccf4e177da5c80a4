//! The inference plugin `NAME`: what every pair of guests has sent lately, and no opinion on its pattern.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use vreserve_sdk::model::duration::{self, DurationText};
use vreserve_sdk::model::{BitsPerSecond, Demand, MacAddr, Pattern, Timestamp, TopologyReport};
use vreserve_sdk::{Cell, Failure, Host, Infer, JsonSchema, export_plugin, serde_json};

/// Most pairs that one report may name; the rest of a larger one is refused.
const MOST_PAIRS: usize = 100_000;

/// The keys of `[infer.<instance>]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Over how long rates are averaged.
    #[serde(default = "default_window", with = "duration")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
}

const fn default_window() -> Duration {
    Duration::from_secs(5)
}

/// What a node reports: source, destination, bytes and frames since the report before.
type Report = Vec<([u8; 6], [u8; 6], u64, u64)>;

/// A node's instance turns counts into reports; the lead's keeps those of the window.
pub struct Recent {
    window: Duration,
    began: Option<Timestamp>,
    reports: VecDeque<(Timestamp, Report)>,
}

impl Infer for Recent {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        if config.window.is_zero() {
            return Err(Failure::invalid("window", "nothing can be averaged over no time"));
        }
        Ok(())
    }

    fn open(config: Config, _host: Host) -> Result<Self, Failure> {
        Self::validate(&config)?;
        Ok(Recent { window: config.window, began: None, reports: VecDeque::new() })
    }

    fn observe(&mut self, _now: Timestamp, cells: &[Cell]) -> Result<Vec<u8>, Failure> {
        let report: Report =
            cells.iter().map(|cell| (cell.source, cell.destination, cell.bytes, cell.frames)).collect();
        serde_json::to_vec(&report).map_err(|error| Failure::internal(error.to_string()))
    }

    fn merge(&mut self, now: Timestamp, _node: &str, report: &[u8]) -> Result<(), Failure> {
        // From another node: it may be anything.
        let report: Report =
            serde_json::from_slice(report).map_err(|error| Failure::invalid("report", error.to_string()))?;
        if report.len() > MOST_PAIRS {
            return Err(Failure::invalid("report", "too many pairs"));
        }
        self.began.get_or_insert(now);
        self.reports.push_back((now, report));
        Ok(())
    }

    fn infer(&mut self, now: Timestamp) -> Result<TopologyReport, Failure> {
        while self.reports.front().is_some_and(|(at, _)| now.since(*at) > self.window) {
            self.reports.pop_front();
        }
        let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for (source, destination, bytes, frames) in self.reports.iter().flat_map(|(_, report)| report) {
            let sum = sums.entry((*source, *destination)).or_default();
            *sum = (sum.0.saturating_add(*bytes), sum.1.saturating_add(*frames));
        }
        let seconds = self.window.as_secs_f64();
        let demand = |((source, destination), (bytes, frames)): ((_, _), (u64, u64))| Demand {
            source: MacAddr(source),
            destination: MacAddr(destination),
            rate: BitsPerSecond((bytes as f64 * 8.0 / seconds) as u64),
            frames_per_second: frames as f64 / seconds,
            confidence: 1.0,
        };
        let mut demands: Vec<Demand> = sums.into_iter().map(demand).collect();
        demands.sort_by_key(|demand| std::cmp::Reverse(demand.rate));
        let pattern = if demands.is_empty() { Pattern::Silent } else { Pattern::Irregular };
        let settled = self.began.is_some_and(|began| now.since(began) >= self.window);
        Ok(TopologyReport { pattern, settled, demands, ..TopologyReport::silent() })
    }
}

export_plugin!(name = "NAME", infer = Recent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_reports_becomes_a_rate_and_is_forgotten_after_the_window() {
        let mut recent =
            Recent { window: Duration::from_secs(1), began: None, reports: VecDeque::new() };
        let cell =
            Cell { source: [2; 6], destination: [4; 6], vlan: 0xffff, reserved: 0, bytes: 125_000, frames: 100 };
        let report = recent.observe(Timestamp::ZERO, &[cell]).expect("a report");
        recent.merge(Timestamp::ZERO, "alpha", &report).expect("our own report");
        let seen = recent.infer(Timestamp::from_millis(500)).expect("a view");
        assert_eq!(seen.demands[0].rate, BitsPerSecond(1_000_000));
        assert!(recent.infer(Timestamp::from_millis(1500)).expect("a view").demands.is_empty());
        assert!(recent.merge(Timestamp::ZERO, "alpha", b"hostile").is_err());
    }
}
