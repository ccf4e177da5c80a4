//! Asking backends for capacity, looking requests up, giving capacity back.
//!
//! Each call is outstanding until it is answered; a circuit has at most one. After an unknown outcome the
//! only call is a look-up, until the backend has said what it holds. What lies between a promise and traffic
//! is in `stepping`.

use std::time::Duration;

use vreserve_model::{
    BitsPerSecond, Capabilities, DataPlane, Failure, FailureKind, Flow as Datagrams, Observed, Request,
    RequestKey, ReservationState, Timestamp,
};

use super::circuit::{Age, Circuit};
use super::outcome::Cause;
use super::verb::Verb;
use super::{Action, CircuitId, Event, Lead, Phase};
use crate::reservation::{Flow, IllegalTransition, Reservation, ReservationEvent};

impl Lead {
    /// The backend has answered a submit.
    pub fn handle_submitted(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        if !self.take_answer(id, Verb::Submit) {
            let granted = answer.as_ref().map(|seen| seen.native_id.clone().unwrap_or_default());
            self.publish(Event::StrayAnswer { circuit: id, answer: format!("submit: {granted:?}") });
        } else {
            match answer {
                Ok(observed) => {
                    self.observe(id, observed, Reservation::grant);
                    self.note_hold(id);
                    self.note_promise(id);
                }
                Err(failure) => self.submit_failed(id, failure),
            }
        }
        self.settle();
    }

    /// The backend has answered a cancel; yes means that it holds nothing any more.
    pub fn handle_cancelled(&mut self, now: Timestamp, id: CircuitId, answer: Result<(), Failure>) {
        self.advance_clock(now);
        if !self.take_answer(id, Verb::Cancel) {
            self.publish(Event::StrayAnswer { circuit: id, answer: format!("cancel: {answer:?}") });
        } else {
            match answer {
                Ok(()) => self.apply(id, ReservationEvent::Cancelled),
                Err(failure) => {
                    self.apply(id, ReservationEvent::OutcomeUnknown);
                    self.call_failed(id, Verb::Cancel, failure);
                }
            }
        }
        self.settle();
    }

    /// What the backend holds under a circuit's key: the answer to a find. More than one means that the
    /// request was doubled: all but one are given back.
    pub fn handle_found(&mut self, now: Timestamp, id: CircuitId, answer: Result<Vec<Observed>, Failure>) {
        self.advance_clock(now);
        let circuit = self.circuits.get(&id).filter(|circuit| circuit.phase != Phase::Wanted);
        match circuit.map(|circuit| circuit.call) {
            Some(None | Some(Verb::Find)) => self.found(id, answer),
            Some(_) => {}
            None => self.publish(Event::StrayAnswer { circuit: id, answer: "find".into() }),
        }
        self.settle();
    }

    fn found(&mut self, id: CircuitId, answer: Result<Vec<Observed>, Failure>) {
        self.take_answer(id, Verb::Find);
        match answer {
            Ok(found) => match self.pick(id, found) {
                Some(observed) => {
                    let is_down = observed.data_plane == DataPlane::Down;
                    self.observe(id, observed, Reservation::observe);
                    self.go_on(id);
                    if is_down && self.circuits.get(&id).is_some_and(|circuit| circuit.phase.has_link()) {
                        self.fail(id, "the provider says that the circuit is down", Cause::Other);
                    }
                }
                None => self.apply(id, ReservationEvent::Gone),
            },
            Err(failure) => self.call_failed(id, Verb::Find, failure),
        }
    }

    /// What was looked up to be committed or given back waits for nothing more.
    fn go_on(&mut self, id: CircuitId) {
        let is_awaited = |c: &Circuit| c.phase == Phase::Releasing || c.state() == ReservationState::Held;
        if self.circuits.get(&id).is_some_and(is_awaited) {
            self.call_at_once(id);
        }
    }

    /// Asks for every wanted circuit that nothing stands in the way of, most valuable first.
    pub(super) fn submit_wanted(&mut self) -> bool {
        let waiting = self.circuits.values().filter(|circuit| circuit.phase == Phase::Wanted);
        let mut ids: Vec<_> = waiting.map(|circuit| (circuit.rank, circuit.id)).collect();
        ids.sort_unstable();
        ids.into_iter().fold(false, |changed, (_, id)| self.submit(id) || changed)
    }

