//! Signals between nodes, as the worker handles them: probes and loads and their answers, barriers and theirs.
//! What a proof sends is in `proofs`.

use vreserve_abi::Slot;
use vreserve_core::drops::DropReason;
use vreserve_core::forward::Verdict;
use vreserve_core::ids::{Ingress, LinkClass, LinkId};
use vreserve_core::liveness::{LinkHealth, Liveness};
use vreserve_core::signal::{SIGNAL_LENGTH, Signal, SignalKind};
use vreserve_model::Timestamp;

use super::egress::weight_of;
use super::mailbox::Event;
use super::nonces::worker_of;
use super::worker::Worker;

impl Worker {
    /// A signal that came over `link`.
    pub(super) fn handle_signal(&mut self, link: LinkId, slot: Slot, now: Timestamp) {
        let frame = self.pool.frame(&slot);
        let length = frame.len();
        let Ok(signal) = Signal::decode(frame) else {
            return self.drops.count(DropReason::BadSignal, 1);
        };
        match signal.kind {
            _ if signal.is_between_guests() => self.handle_between_guests(link, signal, slot, now),
            // All others are between the two ends of one link.
            _ if signal.link != link => self.drops.count(DropReason::BadSignal, 1),
            SignalKind::Probe => {
                if let Some(mut answer) = signal.answer() {
                    // It wraps; whoever asks looks whether it has grown.
                    answer.load.idle = self.idle as u32;
                    self.send_signal(link, &answer, length, now);
                }
            }
            SignalKind::Load => self.handle_load(link, &signal, length, now),
            SignalKind::ProbeReply | SignalKind::BarrierAck | SignalKind::LoadReply => {
                self.take_answer(link, signal, length, now);
            }
            SignalKind::Barrier => unreachable!("barriers are between guests"),
        }
    }

    /// An answer goes to the worker that asked.
    fn take_answer(&mut self, link: LinkId, signal: Signal, length: usize, now: Timestamp) {
        let asked = worker_of(signal.nonce);
        if asked == self.index {
            self.handle_answer(link, &signal, length, now);
        } else if !self.workers.pass_answer(asked, link, signal, length) {
            self.drops.count(DropReason::BadSignal, 1);
        }
    }

    /// An answer to this worker's question, whichever worker received it.
    pub(super) fn handle_answer(&mut self, link: LinkId, signal: &Signal, length: usize, now: Timestamp) {
        let is_known = match signal.kind {
            SignalKind::BarrierAck => self.cutovers.handle_ack(signal.circuit(), signal.nonce, now),
            SignalKind::LoadReply => self.handle_load_reply(link, signal, length, now),
            _ => self.handle_probe_reply(link, signal, length, now),
        };
        if !is_known {
            self.drops.count(DropReason::BadSignal, 1);
        }
    }

    fn handle_probe_reply(&mut self, link: LinkId, signal: &Signal, length: usize, now: Timestamp) -> bool {
        let Some(entry) = self.links.find_mut(link) else { return false };
        if let Some(proof) = &mut entry.proof
            && proof.handle_reply(signal.nonce, signal.stamp, length, now)
        {
            // It may be what the proof has waited for.
            self.timers_at = now;
            return true;
        }
        let Some(liveness) = &mut entry.liveness else { return false };
        let is_answer = liveness.handle_reply(signal.nonce, signal.stamp, now);
        if is_answer {
            let rest = (signal.load.idle, self.idle);
            let before = entry.rest.replace(rest);
            if before.is_some_and(|before| before.0 == rest.0 || before.1 == rest.1) {
                liveness.handle_busy(now);
            }
        }
        is_answer
    }

