//! From demand between guests to demand between nodes.
//!
//! Every measured rate counts, pruned edges included: inference prunes against the largest cell, and a pair
//! on a circuit is so much faster than the rest on the star that it would prune all others out of sight.
//! The watermarks decide instead.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;

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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flow<'a> {
    from_a: u64,
    from_z: u64,
    /// The guests that talk, one way or both, in order.
    talks: &'a [(GuestPair, Talk)],
}

/// Demand between nodes, and what could not be placed. A million pairs of guests are looked at in every interval, so
/// they are sorted, and nodes go by their number.
#[derive(Clone, Debug)]
pub(crate) struct Demands<'a> {
    /// The nodes in order.
    names: &'a [&'a str],
    /// By ends.
    flows: Vec<Sum>,
    talks: Vec<(GuestPair, Talk)>,
    unknown: usize,
    local: usize,
}

/// What all guests of two nodes send.
#[derive(Clone, Debug)]
struct Sum {
    ends: [usize; 2],
    from_a: u64,
    from_z: u64,
    /// Where their talks are.
    talks: Range<usize>,
}

/// What one guest sends another.
struct Sent {
    ends: [usize; 2],
    guests: GuestPair,
    is_from_a: bool,
    rate: u64,
    frames: f64,
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

impl<'a> Flow<'a> {
    /// The larger direction: a circuit carries both.
    pub(crate) fn rate(&self) -> BitsPerSecond {
        BitsPerSecond(self.from_a.max(self.from_z))
    }

    /// How many guest pairs wait for each other.
    pub(crate) fn latency_pairs(&self, latency: &Latency) -> usize {
        self.talks.iter().filter(|(_, talk)| talk.is_latency_bound(latency)).count()
    }

    /// The guests that talk, one way or both, in order.
    pub(crate) fn guests(&self) -> impl ExactSizeIterator<Item = GuestPair> + use<'a> {
        self.talks.iter().map(|(guests, _)| *guests)
    }

    /// What a circuit is worth beside what it carries.
    fn bonus(&self, config: &Config) -> BitsPerSecond {
        let counts = config.objective == Objective::ThroughputAndLatency;
        let is_bound = counts && self.latency_pairs(&config.latency) > 0;
        if is_bound { config.latency.worth } else { BitsPerSecond(0) }
    }
}

impl<'a> Demands<'a> {
    /// Sums the snapshot's demands over the nodes that `placed` says the guests are behind.
    pub(crate) fn new(snapshot: &Snapshot, placed: &'a Placement<'a>) -> Self {
        let names = &placed.names;
        let mut demands = Demands { names, flows: Vec::new(), talks: Vec::new(), unknown: 0, local: 0 };
        let mut all = Vec::with_capacity(snapshot.topology.demands.len());
        for demand in snapshot.topology.demands.iter().filter(|demand| demand.rate.0 > 0) {
            let (source, destination) = (demand.source, demand.destination);
            let (Some(from), Some(to)) = (placed.number(source), placed.number(destination)) else {
                demands.unknown += 1;
                continue;
            };
            if from == to {
                demands.local += 1;
                continue;
            }
            // Numbers are in the order of names.
            let is_from_a = from < to;
            let (ends, guests) = if is_from_a {
                ([from, to], (source, destination))
            } else {
                ([to, from], (destination, source))
            };
            let frames = demand.frames_per_second;
            let frames = if frames.is_finite() { frames } else { 0.0 };
            all.push(Sent { ends, guests, is_from_a, rate: demand.rate.0, frames });
        }
        all.sort_unstable_by_key(|sent| (sent.ends, sent.guests, sent.is_from_a));
        demands.talks.reserve(all.len());
        for of_pair in all.chunk_by(|one, other| one.ends == other.ends) {
            demands.add(of_pair);
        }
        demands
    }