    fn submit(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let backend = self.backends.get(&circuit.link.network);
        let (Some(backend), None) = (backend, self.obstacle(circuit)) else { return false };
        let (flow, is_fused) = (Flow::from(backend), backend.fused_activation);
        let Some(request) = self.request_for(circuit, backend) else { return false };
        let attempt = self.setback_of(circuit).map_or(0, |setback| setback.failures) + 1;
        let Some(circuit) = self.circuits.get_mut(&id) else { return false };
        circuit.reservation = Reservation::new(flow);
        (circuit.is_fused, circuit.is_committed) = (is_fused, flow != Flow::TwoPhase);
        circuit.phase = Phase::Reserving;
        circuit.call = Some(Verb::Submit);
        circuit.attempt = attempt;
        circuit.times.submitted_at = Some(self.now);
        circuit.submitted = Some(Age::since(self.now));
        circuit.request = Some(request.clone());
        let (name, network) = (circuit.name(), circuit.link.network.clone());
        self.apply(id, ReservationEvent::Submit);
        let (rate, key) = (request.rate, request.key.clone());
        self.journal(id);
        self.publish(Event::ReservationSubmitted { name, rate, key, attempt });
        self.actions.push_back(Action::Submit { circuit: id, network, request });
        true
    }

    /// None if an end has no endpoint on the network.
    fn request_for(&self, circuit: &Circuit, backend: &Capabilities) -> Option<Request> {
        let link = &circuit.link;
        let at = |node: &str| self.nodes.get(node)?.networks.get(&link.network);
        let (a, z) = (at(&link.a)?, at(&link.z)?);
        let window = self.booking_of(circuit).filter(|_| backend.advance);
        let (installation, epoch) = (&self.config.installation, self.config.epoch);
        Some(Request {
            key: RequestKey(format!("{installation}-{epoch}-{}", circuit.id.0 & u64::from(u32::MAX))),
            owner: format!("{installation}/{epoch}"),
            a: a.bare_address(),
            z: z.bare_address(),
            rate: circuit.rate,
            flow: a.port().zip(z.port()).map(|(a_port, z_port)| Datagrams {
                protocol: "udp".into(),
                a_port,
                z_port,
            }),
            max_latency: None,
            start_ms: window.map(|booking| booking.start_ms),
            end_ms: window.map(|booking| booking.end_ms),
        })
    }

    pub(super) fn is_submitting(&self, network: &str) -> bool {
        let of_backend = |c: &&Circuit| c.link.network == network && !c.is_superseded;
        self.circuits.values().filter(of_backend).any(|c| c.call == Some(Verb::Submit))
    }

    pub(super) fn take_answer(&mut self, id: CircuitId, call: Verb) -> bool {
        let circuit = self.circuits.get_mut(&id).filter(|circuit| circuit.call == Some(call));
        circuit.map(|circuit| circuit.call = None).is_some()
    }

    fn submit_failed(&mut self, id: CircuitId, failure: Failure) {
        match failure.kind {
            // A plugin with a defect may have got as far as asking.
            FailureKind::UnknownOutcome | FailureKind::Internal => {
                self.apply(id, ReservationEvent::OutcomeUnknown);
                if let Some(circuit) = self.circuits.get_mut(&id) {
                    circuit.failure = Some(failure.reason.clone());
                    let event = Event::ReservationUnknown { name: circuit.name(), reason: failure.reason };
                    self.publish(event);
                }
            }
            kind => {
                self.apply(id, ReservationEvent::Refused);
                let cause = match kind {
                    FailureKind::Refused => Cause::Refused,
                    FailureKind::Unsupported | FailureKind::Invalid => Cause::Never,
                    _ => Cause::NotBefore(failure.retry_after.unwrap_or(Duration::ZERO)),
                };
                self.fail(id, &failure.to_string(), cause);
            }
        }
    }