    /// A barrier goes the way of its pair's frames, and where it names no circuit its answer goes the way of frames
    /// from the one guest to the other. Where that ends, a barrier is answered and an answer taken.
    fn handle_between_guests(&mut self, link: LinkId, signal: Signal, slot: Slot, now: Timestamp) {
        let (weight, length) = (weight_of(&slot), self.pool.frame(&slot).len());
        let verdict = self.forwarder.forward(Ingress::Link(link), self.pool.frame(&slot), weight, now);
        let ends_here = match verdict {
            Verdict::Deliver(_) => true,
            Verdict::Send(next) => self.class_of(next) == Some(LinkClass::Static),
            _ => false,
        };
        match verdict {
            _ if ends_here && signal.kind == SignalKind::Barrier => self.answer_barrier(link, &signal, now),
            _ if ends_here => self.take_answer(link, signal, length, now),
            Verdict::Send(next) => self.queue_to_link(next, slot),
            Verdict::Drop(reason) => self.drops.count(reason, 1),
            // The guest's whereabouts are not known here: the sender repeats the barrier, or gives up.
            _ => self.drops.count(DropReason::NoTarget, 1),
        }
    }

    pub(super) fn class_of(&self, link: LinkId) -> Option<LinkClass> {
        self.links.find(link).map(|entry| entry.class)
    }

    /// Answers a barrier that came over `link`: over the circuit that it names or else back where it came from, and
    /// only after the frames that came before it have been delivered.
    fn answer_barrier(&mut self, link: LinkId, barrier: &Signal, now: Timestamp) {
        self.flush(now);
        let is_circuit = |link: &LinkId| self.class_of(*link) == Some(LinkClass::Circuit);
        let back = barrier.circuit().map_or(Some(link), |circuit| Some(circuit).filter(is_circuit));
        match back.zip(barrier.answer()) {
            Some((back, answer)) => self.send_signal(back, &answer, SIGNAL_LENGTH, now),
            None => self.drops.count(DropReason::BadSignal, 1),
        }
    }

    /// Queues a signal of `length` bytes for a link.
    pub(super) fn send_signal(&mut self, link: LinkId, signal: &Signal, length: usize, now: Timestamp) {
        let index = self.take_scratch(now);
        let slot = self.pool.write(index, |space| {
            let length = length.clamp(SIGNAL_LENGTH, space.len());
            signal.encode(length, &mut space[..length])
        });
        let Some(slot) = slot else { return };
        self.queue_to_link(link, slot);
    }

    pub(super) fn poll_probes(&mut self, now: Timestamp) {
        for index in 0..self.links.ids().len() {
            let id = self.links.ids()[index];
            self.poll_liveness(id, now);
            self.poll_proof(id, now);
        }
    }

    fn poll_liveness(&mut self, id: LinkId, now: Timestamp) {
        let nonces = &mut self.nonces;
        let Some(entry) = self.links.find_mut(id) else { return };
        let (sent, received) = entry.carried();
        let Some(liveness) = &mut entry.liveness else { return };
        let is_due = liveness.poll_at() <= now;
        if is_due {
            liveness.handle_carried(now, sent, received);
        }
        let probe = if is_due { liveness.poll_probe(now, || nonces.fresh()) } else { None };
        let change = liveness.poll_change(now);
        let degradation = liveness.degradation(now);
        if let Some(probe) = probe {
            self.send_signal(id, &probe, SIGNAL_LENGTH, now);
        }
        match (change, degradation) {
            (Some(LinkHealth::Degraded), Some(why)) => self.tell(Event::Degraded(id, why)),
            (Some(health), _) => {
                debug_assert_ne!(health, LinkHealth::Unknown, "health never becomes unknown");
                self.tell(Event::Health(id, health));
            }
            (None, _) => {}
        }
    }

    pub(super) fn next_probe(&self, now: Timestamp) -> Option<Timestamp> {
        let entries = self.links.ids().iter().filter_map(|id| self.links.find(*id));
        entries
            .flat_map(|entry| {
                let liveness = entry.liveness.as_ref().map(Liveness::poll_at);
                let proof = entry.proof.as_ref().map(|proof| proof.poll_at(now));
                liveness.into_iter().chain(proof)
            })
            .min()
    }
}
