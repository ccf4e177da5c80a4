//! Batches on their way across the boundary and back: what the host owns is restored, what the plugin
//! says is clamped.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use vreserve_abi::{Batch, STATUS_OK, STATUS_PANICKED, Slot};

use super::{InstanceError, PoolRegion};

/// The most slots that one call passes to a plugin; the rest of a longer batch is left for the next call.
pub const MAX_BATCH: usize = 256;

/// The highest reason for which a plugin may refuse a frame: malformed.
const LAST_REFUSAL: u32 = 4;

/// Guards one instance's batches. Keeps the host's own copy of every slot during a call; nothing is
/// allocated per batch.
pub(super) struct SlotGuard {
    pool: Option<PoolRegion>,
    saved: Vec<Slot>,
    lent: LentGuard,
    violations: &'static AtomicU64,
}

/// Which lent slots a `recv` has put into its batch.
struct LentGuard {
    /// For each lent slot the last call that put it there.
    seen: Vec<u64>,
    call: u64,
}

impl SlotGuard {
    pub(super) fn new(pool: Option<PoolRegion>, violations: &'static AtomicU64) -> Self {
        let lent = LentGuard { seen: vec![0; pool.map_or(0, |pool| pool.lent_count())], call: 0 };
        SlotGuard { pool, saved: Vec::with_capacity(MAX_BATCH), lent, violations }
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations.load(Ordering::Relaxed)
    }

    pub(super) fn violation(&self) {
        self.violations.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs a `recv` on as many of `slots` as one call takes; returns how many hold frames.
    pub(super) fn recv(
        &mut self,
        slots: &mut [Slot],
        call: impl FnOnce(&mut [Slot]) -> Batch,
    ) -> Result<usize, InstanceError> {
        self.exchange(slots, call, restore_received)
    }

    /// Runs a `send` on as many of `slots` as one call takes; returns how many were consumed.
    pub(super) fn send(
        &mut self,
        slots: &mut [Slot],
        call: impl FnOnce(&mut [Slot]) -> Batch,
    ) -> Result<usize, InstanceError> {
        self.exchange(slots, call, restore_sent)
    }

    fn exchange(
        &mut self,
        slots: &mut [Slot],
        call: impl FnOnce(&mut [Slot]) -> Batch,
        restore: fn(&mut LentGuard, &PoolRegion, &mut Slot, &Slot) -> bool,
    ) -> Result<usize, InstanceError> {
        let passed = slots.len().min(MAX_BATCH);
        let slots = &mut slots[..passed];
        let Some(pool) = self.pool.filter(|pool| slots.iter().all(|slot| pool.holds(slot))) else {
            let message = "a slot lies outside the pool that the instance was opened with";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message).into());
        };
        self.saved.clear();
        self.saved.extend_from_slice(slots);
        self.lent.call += 1;
        let batch = call(slots);
        let taken = self.taken(&batch, passed);
        let mut violations = 0;
        for (index, (slot, saved)) in slots.iter_mut().zip(&self.saved).enumerate() {
            let is_sound = if index < taken {
                restore(&mut self.lent, &pool, slot, saved)
            } else {
                let is_kept = is_same_memory(slot, saved);
                *slot = *saved;
                is_kept
            };
            violations += u64::from(!is_sound);
        }
        self.count(violations);
        self.verdict(&batch, taken)
    }

    /// How many slots the plugin may claim to have used.
    fn taken(&self, batch: &Batch, passed: usize) -> usize {
        let claimed = if batch.status == STATUS_OK { batch.n as usize } else { 0 };
        self.count(u64::from(claimed > passed));
        claimed.min(passed)
    }

    fn verdict(&self, batch: &Batch, taken: usize) -> Result<usize, InstanceError> {
        match batch.status {
            STATUS_OK => Ok(taken),
            STATUS_PANICKED => Err(InstanceError::Panicked),
            errno if errno > 0 => Err(io::Error::from_raw_os_error(errno).into()),
            status => {
                self.violation();
                Err(io::Error::other(format!("the plugin answered with unknown status {status}")).into())
            }
        }
    }

    fn count(&self, violations: u64) {
        if violations != 0 {
            self.violations.fetch_add(violations, Ordering::Relaxed);
        }
    }
}

impl LentGuard {
    /// The memory of a lent slot that the plugin put into its batch: each at most once per call.
    fn place(&mut self, pool: &PoolRegion, slot: &Slot) -> Option<(*mut u8, u32)> {
        let seen = self.seen.get_mut(pool.lent_index(slot.buffer)?)?;
        let is_first = *seen != self.call;
        *seen = self.call;
        is_first.then(|| pool.memory_of(slot.buffer))
    }
}

