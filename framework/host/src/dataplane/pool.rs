//! The slots: page-aligned memory that the worker owns and plugins fill.
#![allow(unsafe_code, reason = "slots are raw memory, so that plugins and the kernel can write into them")]

use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use vreserve_abi::{Offload, Pool, Slot};

use crate::plugin::PoolRegion;

/// Room for the largest super-frame, and every outer header before it.
pub const SLOT_SIZE: usize = 68 << 10;
/// Bytes kept free before a frame.
pub const HEADROOM: usize = 256;
/// Frames per batch: from 8 on a boundary crossing is not measurable (reference figures in
/// docs/decisions/001-plugin-abi.md).
pub const BATCH: usize = 64;
/// Slots for copies: floods, signals, frames out of a hold.
pub const SCRATCH: usize = 64;
/// Slots for what the host makes of frames while it sends them: segments of super-frames, answers to guests.
pub const CUT: usize = 32;
/// The first of them.
pub const FIRST_CUT: usize = BATCH + SCRATCH;
/// Slots that the instances of a worker own between calls, all together.
pub const LENT: usize = 256;
/// The first of them.
const FIRST_LENT: usize = FIRST_CUT + CUT;
/// Slots that a worker needs in its pool.
pub const POOL_SLOTS: usize = FIRST_LENT + LENT;

/// The most slots lent to one instance: as many frames as a batch takes.
const LENT_MOST: usize = BATCH;
/// Fewer slots than this are of no use to anybody.
const LENT_LEAST: usize = 8;

/// First and number of the slots lent to one of `instances`, each with an equal share.
pub fn lent_share(index: usize, instances: usize) -> (usize, usize) {
    let share = (LENT / instances.max(1)).min(LENT_MOST);
    let count = if share < LENT_LEAST { 0 } else { share };
    (FIRST_LENT + index * count, count)
}

/// A fixed number of slots. A slot is known by its number; its memory is reached through the pool only.
/// Mapped for the rest of the process: plugins may have registered it with the kernel.
pub struct SlotPool {
    base: NonNull<u8>,
    count: usize,
}

// SAFETY: the pool owns its memory; access goes through `&self`/`&mut self` of the one worker.
unsafe impl Send for SlotPool {}

