//! The keys of `[adapt.<instance>]` with `use = "adapt-watermark"`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vreserve_sdk::Failure;
use vreserve_sdk::model::BitsPerSecond;
use vreserve_sdk::model::duration::{self, DurationText};

/// The period and its watermarks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long loads are observed before the next change, which is one at most.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub period: Duration,
    /// What the star carries between a node and the proxy: loads of star links are shares of it.
    pub star_rate: BitsPerSecond,
    /// The share of `star_rate` over which a star link is relieved by a circuit. At most 1.
    pub high: f64,
    /// The share of its rate under which a circuit is given back. Under `high`.
    pub low: f64,
    /// The most circuits at once.
    pub max_links: usize,
    /// Factor on the demand where a backend grants any rate. At least 1.
    pub headroom: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            period: Duration::from_secs(10),
            star_rate: BitsPerSecond(100_000_000),
            high: 0.8,
            low: 0.1,
            max_links: 4,
            headroom: 1.2,
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
        require(!self.period.is_zero(), "period", "must not be zero")?;
        require(self.star_rate.0 > 0, "star_rate", "must not be zero")?;
        require(self.high > 0.0 && self.high <= 1.0, "high", "must be over 0 and at most 1")?;
        require(self.low >= 0.0 && self.low < self.high, "low", "must be from 0 to under `high`")?;
        require((1.0..=100.0).contains(&self.headroom), "headroom", "must be from 1 to 100")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_every_wrong_value_is_named() {
        let key_of = |text: &str| {
            serde_json::from_str::<Config>(text).unwrap().check().err().and_then(|failure| failure.key)
        };
        assert_eq!(key_of("{}"), None);
        for (text, key) in [
            (r#"{"period":"0s"}"#, "period"),
            (r#"{"star_rate":0}"#, "star_rate"),
            (r#"{"high":1.5}"#, "high"),
            (r#"{"high":0.3,"low":0.3}"#, "low"),
            (r#"{"headroom":0.5}"#, "headroom"),
        ] {
            assert_eq!(key_of(text).as_deref(), Some(key), "{text}");
        }
    }
}
