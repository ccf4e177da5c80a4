//! The worker's links: where each leads, how it is, what it carried.

use hashbrown::HashMap;
use vreserve_core::counters::Weight;
use vreserve_core::ids::{LinkClass, LinkId};
use vreserve_core::liveness::{Liveness, LivenessConfig};
use vreserve_core::probe::CircuitProof;
use vreserve_model::Timestamp;

use super::mailbox::LinkStatus;

/// One link.
pub(super) struct LinkEntry {
    pub(super) class: LinkClass,
    /// The endpoint's position among the worker's endpoints.
    pub(super) endpoint: usize,
    /// The far node's number at the endpoint.
    pub(super) far: u32,
    /// None for static links: what is at their far end does not answer probes.
    pub(super) liveness: Option<Liveness>,
    /// A proof under way.
    pub(super) proof: Option<CircuitProof>,
    pub(super) sent: Weight,
    pub(super) received: Weight,
}

/// All links by identity. Looked up once per sent frame; only ever walked in the order of `ids`.
#[derive(Default)]
pub(super) struct LinkTable {
    entries: HashMap<LinkId, LinkEntry>,
    ids: Vec<LinkId>,
}

impl LinkTable {
    pub(super) fn add(&mut self, id: LinkId, class: LinkClass, endpoint: usize, far: u32, now: Timestamp) {
        let liveness =
            (class != LinkClass::Static).then(|| Liveness::new(id, LivenessConfig::default(), now));
        let entry = LinkEntry {
            class,
            endpoint,
            far,
            liveness,
            proof: None,
            sent: Weight::ZERO,
            received: Weight::ZERO,
        };
        if self.entries.insert(id, entry).is_none() {
            self.ids.push(id);
            self.ids.sort_unstable();
        }
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<LinkEntry> {
        self.ids.retain(|known| *known != id);
        self.entries.remove(&id)
    }

    pub(super) fn find(&self, id: LinkId) -> Option<&LinkEntry> {
        self.entries.get(&id)
    }

    pub(super) fn find_mut(&mut self, id: LinkId) -> Option<&mut LinkEntry> {
        self.entries.get_mut(&id)
    }

    /// The identities, in order.
    pub(super) fn ids(&self) -> &[LinkId] {
        &self.ids
    }

    pub(super) fn status(&self, now: Timestamp) -> Vec<LinkStatus> {
        self.ids
            .iter()
            .filter_map(|id| {
                let entry = self.entries.get(id)?;
                let liveness = entry.liveness.as_ref();
                Some(LinkStatus {
                    id: *id,
                    health: liveness.map_or(vreserve_core::liveness::LinkHealth::Unknown, |l| l.health(now)),
                    rtt: liveness.and_then(Liveness::rtt),
                    loss: liveness.and_then(|l| l.loss(now)),
                    sent: entry.sent,
                    received: entry.received,
                })
            })
            .collect()
    }
}
