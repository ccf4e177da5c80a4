//! What became of one direction's numbered frames: lost, overtaken, repeated, and for how long none came. Pure; sockets
//! are in [`super::frames`].

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use serde::Serialize;

/// All that was sent and came. Times are microseconds since the Unix epoch.
#[derive(Default)]
pub(super) struct Log {
    /// The number of the first in `sent`.
    first: u64,
    sent: VecDeque<u64>,
    /// In the order in which they came.
    arrivals: VecDeque<Arrival>,
}

#[derive(Clone, Copy)]
struct Arrival {
    number: u64,
    at: u64,
}

/// What became of some frames in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in super::super) struct Tally {
    pub(in super::super) sent: u64,
    pub(in super::super) lost: u64,
    /// Came after one with a larger number.
    pub(in super::super) reordered: u64,
    /// Came again.
    pub(in super::super) repeated: u64,
    /// The longest time in which none came though one had been sent.
    pub(in super::super) longest_gap_us: u64,
}

impl Log {
    pub(super) fn handle_sent(&mut self, at: u64) {
        self.sent.push_back(at);
    }

    pub(super) fn handle_arrival(&mut self, number: u64, at: u64) {
        self.arrivals.push_back(Arrival { number, at });
    }

    /// The number of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    /// How many have come, of those that are remembered.
    pub(super) fn arrived(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether the frame before this number, or a later one, has come.
    pub(super) fn has_reached(&self, number: u64) -> bool {
        number <= self.first || self.arrivals.iter().rev().any(|one| one.number + 1 >= number)
    }

    /// Whether every frame of these numbers has come.
    pub(super) fn has_all(&self, numbers: Range<u64>) -> bool {
        let wanted = numbers.end.saturating_sub(numbers.start.max(self.first));
        let from = self.sent_at(numbers.start.max(self.first)).unwrap_or(u64::MAX);
        let came: BTreeSet<u64> =
            self.arrivals_since(from).map(|one| one.number).filter(|n| numbers.contains(n)).collect();
        came.len() as u64 >= wanted
    }

    /// When the first frame came that was sent at `from` or later.
    pub(super) fn first_sent_since(&self, from: u64) -> Option<u64> {
        let number = self.first + self.sent.partition_point(|at| *at < from) as u64;
        self.arrivals_since(from).find(|one| one.number >= number).map(|one| one.at)
    }

    /// What became of the frames of these numbers, as of `now`.
    pub(super) fn tally(&self, numbers: Range<u64>, now: u64) -> Tally {
        let numbers = numbers.start.max(self.first)..numbers.end.min(self.next());
        let Some(begin) = self.sent_at(numbers.start).filter(|_| !numbers.is_empty()) else {
            return Tally::default();
        };
        let mut tally = Tally { sent: numbers.end - numbers.start, ..Tally::default() };
        let mut came = BTreeSet::new();
        // What is awaited, and since when: the last arrival, or the sending of what should come next.
        let (mut expected, mut since, mut is_over) = (numbers.start, begin, false);
        for one in self.arrivals_since(begin).filter(|one| one.number >= numbers.start) {
            let is_repeat = numbers.contains(&one.number) && !came.insert(one.number);
            tally.repeated += u64::from(is_repeat);
            tally.reordered +=
                u64::from(!is_repeat && one.number < expected && numbers.contains(&one.number));
            if !is_over {
                tally.longest_gap_us = tally.longest_gap_us.max(one.at.saturating_sub(since));
                is_over = one.number >= numbers.end;
            }
            expected = expected.max(one.number + 1);
            since = one.at.max(self.sent_at(expected).unwrap_or(one.at));
        }
        tally.lost = tally.sent - came.len() as u64;
        if !is_over && expected < numbers.end {
            tally.longest_gap_us = tally.longest_gap_us.max(now.saturating_sub(since));
        }
        tally
    }

    /// How long each frame of these numbers was under way that came, in microseconds.
    pub(super) fn latencies(&self, numbers: Range<u64>) -> Vec<u32> {
        let from = self.sent_at(numbers.start.max(self.first)).unwrap_or(u64::MAX);
        let meant = self.arrivals_since(from).filter(|one| numbers.contains(&one.number));
        let took = meant.filter_map(|one| Some(one.at.saturating_sub(self.sent_at(one.number)?)));
        took.map(|us| u32::try_from(us).unwrap_or(u32::MAX)).collect()
    }

    /// Forgets what was sent before this number.
    pub(super) fn forget(&mut self, before: u64) {
        let count = usize::try_from(before.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.sent.drain(..count.min(self.sent.len()));
        self.first = self.first.max(before);
        let late = self.arrivals.iter().take_while(|one| one.number < before).count();
        self.arrivals.drain(..late);
    }

    fn sent_at(&self, number: u64) -> Option<u64> {
        self.sent.get(usize::try_from(number.checked_sub(self.first)?).ok()?).copied()
    }

    fn arrivals_since(&self, from: u64) -> impl Iterator<Item = Arrival> {
        let begin = self.arrivals.partition_point(|one| one.at < from);
        self.arrivals.range(begin..).copied()
    }
}

impl Tally {
    /// The longest gap in whole milliseconds, rounded up.
    fn longest_gap_ms(&self) -> u64 {
        self.longest_gap_us.div_ceil(1000)
    }
}

/// The longest gap of several directions, likewise.
pub(in super::super) fn longest_gap_ms(tallies: &[Tally]) -> u64 {
    tallies.iter().map(Tally::longest_gap_ms).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames sent at 0, 1000, 2000 µs …; arrivals as (number, at).
    fn log(sent: u64, arrivals: &[(u64, u64)]) -> Log {
        let mut log = Log::default();
        (0..sent).for_each(|number| log.handle_sent(number * 1000));
        arrivals.iter().for_each(|&(number, at)| log.handle_arrival(number, at));
        log
    }

    #[test]
    fn what_comes_in_order_has_the_gaps_of_its_sending_only() {
        let tally = log(3, &[(0, 100), (1, 1100), (2, 2100)]).tally(0..3, 9000);
        assert_eq!(tally, Tally { sent: 3, longest_gap_us: 100, ..Tally::default() });
    }

    #[test]
    fn lost_overtaken_and_repeated_frames_are_told_apart() {
        let log = log(6, &[(0, 100), (2, 2100), (1, 2200), (2, 2300), (5, 5100)]);
        let tally = log.tally(0..6, 9000);
        assert_eq!((tally.lost, tally.reordered, tally.repeated), (2, 1, 1));
        assert!(log.has_all(0..3) && !log.has_all(0..4));
        assert!(log.has_reached(6) && !log.has_reached(7));
        assert_eq!(log.tally(5..6, 9000).lost, 0, "a part of it");
    }

    #[test]
    fn a_gap_lasts_from_the_first_frame_that_should_have_come() {
        // 1 to 4 are lost; 5 comes late. The gap begins when 1 was sent.
        let tally = log(6, &[(0, 100), (5, 5900)]).tally(0..6, 9000);
        assert_eq!((tally.lost, tally.longest_gap_us), (4, 4900));
        // Nothing comes any more: until now.
        assert_eq!(log(6, &[(0, 100)]).tally(0..6, 9000).longest_gap_us, 8000);
        // A frame beyond the range ends a gap within it.
        assert_eq!(log(6, &[(0, 100), (4, 4100)]).tally(0..3, 9000).longest_gap_us, 3100);
    }

    #[test]
    fn the_first_frame_that_was_sent_after_a_moment_is_found() {
        let log = log(6, &[(0, 100), (1, 3500), (4, 4200)]);
        assert_eq!(log.first_sent_since(2500), Some(4200), "what was sent before comes late");
        assert_eq!(log.first_sent_since(4500), None);
    }

    #[test]
    fn frames_that_came_tell_how_long_they_took() {
        assert_eq!(log(4, &[(0, 100), (2, 2300), (3, 3050)]).latencies(1..4), [300, 50]);
    }

    #[test]
    fn what_is_forgotten_is_not_counted_and_the_rest_is() {
        let mut log = log(6, &[(0, 100), (1, 1100), (3, 3100), (4, 4100), (5, 5100)]);
        log.forget(3);
        assert_eq!(log.tally(0..6, 9000), Tally { sent: 3, longest_gap_us: 100, ..Tally::default() });
        assert_eq!(log.next(), 6);
    }
}
