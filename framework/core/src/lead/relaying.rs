//! Pairs over two circuits: the node between is told what to relay before the ingress node is told the way, and until
//! the pair is elsewhere.

use std::collections::BTreeSet;

use vreserve_model::Timestamp;

use super::{CircuitId, Lead};
use crate::overlay::PairRelay;
use crate::plan::PairKey;
use crate::route::Route;

/// A route whose relay has yet to set up its part.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub(super) route: Route<CircuitId>,
    relay: String,
    revision: u64,
    pub(super) deadline: Timestamp,
}

impl Lead {
    /// Tells the relay of a pair what it is to pass on.
    pub(super) fn lay(&mut self, key: PairKey, route: Route<CircuitId>, relay: &str) -> bool {
        let deadline = self.now + self.config.patience.switching;
        let revision = self.touch(relay);
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.laid = Some(Laid { route, relay: relay.into(), revision, deadline });
        }
        true
    }

    /// Tells the ingress nodes of those pairs whose relay has set up its part, if their circuits still take pairs.
    pub(super) fn follow_relays(&mut self) -> bool {
        let is_open = |laid: &Laid| laid.route.hops().all(|id| self.takes_pairs(id));
        let is_set_up =
            |laid: &Laid| self.nodes.get(&laid.relay).is_some_and(|relay| relay.applied >= laid.revision);
        let ready = self.pairs.iter().filter_map(|(key, pair)| {
            let laid = pair.laid.as_ref().filter(|laid| is_set_up(laid) || !is_open(laid))?;
            Some((*key, laid.route, is_open(laid)))
        });
        let ready: Vec<_> = ready.collect();
        for (key, route, is_open) in &ready {
            if let Some(pair) = self.pairs.get_mut(key) {
                pair.laid = None;
            }
            if *is_open {
                self.tell(*key, Some(*route));
            } else {
                self.touch_relay(Some(*route));
            }
        }
        !ready.is_empty()
    }

    /// Nothing is relayed any more of what is on no route.
    pub(super) fn touch_relay(&mut self, route: Option<Route<CircuitId>>) {
        if let Some(relay) = route.and_then(|route| self.relay_of(&route)).map(str::to_owned) {
            self.touch(&relay);
        }
    }

    /// Where both circuits of a route meet. If one of them is gone, that alone has its end there told.
    fn relay_of(&self, route: &Route<CircuitId>) -> Option<&str> {
        let first = &self.circuits.get(&route.first)?.link;
        let onward = &self.circuits.get(&route.onward?)?.link;
        first.ends().into_iter().find(|end| onward.far_end(end).is_some())
    }

    /// What a node relays.
    pub(super) fn relays_at(&self, node: &str) -> Vec<PairRelay> {
        let link_of = |id: &CircuitId| {
            let circuit = self.circuits.get(id).filter(|circuit| circuit.phase.has_link())?;
            circuit.link.far_end(node).map(|_| circuit.link_id)
        };
        // A pair at rest was told to be where it is.
        let mut relays = BTreeSet::new();
        for (key, pair) in self.pairs.iter().filter(|(_, pair)| pair.node != node) {
            for route in pair.routes().filter(|route| route.is_relayed()) {
                let links = route.map(link_of);
                let ends = links.and_then(|links| Some((links.first, links.onward?)));
                relays.extend(ends.map(|(from, to)| PairRelay {
                    source: key.source,
                    destination: key.destination,
                    from,
                    to,
                }));
            }
        }
        relays.into_iter().collect()
    }
}
