//! The calls that lead a reservation on and back: commit or abort a hold, activate a promise, take it out of
//! use, give it back, look it up.
//!
//! A hold is committed only while it is younger than half the time that the provider holds it: an answer
//! takes its time too. When it has run out by our own clock it is over, whatever a look-up still shows
//! (providers have been seen to go on showing what they no longer hold).

use std::time::Duration;

use vreserve_model::{Failure, FailureKind, Observed, ReservationState, Timestamp};

use super::circuit::{Age, Circuit};
use super::outcome::Cause;
use super::verb::Verb;
use super::{Action, Call, CircuitId, Event, Lead, Phase};
use crate::reservation::{Flow, Reservation, ReservationEvent};

/// How often a promise is looked up whose window is not open yet.
const LOOK_AHEAD: Duration = Duration::from_secs(60);

impl Lead {
    /// The backend has answered a commit.
    pub fn handle_committed(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        match self.await_answer(id, Verb::Commit, answer) {
            Some(Ok(observed)) => {
                if let Some(circuit) = self.circuits.get_mut(&id) {
                    circuit.is_committed = observed.state != ReservationState::Held;
                }
                if observed.state != ReservationState::Held {
                    self.apply(id, ReservationEvent::Committed);
                }
                self.observe(id, observed, Reservation::observe);
                self.note_promise(id);
            }
            Some(Err(failure)) => match failure.kind {
                FailureKind::Refused | FailureKind::Unsupported | FailureKind::Invalid => {
                    self.apply(id, ReservationEvent::Refused);
                    let cause =
                        if failure.kind == FailureKind::Refused { Cause::Refused } else { Cause::Never };
                    self.fail(id, &failure.to_string(), cause);
                }
                _ => self.step_failed(id, Verb::Commit, failure),
            },
            None => {}
        }
        self.settle();
    }

    /// The backend has answered an abort; yes means that it holds nothing any more.
    pub fn handle_aborted(&mut self, now: Timestamp, id: CircuitId, answer: Result<(), Failure>) {
        self.advance_clock(now);
        match self.await_answer(id, Verb::Abort, answer) {
            Some(Ok(())) => self.apply(id, ReservationEvent::Cancelled),
            Some(Err(failure)) => self.call_failed(id, Verb::Abort, failure),
            None => {}
        }
        self.settle();
    }

    /// The backend has answered an activation. One that is refused, as before the window, is repeated.
    pub fn handle_activated(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        match self.await_answer(id, Verb::Activate, answer) {
            Some(Ok(observed)) => self.observe(id, observed, Reservation::observe),
            Some(Err(failure)) => match failure.kind {
                FailureKind::Unsupported | FailureKind::Invalid => {
                    self.apply(id, ReservationEvent::Refused);
                    self.fail(id, &failure.to_string(), Cause::Never);
                }
                _ => self.step_failed(id, Verb::Activate, failure),
            },
            None => {}
        }
        self.settle();
    }

    /// The backend has answered a deactivation. It is given back whatever the answer was: that takes it out of
    /// use too.
    pub fn handle_deactivated(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        match self.await_answer(id, Verb::Deactivate, answer) {
            Some(Ok(observed)) => {
                self.apply(id, ReservationEvent::Deactivated);
                self.observe(id, observed, Reservation::observe);
                self.call_at_once(id);
            }
            Some(Err(failure)) => {
                let (reason, retry_at) = (failure.to_string(), self.now);
                let name = self.circuits.get(&id).map(Circuit::name);
                if let Some(name) = name {
                    let call = Verb::Deactivate.name().into();
                    self.publish(Event::ReservationCallFailed { name, call, reason, retry_at });
                }
            }
            None => {}
        }
        self.settle();
    }

