//! The forwarding cache: from frame key to verdict, one per worker, never authoritative.
//!
//! An entry holds only under the epoch it was resolved in; the forwarder raises its epoch with every
//! change of what verdicts follow from, and stale entries are resolved anew when they are next met, so a
//! change costs nothing up front. Drops are cached like any verdict. The number of entries is bounded:
//! past it, the clock hand takes one that no frame has hit since the hand last passed, so that a scan of
//! addresses takes the scan's own entries, not those of running traffic.
//!
//! The pair counters live in the entries: a second map would cost as much again as the look-up itself.
//! A table of positions before a list of entries, so that places are stable for the memo, the clock hand
//! and the list of touched ones. (A set-associative table of our own was no faster below 100,000 keys,
//! and evicts by conflict before it is full.)

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use vreserve_model::MacAddr;

use crate::counters::{Cell, Spill, Weight};
use crate::drops::DropReason;
use crate::forward::Verdict;
use crate::frame::FrameKey;

/// The epoch of entries that must be resolved anew by the next frame, whatever happens.
pub(crate) const NEVER: u64 = 0;

/// How many hit entries the clock hand may pass over for one eviction: bounds the cost of a frame when
/// the whole cache is hot.
const HAND_STEPS: usize = 32;

/// What the frames of an entry add to the traffic report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// They were counted where they entered the overlay.
    Nothing,
    /// That their sender is alive; they themselves go nowhere.
    Activity,
    /// Their bytes and frames.
    Traffic,
}

/// A frame's fate as the forwarder resolved it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved {
    pub(crate) verdict: Verdict,
    /// The epoch under which it holds, or [`NEVER`].
    pub(crate) epoch: u64,
    pub(crate) tally: Tally,
}

/// One cache line. Holds the parts of [`Resolved`] singly, or padding would make it two.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    key: FrameKey,
    verdict: Verdict,
    epoch: u64,
    tally: Tally,
    /// Counted since the last drain.
    weight: Weight,
    /// Hit since the clock hand last passed.
    referenced: bool,
    /// Its position is in the list of touched entries. Belongs to the position, not to the key.
    touched: bool,
}

/// The cache of one worker.
#[derive(Debug)]
pub(crate) struct ForwardingCache {
    /// Positions in `entries`.
    table: HashTable<u32>,
    entries: Vec<Entry>,
    capacity: usize,
    hasher: FixedState,
    /// The entry that the last frame hit or made: bursts come in runs of one key.
    last: usize,
    hand: usize,
    touched: Vec<u32>,
    spill: Spill,
    evictions: u64,
}

impl ForwardingCache {
    /// A cache for `capacity` keys (at least one) that allocates here and never again. `seed` is random
    /// and secret, so that no guest can aim its addresses at one bucket.
    pub(crate) fn new(capacity: usize, spill: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(1, u32::MAX as usize);
        ForwardingCache {
            // Twice the room: below half full the table cleans up deleted buckets in place, never grows.
            table: HashTable::with_capacity(capacity.saturating_mul(2)),
            entries: Vec::with_capacity(capacity),
            capacity,
            hasher: FixedState::with_seed(seed),
            last: 0,
            hand: 0,
            touched: Vec::with_capacity(capacity),
            spill: Spill::new(spill),
            evictions: 0,
        }
    }

    /// The verdict for a key if it is known in this epoch; then the frame is counted as well.
    #[inline]
    pub(crate) fn hit(&mut self, key: FrameKey, epoch: u64, weight: Weight) -> Option<Verdict> {
        let at = self.find(key)?;
        let entry = &mut self.entries[at];
        if entry.epoch != epoch {
            return None;
        }
        entry.referenced = true;
        self.last = at;
        count(entry, at, weight, &mut self.touched);
        Some(entry.verdict)
    }

