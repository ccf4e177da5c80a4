//! The slot table of one direction of one link: who has how much of it when. Pure.
//!
//! A slot is taken if the worst instant of its window has room for it. The worst instant, not the sum of all that
//! overlap: two slots that never run at the same time do not add up.

use std::collections::BTreeMap;

/// Bandwidth from `start` up to, not including, `end`; times in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// First instant.
    pub start: u64,
    /// First instant after; `u64::MAX` for one without an end.
    pub end: u64,
    /// Bandwidth in kbit/s.
    pub kbps: u64,
}

/// The window has no room for the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// What is free at its worst instant, in kbit/s.
    pub free: u64,
}

/// One direction of a link.
#[derive(Debug, Clone)]
pub struct SlotTable {
    capacity: u64,
    slots: BTreeMap<u64, Slot>,
}

impl Slot {
    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

impl SlotTable {
    /// An empty table; `capacity` in kbit/s.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, slots: BTreeMap::new() }
    }

    /// Whether the slot has room, the present one of reservation `id` aside.
    pub fn check(&self, id: u64, slot: Slot) -> Result<(), Full> {
        let free = self.capacity.saturating_sub(self.worst(id, slot));
        if slot.kbps <= free { Ok(()) } else { Err(Full { free }) }
    }

    /// Enters the slot of reservation `id`, in place of its present one. The caller has checked it; what was on
    /// the books before a change of capacity stays there.
    pub fn enter(&mut self, id: u64, slot: Slot) {
        self.slots.insert(id, slot);
    }

    /// Frees the slot of reservation `id`.
    pub fn release(&mut self, id: u64) {
        self.slots.remove(&id);
    }

    /// The most that others have at any instant of the slot's window. Bandwidth only rises where a slot starts,
    /// so it is enough to look at the window's start and at the starts inside it.
    fn worst(&self, id: u64, window: Slot) -> u64 {
        let others = self.slots.iter().filter(|(other, slot)| **other != id && slot.overlaps(&window));
        let mut steps: Vec<(u64, bool, u64)> = others
            .flat_map(|(_, slot)| {
                [(slot.start.max(window.start), true, slot.kbps), (slot.end, false, slot.kbps)]
            })
            .collect();
        // At one instant ends come before starts: adjacent slots do not overlap.
        steps.sort_unstable();
        let (mut used, mut worst) = (0_u64, 0);
        for (_, is_start, kbps) in steps {
            used = if is_start { used.saturating_add(kbps) } else { used.saturating_sub(kbps) };
            worst = worst.max(used);
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPACITY: u64 = 10;
    const HORIZON: u64 = 20;

    fn slots() -> impl Strategy<Value = Slot> {
        (0..HORIZON, 1..8_u64, 1..=CAPACITY + 1).prop_map(|(start, length, kbps)| Slot {
            start,
            end: start + length,
            kbps,
        })
    }

    /// The same question asked of every instant.
    fn free_by_force(taken: &BTreeMap<u64, Slot>, id: u64, window: Slot) -> u64 {
        let used_at = |instant: u64| -> u64 {
            let running = taken
                .iter()
                .filter(|(other, slot)| **other != id && (slot.start..slot.end).contains(&instant));
            running.map(|(_, slot)| slot.kbps).sum()
        };
        (window.start..window.end).map(used_at).max().map_or(CAPACITY, |used| CAPACITY.saturating_sub(used))
    }

    proptest! {
        #[test]
        fn it_admits_what_every_instant_has_room_for_and_never_overbooks(
            steps in prop::collection::vec((0..12_u64, prop::option::weighted(0.8, slots())), 1..60)
        ) {
            let mut table = SlotTable::new(CAPACITY);
            let mut taken = BTreeMap::new();
            for (id, step) in steps {
                let Some(slot) = step else {
                    table.release(id);
                    taken.remove(&id);
                    continue;
                };
                let free = free_by_force(&taken, id, slot);
                let expected = if slot.kbps <= free { Ok(()) } else { Err(Full { free }) };
                prop_assert_eq!(table.check(id, slot), expected);
                if expected.is_ok() {
                    table.enter(id, slot);
                    taken.insert(id, slot);
                }
                for instant in 0..HORIZON + 8 {
                    let running = taken.values().filter(|slot| (slot.start..slot.end).contains(&instant));
                    prop_assert!(running.map(|slot| slot.kbps).sum::<u64>() <= CAPACITY);
                }
            }
        }
    }

    fn slot(start: u64, end: u64, kbps: u64) -> Slot {
        Slot { start, end, kbps }
    }

    #[test]
    fn twins_share_the_capacity_and_a_third_is_refused() {
        let mut table = SlotTable::new(10);
        table.enter(1, slot(0, 10, 5));
        assert_eq!(table.check(2, slot(0, 10, 5)), Ok(()));
        table.enter(2, slot(0, 10, 5));
        assert_eq!(table.check(3, slot(0, 10, 5)), Err(Full { free: 0 }));
        assert_eq!(table.check(3, slot(9, 10, 1)), Err(Full { free: 0 }));
        assert_eq!(table.check(3, slot(10, 20, 10)), Ok(()), "adjacent");
    }

    #[test]
    fn slots_that_never_run_together_do_not_add_up() {
        let mut table = SlotTable::new(10);
        table.enter(1, slot(0, 5, 6));
        table.enter(2, slot(5, 10, 6));
        assert_eq!(table.check(3, slot(0, 10, 4)), Ok(()));
        assert_eq!(table.check(3, slot(0, 10, 5)), Err(Full { free: 4 }));
    }

    #[test]
    fn a_slot_without_an_end_holds_for_ever_and_sums_do_not_overflow() {
        let mut table = SlotTable::new(u64::MAX);
        table.enter(1, slot(0, u64::MAX, u64::MAX));
        table.enter(2, slot(0, u64::MAX, u64::MAX));
        assert_eq!(table.check(3, slot(u64::MAX - 2, u64::MAX - 1, 1)), Err(Full { free: 0 }));
    }
}
