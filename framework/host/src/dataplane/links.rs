//! The worker's links: where each leads, how it is, what it carried.

use hashbrown::HashMap;
use vreserve_core::counters::Weight;
use vreserve_core::ids::{LinkClass, LinkId};
use vreserve_core::liveness::{LinkHealth, Liveness, LivenessConfig};
use vreserve_core::probe::{CircuitProof, LoadCounter};
use vreserve_model::Timestamp;

use super::mailbox::LinkStatus;

/// One link.
pub(super) struct LinkEntry {
    id: LinkId,
    pub(super) class: LinkClass,
    /// The endpoint's position among the worker's endpoints.
    pub(super) endpoint: usize,
    /// The far node's number at the endpoint.
    pub(super) far: u32,
    /// None for links that this worker does not watch: static ones, as what is at their far end does not
    /// answer probes, and all links at workers other than the first.
    pub(super) liveness: Option<Liveness>,
    /// A proof under way.
    pub(super) proof: Option<CircuitProof>,
    /// Loads of the far node's proof.
    pub(super) loads: LoadCounter,
    pub(super) sent: Weight,
    pub(super) received: Weight,
    /// Octets that other workers have sent and received over it, by worker.
    pub(super) elsewhere: Vec<(u64, u64)>,
    /// The far worker's and this one's count of moments of rest, at the last reply to a probe.
    pub(super) rest: Option<(u32, u64)>,
    /// What this worker has told of it to the one that watches links.
    pub(super) told: (u64, u64),
}

/// All links, each at a position that is its own until it is removed. A frame that came in knows the position
/// by its far number, a run of frames going out by the last one looked up.
pub(super) struct LinkTable {
    entries: Vec<Option<LinkEntry>>,
    positions: HashMap<LinkId, usize>,
    /// In order.
    ids: Vec<LinkId>,
    last: Option<(LinkId, usize)>,
    /// True if this worker probes.
    watches: bool,
}

impl LinkTable {
    pub(super) fn new(watches: bool) -> Self {
        LinkTable { entries: Vec::new(), positions: HashMap::new(), ids: Vec::new(), last: None, watches }
    }

    /// The position that the next link gets.
    pub(super) fn vacancy(&self) -> usize {
        self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len())
    }

    /// Adds a link that is not there yet, at the [`vacancy`](Self::vacancy).
    pub(super) fn add(&mut self, id: LinkId, class: LinkClass, endpoint: usize, far: u32, now: Timestamp) {
        debug_assert!(!self.positions.contains_key(&id), "link {id} is added once");
        let is_watched = self.watches && class != LinkClass::Static;
        let liveness = is_watched.then(|| Liveness::new(id, LivenessConfig::default(), now));
        let entry = LinkEntry {
            id,
            class,
            endpoint,
            far,
            liveness,
            proof: None,
            loads: LoadCounter::default(),
            sent: Weight::ZERO,
            received: Weight::ZERO,
            elsewhere: Vec::new(),
            rest: None,
            told: (0, 0),
        };
        let position = self.vacancy();
        if position == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[position] = Some(entry);
        self.positions.insert(id, position);
        self.ids.push(id);
        self.ids.sort_unstable();
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<LinkEntry> {
        let position = self.positions.remove(&id)?;
        self.ids.retain(|known| *known != id);
        self.last = None;
        self.entries[position].take()
    }

    /// The link to send a frame on. Frames of one flow come in runs.
    #[inline]
    pub(super) fn find_next(&mut self, id: LinkId) -> Option<&LinkEntry> {
        let position = match self.last {
            Some((last, position)) if last == id => position,
            _ => {
                let position = *self.positions.get(&id)?;
                self.last = Some((id, position));
                position
            }
        };
        self.entries[position].as_ref()
    }

    /// The link at a position, which an endpoint knows by its far number.
    #[inline]
    pub(super) fn at(&mut self, position: usize) -> Option<&mut LinkEntry> {
        self.entries.get_mut(position)?.as_mut()
    }

    pub(super) fn find(&self, id: LinkId) -> Option<&LinkEntry> {
        self.entries[*self.positions.get(&id)?].as_ref()
    }

    pub(super) fn find_mut(&mut self, id: LinkId) -> Option<&mut LinkEntry> {
        self.entries[*self.positions.get(&id)?].as_mut()
    }

    /// The identities, in order.
    pub(super) fn ids(&self) -> &[LinkId] {
        &self.ids
    }

    pub(super) fn status(&self, now: Timestamp) -> Vec<LinkStatus> {
        let status = |entry: &LinkEntry| {
            let liveness = entry.liveness.as_ref();
            LinkStatus {
                id: entry.id,
                health: liveness.map_or(LinkHealth::Unknown, |liveness| liveness.health(now)),
                rtt: liveness.and_then(Liveness::rtt),
                loss: liveness.and_then(|liveness| liveness.loss(now)),
                sent: entry.sent,
                received: entry.received,
            }
        };
        self.ids.iter().filter_map(|id| self.find(*id)).map(status).collect()
    }
}

impl LinkEntry {
    /// Octets sent and received by this worker.
    pub(super) fn carried_here(&self) -> (u64, u64) {
        (self.sent.bytes, self.received.bytes)
    }

    /// Octets sent and received by all workers, as far as they have told.
    pub(super) fn carried(&self) -> (u64, u64) {
        let add = |(sent, received): (u64, u64), (more_sent, more_received): &(u64, u64)| {
            (sent + more_sent, received + more_received)
        };
        self.elsewhere.iter().fold(self.carried_here(), add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_one_links_until_it_is_removed() {
        let mut table = LinkTable::new(true);
        let add = |table: &mut LinkTable, id: u64| {
            let position = table.vacancy();
            table.add(LinkId(id), LinkClass::Circuit, 0, id as u32, Timestamp::ZERO);
            position
        };
        let (one, two) = (add(&mut table, 1), add(&mut table, 2));
        assert_eq!(table.find_next(LinkId(1)).map(|entry| entry.far), Some(1));
        assert!(table.remove(LinkId(1)).is_some());
        assert!(table.find_next(LinkId(1)).is_none(), "also after it was the last one looked up");
        assert!(table.at(one).is_none());
        assert_eq!(add(&mut table, 3), one, "and then the next one's");
        assert_eq!(table.at(two).map(|entry| entry.far), Some(2));
        assert_eq!(table.ids(), [LinkId(2), LinkId(3)]);
    }
}
