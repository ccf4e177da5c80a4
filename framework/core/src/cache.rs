//! The forwarding cache: from frame key to verdict, one per worker, never authoritative.
//!
//! An entry holds only under the epoch it was resolved in; the forwarder raises its epoch with every
//! change of what verdicts follow from, and stale entries are resolved anew when they are next met, so a
//! change costs nothing up front. Drops are cached like any verdict.
//!
//! Key, verdict and counters of a pair are one cache line of one table, so that a hit waits for memory
//! once, however large the table; a table of positions before a list of entries waited three times. A
//! key lies in one of the [`WINDOW`] lines from the one its hash names; the first empty line ends the
//! search. Lines are never emptied again, only taken over: by a key that finds its window full, from the
//! key there with the least credit. Hits give credit, and each search of a full window takes some away, so
//! that a scan of addresses takes the scan's own entries, not those of running traffic.

use std::hash::BuildHasher;
use std::hint::black_box;

use foldhash::fast::FixedState;
use vreserve_model::MacAddr;

use crate::counters::{Cell, Spill, Weight};
use crate::drops::DropReason;
use crate::forward::Verdict;
use crate::frame::FrameKey;

/// The epoch of entries that must be resolved anew by the next frame, whatever happens.
pub(crate) const NEVER: u64 = 0;

/// In how many lines a key may lie. Of a table three quarters full, so many hold 98 of 100 keys.
const WINDOW: usize = 16;

/// How many searches of a full window an entry survives after a hit. A running pair hits again long
/// before so many new keys have passed over one line of a large table.
const CREDIT: u8 = 8;

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
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Entry {
    /// Nobody's while the line is empty.
    key: FrameKey,
    verdict: Verdict,
    epoch: u64,
    tally: Tally,
    /// Counted since the last drain.
    weight: Weight,
    /// [`CREDIT`] since the last hit, less the searches that passed over it.
    credit: u8,
    /// Its position is in the list of touched entries. Belongs to the position, not to the key.
    touched: bool,
}

impl Entry {
    /// An entry that must be resolved.
    const fn stale(key: FrameKey) -> Self {
        Entry {
            key,
            verdict: Verdict::Drop(DropReason::NoTarget),
            epoch: NEVER,
            tally: Tally::Nothing,
            weight: Weight::ZERO,
            credit: 0,
            touched: false,
        }
    }
}

/// The cache of one worker.
#[derive(Debug)]
pub(crate) struct ForwardingCache {
    /// All of them, from the start.
    entries: Vec<Entry>,
    hasher: FixedState,
    /// The entry that the last frame hit or made: bursts come in runs of one key.
    last: usize,
    known: usize,
    touched: Vec<u32>,
    spill: Spill,
    evictions: u64,
}

impl ForwardingCache {
    /// A cache for `capacity` keys (at least one) that allocates here and never again. `seed` is random
    /// and secret, so that no guest can aim its addresses at one window.
    pub(crate) fn new(capacity: usize, spill: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(1, u32::MAX as usize);
        ForwardingCache {
            entries: vec![Entry::stale(FrameKey::NOBODY); capacity],
            hasher: FixedState::with_seed(seed),
            last: 0,
            known: 0,
            touched: Vec::with_capacity(capacity),
            spill: Spill::new(spill),
            evictions: 0,
        }
    }

    /// The verdict for a key if it is known in this epoch; then the frame is counted as well.
    #[inline]
    pub(crate) fn hit(&mut self, key: FrameKey, epoch: u64, weight: Weight) -> Option<Verdict> {
        self.last = self.find(key)?;
        self.hit_again(epoch, weight)
    }

