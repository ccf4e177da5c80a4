//! The link over a circuit: set up at both ends, probed, watched, taken down.

use std::time::Duration;

use vreserve_model::Timestamp;

use super::circuit::Circuit;
use super::outcome::Cause;
use super::{Action, CircuitId, Event, Lead, Phase, ProbeOutcome};
use crate::ids::LinkId;

impl Lead {
    /// A probe over a circuit's link has ended.
    pub fn handle_probed(&mut self, now: Timestamp, id: CircuitId, outcome: ProbeOutcome) {
        self.advance_clock(now);
        if let Some(circuit) = self.circuits.get_mut(&id).filter(|circuit| circuit.phase == Phase::Probing) {
            circuit.probe = Some(outcome.clone());
            if outcome.passed {
                self.open_for_pairs(id, &outcome);
            } else {
                self.fail(id, &format!("probe failed: {}", outcome.reason), Cause::Other);
            }
        }
        self.settle();
    }

    /// One end of a link says that it is up or down. A circuit that either end sees down is dead.
    pub fn handle_link_state(&mut self, now: Timestamp, node: &str, link: LinkId, is_up: bool) {
        self.advance_clock(now);
        if let Some(circuit) = self.circuit_over(link, node) {
            let id = circuit.id;
            let has_passed = circuit.phase.has_link() && circuit.phase >= Phase::Switching;
            self.publish(Event::LinkChanged { node: node.into(), link, up: is_up });
            if has_passed && !is_up {
                self.fail(id, &format!("the link is down at {node}"), Cause::Other);
            }
        } else {
            let spoke = self.nodes.get_mut(node).filter(|spoke| spoke.star_link == Some(link));
            let before = spoke.map(|spoke| spoke.is_star_up.replace(is_up));
            if before.is_some_and(|before| before != Some(is_up)) {
                self.publish(Event::LinkChanged { node: node.into(), link, up: is_up });
            }
        }
        self.settle();
    }

    /// The circuit under a link of which `node` is an end.
    pub(super) fn circuit_over(&self, link: LinkId, node: &str) -> Option<&Circuit> {
        let is_it =
            |c: &&Circuit| c.link_id == link && c.phase >= Phase::Linking && c.phase <= Phase::Unlinking;
        self.circuits.values().filter(is_it).find(|circuit| circuit.link.far_end(node).is_some())
    }