    /// All that guests of two nodes send, by guests.
    fn add(&mut self, all: &[Sent]) {
        let first = self.talks.len();
        let (mut from_a, mut from_z) = (0_u64, 0_u64);
        for of_guests in all.chunk_by(|one, other| one.guests == other.guests) {
            let mut talk = Talk::default();
            for sent in of_guests {
                let sum = if sent.is_from_a { &mut from_a } else { &mut from_z };
                *sum = sum.saturating_add(sent.rate);
                talk.bits += sent.rate as f64;
                talk.frames += sent.frames;
            }
            self.talks.push((of_guests[0].guests, talk));
        }
        self.flows.push(Sum { ends: all[0].ends, from_a, from_z, talks: first..self.talks.len() });
    }

    fn flow_of(&self, sum: &Sum) -> Flow<'_> {
        Flow { from_a: sum.from_a, from_z: sum.from_z, talks: &self.talks[sum.talks.clone()] }
    }

    /// The demand of a pair; zero if none was seen.
    pub(crate) fn rate(&self, pair: &NodePair) -> BitsPerSecond {
        self.flow(pair).map_or(BitsPerSecond(0), |flow| flow.rate())
    }

    /// What a circuit is worth to a pair: its demand, and what it is spared if that is an objective. Watermarks and
    /// choices go by it.
    pub(crate) fn worth(&self, pair: &NodePair, config: &Config) -> BitsPerSecond {
        self.flow(pair).map_or(BitsPerSecond(0), |flow| worth(&flow, config))
    }

    /// What flows between a pair's guests.
    pub(crate) fn flow(&self, pair: &NodePair) -> Option<Flow<'_>> {
        let number = |name: &str| self.names.binary_search(&name).ok();
        let ends = [number(&pair.a)?, number(&pair.z)?];
        let at = self.flows.binary_search_by_key(&ends, |sum| sum.ends).ok()?;
        Some(self.flow_of(&self.flows[at]))
    }

    /// All pairs with demand, by name.
    pub(crate) fn flows(&self) -> impl Iterator<Item = ([&'a str; 2], Flow<'_>)> {
        self.flows.iter().map(|sum| (sum.ends.map(|end| self.names[end]), self.flow_of(sum)))
    }

    /// The pairs whose worth reaches the high watermark, largest first, equals by name: `most` of them, and how many
    /// more there are.
    pub(crate) fn highest(&self, config: &Config, most: usize) -> (Vec<(NodePair, BitsPerSecond)>, usize) {
        let worths = self.flows.iter().map(|sum| (Reverse(worth(&self.flow_of(sum), config)), sum.ends));
        let mut high: Vec<_> = worths.filter(|(worth, _)| worth.0 >= config.min_rate).collect();
        let more = high.len().saturating_sub(most);
        if more > 0 {
            high.select_nth_unstable(most);
            high.truncate(most);
        }
        high.sort_unstable();
        let named = |(worth, ends): (Reverse<BitsPerSecond>, [usize; 2])| {
            let [a, z] = ends.map(|end| self.names[end].to_owned());
            (NodePair { a, z }, worth.0)
        };
        (high.into_iter().map(named).collect(), more)
    }

    /// What was left out, one line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let line = |count: usize, what: &str| (count > 0).then(|| format!("{count} guest pairs {what}"));
        let unknown = line(self.unknown, "left out: at least one guest is behind no known node");
        let local = line(self.local, "left out: both guests are behind the same node");
        unknown.into_iter().chain(local).collect()
    }
}

fn worth(flow: &Flow<'_>, config: &Config) -> BitsPerSecond {
    BitsPerSecond(flow.rate().0.saturating_add(flow.bonus(config).0))
}

/// Which node each guest is behind.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    /// The nodes in order; guests are behind them by number.
    names: Vec<&'a str>,
    nodes: HashMap<MacAddr, usize>,
}

impl<'a> Placement<'a> {
    /// The snapshot's guests behind the snapshot's nodes.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let names: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let known = snapshot
            .guests
            .iter()
            .filter_map(|guest| Some((guest.mac, names.binary_search(&guest.node.as_str()).ok()?)));
        let nodes = known.collect();
        Placement { names, nodes }
    }

    fn number(&self, guest: MacAddr) -> Option<usize> {
        self.nodes.get(&guest).copied()
    }

    /// The node that `guest` is behind.
    pub(crate) fn node(&self, guest: MacAddr) -> Option<&'a str> {
        self.number(guest).map(|number| self.names[number])
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
