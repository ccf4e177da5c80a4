//! A batch of frames in the host's slots, as safe references.

use std::slice::IterMut;

use vreserve_abi::{Offload, Slot};

use crate::shim::slot_bytes;

/// Why a frame in a batch could not be sent. The host counts it under a drop reason (PLUGINS.md, "Refusals").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Refusal {
    /// Larger than the way can carry.
    Oversized = 1,
    /// No room now.
    Busy = 2,
    /// The way is down.
    Down = 3,
    /// Not a frame that can be sent.
    Malformed = 4,
}

/// Slots for one call: empty ones to fill on `recv`, frames to take on `send`.
pub struct Batch<'a> {
    slots: &'a mut [Slot],
}

/// One slot: a frame with room around it.
pub struct FrameSlot<'a> {
    slot: &'a mut Slot,
}

impl<'a> Batch<'a> {
    /// Only the shims, which hold the host's promise about each slot's memory, may make one.
    pub(crate) fn new(slots: &'a mut [Slot]) -> Self {
        Batch { slots }
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True for the empty batch.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot at `index`.
    ///
    /// # Panics
    /// If `index` is not below `len`.
    pub fn slot(&mut self, index: usize) -> FrameSlot<'_> {
        FrameSlot { slot: &mut self.slots[index] }
    }

    /// The record of the slot at `index`, for those who put other memory there.
    pub(crate) fn raw(&mut self, index: usize) -> &mut Slot {
        &mut self.slots[index]
    }

    /// All slots in order.
    pub fn iter_mut(&mut self) -> FrameSlots<'_> {
        FrameSlots { slots: self.slots.iter_mut() }
    }
}

/// The slots of a batch in order.
pub struct FrameSlots<'a> {
    slots: IterMut<'a, Slot>,
}

impl<'a> Iterator for FrameSlots<'a> {
    type Item = FrameSlot<'a>;

    fn next(&mut self) -> Option<FrameSlot<'a>> {
        self.slots.next().map(|slot| FrameSlot { slot })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.slots.size_hint()
    }
}

impl ExactSizeIterator for FrameSlots<'_> {}

impl<'a> FrameSlot<'a> {
    /// The frame.
    pub fn frame(&mut self) -> &mut [u8] {
        let (start, len) = (self.slot.offset as usize, self.slot.len as usize);
        &mut slot_bytes(self.slot)[start..start + len]
    }

    /// The frame, for as long as the batch lives.
    pub fn into_frame(self) -> &'a mut [u8] {
        let (start, len) = (self.slot.offset as usize, self.slot.len as usize);
        &mut slot_bytes(self.slot)[start..start + len]
    }

    /// All room from the frame's first byte on: where `recv` writes a frame.
    pub fn space(&mut self) -> &mut [u8] {
        let start = self.slot.offset as usize;
        &mut slot_bytes(self.slot)[start..]
    }

    /// As `space`, for as long as the batch lives.
    pub fn into_space(self) -> &'a mut [u8] {
        let start = self.slot.offset as usize;
        &mut slot_bytes(self.slot)[start..]
    }

    /// Bytes free before the frame.
    pub fn headroom(&self) -> usize {
        self.slot.offset as usize
    }

    /// Bytes of the frame.
    pub fn len(&self) -> usize {
        self.slot.len as usize
    }

    /// True while there is no frame in the slot.
    pub fn is_empty(&self) -> bool {
        self.slot.len == 0
    }

    /// Says how long the frame is that was written into `space`; longer than the space counts as the space.
    pub fn set_len(&mut self, len: usize) {
        let room = self.slot.capacity - self.slot.offset;
        self.slot.len = u32::try_from(len).unwrap_or(u32::MAX).min(room);
    }

    /// Grows the frame by `len` bytes at its front, for an outer header; false if there is no such headroom.
    #[must_use]
    pub fn grow_front(&mut self, len: usize) -> bool {
        match u32::try_from(len).ok().and_then(|len| self.slot.offset.checked_sub(len).zip(Some(len))) {
            Some((offset, len)) => {
                self.slot.offset = offset;
                self.slot.len += len;
                true
            }
            None => false,
        }
    }

    /// Cuts `len` bytes off the frame's front, as after reading an outer header; false if it is shorter.
    #[must_use]
    pub fn cut_front(&mut self, len: usize) -> bool {
        match u32::try_from(len).ok().filter(|len| *len <= self.slot.len) {
            Some(len) => {
                self.slot.offset += len;
                self.slot.len -= len;
                true
            }
            None => false,
        }
    }

    /// The far node that the frame came from or goes to.
    pub fn far(&self) -> u32 {
        self.slot.far
    }

    /// Says which far node the frame came from.
    pub fn set_far(&mut self, far: u32) {
        self.slot.far = far;
    }

    /// The offload metadata.
    pub fn offload(&self) -> Offload {
        self.slot.offload
    }

    /// Sets the offload metadata.
    pub fn set_offload(&mut self, offload: Offload) {
        self.slot.offload = offload;
    }

    /// Says that the frame was not sent, and why. The batch goes on.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.slot.refusal = refusal as u32;
    }

    /// Refuses the frame as too large, and says how large a frame (for a super-frame, a segment) may be: the
    /// host tells the guest. 0 if that is not known.
    pub fn refuse_oversized(&mut self, limit: u32) {
        self.slot.limit = limit;
        self.refuse(Refusal::Oversized);
    }
}
