//! Signals between nodes: probes, loads, barriers and their answers; and what time asks of links.

use std::time::Duration;

use vreserve_core::drops::DropReason;
use vreserve_core::forward::Verdict;
use vreserve_core::ids::{Ingress, LinkClass, LinkId};
use vreserve_core::liveness::{LinkHealth, Proven};
use vreserve_core::probe::{CircuitProof, ProofConfig, ProofOutcome, RateTerms};
use vreserve_core::signal::{SIGNAL_LENGTH, Signal, SignalKind};
use vreserve_model::{BitsPerSecond, Timestamp};

use super::{News, Outbox, Worker};
use crate::frame::Frame;

/// The largest frame of a guest.
const FULL_LENGTH: usize = 1414;

impl Worker {
    pub(super) fn handle_signal(&mut self, link: LinkId, frame: &Frame, now: Timestamp, out: &mut Outbox) {
        let Ok(signal) = Signal::decode(&frame.octets) else {
            return self.drops.count(DropReason::BadSignal, 1);
        };
        let length = frame.length;
        match signal.kind {
            _ if signal.is_between_guests() => self.handle_between_guests(link, signal, *frame, now, out),
            _ if signal.link != link => self.drops.count(DropReason::BadSignal, 1),
            SignalKind::Probe => {
                if let Some(mut answer) = signal.answer() {
                    answer.load.idle = self.idle as u32;
                    self.send(link, Frame::of_signal(&answer, length), out);
                }
            }
            SignalKind::Load => self.handle_load(link, &signal, length, now, out),
            SignalKind::BarrierAck => self.take_ack(&signal, now),
            SignalKind::Barrier => unreachable!("barriers are between guests"),
            SignalKind::LoadReply => {
                let idle = self.idle;
                let proof = self.links.get_mut(&link).and_then(|link| link.proof.as_mut());
                if let Some(proof) = proof {
                    proof.handle_load_reply(&signal, length, now, idle);
                    self.poll_link(link, now, out);
                }
            }
            SignalKind::ProbeReply => self.handle_probe_reply(link, &signal, length, now, out),
        }
    }

    fn handle_probe_reply(
        &mut self,
        id: LinkId,
        signal: &Signal,
        length: usize,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let idle = self.idle;
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Some(proof) = &mut link.proof
            && proof.handle_reply(signal.nonce, signal.stamp, length, now)
        {
            return self.poll_link(id, now, out);
        }
        if !link.liveness.handle_reply(signal.nonce, signal.stamp, now) {
            return self.drops.count(DropReason::BadSignal, 1);
        }
        let rest = (signal.load.idle, idle);
        let before = link.rest.replace(rest);
        if before.is_some_and(|before| before.0 == rest.0 || before.1 == rest.1) {
            link.liveness.handle_busy(now);
        }
    }

    fn take_ack(&mut self, ack: &Signal, now: Timestamp) {
        if !self.handle_ack(ack.circuit(), ack.nonce, now) {
            self.drops.count(DropReason::BadSignal, 1);
        }
    }

    /// A barrier goes the way of its pair's frames, and where it names no circuit its answer goes the way of frames
    /// from the one guest to the other. Where that ends, a barrier is answered and an answer taken.
    fn handle_between_guests(
        &mut self,
        link: LinkId,
        signal: Signal,
        frame: Frame,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let verdict = self.forwarder.forward(Ingress::Link(link), &frame.octets, frame.weight, now);
        match verdict {
            Verdict::Deliver(_) if signal.kind == SignalKind::BarrierAck => self.take_ack(&signal, now),
            Verdict::Deliver(_) => {
                let is_circuit = |link: &LinkId| self.class_of(*link) == Some(LinkClass::Circuit);
                let back = signal.circuit().map_or(Some(link), |circuit| Some(circuit).filter(is_circuit));
                match back.zip(signal.answer()) {
                    Some((back, answer)) => self.send(back, Frame::of_signal(&answer, SIGNAL_LENGTH), out),
                    None => self.drops.count(DropReason::BadSignal, 1),
                }
            }
            Verdict::Send(next) => self.send(next, frame, out),
            Verdict::Flood(_) | Verdict::Hold(_) => self.drops.count(DropReason::NoTarget, 1),
            Verdict::Drop(reason) => self.drops.count(reason, 1),
        }
    }

