//! How a circuit ends: failure with its back-off, the loss of an end, and the last of it.

use std::time::Duration;

use vreserve_model::{BitsPerSecond, ReservationState, Timestamp};

use super::circuit::Circuit;
use super::linking::millis;
use super::{CircuitId, Event, Lead, Phase};
use crate::plan::LinkKey;

/// What failure taught about one link: when to try again.
#[derive(Clone, Debug)]
pub(super) struct Setback {
    pub(super) failures: u32,
    pub(super) until: Timestamp,
    pub(super) reason: String,
    /// Refused, as for lack of room: worth another try as soon as something is released.
    pub(super) is_refused: bool,
    pub(super) rate: BitsPerSecond,
}

impl Setback {
    /// Until the backend is replaced.
    pub(super) const NEVER: Timestamp = Timestamp(u64::MAX);

    pub(super) fn is_for_ever(&self) -> bool {
        self.until == Self::NEVER
    }
}

/// What a failure says about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The backend has no room.
    Refused,
    /// The same attempt can never succeed.
    Never,
    /// The other side asked not to be troubled for this long.
    NotBefore(Duration),
    /// Anything else.
    Other,
}

impl Lead {
    /// A circuit cannot be had, or is dead: undoes what was done, last first, and backs off.
    pub(super) fn fail(&mut self, id: CircuitId, reason: &str, cause: Cause) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        let phase = circuit.phase;
        circuit.failure = Some(reason.into());
        let name = circuit.name();
        let retry_at = if phase.is_ending() { None } else { self.set_back(id, reason, cause) };
        self.publish(Event::CircuitFailed { name, phase, reason: reason.into(), retry_at });
        self.give_up(id);
    }

    /// Ends a circuit without waiting for anybody.
    fn give_up(&mut self, id: CircuitId) {
        let Some(phase) = self.circuits.get(&id).map(|circuit| circuit.phase) else { return };
        match phase {
            Phase::Wanted => self.retire(id),
            Phase::Reserving => self.release(id),
            phase if phase.has_link() => self.unlink(id),
            _ => {}
        }
    }

    /// Doubles the delay before the next attempt. An attempt that carried traffic for longer than the last
    /// delay was a success, and the count begins anew.
    fn set_back(&mut self, id: CircuitId, reason: &str, cause: Cause) -> Option<Timestamp> {
        let (now, back_off) = (self.now, self.config.back_off);
        let circuit = self.circuits.get(&id)?;
        if let Some(old) = circuit.replaces.filter(|old| self.circuits.contains_key(old)) {
            let rate = circuit.rate;
            self.resize_failed(old, Some(rate), reason, cause);
            return self.circuits.get(&old)?.resizing.not_before.filter(|at| *at != Setback::NEVER);
        }
        let before = self.setback_of(circuit).map_or(0, |setback| setback.failures);
        let carried = circuit.times.switched_at.map(|since| now.since(since));
        let was_success = carried.is_some_and(|carried| carried >= back_off.delay(before));
        let failures = if was_success { 1 } else { before.saturating_add(1) };
        let delay = match cause {
            Cause::NotBefore(at_least) => back_off.delay(failures).max(at_least),
            _ => back_off.delay(failures),
        };
        let until = if cause == Cause::Never { Setback::NEVER } else { now + delay };
        let setback = Setback {
            failures,
            until,
            reason: reason.into(),
            is_refused: cause == Cause::Refused,
            rate: circuit.rate,
        };
        match circuit.booking {
            Some(booking) => {
                if let Some(state) = self.bookings.get_mut(&booking) {
                    state.setback = Some(setback);
                }
            }
            None => drop(self.setbacks.insert(circuit.link.clone(), setback)),
        }
        (until != Setback::NEVER).then_some(until)
    }

    /// What the last failure taught about what this circuit is for.
    pub(super) fn setback_of(&self, circuit: &Circuit) -> Option<&Setback> {
        match circuit.booking {
            Some(booking) => self.bookings.get(&booking)?.setback.as_ref(),
            None => self.setbacks.get(&circuit.link),
        }
    }

    /// The provider no longer stands by a circuit whose link is set up.
    pub(super) fn lose_reservation(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let reason = match circuit.state() {
            ReservationState::Releasing => "the provider takes the circuit back",
            _ => "the provider no longer has the circuit",
        };
        self.fail(id, reason, Cause::Other);
        true
    }

    /// An end of these circuits is gone. Nothing is to be learnt from that for the next attempt.
    pub(super) fn doom_circuits_of(&mut self, node: &str) -> usize {
        // A booking that waits for its window outlives the absence of a node.
        let is_waiting = |circuit: &Circuit| circuit.booking.is_some() && circuit.phase == Phase::Reserving;
        let is_hit = |circuit: &&Circuit| {
            circuit.phase != Phase::Wanted && !is_waiting(circuit) && circuit.link.far_end(node).is_some()
        };
        let ids: Vec<_> = self.circuits.values().filter(is_hit).map(|circuit| circuit.id).collect();
        for id in &ids {
            let Some(circuit) = self.circuits.get_mut(id) else { continue };
            circuit.is_doomed = true;
            circuit.failure = Some(format!("{node} has left"));
            if circuit.phase.has_link() {
                self.unlink(*id);
            }
        }
        ids.len()
    }

    /// An end of a restored circuit has not come back in time.
    pub(super) fn end_grace(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get_mut(&id) else { return false };
        if circuit.kept_until.is_none_or(|until| until > self.now) {
            return false;
        }
        circuit.kept_until = None;
        circuit.present.clear();
        let missing = circuit.link.ends().into_iter().find(|end| !self.nodes.contains_key(*end));
        let reason = missing.map(|end| format!("{end} has not come back"));
        if let (Some(reason), true) = (reason, circuit.phase.has_link()) {
            circuit.is_doomed = true;
            circuit.failure = Some(reason);
            self.unlink(id);
        }
        true
    }

    /// The ends may be another circuit's by now.
    pub(super) fn forget_ends(&mut self, id: CircuitId, link: &LinkKey) {
        if self.circuit_of.get(link) == Some(&id) {
            self.circuit_of.remove(link);
        }
    }

    /// Nothing is held any more: the circuit is history.
    pub(super) fn retire(&mut self, id: CircuitId) {
        let Some(mut circuit) = self.circuits.remove(&id) else { return };
        self.forget_ends(id, &circuit.link);
        if let Some(state) = circuit.booking.and_then(|booking| self.bookings.get_mut(&booking)) {
            state.circuit = state.circuit.filter(|of_booking| *of_booking != id);
        }
        if let Some(key) = circuit.key().filter(|_| circuit.recorded.is_some()) {
            self.forget(key.clone());
        }
        circuit.phase = Phase::Gone;
        // In shadow mode what was only wanted is what there is to show.
        if circuit.times.submitted_at.is_none() && !self.config.shadow {
            return;
        }
        circuit.times.released_at = Some(self.now);
        if circuit.failure.is_none() && circuit.booking.is_none() {
            self.setbacks.remove(&circuit.link);
        }
        if circuit.state() == ReservationState::Released || circuit.times.active_at.is_some() {
            self.offer_room(&circuit.link.network);
            let since_ending_ms = millis(self.now, circuit.times.ending_at);
            self.publish(Event::Released { name: circuit.name(), since_ending_ms });
        }
        self.history.push_back(self.status_of(&circuit));
        while self.history.len() > self.config.history {
            self.history.pop_front();
        }
    }

    /// Something was released: what was refused for lack of room is tried again at once (the original had no retry).
    pub(super) fn offer_room(&mut self, network: &str) {
        let now = self.now;
        let links = self.setbacks.iter_mut().filter(|(link, _)| link.network == network);
        let bookings = self.bookings.values_mut().filter(|state| state.booking.link.network == network);
        let setbacks = links.map(|(_, setback)| setback);
        for setback in setbacks.chain(bookings.filter_map(|state| state.setback.as_mut())) {
            if setback.is_refused && !setback.is_for_ever() {
                setback.until = setback.until.min(now);
            }
        }
        for circuit in self.circuits.values_mut().filter(|circuit| circuit.link.network == network) {
            let resizing = &mut circuit.resizing;
            if resizing.is_refused {
                resizing.not_before = resizing.not_before.map(|at| at.min(now));
            }
        }
    }

    /// A planner that changes its mind does not shorten a back-off; it ends one back-off's maximum later.
    pub(super) fn forget_old_setbacks(&mut self) {
        let (now, keep) = (self.now, self.config.back_off.max);
        let goal = &self.goal;
        self.setbacks.retain(|link, setback| goal.links.contains_key(link) || now < setback.until + keep);
    }
}