impl SlotPool {
    /// Maps `count` slots. Memory is taken from the system as slots are first used.
    ///
    /// # Errors
    /// If the system has no memory to map.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let length = NonZeroUsize::new(count.max(1) * SLOT_SIZE).expect("at least one slot");
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let base = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
            )
        }?;
        Ok(SlotPool { base: base.cast(), count: count.max(1) })
    }

    /// The pool as plugins see it.
    pub fn region(&self) -> PoolRegion {
        // SAFETY: the memory is never unmapped; only the worker that owns the pool fills batches from it, one
        // at a time, and no slot stands twice in a batch.
        unsafe {
            PoolRegion::new(Pool {
                base: self.base.as_ptr(),
                slot_size: SLOT_SIZE,
                count: self.count,
                ..Pool::NONE
            })
        }
    }

    /// Slot number `index`, empty.
    ///
    /// # Panics
    /// If the pool has no such slot.
    pub fn slot(&self, index: usize) -> Slot {
        assert!(index < self.count, "slot {index} of {}", self.count);
        Slot {
            // SAFETY: the slot lies within the mapping.
            base: unsafe { self.base.as_ptr().add(index * SLOT_SIZE) },
            capacity: SLOT_SIZE as u32,
            offset: HEADROOM as u32,
            len: 0,
            far: 0,
            offload: Offload::default(),
            refusal: 0,
            buffer: u32::try_from(index).expect("pools are small"),
            limit: 0,
        }
    }

    /// The frame in a slot. Whatever a plugin wrote into the slot, the bytes are the pool's.
    pub fn frame(&self, slot: &Slot) -> &[u8] {
        let (start, len) = self.extent(slot);
        // SAFETY: `extent` stays within the slot's own memory, which outlives the borrow of the pool.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(start), len) }
    }

    /// Puts `frame` into slot number `index`, as far as it fits, and returns the slot.
    pub fn fill(&mut self, index: usize, frame: &[u8], offload: Offload) -> Slot {
        let len = frame.len().min(SLOT_SIZE - HEADROOM);
        let slot = self.write(index, |space| {
            space[..len].copy_from_slice(&frame[..len]);
            Some(len)
        });
        Slot { offload, ..slot.expect("the closure gives a length") }
    }

    /// Lets `write` put a frame into slot number `index` and say how long it is; none if it does not.
    pub fn write(&mut self, index: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Slot> {
        let mut slot = self.slot(index);
        slot.len = (SLOT_SIZE - HEADROOM) as u32;
        let (start, len) = self.extent(&slot);
        // SAFETY: as in `frame`; `&mut self` makes it the only borrow.
        let space = unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(start), len) };
        slot.len = write(space)?.min(len) as u32;
        Some(slot)
    }

    /// Copies the frame in `slot` into slot number `index`, which must be another one.
    pub fn copy(&mut self, slot: &Slot, index: usize) -> Slot {
        let (from, len) = self.extent(slot);
        let mut copy = self.slot(index);
        debug_assert_ne!(copy.buffer, slot.buffer, "a frame is copied into another slot");
        let len = len.min(SLOT_SIZE - HEADROOM);
        copy.len = len as u32;
        copy.offload = slot.offload;
        let (to, _) = self.extent(&copy);
        // SAFETY: both ranges lie within the mapping; `copy` allows overlap.
        unsafe { std::ptr::copy(self.base.as_ptr().add(from), self.base.as_ptr().add(to), len) };
        copy
    }

    /// The frame in a slot, to change it.
    pub fn frame_mut(&mut self, slot: &Slot) -> &mut [u8] {
        let (start, len) = self.extent(slot);
        // SAFETY: as in `frame`; `&mut self` makes it the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(start), len) }
    }

    /// Lets `write` spread the frame in `from` over the slots `into`, and returns what it returns and how many
    /// of them it filled.
    ///
    /// # Panics
    /// If `from` is one of them, or the pool has not that many.
    pub fn spread<R>(
        &mut self,
        from: &Slot,
        into: Range<usize>,
        write: impl FnOnce(&[u8], &mut Spaces<'_>) -> R,
    ) -> (R, usize) {
        let (start, len) = self.extent(from);
        let source = start / SLOT_SIZE;
        assert!(into.end <= self.count && !into.contains(&source), "slot {source} is spread over others");
        // SAFETY: `extent` stays within the slot's own memory, and none of the slots of `Spaces` is that one.
        let frame = unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(start), len) };
        let first = into.start;
        let mut spaces = Spaces { pool: self, left: into };
        let result = write(frame, &mut spaces);
        (result, spaces.left.start - first)
    }

    /// Start and length of a slot's frame within the mapping, clamped to the slot's own memory.
    fn extent(&self, slot: &Slot) -> (usize, usize) {
        let index = (slot.buffer as usize).min(self.count - 1);
        let offset = (slot.offset as usize).min(SLOT_SIZE);
        (index * SLOT_SIZE + offset, (slot.len as usize).min(SLOT_SIZE - offset))
    }
}

/// Slots to be filled one after the other.
pub struct Spaces<'a> {
    pool: &'a mut SlotPool,
    left: Range<usize>,
}

impl Spaces<'_> {
    /// As [`SlotPool::write`] with the next slot; none also if there is no further one.
    pub fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Slot> {
        let index = self.left.next()?;
        self.pool.write(index, write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_slot_is_lent_twice() {
        for instances in 1..100 {
            let shares = (0..instances).map(|index| lent_share(index, instances));
            let lent: Vec<_> = shares.flat_map(|(first, count)| first..first + count).collect();
            assert!(lent.iter().enumerate().all(|(index, slot)| *slot == FIRST_LENT + index));
            assert!(lent.len() <= LENT);
        }
    }

    #[test]
    fn frames_are_filled_copied_and_clamped() {
        let mut pool = SlotPool::new(2).unwrap();
        let slot = pool.fill(0, b"frame", Offload::default());
        assert_eq!(pool.frame(&slot), b"frame");
        let copy = pool.copy(&slot, 1);
        assert_eq!(pool.frame(&copy), b"frame");
        let (len, used) = pool.spread(&slot, 1..2, |frame, spaces| {
            let write = |space: &mut [u8]| {
                space[..frame.len()].copy_from_slice(frame);
                Some(frame.len())
            };
            let first = spaces.fill(write).map(|slot| (slot.buffer, slot.len));
            (first, spaces.fill(write).is_none())
        });
        assert_eq!((len, used), ((Some((1, 5)), true), 1));
        let hostile = Slot { offset: u32::MAX, len: u32::MAX, buffer: u32::MAX, ..slot };
        assert!(pool.frame(&hostile).is_empty());
    }
}