    fn class_of(&self, link: LinkId) -> Option<LinkClass> {
        self.links.get(&link).map(|link| link.class)
    }

    fn handle_load(&mut self, id: LinkId, load: &Signal, length: usize, now: Timestamp, out: &mut Outbox) {
        let idle = self.idle;
        let circuit = self.links.get_mut(&id).filter(|link| link.class == LinkClass::Circuit);
        match circuit.and_then(|link| link.loads.handle_load(load, now, idle)) {
            Some(reply) => self.send(id, Frame::of_signal(&reply, length), out),
            None => self.drops.count(DropReason::BadSignal, 1),
        }
    }

    pub(crate) fn prove(&mut self, id: LinkId, rate: BitsPerSecond, now: Timestamp, out: &mut Outbox) {
        match self.links.get_mut(&id) {
            Some(link) => {
                let config = ProofConfig::for_frames_of(FULL_LENGTH, rate, RateTerms::default());
                link.proof = Some(CircuitProof::new(id, config, now));
                self.poll_link(id, now, out);
            }
            None => out.news.push(News::Proof(id, None)),
        }
    }

    /// A link's timer has gone off, if it is the one that was set last.
    pub(crate) fn handle_timer(&mut self, id: LinkId, now: Timestamp, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.timer_at == Some(now)) else { return };
        link.timer_at = None;
        self.idle += 1;
        self.poll_link(id, now, out);
    }

    fn poll_link(&mut self, id: LinkId, now: Timestamp, out: &mut Outbox) {
        self.poll_liveness(id, now, out);
        self.poll_proof(id, now, out);
        self.arm(id, now, out);
    }

    fn poll_liveness(&mut self, id: LinkId, now: Timestamp, out: &mut Outbox) {
        let nonces = &mut self.nonces;
        let Some(link) = self.links.get_mut(&id) else { return };
        let is_due = link.liveness.poll_at() <= now;
        if is_due {
            link.liveness.handle_carried(now, link.sent.bytes, link.received.bytes);
        }
        let probe = if is_due { link.liveness.poll_probe(now, || nonces.u64(..)) } else { None };
        let change = link.liveness.poll_change(now);
        let degradation = link.liveness.degradation(now);
        if let Some(probe) = probe {
            self.send(id, Frame::of_signal(&probe, SIGNAL_LENGTH), out);
        }
        match (change, degradation) {
            (Some(LinkHealth::Degraded), Some(why)) => out.news.push(News::Degraded(id, why)),
            (Some(health), _) => out.news.push(News::Health(id, health)),
            (None, _) => {}
        }
    }

    fn poll_proof(&mut self, id: LinkId, now: Timestamp, out: &mut Outbox) {
        loop {
            let nonces = &mut self.nonces;
            let proof = self.links.get_mut(&id).and_then(|link| link.proof.as_mut());
            let Some(proof) = proof.filter(|proof| proof.poll_at(now) <= now) else { break };
            let Some(due) = proof.poll_probe(now, || nonces.u64(..)) else { break };
            self.send(id, Frame::of_signal(&due.signal, due.length), out);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(proof) = &mut link.proof else { return };
        let reserved = proof.reserved();
        if let Some(outcome) = proof.outcome(now) {
            link.proof = None;
            if let Some(proven) = proven(&outcome, reserved) {
                link.liveness.watch_closely(proven, now);
            }
            out.news.push(News::Proof(id, Some(outcome)));
        }
    }

    /// Sets a link's timer, if it is not set for as early a time already.
    pub(super) fn arm(&mut self, id: LinkId, now: Timestamp, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let proof = link.proof.as_ref().map(|proof| proof.poll_at(now));
        let next = proof.into_iter().chain([link.liveness.poll_at()]).min();
        // Never twice at one time: nothing would have changed.
        let next = next.map(|at| at.max(now + Duration::from_micros(1)));
        if let Some(at) = next.filter(|at| link.timer_at.is_none_or(|set| *at < set)) {
            link.timer_at = Some(at);
            out.timers.push((id, at));
        }
    }
}

/// What a circuit will be compared with, if it was proven.
fn proven(outcome: &ProofOutcome, rate: BitsPerSecond) -> Option<Proven> {
    let rtt = outcome.rtt_median.filter(|_| outcome.is_proven() && rate.0 > 0)?;
    Some(Proven { rtt, rate })
}
