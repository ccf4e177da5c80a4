//! More or less capacity for a link that stays: in place where the system can, else by a successor that takes
//! the link over, else not at all.
//!
//! A successor is a second circuit between the same ends. The link over the first one, with its pairs, becomes
//! its own when the provider says that it carries traffic, and the first one is given back: no frame moves.
//! Where no second circuit between the ends can exist the provider refuses it, and the first one is kept.

use vreserve_model::{BitsPerSecond, Failure, FailureKind, Observed, ReservationState, Timestamp};

use super::circuit::Circuit;
use super::outcome::{Cause, Setback};
use super::verb::Verb;
use super::{Action, Call, CircuitId, Event, Lead, Phase};
use crate::reservation::Reservation;

/// What resizing a circuit has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Resizing {
    /// The rate that the provider was asked for.
    pub(super) asked: Option<BitsPerSecond>,
    /// The rate that it was asked for without an answer that says whether it is so.
    pub(super) unsure: Option<BitsPerSecond>,
    /// Not before this time again.
    pub(super) not_before: Option<Timestamp>,
    pub(super) failures: u32,
    /// True if what failed was worth trying again as soon as something is released.
    pub(super) is_refused: bool,
}

impl Resizing {
    pub(super) fn next_time(&self, call: Option<Verb>) -> Option<Timestamp> {
        self.not_before.filter(|_| call.is_none())
    }
}

impl Lead {
    /// The backend has answered a modification; refused, the circuit is as it was.
    pub fn handle_modified(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        let asked = self.circuits.get_mut(&id).and_then(|circuit| circuit.resizing.asked.take());
        match self.await_answer(id, Verb::Modify, answer) {
            Some(Ok(observed)) => self.resized(id, observed, asked),
            Some(Err(failure)) => {
                let cause = match failure.kind {
                    FailureKind::Refused => Cause::Refused,
                    FailureKind::Unsupported | FailureKind::Invalid => Cause::Never,
                    _ => Cause::NotBefore(failure.retry_after.unwrap_or_default()),
                };
                if matches!(failure.kind, FailureKind::UnknownOutcome | FailureKind::Internal)
                    && let Some(circuit) = self.circuits.get_mut(&id)
                {
                    (circuit.look_up, circuit.retry_at, circuit.resizing.unsure) = (true, None, asked);
                }
                self.resize_failed(id, asked, &failure.to_string(), cause);
            }
            None => {}
        }
        self.settle();
    }

    fn resized(&mut self, id: CircuitId, observed: Observed, asked: Option<BitsPerSecond>) {
        let (now, pause) = (self.now, self.config.resize_every);
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        let from = circuit.rate_in_force();
        if let Some(asked) = asked {
            circuit.rate = asked;
            circuit.granted = Some(asked);
            circuit.request.iter_mut().for_each(|request| request.rate = asked);
        }
        circuit.resizing = Resizing { not_before: Some(now + pause), ..Resizing::default() };
        self.observe(id, observed, Reservation::observe);
        if let Some(circuit) = self.circuits.get(&id) {
            let (name, to) = (circuit.name(), circuit.rate_in_force());
            self.publish(Event::Resized { name, from, to });
        }
    }

    /// It stays as it is, and is tried again later.
    pub(super) fn resize_failed(
        &mut self,
        id: CircuitId,
        wanted: Option<BitsPerSecond>,
        reason: &str,
        cause: Cause,
    ) {
        let (now, back_off) = (self.now, self.config.back_off);
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        let failures = circuit.resizing.failures.saturating_add(1);
        let delay = match cause {
            Cause::NotBefore(at_least) => back_off.delay(failures).max(at_least),
            _ => back_off.delay(failures),
        };
        let not_before = if cause == Cause::Never { Setback::NEVER } else { now + delay };
        circuit.resizing = Resizing {
            asked: None,
            unsure: circuit.resizing.unsure,
            not_before: Some(not_before),
            failures,
            is_refused: cause == Cause::Refused,
        };
        let (name, wanted) = (circuit.name(), wanted.unwrap_or(circuit.rate));
        self.publish(Event::ResizeFailed { name, wanted, reason: reason.into() });
    }

    /// The rate that a circuit should have and has not, in the backend's steps.
    pub(super) fn rate_missing(&self, circuit: &Circuit) -> Option<BitsPerSecond> {
        let backend = self.backends.get(&circuit.link.network).filter(|b| b.fixed_rate.is_none())?;
        let wanted = self.planned.links.get(&circuit.link)?.rate;
        let steps = backend.granularity.0.max(1);
        let target = BitsPerSecond(wanted.0.div_ceil(steps).saturating_mul(steps));
        let (has, wants) = (circuit.rate_in_force().0 as f64, target.0 as f64);
        let margin = 1.0 + self.config.rate_margin;
        (wants > has * margin || wants * margin < has).then_some(target)
    }

