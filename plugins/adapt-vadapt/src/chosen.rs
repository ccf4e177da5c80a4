//! One node pair of H, chosen for a circuit, and what has to be remembered of it so that circuits do not
//! come and go. All time is the snapshot's.

use std::collections::BTreeSet;
use std::time::Duration;

use vreserve_sdk::model::{BitsPerSecond, CircuitView, Timestamp, WantedRule};

use crate::config::Config;
use crate::demand::{GuestPair, NodePair};

/// Since when something has been true without a break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stopwatch(Option<Timestamp>);

/// A pair with its circuit.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// The network the circuit is on.
    pub network: String,
    /// The rate asked for.
    pub rate: BitsPerSecond,
    /// When the pair was chosen.
    pub wanted_since: Timestamp,
    /// When the circuit began to carry traffic.
    pub carries_since: Option<Timestamp>,
    /// The host waits before it asks the backend again: meanwhile another pair may use the slot.
    pub backing_off: bool,
    /// How long demand has been under the low watermark.
    pub low: Stopwatch,
    /// How long a challenger has been ahead by the margin.
    pub beaten: Stopwatch,
    /// How long demand with headroom has been well under the rate.
    pub slack: Stopwatch,
    /// The largest demand meanwhile.
    pub peak: BitsPerSecond,
    /// Guests that have talked since the pair was chosen. Kept while they pause, so that rules stay put.
    pub guests: BTreeSet<GuestPair>,
}

impl Stopwatch {
    /// Takes whether it is true now.
    pub(crate) fn watch(&mut self, is_true: bool, now: Timestamp) {
        self.0 = is_true.then(|| self.0.unwrap_or(now));
    }

    /// Since when it has been true; none if it is not.
    pub(crate) fn since(self) -> Option<Timestamp> {
        self.0
    }

    /// True if it has been true for `duration` at least.
    pub(crate) fn has_run(self, duration: Duration, now: Timestamp) -> bool {
        self.0.is_some_and(|since| now.since(since) >= duration)
    }
}

impl Chosen {
    /// A pair chosen now.
    pub(crate) fn new(network: &str, rate: BitsPerSecond, now: Timestamp) -> Self {
        Chosen {
            network: network.to_owned(),
            rate,
            wanted_since: now,
            carries_since: None,
            backing_off: false,
            low: Stopwatch::default(),
            beaten: Stopwatch::default(),
            slack: Stopwatch::default(),
            peak: BitsPerSecond(0),
            guests: BTreeSet::new(),
        }
    }

    /// A circuit that an earlier planner has left.
    pub(crate) fn adopted(circuit: &CircuitView) -> Self {
        Chosen::new(&circuit.network, circuit.rate, circuit.wanted_since)
    }

    /// Takes what the host says of the circuit; none while the host has not taken it up yet.
    pub(crate) fn see(&mut self, circuit: Option<&CircuitView>, now: Timestamp) {
        self.backing_off = circuit.is_some_and(|circuit| circuit.backing_off);
        let carries = circuit.is_some_and(|circuit| circuit.carries_traffic);
        self.carries_since = carries.then(|| self.carries_since.unwrap_or(now));
    }

    /// How much longer the circuit must be held; zero if it may go. A refused one need not be held.
    pub(crate) fn hold_left(&self, config: &Config, now: Timestamp) -> Duration {
        let since = self.carries_since.unwrap_or(self.wanted_since).max(self.wanted_since);
        if self.backing_off { Duration::ZERO } else { config.min_hold.saturating_sub(now.since(since)) }
    }

    /// True if demand has been low for long enough and nothing holds the circuit.
    pub(crate) fn may_go(&self, config: &Config, now: Timestamp) -> bool {
        self.low.has_run(config.release_after, now) && self.hold_left(config, now).is_zero()
    }

    /// Why the pair has a circuit, in one line.
    pub(crate) fn reason(&self, config: &Config, demand: BitsPerSecond, now: Timestamp) -> String {
        let hold = self.hold_left(config, now).as_secs_f64();
        let state = match self.low {
            _ if self.backing_off => "refused or broken, waits for another attempt".to_owned(),
            Stopwatch(Some(since)) => {
                let low = now.since(since).as_secs_f64();
                format!("under {} for {low:.1} s, held {hold:.1} s more", config.low())
            }
            Stopwatch(None) => format!("over {}, held {hold:.1} s at least", config.low()),
        };
        format!("demand {demand} between {} guest pairs: {state}", self.guests.len())
    }

    /// The rules that send the pair's guests over the circuit, both ways: one hop, where the star needs two.
    pub(crate) fn rules<'a>(&'a self, pair: &'a NodePair) -> impl Iterator<Item = WantedRule> + 'a {
        self.guests.iter().flat_map(move |(at_a, at_z)| {
            let rule = |node: &str, source, destination, next: &str| WantedRule {
                node: node.to_owned(),
                source,
                destination,
                next: next.to_owned(),
                network: self.network.clone(),
            };
            [rule(&pair.a, *at_a, *at_z, &pair.z), rule(&pair.z, *at_z, *at_a, &pair.a)]
        })
    }
}
