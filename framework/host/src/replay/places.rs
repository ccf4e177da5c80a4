//! Which node a captured frame entered the overlay at, and what each node has counted since its last report.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use vreserve_core::counters::{Cell, Weight};
use vreserve_core::frame::{EthernetHeader, NO_VLAN};
use vreserve_core::matrix::TrafficMatrix;
use vreserve_model::MacAddr;

use crate::config::OverlayConfig;

/// Guest pairs with a name, over all nodes.
const MAX_PAIRS: usize = 1_000_000;
/// However many nodes there are, each names so many pairs.
const LEAST_PAIRS: usize = 1_000;
/// Senders that nobody lists and that the default node takes in; the lead takes no more from one node.
const MAX_LEARNED: usize = 4_096;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// From a guest of one node to a guest of another.
    Between {
        /// The node it enters at, by its place among all.
        from: usize,
        /// The node it leaves at.
        to: usize,
    },
    /// Between guests of one node.
    Local,
    /// To a group, or to somebody that nobody knows.
    Flooded,
    /// From somebody that nobody knows.
    Other,
}

/// The nodes with their guests and matrices.
pub(super) struct Places {
    nodes: Vec<Place>,
    node_of: HashMap<MacAddr, usize>,
    default: Option<usize>,
    learned: usize,
    /// What the nodes have not counted, as it came from nobody's guest.
    pub(super) other: Weight,
    /// What stayed within a node.
    pub(super) local: Weight,
    /// What went to all or to nobody known.
    pub(super) flooded: Weight,
    /// What went from node to node.
    pub(super) between: Weight,
}

struct Place {
    name: String,
    matrix: TrafficMatrix,
    guests: BTreeSet<MacAddr>,
    has_news: bool,
}

impl Places {
    pub(super) fn new(overlay: &OverlayConfig) -> Self {
        let pairs = (MAX_PAIRS / overlay.nodes.len().max(1)).max(LEAST_PAIRS);
        let place = |name: &String| Place {
            name: name.clone(),
            matrix: TrafficMatrix::new(pairs),
            guests: BTreeSet::new(),
            has_news: true,
        };
        let mut nodes: Vec<_> = overlay.nodes.keys().map(place).collect();
        let index_of: BTreeMap<&str, usize> = overlay.nodes.keys().map(String::as_str).zip(0..).collect();
        let mut node_of = HashMap::new();
        for (guest, node) in &overlay.guests {
            if let Some(&index) = index_of.get(node.as_str()) {
                nodes[index].guests.insert(*guest);
                node_of.insert(*guest, index);
            }
        }
        let default = overlay.default_node.as_deref().and_then(|node| index_of.get(node).copied());
        let zero = Weight::ZERO;
        Places { nodes, node_of, default, learned: 0, other: zero, local: zero, flooded: zero, between: zero }
    }

    /// Counts a frame where it enters.
    pub(super) fn count(&mut self, header: &EthernetHeader, bytes: u64) -> Passage {
        let weight = Weight::frame(bytes);
        let Some(from) = self.place_sender(header.source()) else {
            self.other += weight;
            return Passage::Other;
        };
        let cell = Cell {
            source: header.source(),
            destination: header.destination(),
            vlan: header.vlan().unwrap_or(NO_VLAN),
            bytes,
            frames: 1,
        };
        self.nodes[from].matrix.merge(&[cell], Weight::ZERO);
        let (passage, sum) = match self.node_of.get(&header.destination()) {
            Some(&to) if to == from => (Passage::Local, &mut self.local),
            Some(&to) => (Passage::Between { from, to }, &mut self.between),
            None => (Passage::Flooded, &mut self.flooded),
        };
        *sum += weight;
        passage
    }

    /// Senders are learned, and only at the node that takes in strangers.
    fn place_sender(&mut self, guest: MacAddr) -> Option<usize> {
        if let Some(&node) = self.node_of.get(&guest) {
            return Some(node);
        }
        let node = self.default.filter(|_| self.learned < MAX_LEARNED)?;
        self.learned += 1;
        self.node_of.insert(guest, node);
        self.nodes[node].guests.insert(guest);
        self.nodes[node].has_news = true;
        Some(node)
    }

    /// The guests of each node that has others than it last said.
    pub(super) fn take_news(&mut self) -> Vec<(String, Vec<MacAddr>)> {
        let news = self.nodes.iter_mut().filter(|place| place.has_news);
        let told = news.map(|place| {
            place.has_news = false;
            (place.name.clone(), place.guests.iter().copied().collect())
        });
        told.collect()
    }

    /// The names of the nodes, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|place| place.name.as_str())
    }

    /// What a node has counted since the last call.
    pub(super) fn take_counts(&mut self, node: usize) -> Vec<Cell> {
        self.nodes[node].matrix.take_delta().cells
    }

    /// Everything that was counted, per pair of guests.
    pub(super) fn totals(&self) -> BTreeMap<(MacAddr, MacAddr), Weight> {
        let mut totals: BTreeMap<_, Weight> = BTreeMap::new();
        for cell in self.nodes.iter().flat_map(|place| place.matrix.totals()) {
            *totals.entry((cell.source, cell.destination)).or_default() += cell.weight();
        }
        totals
    }

    /// The node that a guest sits behind.
    pub(super) fn node_of(&self, guest: MacAddr) -> Option<&str> {
        self.node_of.get(&guest).map(|&node| self.nodes[node].name.as_str())
    }

    /// How many guests each node has.
    pub(super) fn guests(&self) -> impl Iterator<Item = (&str, usize)> {
        self.nodes.iter().map(|place| (place.name.as_str(), place.guests.len()))
    }
}