    /// The answer, if it is to the call that is outstanding; another one is told.
    pub(super) fn await_answer<T: std::fmt::Debug>(
        &mut self,
        id: CircuitId,
        verb: Verb,
        answer: Result<T, Failure>,
    ) -> Option<Result<T, Failure>> {
        if self.take_answer(id, verb) {
            return Some(answer);
        }
        let answer = match answer {
            Ok(_) => format!("{}: ok", verb.name()),
            Err(failure) => format!("{}: {failure}", verb.name()),
        };
        self.publish(Event::StrayAnswer { circuit: id, answer });
        None
    }

    /// A step may have been taken, or surely was not: the one is looked up, the other repeated.
    fn step_failed(&mut self, id: CircuitId, verb: Verb, failure: Failure) {
        let is_unknown = matches!(failure.kind, FailureKind::UnknownOutcome | FailureKind::Internal);
        if is_unknown {
            self.apply(id, ReservationEvent::OutcomeUnknown);
        } else if verb == Verb::Activate {
            self.apply(id, ReservationEvent::Refused);
        }
        let is_refused = failure.kind == FailureKind::Refused;
        let soon = self.now + self.config.poll_every.max(failure.retry_after.unwrap_or_default());
        self.call_failed(id, verb, failure);
        if is_unknown {
            self.call_at_once(id);
        } else if is_refused && let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.retry_at = Some(soon);
        }
    }

    pub(super) fn call_at_once(&mut self, id: CircuitId) {
        if let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.retry_at = None;
        }
    }

    /// A hold begins when its provider says so.
    pub(super) fn note_hold(&mut self, id: CircuitId) {
        let now = self.now;
        if let Some(circuit) = self.circuits.get_mut(&id)
            && circuit.state() == ReservationState::Held
        {
            circuit.held.get_or_insert(Age::since(now));
            circuit.retry_at = None;
        }
    }

    /// What its provider has just promised is switched through without delay, if it may be.
    pub(super) fn note_promise(&mut self, id: CircuitId) {
        let is_due = |c: &Circuit| c.state() == ReservationState::Booked && !c.is_fused && self.may_link(c);
        if self.circuits.get(&id).is_some_and(is_due) {
            self.call_at_once(id);
        }
    }

    /// For how long it has been held; at worst since it was asked for. None if nobody can say.
    fn hold_age(&self, circuit: &Circuit) -> Option<Duration> {
        circuit.held.or(circuit.submitted)?.until(self.now)
    }

    fn hold_time(&self, circuit: &Circuit) -> Option<Duration> {
        self.backends.get(&circuit.link.network)?.hold_time
    }

    /// A hold that is too old to be committed is dropped, and one that has run out is over.
    pub(super) fn watch_hold(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let Some(hold_time) = self.hold_time(circuit) else { return false };
        let age = self.hold_age(circuit);
        if circuit.call == Some(Verb::Commit) {
            return false;
        }
        match age {
            Some(age) if age >= hold_time => {
                self.apply(id, ReservationEvent::HoldExpired);
                self.fail(id, "the hold ran out before it was committed", Cause::Other);
                true
            }
            Some(age) if age < hold_time / 2 => {
                let left = hold_time / 2 - age;
                let deadline = self.now + left;
                if let Some(circuit) = self.circuits.get_mut(&id) {
                    circuit.deadline = Some(deadline);
                }
                false
            }
            _ => {
                self.fail(id, "too late to commit the hold", Cause::Other);
                true
            }
        }
    }

    fn may_commit(&self, circuit: &Circuit) -> bool {
        let is_young = match self.hold_time(circuit) {
            Some(hold_time) => self.hold_age(circuit).is_some_and(|age| age < hold_time / 2),
            None => true,
        };
        let is_called_for = circuit.booking.is_some() || self.goal.links.contains_key(&circuit.link);
        is_young && is_called_for && self.is_wanted(circuit)
    }

    /// True if it may carry traffic now: it is planned, or its window is open or needs no opening.
    pub(super) fn may_link(&self, circuit: &Circuit) -> bool {
        if circuit.is_doomed {
            return false;
        }
        match self.booking_of(circuit) {
            Some(booking) => {
                let opens_by_itself = circuit.request.as_ref().is_some_and(|r| r.start_ms.is_some());
                !opens_by_itself || self.wall_ms().is_some_and(|ms| ms >= booking.start_ms)
            }
            None => circuit.booking.is_none() && self.goal.links.contains_key(&circuit.link),
        }
    }

    /// When a promise is looked up next: rarely as long as its window is far.
    pub(super) fn next_look(&self, id: CircuitId) -> Timestamp {
        let soon = self.now + self.config.poll_every;
        let Some(circuit) = self.circuits.get(&id) else { return soon };
        match self.booking_of(circuit).and_then(|booking| self.time_of(booking.start_ms)) {
            Some(start) if !self.may_link(circuit) => start.min(self.now + LOOK_AHEAD).max(soon),
            _ => soon,
        }
    }

    /// Makes the call that a circuit's phase and state ask for, if one may be made now.
    pub(super) fn call_backend(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let network = circuit.link.network.clone();
        let Some(request) = circuit.request.clone().filter(|_| circuit.may_call(self.now)) else {
            return false;
        };
        // A former backend is asked whether or not its successor is up.
        if !circuit.is_superseded && !self.backends.contains_key(&network) {
            return false;
        }
        let Some(verb) = self.next_call(circuit) else { return false };
        let native_id = circuit.native_id.clone();
        let call = Call { circuit: id, network, key: request.key.clone(), native_id };
        match verb {
            Verb::Activate => self.apply(id, ReservationEvent::Activate),
            Verb::Abort => self.apply(id, ReservationEvent::Abort),
            Verb::Cancel => self.apply(id, ReservationEvent::Cancel),
            _ => {}
        }
        if let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.call = Some(verb);
            circuit.retry_at = None;
            circuit.look_up &= verb != Verb::Find;
            circuit.is_deactivated |= verb == Verb::Deactivate;
        }
        self.journal(id);
        self.actions.push_back(match verb {
            Verb::Commit => Action::Commit(call),
            Verb::Abort => Action::Abort(call),
            Verb::Activate => Action::Activate { call, request },
            Verb::Deactivate => Action::Deactivate(call),
            Verb::Cancel => Action::Cancel(call),
            Verb::Submit | Verb::Modify | Verb::Find => Action::Find(call),
        });
        true
    }

    fn next_call(&self, circuit: &Circuit) -> Option<Verb> {
        use ReservationState::{Activating, Active, Booked, Degraded, Held, Releasing, Submitted, Unknown};
        match (circuit.phase, circuit.state()) {
            (Phase::Wanted | Phase::Gone, _) | (_, Submitted) => None,
            (_, Unknown) => Some(Verb::Find),
            (Phase::Releasing, Held) => Some(Verb::Abort),
            (Phase::Releasing, Releasing) => Some(Self::parting(circuit)),
            (Phase::Releasing, Active | Degraded | Activating)
                if circuit.reservation.flow() != Flow::Fused
                    && !circuit.is_fused
                    && !circuit.is_deactivated =>
            {
                Some(Verb::Deactivate)
            }
            (Phase::Releasing, state) => state.may_hold_capacity().then_some(Verb::Cancel),
            (Phase::Reserving, Held) if self.may_commit(circuit) => Some(Verb::Commit),
            (Phase::Reserving, Held) => circuit.look_up.then_some(Verb::Find),
            (Phase::Reserving, Booked) if !circuit.is_fused && self.may_link(circuit) => Some(Verb::Activate),
            (Phase::Reserving, Booked | Activating) => Some(Verb::Find),
            _ => circuit.look_up.then_some(Verb::Find),
        }
    }

    /// How what is being given back is given back once more. A hold whose abort fails may have become more
    /// than a hold in the meantime.
    fn parting(circuit: &Circuit) -> Verb {
        if circuit.is_committed || circuit.failed_calls % 2 == 1 { Verb::Cancel } else { Verb::Abort }
    }
}