fn is_same_memory(slot: &Slot, saved: &Slot) -> bool {
    (slot.base, slot.capacity, slot.buffer) == (saved.base, saved.capacity, saved.buffer)
}

/// Keeps what a plugin may say of a frame it received, in its slot or in one lent to it; false if it said more, or
/// if the frame would not lie in its slot.
fn restore_received(lent: &mut LentGuard, pool: &PoolRegion, slot: &mut Slot, saved: &Slot) -> bool {
    let claimed = *slot;
    let placed = if claimed.buffer == saved.buffer { None } else { lent.place(pool, &claimed) };
    (slot.base, slot.capacity) = placed.unwrap_or((saved.base, saved.capacity));
    slot.buffer = if placed.is_some() { claimed.buffer } else { saved.buffer };
    (slot.limit, slot.refusal) = (saved.limit, saved.refusal);
    slot.offset = claimed.offset.min(slot.capacity);
    slot.len = claimed.len.min(slot.capacity - slot.offset);
    is_same_memory(slot, &claimed) && (slot.offset, slot.len) == (claimed.offset, claimed.len)
}

/// Keeps the refusal and its limit only; false if there is no such refusal, or if the memory was swapped.
fn restore_sent(_: &mut LentGuard, _: &PoolRegion, slot: &mut Slot, saved: &Slot) -> bool {
    let claimed = *slot;
    *slot = Slot { refusal: claimed.refusal.min(LAST_REFUSAL), limit: claimed.limit, ..*saved };
    is_same_memory(&claimed, saved) && claimed.refusal <= LAST_REFUSAL
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use vreserve_abi::{Offload, Pool};

    use super::*;

    const CAPACITY: u32 = 128;

    /// A pool whose memory nobody touches: the calls below only look at slots.
    #[allow(unsafe_code, reason = "no memory of the pool is ever touched")]
    fn guard(violations: &'static AtomicU64) -> SlotGuard {
        let pool = Pool {
            base: ptr::without_provenance_mut(4096),
            slot_size: CAPACITY as usize,
            count: 512,
            lent_first: 500,
            lent_count: 4,
        };
        // SAFETY: nothing reads or writes through the slots of this test.
        SlotGuard::new(Some(unsafe { PoolRegion::new(pool) }), violations)
    }

    fn fresh() -> &'static AtomicU64 {
        Box::leak(Box::new(AtomicU64::new(0)))
    }

    fn slot(buffer: u32) -> Slot {
        Slot {
            base: ptr::without_provenance_mut(4096 + (buffer * CAPACITY) as usize),
            capacity: CAPACITY,
            offset: 32,
            len: 0,
            far: 0,
            offload: Offload::default(),
            refusal: 0,
            buffer,
            limit: 0,
        }
    }

    #[test]
    fn an_honest_batch_comes_back_as_the_plugin_filled_it() {
        let mut guard = guard(fresh());
        let mut slots = [slot(0), slot(1)];
        let received = guard.recv(&mut slots, |slots| {
            (slots[0].len, slots[0].offset, slots[0].far) = (60, 40, 7);
            Batch { n: 1, status: STATUS_OK }
        });
        assert_eq!(received.unwrap(), 1);
        assert_eq!((slots[0].len, slots[0].offset, slots[0].far), (60, 40, 7));
        assert_eq!(guard.violations(), 0);
    }

    #[test]
    fn lies_about_lengths_and_counts_are_clamped_and_counted() {
        let mut guard = guard(fresh());
        let mut slots = [slot(0), slot(1)];
        let received = guard.recv(&mut slots, |slots| {
            (slots[0].offset, slots[0].len) = (100, u32::MAX);
            (slots[1].offset, slots[1].len) = (u32::MAX, 1);
            Batch { n: 9, status: STATUS_OK }
        });
        assert_eq!(received.unwrap(), 2);
        assert_eq!((slots[0].offset, slots[0].len), (100, 28));
        assert_eq!((slots[1].offset, slots[1].len), (CAPACITY, 0));
        assert_eq!(guard.violations(), 3, "two slots and the count");
    }

    #[test]
    fn a_slots_memory_cannot_be_swapped_by_the_plugin() {
        let mut guard = guard(fresh());
        let mut slots = [slot(0), slot(1), slot(2)];
        let received = guard.recv(&mut slots, |slots| {
            slots.swap(0, 1);
            slots[2].capacity = u32::MAX;
            Batch { n: 2, status: STATUS_OK }
        });
        assert_eq!(received.unwrap(), 2);
        for (index, slot) in slots.iter().enumerate() {
            assert_eq!((slot.buffer, slot.capacity), (index as u32, CAPACITY));
        }
        assert_eq!(guard.violations(), 3);
    }

    #[test]
    fn lent_slots_may_stand_in_a_batch_with_their_own_memory() {
        let mut guard = guard(fresh());
        for _ in 0..2 {
            let mut slots = [slot(0), slot(1), slot(2)];
            let received = guard.recv(&mut slots, |slots| {
                slots[0] = Slot { len: 60, ..slot(503) };
                slots[1].len = 61;
                slots[2] = Slot { len: 62, offset: 8, ..slot(500) };
                Batch { n: 3, status: STATUS_OK }
            });
            assert_eq!(received.unwrap(), 3);
            assert_eq!(slots.map(|slot| (slot.buffer, slot.len)), [(503, 60), (1, 61), (500, 62)]);
            assert_eq!((slots[0].base, slots[2].offset), (slot(503).base, 8));
        }
        assert_eq!(guard.violations(), 0);
    }

    #[test]
    fn no_slot_stands_twice_in_a_batch_and_none_of_somebody_else() {
        let mut guard = guard(fresh());
        let mut slots = [slot(0), slot(1), slot(2), slot(3), slot(4)];
        let received = guard.recv(&mut slots, |slots| {
            slots[0] = slot(501);
            slots[1] = slot(501);
            slots[2] = slot(504);
            slots[3] = Slot { base: slot(5).base, capacity: u32::MAX, ..slot(502) };
            slots[4] = slot(503);
            Batch { n: 4, status: STATUS_OK }
        });
        assert_eq!(received.unwrap(), 4);
        assert_eq!(slots.map(|slot| slot.buffer), [501, 1, 2, 502, 4]);
        assert_eq!((slots[3].base, slots[3].capacity), (slot(502).base, CAPACITY));
        assert_eq!(guard.violations(), 4, "twice, a stranger's, its memory, beyond the count");
    }

    #[test]
    fn what_was_not_sent_comes_back_untouched_and_refusals_stay_in_range() {
        let mut guard = guard(fresh());
        let mut slots = [Slot { len: 60, ..slot(0) }, Slot { len: 60, ..slot(1) }];
        let sent = guard.send(&mut slots, |slots| {
            (slots[0].offset, slots[0].len, slots[0].refusal) = (0, 92, 77);
            (slots[1].offset, slots[1].len) = (0, 92);
            Batch { n: 1, status: STATUS_OK }
        });
        assert_eq!(sent.unwrap(), 1);
        assert_eq!((slots[0].offset, slots[0].len, slots[0].refusal), (32, 60, LAST_REFUSAL));
        assert_eq!((slots[1].offset, slots[1].len), (32, 60));
        assert_eq!(guard.violations(), 1);
    }

    #[test]
    fn statuses_become_errors_and_slots_are_put_back() {
        let mut guard = guard(fresh());
        let mut slots = [slot(0)];
        let mut answer = |status| {
            guard.recv(&mut slots, |slots| {
                slots[0].len = 60;
                Batch { n: 1, status }
            })
        };
        assert!(matches!(answer(STATUS_PANICKED), Err(InstanceError::Panicked)));
        let Err(InstanceError::Io(down)) = answer(100) else { panic!("ENETDOWN is an error") };
        assert_eq!(down.raw_os_error(), Some(100));
        assert!(matches!(answer(-77), Err(InstanceError::Io(_))));
        assert_eq!((slots[0].len, guard.violations()), (0, 1));
    }

    #[test]
    fn slots_of_another_pool_never_reach_the_plugin() {
        let mut guard = guard(fresh());
        let stray = Slot { base: ptr::without_provenance_mut(64), ..slot(0) };
        let too_long = Slot { capacity: u32::MAX, ..slot(0) };
        for slot in [stray, too_long] {
            let answer = guard.recv(&mut [slot], |_| unreachable!("the plugin is not called"));
            assert!(matches!(answer, Err(InstanceError::Io(_))));
        }
    }

    #[test]
    fn a_longer_batch_is_cut() {
        let mut guard = guard(fresh());
        let mut slots: Vec<_> = (0..MAX_BATCH as u32 + 1).map(slot).collect();
        let sent = guard.send(&mut slots, |slots| Batch { n: slots.len() as u32, status: STATUS_OK });
        assert_eq!(sent.unwrap(), MAX_BATCH);
    }
}
