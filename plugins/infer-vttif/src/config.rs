//! The keys of `[infer.<instance>]` with `use = "infer-vttif"`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vreserve_sdk::Failure;
use vreserve_sdk::model::BitsPerSecond;
use vreserve_sdk::model::duration::{self, DurationText};

/// Two of VTTIF's three dials (smoothing interval and detection threshold) and the bounds. The
/// third, the update rate, is the host's `report_interval`: at most half of `window`, and under `silent_after`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The sliding window of the low-pass filter: no traffic older than this counts. 100 ms to 10 min.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// The fraction of the largest cell under which a cell is pruned: over 0, under 1. TCP's
    /// acknowledgements make 2 to 3 % of the bytes of what they acknowledge; stay above that.
    pub threshold: f64,
    /// Traffic slower than this is noise and never an edge.
    pub min_rate: BitsPerSecond,
    /// How long an edge stays after it was last over the threshold, so that topologies which alternate
    /// faster than this show as their union.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub hold: Duration,
    /// The limit on the rate of change: an edge that begins anew so many times within `union_period` is part of the
    /// union of what unfolds, and stays. At least 2.
    pub union_after: usize,
    /// The period of that limit; also how long an edge of the union stays after it last began anew. Zero for
    /// no union.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub union_period: Duration,
    /// A node that has not reported for this long is silent: its traffic is unknown and the view partial.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub silent_after: Duration,
    /// The most guest pairs kept in memory; past it the least active are counted together. At least 1.
    pub max_pairs: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            window: Duration::from_secs(2),
            threshold: 0.1,
            min_rate: BitsPerSecond(100_000),
            hold: Duration::from_secs(2),
            union_after: 3,
            union_period: Duration::from_secs(60),
            silent_after: Duration::from_secs(3),
            max_pairs: 1_000_000,
        }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `Invalid` with the key.
    pub fn check(&self) -> Result<(), Failure> {
        let require = |holds: bool, key: &str, reason: &str| {
            if holds { Ok(()) } else { Err(Failure::invalid(key, reason)) }
        };
        let window = Duration::from_millis(100)..=Duration::from_secs(600);
        require(window.contains(&self.window), "window", "must be from 100ms to 10m")?;
        let threshold = self.threshold > 0.0 && self.threshold < 1.0;
        require(threshold, "threshold", "must be over 0 and under 1")?;
        require(self.union_after >= 2, "union_after", "must be at least 2")?;
        require(!self.silent_after.is_zero(), "silent_after", "must not be zero")?;
        require(self.max_pairs >= 1, "max_pairs", "must be at least 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(text: &str) -> Option<String> {
        serde_json::from_str::<Config>(text).unwrap().check().err().and_then(|failure| failure.key)
    }

    #[test]
    fn defaults_are_valid_and_every_wrong_value_is_named() {
        assert_eq!(key_of("{}"), None);
        assert_eq!(key_of(r#"{"window":"500ms","hold":"0s","min_rate":"1mbit"}"#), None);
        for (text, key) in [
            (r#"{"window":"1ms"}"#, "window"),
            (r#"{"threshold":0}"#, "threshold"),
            (r#"{"threshold":1.5}"#, "threshold"),
            (r#"{"union_after":1}"#, "union_after"),
            (r#"{"silent_after":"0s"}"#, "silent_after"),
            (r#"{"max_pairs":0}"#, "max_pairs"),
        ] {
            assert_eq!(key_of(text).as_deref(), Some(key), "{text}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"windows":"2s"}"#).is_err());
    }
}
