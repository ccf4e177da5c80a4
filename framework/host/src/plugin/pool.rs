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
}

impl PoolRegion {
    /// The region of `pool`.
    ///
    /// # Safety
    /// The memory stays readable and writable for the rest of the process, only plugin calls and the pool's
    /// owner touch it, and the owner never puts overlapping slots into one batch nor one slot into two
    /// batches at a time.
    pub unsafe fn new(pool: Pool) -> Self {
        PoolRegion { base: pool.base.expose_provenance(), slot_size: pool.slot_size, count: pool.count }
    }

    /// The region as plugins see it.
    pub(super) fn as_pool(&self) -> Pool {
        Pool {
            base: ptr::with_exposed_provenance_mut(self.base),
            slot_size: self.slot_size,
            count: self.count,
            ..Pool::NONE
        }
    }

    /// True if the slot's memory lies in the region.
    pub(super) fn holds(&self, slot: &Slot) -> bool {
        let size = self.slot_size.saturating_mul(self.count);
        let start = slot.base.addr().checked_sub(self.base);
        start.and_then(|start| start.checked_add(slot.capacity as usize)).is_some_and(|end| end <= size)
    }
}
