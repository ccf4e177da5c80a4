//! Slots that an instance owns between calls: the kernel may fill them while nobody asks, and `recv` puts them
//! into the batch as they are.

use std::sync::{Mutex, PoisonError};
use std::{fmt, ptr};

use vreserve_abi::{Pool, Slot};

use crate::Batch;

/// The shares that are in use, by the address of their first slot: two owners of one slot would both write it.
static TAKEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The slots lent to one instance, numbered from 0, for as long as the instance is open.
///
/// Each is either the instance's, to be written by whoever it names (by [`memory`](Self::memory), say as a
/// provided buffer of io_uring), or in a batch and so the host's: from [`put`](Self::put) until the next `recv`,
/// which begins with [`take_back`](Self::take_back).
pub struct LentSlots {
    base: usize,
    slot_size: u32,
    first: u32,
    is_out: Vec<bool>,
    /// The slots that are out, in order.
    out: Vec<usize>,
    /// What stood in the batch before the last `put`.
    displaced: Option<Slot>,
}

impl LentSlots {
    /// None if the pool lends none, if its numbers are no sensible ones, or if the slots have an owner already.
    pub(crate) fn of(pool: &Pool) -> Option<Self> {
        let end = pool.lent_first.checked_add(pool.lent_count)?;
        let slot_size = u32::try_from(pool.slot_size).ok()?;
        let first = u32::try_from(pool.lent_first).ok()?;
        if pool.base.is_null() || pool.lent_count == 0 || end > pool.count {
            return None;
        }
        let base = pool.base.expose_provenance() + pool.lent_first * pool.slot_size;
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.contains(&base) {
            return None;
        }
        taken.push(base);
        Some(LentSlots {
            base,
            slot_size,
            first,
            is_out: vec![false; pool.lent_count],
            out: Vec::with_capacity(pool.lent_count),
            displaced: None,
        })
    }

    /// Number of slots, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "there is no such value without slots")]
    pub fn len(&self) -> usize {
        self.is_out.len()
    }

    /// Bytes of each slot.
    pub fn slot_size(&self) -> usize {
        self.slot_size as usize
    }

    /// The memory of a slot. To be written only while the slot is the instance's.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn memory(&self, index: usize) -> *mut u8 {
        assert!(index < self.len(), "lent slot {index} of {}", self.len());
        ptr::with_exposed_provenance_mut(self.base + index * self.slot_size())
    }

    /// Puts lent slot `index`, with a frame of `len` bytes at `offset`, in place of the batch's slot `at`. From now
    /// on it is the host's.
    ///
    /// # Panics
    /// If there is no such slot, if it is the host's, or if the frame does not lie in it: somebody else would
    /// write to a frame that the host holds.
    pub fn put(&mut self, batch: &mut Batch<'_>, at: usize, index: usize, offset: usize, len: usize) {
        let base = self.memory(index);
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= self.slot_size());
        assert!(is_inside, "a frame of {len} bytes at {offset}");
        assert!(!self.is_out[index], "lent slot {index} is the host's");
        let slot = batch.raw(at);
        self.displaced = Some(*slot);
        *slot = Slot {
            base,
            capacity: self.slot_size,
            offset: offset as u32,
            len: len as u32,
            buffer: self.first + index as u32,
            ..*slot
        };
        self.is_out[index] = true;
        self.out.push(index);
    }

    /// Undoes the last `put`, which was at `at`, as when the frame turns out to be none; returns the slot's
    /// number.
    ///
    /// # Panics
    /// If there was none.
    pub fn withdraw(&mut self, batch: &mut Batch<'_>, at: usize) -> usize {
        let slot = batch.raw(at);
        let index = self.out.pop().expect("`withdraw` follows `put`");
        assert_eq!(slot.buffer, self.first + index as u32, "the last `put` was elsewhere");
        *slot = self.displaced.take().expect("`withdraw` follows `put`");
        self.is_out[index] = false;
        index
    }

    /// The first thing in `recv`: gives each slot that was the host's since the `recv` before to `back`.
    ///
    /// # Panics
    /// If a lent slot stands in the batch already.
    pub fn take_back(&mut self, batch: &mut Batch<'_>, mut back: impl FnMut(usize)) {
        if self.out.is_empty() {
            return;
        }
        let lent = self.first..self.first + self.len() as u32;
        let is_in_use = (0..batch.len()).any(|at| lent.contains(&batch.raw(at).buffer));
        assert!(!is_in_use, "the batch's frames are the host's until the next `recv`");
        for index in self.out.drain(..) {
            self.is_out[index] = false;
            back(index);
        }
    }
}

impl Drop for LentSlots {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|base| *base != self.base);
    }
}

impl fmt::Debug for LentSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lent slots from number {}, {} of them the host's",
            self.len(),
            self.first,
            self.out.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT_SIZE: usize = 128;

    fn pool(memory: &mut Vec<u8>) -> Pool {
        memory.resize(4 * SLOT_SIZE, 0);
        Pool { base: memory.as_mut_ptr(), slot_size: SLOT_SIZE, count: 4, lent_first: 2, lent_count: 2 }
    }

    fn batch_slot(pool: &Pool) -> Slot {
        Slot {
            base: pool.base,
            capacity: SLOT_SIZE as u32,
            offset: 16,
            len: 0,
            far: 0,
            offload: crate::Offload::default(),
            refusal: 0,
            buffer: 0,
            limit: 0,
        }
    }

    #[test]
    fn a_slot_goes_out_once_and_comes_back_with_the_next_call() {
        let mut memory = Vec::new();
        let pool = pool(&mut memory);
        let mut lent = LentSlots::of(&pool).unwrap();
        assert!(LentSlots::of(&pool).is_none(), "they have an owner");
        let mut slots = [batch_slot(&pool)];
        let mut batch = Batch::new(&mut slots);
        lent.put(&mut batch, 0, 1, 20, 60);
        assert_eq!(batch.slot(0).frame().len(), 60);
        assert_eq!(lent.withdraw(&mut batch, 0), 1);
        assert!(batch.slot(0).is_empty());
        lent.put(&mut batch, 0, 1, 20, 60);
        assert_eq!((slots[0].buffer, slots[0].base), (3, lent.memory(1)));
        let (mut next, mut back) = ([batch_slot(&pool)], Vec::new());
        lent.take_back(&mut Batch::new(&mut next), |index| back.push(index));
        assert_eq!(back, [1]);
        drop(lent);
        assert!(LentSlots::of(&pool).is_some());
    }

    #[test]
    #[should_panic(expected = "is the host's")]
    fn a_slot_cannot_stand_twice_in_a_batch() {
        let mut memory = Vec::new();
        let pool = pool(&mut memory);
        let mut lent = LentSlots::of(&pool).unwrap();
        let mut slots = [batch_slot(&pool); 2];
        let mut batch = Batch::new(&mut slots);
        lent.put(&mut batch, 0, 0, 0, 1);
        lent.put(&mut batch, 1, 0, 0, 1);
    }

    #[test]
    #[should_panic(expected = "until the next `recv`")]
    fn a_batchs_own_slots_cannot_be_taken_back() {
        let mut memory = Vec::new();
        let pool = pool(&mut memory);
        let mut lent = LentSlots::of(&pool).unwrap();
        let mut slots = [batch_slot(&pool)];
        let mut batch = Batch::new(&mut slots);
        lent.put(&mut batch, 0, 0, 0, 1);
        lent.take_back(&mut batch, |_| ());
    }
}
