//! Another reservation system for a network, or none, while circuits of the former one are in use.
//!
//! Circuits that were asked of the former backend stay its circuits: they are looked up there and given back there. They
//! end in order: their pairs go back to the star behind a barrier, the link is taken down, the circuit is released, and
//! only then the same ends are asked for anew, since two systems cannot hold one pair of ports. Where another
//! network serves the ends instead, the planner wants that one, and H∪H′ comes before H−H′ as in any other plan.

use std::collections::BTreeMap;

use vreserve_model::{Capabilities, Timestamp, Wanted};

use super::circuit::Circuit;
use super::{Budget, CircuitId, Event, Lead, Phase};
use crate::plan::LinkKey;

impl Lead {
    /// The backend of `network` is another one from now on, or there is none any more. The host sends what concerns
    /// circuits asked for before to the former backend, and all else to the new one, which can be used at once.
    ///
    /// What the former refused or could never do is forgotten. If there is no new one, planners are no longer shown the
    /// network, and its circuits end when another way has been made or none is wanted.
    pub fn handle_backend_replaced(
        &mut self,
        now: Timestamp,
        network: &str,
        capabilities: Option<Capabilities>,
    ) {
        self.advance_clock(now);
        let is_hit = |c: &&Circuit| c.link.network == network && c.phase != Phase::Wanted;
        let ids: Vec<_> = self.circuits.values().filter(is_hit).map(|circuit| circuit.id).collect();
        let removed = capabilities.is_none();
        self.publish(Event::BackendReplaced { network: network.into(), circuits: ids.len(), removed });
        for id in ids {
            self.supersede(id, removed);
        }
        self.setbacks.retain(|link, _| link.network != network);
        let bookings = self.bookings.values_mut().filter(|state| state.booking.link.network == network);
        bookings.for_each(|state| state.setback = None);
        // What the former one lists and nobody knows is not the new one's.
        self.holdings.remove(network);
        self.orphans.retain(|(of, ..), _| of.as_str() != network);
        match capabilities {
            Some(capabilities) => self.handle_backend_up(now, network, capabilities),
            None => {
                self.backends.remove(network);
                self.withdrawn.insert(network.into());
                self.settle();
            }
        }
    }

    /// Other delays after failures, from the next failure on.
    pub fn handle_back_off(&mut self, now: Timestamp, back_off: super::BackOff) {
        self.advance_clock(now);
        self.config.back_off = back_off;
        self.settle();
    }

    /// Other limits on what may be held on each network.
    pub fn handle_budgets(&mut self, now: Timestamp, budgets: BTreeMap<String, Budget>) {
        self.advance_clock(now);
        self.config.budgets = budgets;
        self.settle();
    }

    fn supersede(&mut self, id: CircuitId, removed: bool) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.is_superseded = true;
        match circuit.phase {
            Phase::Releasing => self.yield_ends(id),
            phase if phase.is_ending() => {}
            // The plan that the planner makes without the network says when it may go.
            _ if removed => {}
            phase => {
                circuit.is_doomed = true;
                if phase.takes_pairs() {
                    self.cut_back(id, "its backend was replaced");
                }
            }
        }
    }

    /// A circuit of a former backend that is being released no longer stands for its ends: another may be wanted,
    /// which waits for it as long as there is hope.
    pub(super) fn yield_ends(&mut self, id: CircuitId) {
        let Some(circuit) = self.circuits.get(&id).filter(|circuit| circuit.is_superseded) else { return };
        let (link, booking) = (circuit.link.clone(), circuit.booking);
        self.forget_ends(id, &link);
        if let Some(state) = booking.and_then(|booking| self.bookings.get_mut(&booking)) {
            state.circuit = state.circuit.filter(|of_booking| *of_booking != id);
        }
    }

    /// True while a former backend holds a circuit at one of the ends and has not failed to give it back.
    pub(super) fn waits_for_former(&self, link: &LinkKey) -> bool {
        self.circuits.values().any(|other| {
            other.is_superseded
                && other.failed_calls == 0
                && other.link.network == link.network
                && other.state().may_hold_capacity()
                && link.ends().iter().any(|end| other.link.far_end(end).is_some())
        })
    }

    /// A planner may want what it was not shown.
    pub(super) fn without_withdrawn(&self, wanted: &Wanted) -> Wanted {
        let mut wanted = wanted.clone();
        wanted.links.retain(|link| !self.withdrawn.contains(&link.network));
        wanted.rules.retain(|rule| !self.withdrawn.contains(&rule.network));
        wanted
    }
}
