//! What one worker has to send: a queue for every port, and which of them hold anything.

use vreserve_abi::{Offload, Slot};
use vreserve_model::Timestamp;

use super::dispatch::{Stock, ToGuests, ToNodes};
use super::egress::EgressQueue;
use super::pool::{BATCH, FIRST_CUT, SCRATCH};
use super::worker::{PortNumber, Worker};

/// The queues by port number.
pub(super) struct Outbox {
    queues: Vec<EgressQueue>,
    /// The ports whose queues are not empty, each once: with hundreds of ports, looking at all of them for
    /// every batch would cost more than the batch.
    filled: Vec<PortNumber>,
}

impl Outbox {
    pub(super) fn new(ports: usize) -> Self {
        Outbox {
            queues: (0..ports).map(|_| EgressQueue::new(BATCH + SCRATCH)).collect(),
            filled: Vec::with_capacity(ports),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, port: PortNumber, slot: Slot) {
        let queue = &mut self.queues[port];
        if queue.is_empty() {
            self.filled.push(port);
        }
        queue.push(slot);
    }
}

impl Worker {
    /// Sends everything queued. All slots but those of frames in hand are free again afterwards.
    pub(super) fn flush(&mut self, now: Timestamp) {
        while let Some(port) = self.outbox.filled.pop() {
            self.pulse.call(port);
            match port.checked_sub(self.captures.len()) {
                None => self.flush_capture(port, now),
                Some(endpoint) => self.flush_endpoint(endpoint, port, now),
            }
        }
        self.scratch = 0;
        if self.dispatch.too_big.is_pending() {
            self.deliver_answers(now);
        }
    }

    fn flush_capture(&mut self, index: usize, now: Timestamp) {
        let mut way = ToGuests(&mut self.captures[index].port);
        let guests = self.forwarder.guests();
        let stock = Stock { pool: &mut self.pool, guests, drops: &mut self.drops };
        if let Some(change) = self.dispatch.flush(&mut self.outbox.queues[index], &mut way, stock, now) {
            self.handle_capture_change(index, change);
        }
    }

    fn flush_endpoint(&mut self, index: usize, port: PortNumber, now: Timestamp) {
        let mut way = ToNodes(&mut self.endpoints[index], &mut self.links);
        let guests = self.forwarder.guests();
        let stock = Stock { pool: &mut self.pool, guests, drops: &mut self.drops };
        if let Some(change) = self.dispatch.flush(&mut self.outbox.queues[port], &mut way, stock, now) {
            self.handle_endpoint_change(index, change);
        }
    }

    /// Hands guests the answers that were made while the queues were sent. All queues are empty before and
    /// after.
    fn deliver_answers(&mut self, now: Timestamp) {
        while let Some(answer) = self.dispatch.too_big.poll() {
            let Some(Some(port)) = self.interface_index.get(usize::from(answer.interface.0)) else {
                continue;
            };
            let slot = self.pool.fill(FIRST_CUT, answer.frame(), Offload::default());
            self.outbox.queues[*port].push(slot);
            self.flush_capture(*port, now);
        }
    }
}