    pub(super) fn call_failed(&mut self, id: CircuitId, call: Verb, failure: Failure) {
        let back_off = self.config.back_off;
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.failed_calls += 1;
        let delay = match failure.kind {
            FailureKind::Unsupported => back_off.max,
            _ => back_off.delay(circuit.failed_calls).max(failure.retry_after.unwrap_or_default()),
        };
        let retry_at = self.now + delay;
        circuit.retry_at = Some(retry_at);
        circuit.failure = Some(failure.to_string());
        let (name, reason) = (circuit.name(), failure.to_string());
        self.publish(Event::ReservationCallFailed { name, call: call.name().into(), reason, retry_at });
    }

    pub(super) fn observe(
        &mut self,
        id: CircuitId,
        observed: Observed,
        step: fn(&mut Reservation, ReservationState) -> Result<ReservationState, IllegalTransition>,
    ) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        let reported = observed.state;
        circuit.native_id = observed.native_id.or(circuit.native_id.take());
        circuit.native_state = observed.native_state;
        if let Some(rate) = observed.rate.filter(|rate| *rate > BitsPerSecond(0)) {
            (circuit.granted, circuit.resizing.unsure) = (Some(rate), None);
        }
        circuit.window = (observed.start_ms.or(circuit.window.0), observed.end_ms.or(circuit.window.1));
        circuit.labels.extend(observed.labels);
        (circuit.failed_calls, circuit.look_up) = (0, false);
        let retry_at = self.next_look(id);
        if let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.retry_at = Some(retry_at);
        }
        self.change_state(id, |reservation| step(reservation, reported));
    }

    pub(super) fn apply(&mut self, id: CircuitId, event: ReservationEvent) {
        self.change_state(id, |reservation| reservation.apply(event));
    }

    fn change_state(
        &mut self,
        id: CircuitId,
        step: impl FnOnce(&mut Reservation) -> Result<ReservationState, IllegalTransition>,
    ) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        let (name, from) = (circuit.name(), circuit.state());
        let native_state = circuit.native_state.clone();
        match step(&mut circuit.reservation) {
            Ok(to) if to == from => {}
            Ok(to) => {
                if from == ReservationState::Held {
                    circuit.deadline = None;
                }
                self.publish(Event::ReservationChanged { name, from, to, native_state });
            }
            Err(error) => {
                self.publish(Event::ReservationContradicted { name, reason: error.to_string() });
            }
        }
    }

    pub(super) fn advance_reserving(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let (is_wanted, may_link) = (self.is_wanted(circuit), self.may_link(circuit));
        match circuit.state() {
            ReservationState::Submitted | ReservationState::Unknown => return false,
            ReservationState::Failed | ReservationState::Released => {
                self.fail(id, "the backend holds no such reservation", Cause::Other);
            }
            ReservationState::Releasing => self.fail(id, "the provider takes it back", Cause::Other),
            // What is being changed by a call is let go when that is answered.
            _ if !is_wanted && circuit.call.is_none_or(|call| call == Verb::Find) => self.release(id),
            _ if !is_wanted => return false,
            ReservationState::Held => return self.watch_hold(id),
            ReservationState::Active | ReservationState::Degraded => {
                return may_link && self.claim_link(id);
            }
            _ => return may_link && self.await_activation(id),
        }
        true
    }

    /// Promised, and not active yet.
    fn await_activation(&mut self, id: CircuitId) -> bool {
        let patience = self.config.patience.activating;
        let Some(circuit) = self.circuits.get_mut(&id) else { return false };
        if circuit.is_overdue(self.now) {
            self.fail(id, "promised, but not active in time", Cause::Other);
            return true;
        }
        circuit.deadline.get_or_insert(self.now + patience);
        false
    }

    pub(super) fn release(&mut self, id: CircuitId) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.phase = Phase::Releasing;
        circuit.times.ending_at.get_or_insert(self.now);
        (circuit.deadline, circuit.retry_at, circuit.failed_calls) = (None, None, 0);
        let name = circuit.name();
        if circuit.state().may_hold_capacity() {
            self.publish(Event::Releasing { name });
        }
        self.yield_ends(id);
    }

    pub(super) fn advance_releasing(&mut self, id: CircuitId) -> bool {
        let holds = self.circuits.get(&id).is_some_and(|circuit| circuit.state().may_hold_capacity());
        if !holds {
            self.retire(id);
        }
        !holds
    }
}
