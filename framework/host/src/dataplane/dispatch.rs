//! How frames leave: as they are by a port that takes offload, as wire frames by any other; and who takes
//! stock of what left, what was refused, and what a guest is told about it.

use vreserve_abi::Slot;
use vreserve_core::drops::{DropCounters, DropReason};
use vreserve_core::learn::GuestTable;
use vreserve_model::Timestamp;

use super::egress::{EgressQueue, reason_of, weight_of};
use super::links::LinkTable;
use super::pool::SlotPool;
use super::ports::{EndpointPort, Instance, Interface, Port, PortChange};
use super::software::{self, Cutter, Progress};
use super::too_big::TooBig;

/// A port that frames leave by, with all that counts them.
pub(super) trait Way {
    /// True if super-frames and partial checksums may be sent.
    fn takes_offload(&self) -> bool;
    /// The largest frame it takes, as far as it said.
    fn largest_frame(&self) -> u32;
    /// The reason for frames that it has no room for.
    fn busy(&mut self) -> DropReason;
    /// Hands it frames; see [`Port::send`].
    fn send(&mut self, frames: &mut [Slot], now: Timestamp) -> Result<usize, PortChange>;
    /// A frame has left.
    fn count(&mut self, frame: &Slot);
}

/// To the guests behind an interface.
pub(super) struct ToGuests<'a>(pub(super) &'a mut Port<dyn Interface>);

/// To the far nodes of an endpoint.
pub(super) struct ToNodes<'a>(pub(super) &'a mut EndpointPort, pub(super) &'a mut LinkTable);

impl Way for ToGuests<'_> {
    fn takes_offload(&self) -> bool {
        self.0.facts().offload
    }

    fn largest_frame(&self) -> u32 {
        self.0.facts().largest_frame
    }

    fn busy(&mut self) -> DropReason {
        busy(self.0, DropReason::InterfaceBusy)
    }

    fn send(&mut self, frames: &mut [Slot], now: Timestamp) -> Result<usize, PortChange> {
        self.0.send(frames, now)
    }

    fn count(&mut self, frame: &Slot) {
        self.0.sent += weight_of(frame);
    }
}

impl Way for ToNodes<'_> {
    fn takes_offload(&self) -> bool {
        self.0.port.facts().offload
    }

    fn largest_frame(&self) -> u32 {
        self.0.port.facts().largest_frame
    }

    fn busy(&mut self) -> DropReason {
        busy(&mut self.0.port, DropReason::LinkBusy)
    }

    fn send(&mut self, frames: &mut [Slot], now: Timestamp) -> Result<usize, PortChange> {
        self.0.port.send(frames, now)
    }

    fn count(&mut self, frame: &Slot) {
        let weight = weight_of(frame);
        self.0.port.sent += weight;
        let link = self.0.link_of(frame.far);
        if let Some(entry) = link.and_then(|(_, position)| self.1.at(position)) {
            entry.sent += weight;
        }
    }
}

fn busy<I: Instance + ?Sized>(port: &mut Port<I>, reason: DropReason) -> DropReason {
    if port.instance().is_some() { reason } else { DropReason::PluginFailed }
}

/// What a worker needs to send, whatever the port.
pub(super) struct Dispatch {
    cutter: Cutter,
    pub(super) too_big: TooBig,
}

/// What the frames of one call have in common.
pub(super) struct Stock<'a> {
    /// Where they lie.
    pub(super) pool: &'a mut SlotPool,
    /// Who is behind which interface.
    pub(super) guests: &'a GuestTable,
    /// Where those that do not leave are counted.
    pub(super) drops: &'a mut DropCounters,
}

impl Dispatch {
    pub(super) fn new() -> Self {
        Dispatch { cutter: Cutter::new(), too_big: TooBig::new() }
    }

    /// Sends a queue and empties it: what the way has no room for is dropped. Returns what became of the port
    /// if it failed.
    pub(super) fn flush(
        &mut self,
        queue: &mut EgressQueue,
        way: &mut impl Way,
        mut stock: Stock<'_>,
        now: Timestamp,
    ) -> Option<PortChange> {
        let busy = way.busy();
        let (done, change) = self.send(queue.slots(), way, &mut stock, now);
        queue.end(done, busy, stock.drops);
        change
    }

    /// Sends frames in order, as wire frames if the way takes no others. Returns how many of the first frames
    /// are done with (they left, in part at least, or were refused and counted), and what became of the port
    /// if it failed.
    pub(super) fn send(
        &mut self,
        frames: &mut [Slot],
        way: &mut impl Way,
        stock: &mut Stock<'_>,
        now: Timestamp,
    ) -> (usize, Option<PortChange>) {
        if !way.takes_offload() && software::is_needed(frames) {
            return self.send_cut(frames, way, stock, now);
        }
        let busy = way.busy();
        let (taken, change) = taken_of(way.send(frames, now), frames.len());
        settle(&frames[..taken], busy, way, &mut self.too_big, stock, now);
        (taken, change)
    }

    fn send_cut(
        &mut self,
        frames: &mut [Slot],
        way: &mut impl Way,
        stock: &mut Stock<'_>,
        now: Timestamp,
    ) -> (usize, Option<PortChange>) {
        let (busy, mut progress) = (way.busy(), Progress::default());
        while let Some(staged) = self.cutter.stage(stock.pool, frames, &mut progress, stock.drops) {
            let (taken, change) = taken_of(way.send(staged, now), staged.len());
            let is_all = taken == staged.len();
            settle(&staged[..taken], busy, way, &mut self.too_big, stock, now);
            if !is_all || change.is_some() {
                let done = self.cutter.cut_short(taken, busy, stock.drops);
                return (done, change);
            }
        }
        (frames.len(), None)
    }
}

/// A port that failed has taken nothing that is known of.
fn taken_of(outcome: Result<usize, PortChange>, passed: usize) -> (usize, Option<PortChange>) {
    match outcome {
        Ok(taken) => (taken.min(passed), None),
        Err(change) => (0, Some(change)),
    }
}

/// Takes stock of frames that a way consumed: each left, or was refused.
fn settle(
    taken: &[Slot],
    busy: DropReason,
    way: &mut impl Way,
    too_big: &mut TooBig,
    stock: &mut Stock<'_>,
    now: Timestamp,
) {
    for slot in taken {
        let Some(reason) = reason_of(slot.refusal, busy) else {
            way.count(slot);
            continue;
        };
        stock.drops.count(reason, weight_of(slot).frames);
        if reason == DropReason::Oversized {
            let limit = if slot.limit == 0 { way.largest_frame() } else { slot.limit };
            too_big.handle_refused(stock.pool.frame(slot), limit, stock.guests, now);
        }
    }
}

#[cfg(test)]
mod tests;