    /// The verdict for the key of the last hit or [`put`](Self::put), if it holds in this epoch; then the frame
    /// is counted as well. For a caller who can tell that the key is the same without making it.
    #[inline]
    pub(crate) fn hit_again(&mut self, epoch: u64, weight: Weight) -> Option<Verdict> {
        let entry = self.entries.get_mut(self.last)?;
        if entry.epoch != epoch {
            return None;
        }
        entry.referenced = true;
        count(entry, self.last, weight, &mut self.touched);
        Some(entry.verdict)
    }

    /// Keeps what a key was resolved to, and counts the frame that asked.
    pub(crate) fn put(&mut self, key: FrameKey, resolved: Resolved, weight: Weight) {
        let at = match self.find(key) {
            Some(at) => at,
            None => self.insert(key),
        };
        // What was counted under the former verdict stays: it was true then.
        let Resolved { verdict, epoch, tally } = resolved;
        let entry = &mut self.entries[at];
        (entry.verdict, entry.epoch, entry.tally) = (verdict, epoch, tally);
        self.last = at;
        count(entry, at, weight, &mut self.touched);
    }

    /// Appends the counts since the last drain to `cells`, names every local sender that was active, and
    /// returns the counts that kept no name. Costs as much as the entries that were active.
    pub(crate) fn drain(&mut self, cells: &mut Vec<Cell>, mut active: impl FnMut(MacAddr)) -> Weight {
        for at in self.touched.drain(..) {
            let entry = &mut self.entries[at as usize];
            entry.touched = false;
            if entry.tally != Tally::Nothing {
                active(entry.key.source());
            }
            cells.extend(take_cell(entry));
        }
        self.spill.drain(cells)
    }

    /// How many keys are known, in whatever epoch.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many keys had to go for others.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    #[inline]
    fn find(&self, key: FrameKey) -> Option<usize> {
        let at = self.table.find(self.hasher.hash_one(key), |at| self.entries[*at as usize].key == key)?;
        Some(*at as usize)
    }