    pub(super) fn start_linking(&mut self, id: CircuitId) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.times.active_at = Some(self.now);
        circuit.failure = None;
        let event = Event::ReservationActive {
            name: circuit.name(),
            native_id: circuit.native_id.clone(),
            labels: circuit.labels.clone(),
            rate: circuit.rate_in_force(),
            took_ms: millis(self.now, circuit.times.submitted_at),
        };
        self.publish(event);
        self.await_ends(id, Phase::Linking, self.config.patience.linking);
    }

    /// Enters a phase that is over when both ends have set up what it changes.
    pub(super) fn await_ends(&mut self, id: CircuitId, phase: Phase, patience: Duration) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.phase = phase;
        circuit.deadline = Some(self.now + patience);
        let ends = circuit.link.ends().map(str::to_owned);
        let joined = ends.into_iter().filter(|end| self.nodes.contains_key(end)).collect::<Vec<_>>();
        let awaiting = joined.into_iter().map(|end| (end.clone(), self.touch(&end))).collect();
        if let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.awaiting = awaiting;
        }
    }

    fn have_ends_applied(&self, id: CircuitId) -> bool {
        let has_applied = |(node, revision): (&String, &u64)| {
            self.nodes.get(node).is_none_or(|node| node.applied >= *revision)
        };
        self.circuits.get(&id).is_some_and(|circuit| circuit.awaiting.iter().all(has_applied))
    }

    /// A node could not set up `revision`: the links that it would have brought have failed.
    pub(super) fn fail_linking_at(&mut self, node: &str, revision: u64, reason: &str) {
        let is_hit = |circuit: &&Circuit| {
            circuit.phase == Phase::Linking && circuit.awaiting.get(node).is_some_and(|r| *r <= revision)
        };
        let ids: Vec<_> = self.circuits.values().filter(is_hit).map(|circuit| circuit.id).collect();
        for id in ids {
            self.fail(id, &format!("{node} could not set up the link: {reason}"), Cause::Other);
        }
    }

    pub(super) fn advance_linking(&mut self, id: CircuitId) -> bool {
        if self.drop_unwanted_link(id) {
            return true;
        }
        let link = self.circuits.get(&id).map(|circuit| circuit.link.clone());
        let are_there = link.is_some_and(|link| link.ends().iter().all(|end| self.nodes.contains_key(*end)));
        if !are_there || !self.have_ends_applied(id) {
            return self.fail_if_overdue(id, "the ends did not set up the link in time");
        }
        let deadline = self.now + self.config.patience.probing;
        let Some(circuit) = self.circuits.get_mut(&id) else { return false };
        circuit.phase = Phase::Probing;
        circuit.times.linked_at = Some(self.now);
        circuit.deadline = Some(deadline);
        let (node, link, rate) = (circuit.link.a.clone(), circuit.link_id, circuit.rate_in_force());
        let took_ms = millis(self.now, circuit.times.active_at);
        let name = circuit.name();
        self.publish(Event::Linked { name, took_ms });
        self.actions.push_back(Action::Probe { circuit: id, node, link, rate });
        true
    }

    pub(super) fn advance_probing(&mut self, id: CircuitId) -> bool {
        self.drop_unwanted_link(id) || self.fail_if_overdue(id, "the probe did not end in time")
    }

    fn open_for_pairs(&mut self, id: CircuitId, outcome: &ProbeOutcome) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.phase = Phase::Switching;
        circuit.deadline = None;
        circuit.times.probed_at = Some(self.now);
        let event = Event::Probed {
            name: circuit.name(),
            rtt_us: outcome.rtt.map(micros),
            loss: outcome.loss,
            took_ms: millis(self.now, circuit.times.linked_at),
        };
        self.publish(event);
    }

    /// A link that carries nothing yet goes at once when it is no longer wanted.
    fn drop_unwanted_link(&mut self, id: CircuitId) -> bool {
        let is_unwanted = self.circuits.get(&id).is_some_and(|circuit| !self.is_wanted(circuit));
        if is_unwanted {
            self.unlink(id);
        }
        is_unwanted
    }

    fn fail_if_overdue(&mut self, id: CircuitId, reason: &str) -> bool {
        let is_overdue = self.circuits.get(&id).is_some_and(|circuit| circuit.is_overdue(self.now));
        if is_overdue {
            self.fail(id, reason, Cause::Other);
        }
        is_overdue
    }

    /// Takes the link down at both ends. Pairs that are still told to use it go back in the same revision,
    /// which tells their nodes not to wait for a barrier.
    pub(super) fn unlink(&mut self, id: CircuitId) {
        self.force_pairs_off(id);
        if let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.times.ending_at.get_or_insert(self.now);
            let name = circuit.name();
            self.publish(Event::Unlinking { name });
        }
        self.await_ends(id, Phase::Unlinking, self.config.patience.unlinking);
    }

    pub(super) fn advance_unlinking(&mut self, id: CircuitId) -> bool {
        let is_overdue = self.circuits.get(&id).is_some_and(|circuit| circuit.is_overdue(self.now));
        let is_over = self.have_ends_applied(id) || is_overdue;
        if is_over {
            if let Some(circuit) = self.circuits.get_mut(&id) {
                circuit.times.unlinked_at = Some(self.now);
            }
            self.release(id);
        }
        is_over
    }
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds since `earlier`; zero if that never was.
pub(super) fn millis(now: Timestamp, earlier: Option<Timestamp>) -> u64 {
    let elapsed = now.since(earlier.unwrap_or(now));
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
