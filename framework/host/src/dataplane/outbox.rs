//! What one worker has to send: a queue for every port, and which of them hold anything.

use vreserve_abi::Slot;
use vreserve_core::drops::DropReason;
use vreserve_model::Timestamp;

use super::egress::{EgressQueue, weight_of};
use super::pool::{BATCH, SCRATCH};
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
            match port.checked_sub(self.captures.len()) {
                None => self.flush_capture(port, now),
                Some(endpoint) => self.flush_endpoint(endpoint, port, now),
            }
        }
        self.scratch = 0;
    }

    fn flush_capture(&mut self, index: usize, now: Timestamp) {
        let queue = &mut self.outbox.queues[index];
        let port = &mut self.captures[index].port;
        let is_open = port.instance().is_some();
        let outcome = port.send(queue.slots(), now);
        let busy = if is_open { DropReason::InterfaceBusy } else { DropReason::PluginFailed };
        let consumed = *outcome.as_ref().unwrap_or(&0);
        queue.settle(consumed, busy, &mut self.drops, |slot| port.sent += weight_of(slot));
        if let Err(change) = outcome {
            self.handle_capture_change(index, change);
        }
    }

    fn flush_endpoint(&mut self, index: usize, port: PortNumber, now: Timestamp) {
        let queue = &mut self.outbox.queues[port];
        let endpoint = &mut self.endpoints[index];
        let is_open = endpoint.port.instance().is_some();
        let outcome = endpoint.port.send(queue.slots(), now);
        let busy = if is_open { DropReason::LinkBusy } else { DropReason::PluginFailed };
        let consumed = *outcome.as_ref().unwrap_or(&0);
        let links = &mut self.links;
        queue.settle(consumed, busy, &mut self.drops, |slot| {
            let weight = weight_of(slot);
            endpoint.port.sent += weight;
            let link = endpoint.link_of(slot.far);
            if let Some(entry) = link.and_then(|(_, position)| links.at(position)) {
                entry.sent += weight;
            }
        });
        if let Err(change) = outcome {
            self.handle_endpoint_change(index, change);
        }
    }
}
