//! Signals between nodes, as the worker handles them: probes and their answers, barriers and theirs.

use vreserve_abi::Slot;
use vreserve_core::drops::DropReason;
use vreserve_core::forward::Verdict;
use vreserve_core::ids::{Ingress, LinkClass, LinkId};
use vreserve_core::liveness::{LinkHealth, Liveness};
use vreserve_core::probe::{CircuitProof, ProofConfig};
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
            SignalKind::Barrier => self.handle_barrier(link, signal, slot, now),
            // All others are between the two ends of one link.
            _ if signal.link != link => self.drops.count(DropReason::BadSignal, 1),
            SignalKind::Probe => {
                if let Some(answer) = signal.answer() {
                    self.send_signal(link, &answer, length, now);
                }
            }
            SignalKind::ProbeReply | SignalKind::BarrierAck => {
                let asked = worker_of(signal.nonce);
                if asked == self.index {
                    self.handle_answer(link, &signal, length, now);
                } else if !self.workers.pass_answer(asked, link, signal, length) {
                    self.drops.count(DropReason::BadSignal, 1);
                }
            }
        }
    }

    /// An answer to this worker's question, whichever worker received it.
    pub(super) fn handle_answer(&mut self, link: LinkId, signal: &Signal, length: usize, now: Timestamp) {
        let is_known = match signal.kind {
            SignalKind::BarrierAck => self.cutovers.handle_ack(link, signal.nonce, now),
            _ => self.handle_probe_reply(link, signal, length, now),
        };
        if !is_known {
            self.drops.count(DropReason::BadSignal, 1);
        }
    }

    fn handle_probe_reply(&mut self, link: LinkId, signal: &Signal, length: usize, now: Timestamp) -> bool {
        let Some(entry) = self.links.find_mut(link) else { return false };
        entry.proof.as_mut().is_some_and(|proof| proof.handle_reply(signal.nonce, signal.stamp, length, now))
            || entry
                .liveness
                .as_mut()
                .is_some_and(|liveness| liveness.handle_reply(signal.nonce, signal.stamp, now))
    }

    /// A barrier goes the way of its pair's frames. Where that ends it is answered, over the circuit that it
    /// names, and only after the frames that came before it have been delivered.
    fn handle_barrier(&mut self, link: LinkId, signal: Signal, slot: Slot, now: Timestamp) {
        let weight = weight_of(&slot);
        let verdict = self.forwarder.forward(Ingress::Link(link), self.pool.frame(&slot), weight, now);
        match verdict {
            Verdict::Deliver(_) => self.answer_barrier(&signal, now),
            Verdict::Send(next) if self.class_of(next) == Some(LinkClass::Static) => {
                self.answer_barrier(&signal, now);
            }
            Verdict::Send(next) => self.queue_to_link(next, slot),
            // The guest's whereabouts are not known here: the sender repeats the barrier, or gives up.
            Verdict::Flood(_) | Verdict::Hold(_) => self.drops.count(DropReason::NoTarget, 1),
            Verdict::Drop(reason) => self.drops.count(reason, 1),
        }
    }

    fn class_of(&self, link: LinkId) -> Option<LinkClass> {
        self.links.find(link).map(|entry| entry.class)
    }

    fn answer_barrier(&mut self, barrier: &Signal, now: Timestamp) {
        self.flush(now);
        match barrier.answer() {
            Some(answer) if self.class_of(barrier.link) == Some(LinkClass::Circuit) => {
                self.send_signal(barrier.link, &answer, SIGNAL_LENGTH, now);
            }
            _ => self.drops.count(DropReason::BadSignal, 1),
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

    pub(super) fn begin_proof(&mut self, link: LinkId, now: Timestamp) {
        let full_length = self.full_length(link);
        match self.links.find_mut(link) {
            Some(entry) => {
                entry.proof = Some(CircuitProof::new(link, ProofConfig::for_frames_of(full_length), now));
            }
            None => self.tell(Event::Proof(link, None)),
        }
    }

    /// The largest frame that guests of this node can send: that is what a circuit must carry.
    fn full_length(&mut self, link: LinkId) -> usize {
        const ETHERNET: usize = 14;
        const LEAST: usize = 1280 + ETHERNET;
        let largest = self.captures.iter_mut().filter_map(|capture| {
            capture.port.instance().map(|instance| instance.info().mtu as usize + ETHERNET)
        });
        let largest = largest.max().unwrap_or(LEAST);
        let endpoint = self.links.find(link).map(|entry| entry.endpoint);
        let carried = endpoint
            .and_then(|index| self.endpoints[index].port.instance())
            .map_or(usize::MAX, |instance| instance.info().mtu as usize);
        largest.min(carried).max(SIGNAL_LENGTH)
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
        let Some(liveness) = self.links.find_mut(id).and_then(|entry| entry.liveness.as_mut()) else {
            return;
        };
        let probe =
            if liveness.poll_at() <= now { liveness.poll_probe(now, || nonces.fresh()) } else { None };
        let change = liveness.poll_change(now);
        if let Some(probe) = probe {
            self.send_signal(id, &probe, SIGNAL_LENGTH, now);
        }
        if let Some(health) = change {
            debug_assert_ne!(health, LinkHealth::Unknown, "health never becomes unknown");
            self.tell(Event::Health(id, health));
        }
    }

    fn poll_proof(&mut self, id: LinkId, now: Timestamp) {
        let nonces = &mut self.nonces;
        let Some(entry) = self.links.find_mut(id) else { return };
        let Some(proof) = entry.proof.as_mut() else { return };
        let probe = if proof.poll_at() <= now { proof.poll_probe(now, || nonces.fresh()) } else { None };
        let outcome = proof.outcome(now);
        if outcome.is_some() {
            entry.proof = None;
        }
        if let Some(probe) = probe {
            self.send_signal(id, &probe.signal, probe.length, now);
        }
        if let Some(outcome) = outcome {
            self.tell(Event::Proof(id, Some(outcome)));
        }
    }

    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        let entries = self.links.ids().iter().filter_map(|id| self.links.find(*id));
        entries
            .flat_map(|entry| {
                let liveness = entry.liveness.as_ref().map(Liveness::poll_at);
                liveness.into_iter().chain(entry.proof.as_ref().map(CircuitProof::poll_at))
            })
            .min()
    }
}
