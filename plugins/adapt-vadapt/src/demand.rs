//! From demand between guests to demand between nodes.
//!
//! Every measured rate counts, pruned edges included: inference prunes against the largest cell, and a pair
//! on a circuit is so much faster than the rest on the star that it would prune all others out of sight.
//! The watermarks decide instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use vreserve_sdk::model::{BitsPerSecond, MacAddr, Snapshot, link_key};

use crate::config::{Config, Latency, Objective};

/// Two different nodes by name; `a` sorts before `z`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodePair {
    /// One end.
    pub a: String,
    /// The other end.
    pub z: String,
}

/// A guest behind `a` and a guest behind `z`.
pub(crate) type GuestPair = (MacAddr, MacAddr);

/// What two guests send each other, both directions taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Talk {
    bits: f64,
    frames: f64,
}

/// What flows between two nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    from_a: u64,
    from_z: u64,
    /// The guests that talk, one way or both.
    pub talks: BTreeMap<GuestPair, Talk>,
}

/// Demand between nodes, and what could not be placed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demands {
    flows: BTreeMap<NodePair, Flow>,
    unknown: usize,
    local: usize,
}

impl NodePair {
    /// The pair of two nodes; none if they are the same.
    pub(crate) fn new(one: &str, other: &str) -> Option<Self> {
        let (a, z) = link_key(one, other);
        (a != z).then(|| NodePair { a: a.to_owned(), z: z.to_owned() })
    }
}

impl fmt::Display for NodePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.a, self.z)
    }
}

impl Talk {
    /// Many small frames: each side waits for the other's. Everything else sends as much as it can.
    pub(crate) fn is_latency_bound(self, latency: &Latency) -> bool {
        self.frames >= latency.min_frames && self.bits <= self.frames * latency.max_frame * 8.0
    }
}

impl Flow {
    /// The larger direction: a circuit carries both.
    pub(crate) fn rate(&self) -> BitsPerSecond {
        BitsPerSecond(self.from_a.max(self.from_z))
    }

    /// How many guest pairs wait for each other.
    pub(crate) fn latency_pairs(&self, latency: &Latency) -> usize {
        self.talks.values().filter(|talk| talk.is_latency_bound(latency)).count()
    }

    /// What a circuit is worth beside what it carries.
    fn bonus(&self, config: &Config) -> BitsPerSecond {
        let counts = config.objective == Objective::ThroughputAndLatency;
        let is_bound = counts && self.latency_pairs(&config.latency) > 0;
        if is_bound { config.latency.worth } else { BitsPerSecond(0) }
    }
}

impl Demands {
    /// Sums the snapshot's demands over the nodes that `placed` says the guests are behind.
    pub(crate) fn new(snapshot: &Snapshot, placed: &Placement<'_>) -> Self {
        let mut demands = Demands::default();
        for demand in snapshot.topology.demands.iter().filter(|demand| demand.rate.0 > 0) {
            let (source, destination) = (demand.source, demand.destination);
            let (Some(from), Some(to)) = (placed.node(source), placed.node(destination)) else {
                demands.unknown += 1;
                continue;
            };
            let Some(pair) = NodePair::new(from, to) else {
                demands.local += 1;
                continue;
            };
            let is_from_a = pair.a == from;
            let flow = demands.flows.entry(pair).or_default();
            let sum = if is_from_a { &mut flow.from_a } else { &mut flow.from_z };
            *sum = sum.saturating_add(demand.rate.0);
            let guests = if is_from_a { (source, destination) } else { (destination, source) };
            let talk = flow.talks.entry(guests).or_default();
            talk.bits += demand.rate.0 as f64;
            talk.frames += if demand.frames_per_second.is_finite() { demand.frames_per_second } else { 0.0 };
        }
        demands
    }

    /// The demand of a pair; zero if none was seen.
    pub(crate) fn rate(&self, pair: &NodePair) -> BitsPerSecond {
        self.flows.get(pair).map_or(BitsPerSecond(0), Flow::rate)
    }

    /// What a circuit is worth to a pair: its demand, and what it is spared if that is an objective. Watermarks and
    /// choices go by it.
    pub(crate) fn worth(&self, pair: &NodePair, config: &Config) -> BitsPerSecond {
        self.flows.get(pair).map_or(BitsPerSecond(0), |flow| worth(flow, config))
    }

    /// What flows between a pair's guests.
    pub(crate) fn flow(&self, pair: &NodePair) -> Option<&Flow> {
        self.flows.get(pair)
    }

    /// All pairs with demand, by name.
    pub(crate) fn flows(&self) -> impl Iterator<Item = (&NodePair, &Flow)> {
        self.flows.iter()
    }

    /// All pairs with demand and their worth, largest first; equals by name.
    pub(crate) fn ranked(&self, config: &Config) -> Vec<(&NodePair, BitsPerSecond)> {
        let mut ranked: Vec<_> = self.flows.iter().map(|(pair, flow)| (pair, worth(flow, config))).collect();
        ranked.sort_by_key(|(_, worth)| std::cmp::Reverse(*worth));
        ranked
    }

    /// What was left out, one line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let line = |count: usize, what: &str| (count > 0).then(|| format!("{count} guest pairs {what}"));
        let unknown = line(self.unknown, "left out: at least one guest is behind no known node");
        let local = line(self.local, "left out: both guests are behind the same node");
        unknown.into_iter().chain(local).collect()
    }
}

fn worth(flow: &Flow, config: &Config) -> BitsPerSecond {
    BitsPerSecond(flow.rate().0.saturating_add(flow.bonus(config).0))
}

/// Which node each guest is behind.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    nodes: BTreeMap<MacAddr, &'a str>,
}

impl<'a> Placement<'a> {
    /// The snapshot's guests behind the snapshot's nodes.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let names: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
        let known = snapshot.guests.iter().filter(|guest| names.contains(guest.node.as_str()));
        Placement { nodes: known.map(|guest| (guest.mac, guest.node.as_str())).collect() }
    }

    /// The node that `guest` is behind.
    pub(crate) fn node(&self, guest: MacAddr) -> Option<&'a str> {
        self.nodes.get(&guest).copied()
    }

    /// True if the guests are behind the ends of `pair`, in order.
    pub(crate) fn spans(&self, pair: &NodePair, guests: GuestPair) -> bool {
        self.node(guests.0) == Some(&pair.a) && self.node(guests.1) == Some(&pair.z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_transfer_with_its_acknowledgements_is_not_taken_for_a_conversation() {
        let latency = Latency::default();
        // Frames per second, and their bytes, there and back.
        let both = |there: (f64, f64), back: (f64, f64)| Talk {
            bits: (there.0 * there.1 + back.0 * back.1) * 8.0,
            frames: there.0 + back.0,
        };
        let bulk = both((7800.0, 1514.0), (3900.0, 66.0));
        let chat = both((500.0, 120.0), (500.0, 120.0));
        let idle = Talk { bits: 800.0, frames: 1.0 };
        assert!(!bulk.is_latency_bound(&latency));
        assert!(chat.is_latency_bound(&latency));
        assert!(!idle.is_latency_bound(&latency), "a frame a second spares nobody anything");
    }
}
