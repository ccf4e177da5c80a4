//! The memory of slots, as a promise that instances may rely on.
#![allow(unsafe_code, reason = "declares the one unsafe constructor by which a pool's owner gives its word")]

use std::ptr;

use vreserve_abi::{Pool, Slot};

/// The memory that all slots of an instance come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRegion {
    base: usize,
    slot_size: usize,
    count: usize,
    /// First and number of the slots lent to one instance.
    lent: (usize, usize),
}

impl PoolRegion {
    /// The region of `pool`.
    ///
    /// # Safety
    /// The memory stays readable and writable for the rest of the process, only plugin calls and the pool's
    /// owner touch it, and the owner never puts overlapping slots into one batch nor one slot into two
    /// batches at a time.
    pub unsafe fn new(pool: Pool) -> Self {
        PoolRegion {
            base: pool.base.expose_provenance(),
            slot_size: pool.slot_size,
            count: pool.count,
            lent: (pool.lent_first, pool.lent_count),
        }
    }

    /// The region with `count` slots from `first` on lent to the one instance that gets it: nobody else may have
    /// them in a batch before that instance has put them there.
    ///
    /// # Panics
    /// If the pool has no such slots.
    #[must_use]
    pub fn lending(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.count, "{count} slots from {first} of {}", self.count);
        PoolRegion { lent: (first, count), ..self }
    }

    /// The region as plugins see it.
    pub(super) fn as_pool(&self) -> Pool {
        Pool {
            base: ptr::with_exposed_provenance_mut(self.base),
            slot_size: self.slot_size,
            count: self.count,
            lent_first: self.lent.0,
            lent_count: self.lent.1,
        }
    }

    /// Number of slots lent.
    pub(super) fn lent_count(&self) -> usize {
        self.lent.1
    }

    /// Which of the lent slots has this number in the pool.
    pub(super) fn lent_index(&self, buffer: u32) -> Option<usize> {
        let index = (buffer as usize).checked_sub(self.lent.0)?;
        (index < self.lent.1).then_some(index)
    }

    /// Memory and size of the slot with this number, which the pool must have.
    pub(super) fn memory_of(&self, buffer: u32) -> (*mut u8, u32) {
        let start = self.base + buffer as usize * self.slot_size;
        (ptr::with_exposed_provenance_mut(start), u32::try_from(self.slot_size).unwrap_or(u32::MAX))
    }

    /// True if the slot's memory lies in the region.
    pub(super) fn holds(&self, slot: &Slot) -> bool {
        let size = self.slot_size.saturating_mul(self.count);
        let start = slot.base.addr().checked_sub(self.base);
        start.and_then(|start| start.checked_add(slot.capacity as usize)).is_some_and(|end| end <= size)
    }
}
