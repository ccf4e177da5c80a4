//! The sliding window over one node's reports: the low-pass filter of VTTIF.
//!
//! Time runs on the lead's clock (when a report arrived) for what is in the window, and on the node's clock
//! (how long its intervals were) for rates, so that neither skew nor a queue of late reports bends a rate.
//!
//! A rate is divided by the time that reports cover, not by the window: a lost report takes its bytes and
//! its time away alike. A pair that has just begun is divided by the time since its onset, taken as the
//! middle of its first interval, but by half a window at least: a step is seen after two reports, while a
//! lone burst counts half.
//!
//! The window ends at the node's newest report, not now: between reports the last estimate stands.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use vreserve_sdk::model::Timestamp;

use crate::report::{Pair, Report, Volume};

/// A window has about so many slices: where reports are more frequent, those that follow one another share one, so
/// that memory is bounded by pairs and not by reports.
const SLICES: u32 = 32;

/// A pair's smoothed rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Bits per second.
    pub bits: f64,
    /// Frames per second.
    pub frames: f64,
}

struct Slice {
    start: Timestamp,
    interval: Duration,
    /// How many share it.
    reports: usize,
    /// The node's covered time before this slice.
    covered_before: Duration,
    cells: Vec<(Pair, Volume)>,
    other: Volume,
}

struct Activity {
    volume: Volume,
    cells: u32,
    /// On the axis of covered time.
    onset: Duration,
}

/// The reports of one node that are in the window, and their sums.
#[derive(Default)]
pub(crate) struct Window {
    slices: VecDeque<Slice>,
    covered: Duration,
    pairs: HashMap<Pair, Activity>,
    other: Volume,
}

impl Window {
    /// Takes a report that arrived now, and lets go of what is older than `length`.
    pub(crate) fn push(&mut self, now: Timestamp, report: Report, length: Duration) {
        let Report { interval, mut cells, mut other, .. } = report;
        cells.retain(|(pair, volume)| {
            let keep = pair.is_between_stations() && volume.bytes > 0;
            if !keep {
                other.add(*volume);
            }
            keep
        });
        let onset = self.covered + interval / 2;
        for (pair, volume) in &cells {
            let new = Activity { volume: Volume::default(), cells: 0, onset };
            let activity = self.pairs.entry(*pair).or_insert(new);
            activity.volume.add(*volume);
            activity.cells += 1;
        }
        self.other.add(other);
        let start = now - interval;
        let slice = Slice { start, interval, reports: 1, covered_before: self.covered, cells, other };
        self.covered += interval;
        match self.slices.back_mut().filter(|last| last.interval + interval <= length / SLICES) {
            Some(last) => last.join(slice, &mut self.pairs),
            None => self.slices.push_back(slice),
        }
        self.expire(now, length);
    }

    /// Half an interval of tolerance keeps the number of slices steady when reports arrive with jitter. The
    /// newest slice always stays. Twice the usual number is a queue of reports that arrive at once.
    fn expire(&mut self, now: Timestamp, length: Duration) {
        while self.slices.len() > 1 {
            let Some(oldest) = self.slices.front() else { return };
            let is_crowded = self.slices.len() > 2 * SLICES as usize;
            if !is_crowded && oldest.start + length > now + oldest.interval / 2 {
                return;
            }
            if let Some(slice) = self.slices.pop_front() {
                self.forget(&slice);
            }
        }
    }

    fn forget(&mut self, slice: &Slice) {
        self.other.subtract(slice.other);
        for (pair, volume) in &slice.cells {
            let Some(activity) = self.pairs.get_mut(pair) else { continue };
            activity.volume.subtract(*volume);
            activity.cells -= 1;
            if activity.cells == 0 {
                self.pairs.remove(pair);
            }
        }
    }

    /// Forgets everything: what the node sends is not known any more.
    pub(crate) fn clear(&mut self) {
        *self = Window::default();
    }

    /// Number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// How many reports are in the window.
    #[cfg(test)]
    pub(crate) fn reports(&self) -> usize {
        self.slices.iter().map(|slice| slice.reports).sum()
    }

    /// All pairs with their volume in the window, in no order.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (Pair, Volume)> + '_ {
        self.pairs.iter().map(|(pair, activity)| (*pair, activity.volume))
    }

    /// Volume in the window that belongs to no pair.
    pub(crate) fn other(&self) -> Volume {
        self.other
    }

    /// Counts `folded` pairs under `other` from now on.
    pub(crate) fn fold(&mut self, folded: &[Pair]) {
        for pair in folded {
            if let Some(activity) = self.pairs.remove(pair) {
                self.other.add(activity.volume);
            }
        }
        for slice in &mut self.slices {
            let Slice { cells, other, .. } = slice;
            cells.retain(|(pair, volume)| {
                let keep = self.pairs.contains_key(pair);
                if !keep {
                    other.add(*volume);
                }
                keep
            });
        }
    }

    /// All pairs with their rates, in no order. `length` is that of the window.
    pub(crate) fn rates(&self, length: Duration) -> impl Iterator<Item = (Pair, Rate)> + '_ {
        let begin = self.slices.front().map_or(self.covered, |slice| slice.covered_before);
        self.pairs.iter().map(move |(pair, activity)| {
            let covered = self.covered.saturating_sub(activity.onset.max(begin));
            let seconds = covered.max(length / 2).as_secs_f64();
            let bits = activity.volume.bytes as f64 * 8.0 / seconds;
            (*pair, Rate { bits, frames: activity.volume.frames as f64 / seconds })
        })
    }
}