    /// Makes room for a key; its entry is stale until the caller fills it.
    fn insert(&mut self, key: FrameKey) -> usize {
        let fresh = Entry {
            key,
            verdict: Verdict::Drop(DropReason::NoTarget),
            epoch: NEVER,
            tally: Tally::Nothing,
            weight: Weight::ZERO,
            referenced: false,
            touched: false,
        };
        let at = if self.entries.len() < self.capacity {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let at = self.evict();
            let touched = self.entries[at].touched;
            self.entries[at] = Entry { touched, ..fresh };
            at
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        let rehash = |at: &u32| hasher.hash_one(entries[*at as usize].key);
        self.table.insert_unique(hasher.hash_one(key), at as u32, rehash);
        at
    }

    /// Frees one position of a full cache.
    fn evict(&mut self) -> usize {
        let at = self.choose_victim();
        self.evictions += 1;
        let entry = &mut self.entries[at];
        let hash = self.hasher.hash_one(entry.key);
        let found = self.table.find_entry(hash, |other| *other as usize == at);
        found.expect("every entry is in the table under its key's hash").remove();
        if let Some(cell) = take_cell(entry) {
            self.spill.push(cell);
        }
        at
    }

    fn choose_victim(&mut self) -> usize {
        for _ in 0..HAND_STEPS {
            let at = self.step_hand();
            if !std::mem::take(&mut self.entries[at].referenced) {
                return at;
            }
        }
        self.step_hand()
    }

    fn step_hand(&mut self) -> usize {
        let at = self.hand;
        self.hand = (at + 1) % self.entries.len();
        at
    }
}

/// Counts a frame in the entry at `at`, which then is in the list of touched ones.
#[inline]
fn count(entry: &mut Entry, at: usize, weight: Weight, touched: &mut Vec<u32>) {
    match entry.tally {
        Tally::Nothing => return,
        Tally::Activity => {}
        Tally::Traffic => entry.weight += weight,
    }
    if !entry.touched {
        entry.touched = true;
        touched.push(at as u32);
    }
}

/// Takes what the entry has counted, if anything.
fn take_cell(entry: &mut Entry) -> Option<Cell> {
    let Weight { bytes, frames } = std::mem::take(&mut entry.weight);
    let counted = bytes != 0 || frames != 0;
    counted.then(|| Cell {
        source: entry.key.source(),
        destination: entry.key.destination(),
        vlan: entry.key.vlan_or_none(),
        bytes,
        frames,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{EthernetHeader, IngressSlot};
    use crate::ids::{InterfaceId, LinkId};

    fn key(number: u32) -> FrameKey {
        let [a, b, c, d] = number.to_be_bytes();
        let frame = [2, 9, a, b, c, d, 2, 0, 0, 0, 0, 1, 8, 0];
        FrameKey::new(IngressSlot::interface(InterfaceId(1)), &EthernetHeader::parse(&frame).unwrap())
    }

    fn resolved(link: u64, epoch: u64) -> Resolved {
        Resolved { verdict: Verdict::Send(LinkId(link)), epoch, tally: Tally::Traffic }
    }

    const ONE: Weight = Weight::frame(60);

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn an_entry_of_an_older_epoch_is_no_hit_and_its_counts_survive() {
        let mut cache = ForwardingCache::new(4, 4, 1);
        cache.put(key(1), resolved(1, 1), ONE);
        assert_eq!(cache.hit(key(1), 1, ONE), Some(Verdict::Send(LinkId(1))));
        assert_eq!(cache.hit(key(1), 2, ONE), None);
        let denied = Verdict::Drop(DropReason::Denied);
        cache.put(key(1), Resolved { verdict: denied, epoch: 2, tally: Tally::Activity }, ONE);
        assert_eq!(cache.hit(key(1), 2, ONE), Some(denied));
        let mut cells = Vec::new();
        assert_eq!(cache.drain(&mut cells, |_| ()), Weight::ZERO);
        assert_eq!(cells.iter().map(Cell::weight).collect::<Vec<_>>(), [Weight { bytes: 120, frames: 2 }]);
    }

    #[test]
    fn a_scan_neither_grows_the_cache_nor_takes_what_is_in_use() {
        let mut cache = ForwardingCache::new(64, 8, 7);
        (0..32).for_each(|hot| cache.put(key(hot), resolved(1, 1), ONE));
        let table = cache.table.capacity();
        for scan in 1_000..21_000 {
            cache.put(key(scan), resolved(2, 1), ONE);
            let hot = scan % 32;
            assert!(cache.hit(key(hot), 1, ONE).is_some(), "entry {hot} was lost to the scan at {scan}");
        }
        assert_eq!(cache.len(), 64);
        assert_eq!(cache.entries.capacity(), 64);
        assert_eq!(cache.table.capacity(), table, "the table grew");
        assert_eq!(cache.evictions(), 20_000 - 32);
    }

    #[test]
    fn a_cache_that_is_hot_all_over_still_takes_a_new_key() {
        let mut cache = ForwardingCache::new(100, 4, 3);
        (0..100).for_each(|at| cache.put(key(at), resolved(1, 1), ONE));
        (0..100).for_each(|at| assert!(cache.hit(key(at), 1, ONE).is_some()));
        cache.put(key(500), resolved(5, 1), ONE);
        assert_eq!(cache.hit(key(500), 1, ONE), Some(Verdict::Send(LinkId(5))));
        assert_eq!((0..100).filter(|at| cache.hit(key(*at), 1, ONE).is_some()).count(), 99);
    }

    #[test]
    fn only_active_entries_are_drained_and_their_senders_named() {
        let mut cache = ForwardingCache::new(16, 4, 3);
        (0..8).for_each(|at| cache.put(key(at), resolved(1, 1), ONE));
        let mut cells = Vec::new();
        cache.drain(&mut cells, |_| ());
        cells.clear();
        cache.hit(key(3), 1, Weight { bytes: 64_000, frames: 45 });
        let mut active = Vec::new();
        cache.drain(&mut cells, |sender| active.push(sender));
        assert_eq!(active, [MacAddr([2, 0, 0, 0, 0, 1])]);
        assert_eq!(cells.len(), 1);
        assert_eq!(
            (cells[0].destination, cells[0].bytes, cells[0].frames),
            (key(3).destination(), 64_000, 45)
        );
    }
}