    /// Begins to resize a circuit if that is called for and may be tried now.
    pub(super) fn resize(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let is_settled = circuit.phase == Phase::Carrying
            && circuit.state() == ReservationState::Active
            && circuit.booking.is_none()
            && circuit.call.is_none()
            && !circuit.is_doomed
            && !circuit.look_up
            && self.circuit_of.get(&circuit.link) == Some(&id)
            && self.successor_of(id).is_none();
        if !is_settled || self.journal_failure.is_some() {
            return false;
        }
        let not_before = circuit.resizing.not_before.unwrap_or(self.now);
        let (Some(target), false) = (self.rate_missing(circuit), self.now < not_before) else { return false };
        let grows = target > circuit.rate_in_force();
        let Some(backend) = self.backends.get(&circuit.link.network) else { return false };
        if grows && !self.fits_instead(circuit, target) {
            self.resize_failed(id, Some(target), "no room within the budget", Cause::Refused);
            return true;
        }
        if backend.modify {
            self.modify(id, target);
            return true;
        }
        let has_room = self.room_obstacle(&circuit.link, target, None).is_none();
        grows && has_room && self.want_successor(id, target)
    }

    fn modify(&mut self, id: CircuitId, target: BitsPerSecond) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        let Some(mut request) = circuit.request.clone() else { return };
        request.rate = target;
        circuit.resizing.asked = Some(target);
        circuit.call = Some(Verb::Modify);
        let call = Call {
            circuit: id,
            network: circuit.link.network.clone(),
            key: request.key.clone(),
            native_id: circuit.native_id.clone(),
        };
        self.journal(id);
        self.actions.push_back(Action::Modify { call, request });
    }

    fn want_successor(&mut self, old: CircuitId, rate: BitsPerSecond) -> bool {
        let id = CircuitId(self.new_id());
        let Some(before) = self.circuits.get(&old) else { return false };
        let mut circuit = Circuit::new(id, before.link.clone(), before.rank, rate, self.now);
        circuit.replaces = Some(old);
        self.circuits.insert(id, circuit);
        true
    }

    /// The circuit that is to take over the link of this one.
    pub(super) fn successor_of(&self, id: CircuitId) -> Option<CircuitId> {
        let is_it = |circuit: &&Circuit| circuit.replaces == Some(id) && !circuit.phase.is_ending();
        self.circuits.values().find(is_it).map(|circuit| circuit.id)
    }

    /// True while a successor has a link to take over, or to make when that is gone.
    pub(super) fn is_successor_wanted(&self, circuit: &Circuit) -> bool {
        let Some(old) = circuit.replaces else { return false };
        let old = self.circuits.get(&old).filter(|old| !old.phase.is_ending() && !old.is_doomed);
        let is_needed = |old: &Circuit| self.rate_missing(old).is_some_and(|rate| rate > old.rate_in_force());
        self.planned.links.contains_key(&circuit.link) && old.is_none_or(is_needed)
    }

    /// A circuit whose time has come takes its ends: it makes the link, or takes over that of the circuit
    /// before it. False while it has to wait for that one.
    pub(super) fn claim_link(&mut self, id: CircuitId) -> bool {
        let Some(link) = self.circuits.get(&id).map(|circuit| circuit.link.clone()) else { return false };
        let other = self.circuit_of.get(&link).copied().filter(|other| *other != id);
        let phase = other.and_then(|other| Some((other, self.circuits.get(&other)?.phase)));
        match phase {
            None | Some((_, Phase::Releasing | Phase::Gone)) => {}
            Some((other, Phase::Wanted)) => {
                self.circuit_of.insert(link.clone(), id);
                self.retire(other);
            }
            Some((other, Phase::Reserving)) => {
                if let Some(circuit) = self.circuits.get_mut(&other) {
                    circuit.is_doomed = true;
                }
            }
            Some((other, Phase::Switching | Phase::Carrying)) => {
                self.take_over(id, other);
                return true;
            }
            Some((_, Phase::Linking | Phase::Probing | Phase::CuttingBack | Phase::Unlinking)) => {
                return false;
            }
        }
        self.circuit_of.insert(link, id);
        if let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.replaces = None;
        }
        self.start_linking(id);
        true
    }

    /// The link and its pairs are this circuit's from now on: for the nodes nothing changes.
    fn take_over(&mut self, id: CircuitId, old: CircuitId) {
        let Some(before) = self.circuits.get(&old).cloned() else { return };
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.link_id = before.link_id;
        circuit.phase = before.phase;
        circuit.replaces = None;
        circuit.failure = None;
        circuit.deadline = None;
        circuit.probe = before.probe;
        let now = self.now;
        circuit.resizing.not_before = Some(now + self.config.resize_every);
        circuit.times.active_at = Some(now);
        circuit.times.linked_at = before.times.linked_at;
        circuit.times.probed_at = before.times.probed_at;
        circuit.times.switched_at = before.times.switched_at.map(|_| now);
        let (name, link) = (circuit.name(), circuit.link.clone());
        for pair in self.pairs.values_mut() {
            pair.rename(old, id);
        }
        self.circuit_of.insert(link, id);
        self.publish(Event::TookOver { name, from: old });
        // First on record that the link is the new one's: a restart between the two must find it so.
        self.journal(id);
        self.release(old);
    }
}
