//! Slots with guards between them: a write past a slot is seen.
#![allow(unsafe_code, reason = "plugins write to this memory by address")]

use std::ptr;

use vreserve_abi::{Offload, Pool, Slot};

/// The most slots that the host passes to one call.
pub(super) const MAX_BATCH: usize = 256;
/// Bytes of a slot, as the host has them.
const SLOT: usize = 69_632;
/// Bytes before a frame for outer headers, as the host has them.
pub(super) const HEADROOM: usize = 256;
/// Slots lent to the instance.
const LENT: usize = 8;
const PAGE: usize = 4096;
/// Bytes looked at on each side of a guard.
const EDGE: usize = 512;
const PATTERN: u8 = 0xa5;

/// A pool in which every other slot is a guard that nobody may touch:
///
/// ```text
///  guard | slot | guard | slot | … | guard | lent | … | lent | guard
/// ```
pub(super) struct GuardedPool {
    /// Never looked at as a slice again: instances may write to it at any time.
    _memory: Vec<u8>,
    base: *mut u8,
}

// SAFETY: the memory is touched through `&mut self` and by the instance, which is with it.
unsafe impl Send for GuardedPool {}

/// The number in the pool of the batch's slot at `index`.
const fn buffer_of(index: usize) -> usize {
    2 * index + 1
}

const FIRST_LENT: usize = 2 * MAX_BATCH + 1;
const SLOTS: usize = FIRST_LENT + LENT + 1;

impl GuardedPool {
    pub(super) fn new() -> Self {
        let mut memory = vec![0; SLOTS * SLOT + PAGE];
        let base = memory.as_mut_ptr();
        // SAFETY: there is a page more than the slots take.
        let base = unsafe { base.add(base.align_offset(PAGE)) };
        // Instances that register the pool get the address as a number.
        base.expose_provenance();
        let pool = GuardedPool { _memory: memory, base };
        for guard in Self::guards() {
            for edge in Self::edges(guard) {
                // SAFETY: the edge lies in the pool, and no instance has been told of it yet.
                unsafe { ptr::write_bytes(pool.base.add(edge), PATTERN, EDGE) };
            }
        }
        pool
    }

    /// What an instance is told.
    pub(super) fn as_pool(&self) -> Pool {
        Pool { base: self.base, slot_size: SLOT, count: SLOTS, lent_first: FIRST_LENT, lent_count: LENT }
    }

    /// An empty slot for a batch's place `index`.
    pub(super) fn slot(&self, index: usize) -> Slot {
        let buffer = buffer_of(index);
        Slot {
            base: self.base.wrapping_add(buffer * SLOT),
            capacity: SLOT as u32,
            offset: HEADROOM as u32,
            len: 0,
            far: u32::MAX,
            offload: Offload::default(),
            refusal: 0,
            buffer: buffer as u32,
            limit: 0,
        }
    }

    /// Whether the instance may have put this slot in place of another: one lent to it, as it is.
    pub(super) fn is_lent(&self, slot: &Slot) -> bool {
        let buffer = slot.buffer as usize;
        (FIRST_LENT..FIRST_LENT + LENT).contains(&buffer)
            && slot.base == self.base.wrapping_add(buffer * SLOT)
            && slot.capacity as usize == SLOT
    }

    /// The slot with its frame cut to what lies in the slot, as the host does it.
    pub(super) fn bytes(&self, slot: &Slot) -> Vec<u8> {
        let start = (slot.offset as usize).min(SLOT);
        let len = (slot.len as usize).min(SLOT - start);
        let mut bytes = vec![0; len];
        let buffer = (slot.buffer as usize).min(SLOTS - 1);
        // SAFETY: those bytes lie in the pool, and no call is under way.
        unsafe { ptr::copy_nonoverlapping(self.base.add(buffer * SLOT + start), bytes.as_mut_ptr(), len) };
        bytes
    }

    /// Writes a frame where a slot's frame begins.
    pub(super) fn write(&mut self, slot: &mut Slot, frame: &[u8]) {
        assert!(HEADROOM + frame.len() <= SLOT, "no frame is as long as a slot");
        slot.len = frame.len() as u32;
        let at = slot.buffer as usize * SLOT + HEADROOM;
        // SAFETY: as in `bytes`.
        unsafe { ptr::copy_nonoverlapping(frame.as_ptr(), self.base.add(at), frame.len()) };
    }

    /// Says which guard has been written to, and makes it whole again.
    pub(super) fn inspect(&mut self) -> Option<String> {
        let mut found = None;
        for guard in Self::guards() {
            for (side, edge) in ["after", "before"].into_iter().zip(Self::edges(guard)) {
                let mut bytes = [0; EDGE];
                // SAFETY: as in `bytes`.
                unsafe { ptr::copy_nonoverlapping(self.base.add(edge), bytes.as_mut_ptr(), EDGE) };
                if bytes.iter().any(|byte| *byte != PATTERN) {
                    // SAFETY: as in `bytes`.
                    unsafe { ptr::write_bytes(self.base.add(edge), PATTERN, EDGE) };
                    let number = if side == "after" { guard.saturating_sub(1) } else { guard + 1 };
                    found.get_or_insert(format!("it wrote {side} slot number {number} of the pool"));
                }
            }
        }
        found
    }

    fn guards() -> impl Iterator<Item = usize> {
        (0..=MAX_BATCH).map(|index| 2 * index).chain([SLOTS - 1])
    }

    /// Where a guard's two edges begin.
    fn edges(guard: usize) -> [usize; 2] {
        [guard * SLOT, (guard + 1) * SLOT - EDGE]
    }
}
