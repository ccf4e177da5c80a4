//! The keys of `[adapt.<instance>]` with `use = "adapt-vadapt"`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vreserve_sdk::Failure;
use vreserve_sdk::model::BitsPerSecond;
use vreserve_sdk::model::duration::{self, DurationText};

/// Budget, watermarks, holds and the break-even test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The most circuits at once: VADAPT's k.
    pub max_links: usize,
    /// The high watermark: only a node pair whose demand reaches it is given a circuit.
    pub min_rate: BitsPerSecond,
    /// The low watermark: a circuit whose demand stays under it is given back. A tenth of `min_rate` if left
    /// out.
    pub release_below: Option<BitsPerSecond>,
    /// How long demand must stay under the low watermark, or a challenger ahead, before a circuit goes.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub release_after: Duration,
    /// A pair stays chosen at least this long, counted from when it was chosen and again from when its
    /// circuit began to carry traffic.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub min_hold: Duration,
    /// Factor on the demand where a backend grants any rate. At least 1.
    pub headroom: f64,
    /// What circuits on a network are asked for, at least and at most, where its backend grants any rate.
    pub rates: BTreeMap<String, Rates>,
    /// How many times an incumbent's demand a challenger must have to take its place. At least 1.
    pub swap_margin: f64,
    /// Whether a circuit must be expected to pay off before it is asked for.
    pub break_even: bool,
    /// How long demand is expected to last when a circuit is asked for.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub assumed_duration: Duration,
    /// The least share of a circuit's paid time that must carry traffic: 0 to 1.
    pub min_share: f64,
}

/// The rates of circuits on one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Never less, however little demand was measured: where circuits are a share of a congested network, a pair
    /// sends what little it is let through.
    pub least: BitsPerSecond,
    /// Never more, however much.
    pub most: Option<BitsPerSecond>,
}

impl Rates {
    /// A rate within these.
    pub(crate) fn bound(self, rate: BitsPerSecond) -> BitsPerSecond {
        self.most.map_or(rate.max(self.least), |most| rate.max(self.least).min(most))
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_links: 4,
            min_rate: BitsPerSecond(10_000_000),
            release_below: None,
            release_after: Duration::from_secs(3),
            min_hold: Duration::from_secs(10),
            headroom: 1.2,
            rates: BTreeMap::new(),
            swap_margin: 1.5,
            break_even: true,
            assumed_duration: Duration::from_secs(300),
            min_share: 0.3,
        }
    }
}

impl Config {
    /// The low watermark.
    pub fn low(&self) -> BitsPerSecond {
        self.release_below.unwrap_or(BitsPerSecond(self.min_rate.0 / 10))
    }

    /// The rates of circuits on a network; any, if nothing was said.
    pub(crate) fn rates_on(&self, network: &str) -> Rates {
        self.rates.get(network).copied().unwrap_or_default()
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `Invalid` with the key.
    pub fn check(&self) -> Result<(), Failure> {
        let require = |holds: bool, key: &str, reason: &str| {
            if holds { Ok(()) } else { Err(Failure::invalid(key, reason)) }
        };
        require(self.min_rate.0 > 0, "min_rate", "must not be zero")?;
        require(self.low() <= self.min_rate, "release_below", "must not be over `min_rate`")?;
        require((1.0..=100.0).contains(&self.headroom), "headroom", "must be from 1 to 100")?;
        for (network, rates) in &self.rates {
            let is_wrong = rates.most.is_some_and(|most| most.0 == 0 || most < rates.least);
            require(!is_wrong, &format!("rates.{network}.most"), "must not be zero or under `least`")?;
        }
        require((1.0..=100.0).contains(&self.swap_margin), "swap_margin", "must be from 1 to 100")?;
        require((0.0..=1.0).contains(&self.min_share), "min_share", "must be from 0 to 1")?;
        require(!self.assumed_duration.is_zero(), "assumed_duration", "must not be zero")
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
        assert_eq!(key_of(r#"{"max_links":0,"min_rate":"1mbit","min_hold":"0s"}"#), None);
        for (text, key) in [
            (r#"{"min_rate":0}"#, "min_rate"),
            (r#"{"min_rate":"1mbit","release_below":"2mbit"}"#, "release_below"),
            (r#"{"headroom":0.5}"#, "headroom"),
            (r#"{"rates":{"qos":{"least":"2mbit","most":"1mbit"}}}"#, "rates.qos.most"),
            (r#"{"rates":{"qos":{"most":0}}}"#, "rates.qos.most"),
            (r#"{"swap_margin":0.9}"#, "swap_margin"),
            (r#"{"min_share":2.0}"#, "min_share"),
            (r#"{"assumed_duration":"0s"}"#, "assumed_duration"),
        ] {
            assert_eq!(key_of(text).as_deref(), Some(key), "{text}");
        }
        assert_eq!(Config::default().low(), BitsPerSecond(1_000_000));
    }
}
