//! What a worker does with one frame: where it came from decides nothing but its ingress.

use vreserve_abi::Slot;
use vreserve_core::drops::DropReason;
use vreserve_core::forward::Verdict;
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId};
use vreserve_core::rules::Target;
use vreserve_core::signal::is_signal;
use vreserve_model::Timestamp;

use super::egress::weight_of;
use super::pool::{BATCH, SCRATCH};
use super::worker::Worker;

impl Worker {
    /// A frame from a far node: a signal for this node, or a frame like any other.
    pub(super) fn handle_datagram(&mut self, endpoint: usize, slot: Slot, now: Timestamp) {
        let weight = weight_of(&slot);
        let link = self.endpoints[endpoint].link_of(slot.far);
        let entry = link.and_then(|(link, position)| Some((link, self.links.at(position)?)));
        let Some((link, entry)) = entry else {
            return self.drops.count(DropReason::UnknownLink, weight.frames);
        };
        entry.received += weight;
        if is_signal(self.pool.frame(&slot)) {
            if entry.class == LinkClass::Static {
                return self.drops.count(DropReason::ReservedEtherType, weight.frames);
            }
            return self.handle_signal(link, slot, now);
        }
        self.handle_frame(Ingress::Link(link), slot, now);
    }

    /// Asks what happens to a frame, and does it.
    pub(super) fn handle_frame(&mut self, ingress: Ingress, slot: Slot, now: Timestamp) {
        let weight = weight_of(&slot);
        let verdict = self.forwarder.forward(ingress, self.pool.frame(&slot), weight, now);
        match verdict {
            Verdict::Deliver(interface) => self.queue_to_interface(interface, slot),
            Verdict::Send(link) => self.queue_to_link(link, slot),
            Verdict::Flood(fan_out) => {
                // A plugin may overwrite what it sends: every target but one gets a copy, and the frame itself
                // is queued last, when nothing more is copied from it.
                for index in (0..self.forwarder.targets(fan_out).len()).rev() {
                    let target = self.forwarder.targets(fan_out)[index];
                    let slot = if index == 0 { slot } else { self.copy(&slot, now) };
                    match target {
                        Target::Interface(interface) => self.queue_to_interface(interface, slot),
                        Target::Link(link) => self.queue_to_link(link, slot),
                    }
                }
            }
            Verdict::Hold(switch) => self.hold(switch, slot, now),
            Verdict::Drop(reason) => self.drops.count(reason, weight.frames),
        }
    }

    /// A copy in a scratch slot of a frame that is not queued yet.
    fn copy(&mut self, slot: &Slot, now: Timestamp) -> Slot {
        let index = self.take_scratch(now);
        self.pool.copy(slot, index)
    }

    /// A scratch slot; if none is free, the queues are sent first.
    pub(super) fn take_scratch(&mut self, now: Timestamp) -> usize {
        if self.scratch == SCRATCH {
            self.flush(now);
        }
        self.scratch += 1;
        BATCH + self.scratch - 1
    }

    fn queue_to_interface(&mut self, interface: InterfaceId, slot: Slot) {
        match self.interface_index.get(usize::from(interface.0)) {
            Some(Some(port)) => self.outbox.push(*port, slot),
            _ => self.drops.count(DropReason::NoTarget, weight_of(&slot).frames),
        }
    }

    pub(super) fn queue_to_link(&mut self, link: LinkId, slot: Slot) {
        match self.links.find_next(link) {
            Some(entry) => {
                self.outbox.push(self.captures.len() + entry.endpoint, Slot { far: entry.far, ..slot });
            }
            None => self.drops.count(DropReason::UnknownLink, weight_of(&slot).frames),
        }
    }
}
