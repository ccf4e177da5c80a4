//! What nodes send each other: per snapshot, and its mean over a period.

use std::collections::{BTreeMap, BTreeSet};

use vreserve_sdk::model::{MacAddr, Snapshot, link_key};

/// Two different nodes by name, in order.
pub(crate) type NodePair = (String, String);

/// A guest behind the first node and one behind the second.
pub(crate) type GuestPair = (MacAddr, MacAddr);

/// What two nodes send each other at one instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    forth: u64,
    back: u64,
    /// The guests that talk.
    pub guests: BTreeSet<GuestPair>,
}

impl Flow {
    /// The larger direction, in bit/s: a circuit, and a star link, carry both.
    pub(crate) fn rate(&self) -> u64 {
        self.forth.max(self.back)
    }
}

/// The flows of a snapshot whose guests are behind its nodes.
pub(crate) fn flows(snapshot: &Snapshot) -> BTreeMap<NodePair, Flow> {
    let names: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
    let known = snapshot.guests.iter().filter(|guest| names.contains(guest.node.as_str()));
    let places: BTreeMap<MacAddr, &str> = known.map(|guest| (guest.mac, guest.node.as_str())).collect();
    let mut flows: BTreeMap<NodePair, Flow> = BTreeMap::new();
    for demand in snapshot.topology.demands.iter().filter(|demand| demand.rate.0 > 0) {
        let ends = places.get(&demand.source).zip(places.get(&demand.destination));
        let Some((from, to)) = ends.filter(|(from, to)| from != to) else { continue };
        let (a, z) = link_key(from, to);
        let flow = flows.entry((a.to_owned(), z.to_owned())).or_default();
        let (sum, guests) = match a == *from {
            true => (&mut flow.forth, (demand.source, demand.destination)),
            false => (&mut flow.back, (demand.destination, demand.source)),
        };
        *sum = sum.saturating_add(demand.rate.0);
        flow.guests.insert(guests);
    }
    flows
}

/// The mean over the snapshots of one period.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mean {
    sums: BTreeMap<NodePair, u128>,
    snapshots: u32,
}

impl Mean {
    pub(crate) fn add(&mut self, flows: &BTreeMap<NodePair, Flow>) {
        self.snapshots += 1;
        for (pair, flow) in flows {
            *self.sums.entry(pair.clone()).or_default() += u128::from(flow.rate());
        }
    }

    /// Of a pair, in bit/s.
    pub(crate) fn rate(&self, pair: &NodePair) -> f64 {
        self.sums.get(pair).map_or(0.0, |sum| *sum as f64 / f64::from(self.snapshots.max(1)))
    }

    /// Every pair that sent anything.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (&NodePair, f64)> {
        self.sums.keys().map(|pair| (pair, self.rate(pair)))
    }
}
