//! Frames on their way in: each goes into a slot of the batch, or onto the end of the super-frame in the last
//! one if it continues it. Their order is never changed.

use vreserve_offload::merge::{ChecksumPolicy, Merge};
use vreserve_sdk::{Batch, Offload};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is in a slot.
    InSlot,
    /// There is no slot left; it is to be placed in the next batch.
    NoSlot,
    /// It is larger than a slot.
    TooLarge,
}

/// The slots of one `recv` as they fill.
pub(crate) struct Incoming {
    filled: usize,
    /// The super-frame in the making, which is in the last filled slot.
    open: Option<Merge>,
    far: u32,
    /// Wire frames placed.
    pub(crate) frames: u64,
    /// Bytes placed.
    pub(crate) bytes: usize,
    policy: ChecksumPolicy,
}

impl Incoming {
    pub(crate) fn new(policy: ChecksumPolicy) -> Self {
        Incoming { filled: 0, open: None, far: 0, frames: 0, bytes: 0, policy }
    }

    /// Whether there is a slot for a frame that continues nothing.
    pub(crate) fn has_slot(&self, batch: &Batch<'_>) -> bool {
        self.filled < batch.len()
    }

    /// Places a wire frame of a far node: joined to the one before, or in the next slot.
    pub(crate) fn place(&mut self, batch: &mut Batch<'_>, far: u32, frame: &[u8]) -> Placed {
        if self.join(batch, far, frame) { Placed::InSlot } else { self.begin(batch, far, frame) }
    }

    /// Places a wire frame that continues nothing in the next slot.
    pub(crate) fn begin(&mut self, batch: &mut Batch<'_>, far: u32, frame: &[u8]) -> Placed {
        let placed = self.place_alone(batch, far, frame, Offload::default());
        if placed == Placed::InSlot {
            self.open = Merge::start(frame, self.policy);
        }
        placed
    }

    /// Places a frame that is a super-frame already, or that nothing may be joined to.
    pub(crate) fn place_alone(
        &mut self,
        batch: &mut Batch<'_>,
        far: u32,
        frame: &[u8],
        offload: Offload,
    ) -> Placed {
        if self.filled == batch.len() {
            return Placed::NoSlot;
        }
        self.close(batch);
        let mut slot = batch.slot(self.filled);
        let Some(space) = slot.space().get_mut(..frame.len()) else { return Placed::TooLarge };
        space.copy_from_slice(frame);
        slot.set_len(frame.len());
        slot.set_far(far);
        slot.set_offload(offload);
        self.far = far;
        self.filled += 1;
        self.frames += 1;
        self.bytes += frame.len();
        Placed::InSlot
    }

    /// Ends the batch; returns how many slots are filled.
    pub(crate) fn finish(mut self, batch: &mut Batch<'_>) -> usize {
        self.close(batch);
        self.filled
    }

    /// Joins a frame to the super-frame in the making, if it continues it.
    pub(crate) fn join(&mut self, batch: &mut Batch<'_>, far: u32, frame: &[u8]) -> bool {
        let Some(merge) = self.open.as_mut().filter(|_| self.far == far) else { return false };
        let Some((header, payload)) = frame.split_at_checked(merge.header_len()) else { return false };
        let start = merge.header_len() + merge.payload_len();
        let mut slot = batch.slot(self.filled - 1);
        let Some(space) = slot.space().get_mut(start..start + payload.len()) else { return false };
        if merge.push(header, payload).is_err() {
            return false;
        }
        space.copy_from_slice(payload);
        self.bytes += payload.len();
        self.frames += 1;
        true
    }

    fn close(&mut self, batch: &mut Batch<'_>) {
        let Some(merge) = self.open.take() else { return };
        let mut slot = batch.slot(self.filled - 1);
        slot.set_len(merge.header_len() + merge.payload_len());
        let offload = merge.finish(slot.frame());
        slot.set_offload(offload.into());
    }
}