    /// The verdict for the key of the last hit or [`put`](Self::put), if it holds in this epoch; then the frame
    /// is counted as well. For a caller who can tell that the key is the same without making it.
    #[inline]
    pub(crate) fn hit_again(&mut self, epoch: u64, weight: Weight) -> Option<Verdict> {
        let entry = self.entries.get_mut(self.last)?;
        if entry.epoch != epoch {
            return None;
        }
        entry.credit = CREDIT;
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

    /// Where a key is looked for first, for [`Self::touch`].
    #[inline]
    pub(crate) fn home(&self, key: FrameKey) -> u32 {
        let homes = self.entries.len() - self.window() + 1;
        // The upper half of the product spreads the hash over the homes without a division.
        ((u128::from(self.hasher.hash_one(key)) * homes as u128) >> 64) as u32
    }

    /// Reads these lines and those behind them, where most of the other keys lie, so that the processor waits
    /// for all of them at once and not for each in turn.
    pub(crate) fn touch(&self, homes: &[u32]) {
        let mut all = 0;
        for &home in homes {
            for entry in self.entries[home as usize..].iter().take(2) {
                all ^= entry.epoch;
            }
        }
        black_box(all);
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
        self.known
    }

    /// How many keys had to go for others.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    fn window(&self) -> usize {
        self.entries.len().min(WINDOW)
    }

    #[inline]
    fn find(&self, key: FrameKey) -> Option<usize> {
        let home = self.home(key) as usize;
        for (at, entry) in (home..).zip(&self.entries[home..home + self.window()]) {
            if entry.key == key {
                return Some(at);
            }
            if entry.key.is_nobody() {
                return None;
            }
        }
        None
    }

    /// Makes room for a key that is not there; its entry is stale until the caller fills it.
    fn insert(&mut self, key: FrameKey) -> usize {
        let at = self.choose_line(self.home(key) as usize);
        let entry = &mut self.entries[at];
        if entry.key.is_nobody() {
            self.known += 1;
        } else {
            self.evictions += 1;
            if let Some(cell) = take_cell(entry) {
                self.spill.push(cell);
            }
        }
        *entry = Entry { touched: entry.touched, ..Entry::stale(key) };
        at
    }

    /// The line of a window that a new key takes: the first empty one; else the first without credit; else
    /// the one with the least.
    fn choose_line(&mut self, home: usize) -> usize {
        let window = home..home + self.window();
        let lines = &mut self.entries[window.clone()];
        if let Some(empty) = lines.iter().position(|entry| entry.key.is_nobody()) {
            return home + empty;
        }
        let (mut chosen, mut least) = (home, CREDIT);
        for (at, entry) in window.zip(lines) {
            if entry.credit == 0 {
                return at;
            }
            entry.credit -= 1;
            if entry.credit < least {
                (chosen, least) = (at, entry.credit);
            }
        }
        chosen
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
        (0..16).for_each(|hot| cache.put(key(hot), resolved(1, 1), ONE));
        for scan in 1_000..21_000 {
            cache.put(key(scan), resolved(2, 1), ONE);
            let hot = scan % 16;
            assert!(cache.hit(key(hot), 1, ONE).is_some(), "entry {hot} was lost to the scan at {scan}");
        }
        assert_eq!(cache.len(), 64);
        assert_eq!((cache.entries.len(), cache.touched.capacity()), (64, 64));
        assert_eq!(cache.evictions(), 20_016 - 64);
    }

    #[test]
    fn a_cache_that_is_hot_all_over_still_takes_a_new_key_for_one_old_one() {
        let mut cache = ForwardingCache::new(100, 4, 3);
        (0..10_000).for_each(|at| cache.put(key(at), resolved(1, 1), ONE));
        let known: Vec<_> = (0..10_000).filter(|at| cache.hit(key(*at), 1, ONE).is_some()).collect();
        assert_eq!(known.len(), 100);
        cache.put(key(50_000), resolved(5, 1), ONE);
        assert_eq!(cache.hit(key(50_000), 1, ONE), Some(Verdict::Send(LinkId(5))));
        assert_eq!(known.iter().filter(|at| cache.hit(key(**at), 1, ONE).is_some()).count(), 99);
    }

    #[test]
    fn a_cache_three_quarters_full_has_lost_few_keys() {
        let mut cache = ForwardingCache::new(4_096, 4, 3);
        (0..3_072).for_each(|at| cache.put(key(at), resolved(1, 1), ONE));
        assert!(cache.evictions() < 3_072 / 50, "{} of 3072", cache.evictions());
        let known = (0..3_072).filter(|at| cache.hit(key(*at), 1, ONE).is_some()).count();
        assert_eq!(known, cache.len());
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
