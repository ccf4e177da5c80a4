//! Queues of frames on their way out, one per capture instance and endpoint, sent as batches.

use vreserve_abi::Slot;
use vreserve_core::counters::Weight;
use vreserve_core::drops::{DropCounters, DropReason};

/// What a frame weighs in counters: a super-frame counts its segments.
pub fn weight_of(slot: &Slot) -> Weight {
    let bytes = u64::from(slot.len);
    let offload = &slot.offload;
    if offload.kind == 0 || offload.segment_size == 0 {
        return Weight::frame(bytes);
    }
    let payload = bytes.saturating_sub(u64::from(offload.header_len));
    Weight { bytes, frames: payload.div_ceil(u64::from(offload.segment_size)).max(1) }
}

/// Frames that wait for one port. Room for a whole batch is reserved once; no allocation per frame.
pub struct EgressQueue {
    slots: Vec<Slot>,
}

impl EgressQueue {
    /// A queue for batches of `batch` frames.
    pub fn new(batch: usize) -> Self {
        EgressQueue { slots: Vec::with_capacity(batch) }
    }

    /// Queues a frame.
    pub fn push(&mut self, slot: Slot) {
        self.slots.push(Slot { refusal: 0, ..slot });
    }

    /// True while nothing waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The waiting frames, for one `send` call.
    pub fn slots(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Takes stock after `send` consumed the first `consumed` frames: calls `sent` for each frame that left,
    /// counts the others, and empties the queue. `busy` is the reason for frames that were not consumed.
    pub fn settle(
        &mut self,
        consumed: usize,
        busy: DropReason,
        drops: &mut DropCounters,
        sent: impl FnMut(&Slot),
    ) {
        let (taken, left) = self.slots.split_at(consumed.min(self.slots.len()));
        settle_taken(taken, busy, drops, sent);
        left.iter().for_each(|slot| drops.count(busy, weight_of(slot).frames));
        self.slots.clear();
    }
}

/// Takes stock of frames that a `send` consumed: calls `sent` for each that left, counts those refused.
pub fn settle_taken(taken: &[Slot], busy: DropReason, drops: &mut DropCounters, mut sent: impl FnMut(&Slot)) {
    for slot in taken {
        match reason_of(slot.refusal, busy) {
            None => sent(slot),
            Some(reason) => drops.count(reason, weight_of(slot).frames),
        }
    }
}

/// The drop reason for a plugin's refusal; none if the frame was taken.
fn reason_of(refusal: u32, busy: DropReason) -> Option<DropReason> {
    match refusal {
        0 => None,
        1 => Some(DropReason::Oversized),
        2 => Some(busy),
        3 => Some(DropReason::LinkDown),
        _ => Some(DropReason::Malformed),
    }
}
