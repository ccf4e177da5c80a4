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
        self.slots.push(Slot { refusal: 0, limit: 0, ..slot });
    }

    /// True while nothing waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The waiting frames, for one `send` call.
    pub fn slots(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Empties the queue after its first `done` frames are done with; the others are dropped as `busy`.
    pub fn end(&mut self, done: usize, busy: DropReason, drops: &mut DropCounters) {
        let left = self.slots.get(done..).unwrap_or_default();
        left.iter().for_each(|slot| drops.count(busy, weight_of(slot).frames));
        self.slots.clear();
    }
}

/// The drop reason for a plugin's refusal; none if the frame was taken.
pub(super) fn reason_of(refusal: u32, busy: DropReason) -> Option<DropReason> {
    match refusal {
        0 => None,
        1 => Some(DropReason::Oversized),
        2 => Some(busy),
        3 => Some(DropReason::LinkDown),
        _ => Some(DropReason::Malformed),
    }
}
