//! The keys of `[adapt.<instance>]` with `use = "adapt-vadapt"`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vreserve_sdk::Failure;
use vreserve_sdk::model::BitsPerSecond;
use vreserve_sdk::model::duration::{self, DurationText};

/// Bound of `refine_steps`: a plan is made once a second or more often.
const MAX_STEPS: u32 = 1_000_000;

/// Budgets, watermarks, holds, the break-even test, and what is to be made large.
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
    /// Whether a pair that has had demand a few times is expected to have it for as long as it did then, instead of
    /// `assumed_duration`.
    pub history: bool,
    /// The most that all circuits together may come to. Any, unless given.
    pub max_rate: Option<BitsPerSecond>,
    /// The most that they may cost. Anything, unless given.
    pub max_cost: Option<f64>,
    /// What circuits cost by network, in a unit of the operator's own. Nothing where nothing is said.
    pub costs: BTreeMap<String, Cost>,
    /// The most circuits that are asked for or given back in one `change_period`. Any number, unless given.
    pub max_changes: Option<usize>,
    /// See `max_changes`.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub change_period: Duration,
    /// When the rate of a circuit that is there is changed.
    pub resize: Resize,
    /// Under which share of its rate demand with headroom must stay before a circuit is made smaller: 0 to 1.
    pub shrink_below: f64,
    /// For how long.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    pub shrink_after: Duration,
    /// How a way is chosen where there are several.
    pub routing: Routing,
    /// Whether a pair may take two circuits by way of a third node, where the host can have it do so.
    pub two_hop: bool,
    /// What is to be made large.
    pub objective: Objective,
    /// Which guest pairs wait for each other, and what a circuit is worth to them.
    pub latency: Latency,
    /// What the star carries between any two nodes: then a circuit is worth what it carries more than that. A circuit
    /// is worth all that it carries, unless given.
    pub star_rate: Option<BitsPerSecond>,
    /// Steps of the refinement after the greedy choice; 0 for none.
    pub refine_steps: u32,
}

/// What circuits on one network cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cost {
    /// Each.
    pub circuit: f64,
    /// For each gbit/s of its rate.
    pub per_gbit: f64,
}

impl Cost {
    /// Of a circuit at this rate.
    pub(crate) fn of(self, rate: BitsPerSecond) -> f64 {
        self.circuit + self.per_gbit * rate.0 as f64 / 1e9
    }
}

/// When the rate of a circuit that is there is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Never.
    Never,
    /// Where the backend can change it while the circuit carries traffic.
    #[default]
    InPlace,
    /// Also where a second circuit has to take the place of the first.
    Any,
}

/// How a way is chosen where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// The one of fewest hops, and of equals the first: networks in the order of their backends.
    #[default]
    Shortest,
    /// The one with the most capacity left.
    Widest,
}

/// What is to be made large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// What is carried.
    #[default]
    Throughput,
    /// That, and what pairs that wait for each other are spared.
    ThroughputAndLatency,
}

/// Which guest pairs wait for each other: those that exchange many small frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// The most bytes that a frame of such a pair has on average, both directions taken together.
    pub max_frame: f64,
    /// The fewest frames per second, both directions taken together.
    pub min_frames: f64,
    /// What a circuit is worth to the nodes of such a pair beside what it carries, as a rate.
    pub worth: BitsPerSecond,
}

impl Default for Latency {
    fn default() -> Self {
        Latency { max_frame: 400.0, min_frames: 50.0, worth: BitsPerSecond(20_000_000) }
    }
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
            history: true,
            max_rate: None,
            max_cost: None,
            costs: BTreeMap::new(),
            max_changes: None,
            change_period: Duration::from_secs(10),
            resize: Resize::default(),
            shrink_below: 0.5,
            shrink_after: Duration::from_secs(30),
            routing: Routing::default(),
            two_hop: true,
            objective: Objective::default(),
            latency: Latency::default(),
            star_rate: None,
            refine_steps: 2000,
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

    /// What circuits on a network cost; nothing, if nothing was said.
    pub(crate) fn cost_on(&self, network: &str) -> Cost {
        self.costs.get(network).copied().unwrap_or_default()
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
        require(!self.assumed_duration.is_zero(), "assumed_duration", "must not be zero")?;
        let is_cost = |cost: f64| cost.is_finite() && cost >= 0.0;
        require(self.max_cost.is_none_or(is_cost), "max_cost", "must not be negative")?;
        for (network, cost) in &self.costs {
            require(is_cost(cost.circuit), &format!("costs.{network}.circuit"), "must not be negative")?;
            require(is_cost(cost.per_gbit), &format!("costs.{network}.per_gbit"), "must not be negative")?;
        }
        require(self.max_changes != Some(0), "max_changes", "must not be zero")?;
        require(!self.change_period.is_zero(), "change_period", "must not be zero")?;
        require((0.0..=1.0).contains(&self.shrink_below), "shrink_below", "must be from 0 to 1")?;
        require(self.latency.max_frame > 0.0, "latency.max_frame", "must be over 0")?;
        require(self.latency.min_frames > 0.0, "latency.min_frames", "must be over 0")?;
        require(self.star_rate != Some(BitsPerSecond(0)), "star_rate", "must not be zero")?;
        require(self.refine_steps <= MAX_STEPS, "refine_steps", "must not be over 1000000")
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
            (r#"{"max_cost":-1.0}"#, "max_cost"),
            (r#"{"costs":{"qos":{"per_gbit":-0.5}}}"#, "costs.qos.per_gbit"),
            (r#"{"max_changes":0}"#, "max_changes"),
            (r#"{"change_period":"0s"}"#, "change_period"),
            (r#"{"shrink_below":1.5}"#, "shrink_below"),
            (r#"{"latency":{"max_frame":0.0}}"#, "latency.max_frame"),
            (r#"{"star_rate":0}"#, "star_rate"),
            (r#"{"refine_steps":2000000}"#, "refine_steps"),
        ] {
            assert_eq!(key_of(text).as_deref(), Some(key), "{text}");
        }
        assert_eq!(Config::default().low(), BitsPerSecond(1_000_000));
    }
}
