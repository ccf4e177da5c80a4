//! Proofs as the worker carries them out: what is sent for its own, what is counted for the far node's, and
//! what all workers carry over a circuit that was proven.

use vreserve_core::drops::DropReason;
use vreserve_core::ids::{LinkClass, LinkId};
use vreserve_core::liveness::Proven;
use vreserve_core::probe::{CircuitProof, ProofConfig, ProofOutcome};
use vreserve_core::signal::{SIGNAL_LENGTH, Signal};
use vreserve_model::{BitsPerSecond, Timestamp};

use super::mailbox::Event;
use super::worker::Worker;
use super::workers::PROBER;

impl Worker {
    pub(super) fn begin_proof(&mut self, link: LinkId, rate: BitsPerSecond, now: Timestamp) {
        let full_length = self.full_length(link);
        match self.links.find_mut(link) {
            Some(entry) => {
                let config = ProofConfig::for_frames_of(full_length, rate, self.rate_terms);
                entry.proof = Some(CircuitProof::new(link, config, now));
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

    /// A load of the far node's proof: it is counted, and answered by one frame of its length. Only circuits
    /// are proved.
    pub(super) fn handle_load(&mut self, link: LinkId, load: &Signal, length: usize, now: Timestamp) {
        let idle = self.idle;
        let circuit = self.links.find_mut(link).filter(|entry| entry.class == LinkClass::Circuit);
        match circuit.and_then(|entry| entry.loads.handle_load(load, now, idle)) {
            Some(reply) => self.send_signal(link, &reply, length, now),
            None => self.drops.count(DropReason::BadSignal, 1),
        }
    }

    pub(super) fn handle_load_reply(
        &mut self,
        link: LinkId,
        reply: &Signal,
        length: usize,
        now: Timestamp,
    ) -> bool {
        let (idle, proof) = (self.idle, self.links.find_mut(link).map(|entry| &mut entry.proof));
        match proof {
            Some(Some(proof)) => {
                self.timers_at = now;
                proof.handle_load_reply(reply, length, now, idle)
            }
            // A proof that has ended as soon as it had seen enough.
            Some(None) => true,
            None => false,
        }
    }

    /// Sends what a proof has due, and tells its outcome.
    pub(super) fn poll_proof(&mut self, id: LinkId, now: Timestamp) {
        while let Some(frame) = self.next_of_proof(id, now) {
            self.send_signal(id, &frame.signal, frame.length, now);
        }
        let Some(entry) = self.links.find_mut(id) else { return };
        let Some(proof) = &mut entry.proof else { return };
        let reserved = proof.reserved();
        if let Some(outcome) = proof.outcome(now) {
            entry.proof = None;
            if let (Some(liveness), Some(proven)) = (&mut entry.liveness, proven(&outcome, reserved)) {
                liveness.watch_closely(proven, now);
            }
            self.tell(Event::Proof(id, Some(outcome)));
        }
    }

    fn next_of_proof(&mut self, id: LinkId, now: Timestamp) -> Option<vreserve_core::probe::ProbeFrame> {
        let nonces = &mut self.nonces;
        let proof = self.links.find_mut(id)?.proof.as_mut()?;
        if proof.poll_at(now) > now {
            return None;
        }
        proof.poll_probe(now, || nonces.fresh())
    }

    /// Another worker tells what it has carried over a link.
    pub(super) fn handle_carried(&mut self, worker: usize, link: LinkId, sent: u64, received: u64) {
        let Some(entry) = self.links.find_mut(link) else { return };
        let length = entry.elsewhere.len().max(worker + 1);
        entry.elsewhere.resize(length, (0, 0));
        entry.elsewhere[worker] = (sent, received);
    }

    /// Tells the worker that watches links what this one has carried over circuits since it last told.
    pub(super) fn tell_carried(&mut self) {
        if self.index == PROBER {
            return;
        }
        for index in 0..self.links.ids().len() {
            let id = self.links.ids()[index];
            let Some(entry) = self.links.find_mut(id) else { continue };
            let carried = entry.carried_here();
            if entry.class == LinkClass::Circuit && entry.told != carried {
                entry.told = carried;
                self.workers.tell_carried(self.index, id, carried.0, carried.1);
            }
        }
    }
}

/// What a circuit will be compared with, if it was proven. Where the rate is not known a full circuit cannot be
/// told from a degraded one.
fn proven(outcome: &ProofOutcome, rate: BitsPerSecond) -> Option<Proven> {
    let rtt = outcome.rtt_median.filter(|_| outcome.is_proven() && rate.0 > 0)?;
    Some(Proven { rtt, rate })
}