impl Slice {
    /// Takes in what followed it, each pair once.
    fn join(&mut self, later: Slice, pairs: &mut HashMap<Pair, Activity>) {
        self.interval += later.interval;
        self.reports += later.reports;
        self.other.add(later.other);
        self.cells.extend(later.cells);
        self.cells.sort_unstable_by_key(|(pair, _)| *pair);
        self.cells.dedup_by(|(pair, volume), (kept, sum)| {
            let is_same = pair == kept;
            if is_same {
                sum.add(*volume);
                if let Some(activity) = pairs.get_mut(pair) {
                    activity.cells -= 1;
                }
            }
            is_same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vreserve_sdk::model::MacAddr;

    const LENGTH: Duration = Duration::from_secs(2);

    fn pair(n: u8) -> Pair {
        Pair { source: MacAddr([2, 0, 0, 0, 1, n]), destination: MacAddr([2, 0, 0, 0, 2, n]) }
    }

    fn half_second(cells: &[(u8, u64)]) -> Report {
        let cells = cells.iter().map(|(n, bytes)| (pair(*n), Volume { bytes: *bytes, frames: 1 })).collect();
        Report { interval: Duration::from_millis(500), cells, ..Report::default() }
    }

    fn mbps(window: &Window, n: u8) -> f64 {
        let rate = window.rates(LENGTH).find(|(p, _)| *p == pair(n));
        rate.map_or(0.0, |(_, rate)| rate.bits / 1e6)
    }

    #[test]
    fn lost_and_late_reports_do_not_bend_the_rate() {
        let mut window = Window::default();
        for n in 1..20_u64 {
            let lost = n % 3 == 0;
            // The control session hands over two reports at once now and then.
            let arrival = Timestamp::from_millis(if n % 4 == 1 { (n + 1) * 500 } else { n * 500 });
            if !lost {
                window.push(arrival, half_second(&[(1, 6_250_000)]), LENGTH);
            }
        }
        assert!((mbps(&window, 1) - 100.0).abs() < 1.0, "{}", mbps(&window, 1));
    }

    #[test]
    fn a_lone_burst_counts_half_at_most() {
        let mut window = Window::default();
        window.push(Timestamp::from_millis(500), half_second(&[]), LENGTH);
        window.push(Timestamp::from_millis(1_000), half_second(&[(1, 6_250_000)]), LENGTH);
        assert!((mbps(&window, 1) - 50.0).abs() < 1.0, "{}", mbps(&window, 1));
    }

    proptest! {
        #[test]
        fn bytes_in_the_window_are_conserved_whatever_is_folded(
            reports in proptest::collection::vec(proptest::collection::vec((0_u8..20, 0_u64..1_000_000), 0..12), 1..40),
            folded in proptest::collection::vec(0_u8..20, 0..10),
        ) {
            let mut window = Window::default();
            let mut sent = Vec::new();
            for (n, cells) in reports.iter().enumerate() {
                sent.push(cells.iter().map(|(_, bytes)| bytes).sum::<u64>());
                window.push(Timestamp::from_millis(500 * n as u64), half_second(cells), LENGTH);
                if n % 5 == 4 {
                    window.fold(&folded.iter().map(|n| pair(*n)).collect::<Vec<_>>());
                }
                let held: u64 = window.volumes().map(|(_, volume)| volume.bytes).sum();
                let recent: u64 = sent.iter().rev().take(window.reports()).sum();
                prop_assert_eq!(held + window.other().bytes, recent);
            }
        }

        #[test]
        fn frequent_reports_share_slices_and_their_pairs(
            bytes in proptest::collection::vec(proptest::collection::vec((0_u8..4, 1_u64..1_000), 0..6), 300..400),
        ) {
            let mut window = Window::default();
            let mut sent = Vec::new();
            for (n, cells) in bytes.iter().enumerate() {
                sent.push(cells.iter().map(|(_, bytes)| bytes).sum::<u64>());
                let report = Report { interval: Duration::from_millis(10), ..half_second(cells) };
                window.push(Timestamp::from_millis(10 * n as u64), report, LENGTH);
                let held: u64 = window.volumes().map(|(_, volume)| volume.bytes).sum();
                prop_assert_eq!(held, sent.iter().rev().take(window.reports()).sum::<u64>());
                prop_assert!(window.slices.iter().all(|slice| slice.cells.len() <= 6));
            }
            prop_assert!((180..=210).contains(&window.reports()), "{} reports", window.reports());
            prop_assert!(window.slices.len() <= 36, "{} slices", window.slices.len());
        }
    }
}
