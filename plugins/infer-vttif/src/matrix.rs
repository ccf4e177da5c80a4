//! The lead's global traffic matrix: one window per node, bounded in pairs, deaf to replays and to reports from the
//! future.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vreserve_sdk::model::Timestamp;

use crate::pace::Pace;
use crate::report::{Pair, Report, Volume};
use crate::window::{Rate, Window};

/// Earlier runs of a node whose reports are still known as replays.
const RETIRED_RUNS: usize = 8;
/// The most nodes that are heard at once.
const MAX_NODES: usize = 65_536;
/// A node that stays silent this many times `silent_after` is forgotten.
const FORGET_AFTER: u32 = 20;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It counts.
    Fresh,
    /// It counts, and is the first of a new run of the node: what was known of the old run is gone.
    Restarted,
    /// It is a duplicate, overtaken by a newer one, or of a run that is over: ignored.
    Stale,
    /// It is of an interval that cannot be over yet: ignored.
    Future,
    /// It is of one node more than can be heard: ignored.
    Unheard,
}

/// The traffic of all nodes.
pub(crate) struct Matrix {
    window: Duration,
    silent_after: Duration,
    max_pairs: usize,
    nodes: BTreeMap<String, Node>,
    /// Of all nodes together.
    pairs: usize,
    folded: u64,
}

struct Node {
    boot: u64,
    sequence: u64,
    retired: VecDeque<u64>,
    heard: Timestamp,
    pace: Pace,
    window: Window,
}

impl Matrix {
    /// An empty matrix.
    pub(crate) fn new(window: Duration, silent_after: Duration, max_pairs: usize) -> Self {
        Matrix { window, silent_after, max_pairs, nodes: BTreeMap::new(), pairs: 0, folded: 0 }
    }

    /// Takes a believed report of `node` that arrived now.
    pub(crate) fn merge(&mut self, now: Timestamp, node: &str, report: Report) -> Merged {
        let Some(known) = self.nodes.get_mut(node) else {
            if self.nodes.len() >= MAX_NODES {
                return Merged::Unheard;
            }
            let mut new = Node::new(now, &report);
            new.window.push(now, report, self.window);
            self.pairs += new.window.len();
            self.nodes.insert(node.to_owned(), new);
            self.bound();
            return Merged::Fresh;
        };
        let before = known.window.len();
        let merged = known.judge(now, &report);
        match merged {
            Merged::Stale | Merged::Future | Merged::Unheard => return merged,
            Merged::Restarted => known.restart(report.boot),
            Merged::Fresh => {}
        }
        known.sequence = report.sequence;
        known.heard = now;
        known.window.push(now, report, self.window);
        self.pairs = self.pairs - before + known.window.len();
        self.bound();
        merged
    }

    /// Drops what silent nodes said last, forgets the long silent, and names those that are silent.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<String> {
        let silent_after = self.silent_after;
        self.nodes.retain(|_, node| now.since(node.heard) < silent_after * FORGET_AFTER);
        let silent = self.nodes.iter_mut().filter(|(_, node)| now.since(node.heard) >= silent_after);
        let names = silent.map(|(name, node)| {
            node.window.clear();
            name.clone()
        });
        let names = names.collect();
        self.pairs = self.nodes.values().map(|node| node.window.len()).sum();
        names
    }

    /// Every pair with its rate, by pair. A guest that moves is seen by two nodes for a while: its rates add up.
    pub(crate) fn rates(&self) -> Vec<(Pair, Rate)> {
        let mut rates: Vec<_> = self.nodes.values().flat_map(|node| node.window.rates(self.window)).collect();
        // Stable, so that sums do not depend on the hash map's order.
        rates.sort_by_key(|(pair, _)| *pair);
        rates.dedup_by(|(pair, rate), (kept_pair, kept)| {
            let same = pair == kept_pair;
            if same {
                kept.bits += rate.bits;
                kept.frames += rate.frames;
            }
            same
        });
        rates
    }

    /// Volume in the window that belongs to no pair.
    pub(crate) fn other(&self) -> Volume {
        self.nodes.values().fold(Volume::default(), |mut sum, node| {
            sum.add(node.window.other());
            sum
        })
    }

    /// How many pairs have been folded so far.
    pub(crate) fn folded(&self) -> u64 {
        self.folded
    }

    /// Folds the least active pairs once there are too many, an eighth more than needed, so that the cost is
    /// spread over many reports.
    fn bound(&mut self) {
        let total = self.pairs;
        if total <= self.max_pairs {
            return;
        }
        let excess = total - (self.max_pairs - self.max_pairs / 8);
        let mut all = Vec::with_capacity(total);
        for (index, node) in self.nodes.values().enumerate() {
            all.extend(node.window.volumes().map(|(pair, volume)| (volume.bytes, index, pair)));
        }
        all.select_nth_unstable(excess - 1);
        all.truncate(excess);
        all.sort_unstable_by_key(|(_, index, pair)| (*index, *pair));
        for (index, node) in self.nodes.values_mut().enumerate() {
            let begin = all.partition_point(|(_, at, _)| *at < index);
            let of_node = all[begin..].iter().take_while(|(_, at, _)| *at == index);
            let folded: Vec<_> = of_node.map(|(_, _, pair)| *pair).collect();
            if !folded.is_empty() {
                node.window.fold(&folded);
            }
        }
        self.pairs -= excess;
        self.folded += excess as u64;
    }
}

impl Node {
    fn new(now: Timestamp, report: &Report) -> Self {
        Node {
            boot: report.boot,
            sequence: report.sequence,
            retired: VecDeque::new(),
            heard: now,
            pace: Pace::default(),
            window: Window::default(),
        }
    }

    fn judge(&mut self, now: Timestamp, report: &Report) -> Merged {
        if report.boot == self.boot {
            return match report.sequence.checked_sub(self.sequence) {
                None | Some(0) => Merged::Stale,
                Some(steps) if self.pace.keep(now.since(self.heard), steps, report.interval) => Merged::Fresh,
                Some(_) => Merged::Future,
            };
        }
        if self.retired.contains(&report.boot) { Merged::Stale } else { Merged::Restarted }
    }

    fn restart(&mut self, boot: u64) {
        self.retired.push_back(self.boot);
        if self.retired.len() > RETIRED_RUNS {
            self.retired.pop_front();
        }
        self.boot = boot;
        self.pace = Pace::default();
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vreserve_sdk::model::MacAddr;

    const WINDOW: Duration = Duration::from_secs(2);
    const SILENT: Duration = Duration::from_secs(3);

    fn pair(n: u16) -> Pair {
        let [high, low] = n.to_be_bytes();
        Pair { source: MacAddr([2, 0, 0, 0, high, low]), destination: MacAddr([2, 0, 0, 9, 0, 0]) }
    }

    fn report(boot: u64, sequence: u64, cells: &[(u16, u64)]) -> Report {
        let cells = cells.iter().map(|(n, bytes)| (pair(*n), Volume { bytes: *bytes, frames: 1 })).collect();
        Report { boot, sequence, interval: Duration::from_millis(500), cells, ..Report::default() }
    }

    fn total_bits(matrix: &Matrix) -> f64 {
        matrix.rates().iter().map(|(_, rate)| rate.bits).sum()
    }

    #[test]
    fn replays_and_old_runs_are_ignored_and_a_restart_is_not() {
        let mut matrix = Matrix::new(WINDOW, SILENT, 100);
        let now = Timestamp::from_millis(500);
        assert_eq!(matrix.merge(now, "a", report(1, 5, &[(1, 1_000)])), Merged::Fresh);
        let before = total_bits(&matrix);
        for stale in [report(1, 5, &[(1, 1_000)]), report(1, 4, &[(2, 9_000)])] {
            assert_eq!(matrix.merge(now, "a", stale), Merged::Stale);
        }
        assert_eq!(total_bits(&matrix), before);
        assert_eq!(matrix.merge(now, "a", report(2, 1, &[(3, 500)])), Merged::Restarted);
        assert_eq!(matrix.merge(now, "a", report(1, 6, &[(1, 1_000)])), Merged::Stale);
        assert_eq!(matrix.rates().len(), 1);
    }

    #[test]
    fn a_silent_node_is_named_and_its_traffic_unknown_while_others_go_on() {
        let mut matrix = Matrix::new(WINDOW, SILENT, 100);
        matrix.merge(Timestamp::ZERO, "a", report(1, 1, &[(1, 1_000)]));
        matrix.merge(Timestamp::ZERO, "b", report(1, 1, &[]));
        matrix.merge(Timestamp::from_millis(3_500), "b", report(1, 2, &[(2, 1_000)]));
        assert!(matrix.expire(Timestamp::from_millis(2_900)).is_empty());
        assert_eq!(matrix.rates().len(), 2, "between reports the last estimate stands");
        assert_eq!(matrix.expire(Timestamp::from_millis(3_600)), ["a"]);
        assert_eq!(matrix.rates().len(), 1);
        matrix.merge(Timestamp::from_millis(60_000), "b", report(1, 3, &[]));
        assert!(matrix.expire(Timestamp::from_millis(60_000)).is_empty(), "forgotten after a minute");
    }

    #[test]
    fn a_report_from_the_future_is_ignored_and_does_not_make_its_node_deaf() {
        let mut matrix = Matrix::new(WINDOW, SILENT, 100);
        let at = |step: u64| Timestamp::from_millis(step * 500);
        assert_eq!(matrix.merge(at(1), "a", report(1, 1, &[(1, 1_000)])), Merged::Fresh);
        let before = total_bits(&matrix);
        assert_eq!(matrix.merge(at(2), "a", report(1, u64::MAX, &[(1, 9_000)])), Merged::Future);
        let hour = Report { interval: Duration::from_secs(3_600), ..report(1, 2, &[(1, 9_000)]) };
        assert_eq!(matrix.merge(at(2), "a", hour), Merged::Future);
        assert_eq!(total_bits(&matrix), before);
        assert_eq!(matrix.merge(at(2), "a", report(1, 2, &[(1, 1_000)])), Merged::Fresh);
    }

    #[test]
    fn only_so_many_nodes_are_heard() {
        let mut matrix = Matrix::new(WINDOW, SILENT, 100);
        for node in 0..MAX_NODES {
            matrix.merge(Timestamp::ZERO, &node.to_string(), report(1, 1, &[]));
        }
        assert_eq!(matrix.merge(Timestamp::ZERO, "one more", report(1, 1, &[(1, 1)])), Merged::Unheard);
        assert_eq!(matrix.merge(Timestamp::ZERO, "7", report(1, 2, &[(1, 1)])), Merged::Fresh);
    }

    #[test]
    fn an_address_scan_cannot_grow_the_matrix_nor_push_out_a_busy_pair() {
        let mut matrix = Matrix::new(WINDOW, SILENT, 64);
        for sequence in 1..100_u16 {
            let mut cells: Vec<_> = (0..50).map(|n| (sequence * 50 + n, 60)).collect();
            cells.push((9, 1_000_000));
            let now = Timestamp::from_millis(u64::from(sequence) * 500);
            matrix.merge(now, "a", report(1, u64::from(sequence), &cells));
            let rates = matrix.rates();
            assert!(rates.len() <= 64);
            assert!(rates.iter().any(|(p, _)| *p == pair(9)));
        }
        assert!(matrix.folded() > 4_000);
        // Three reports are in the window.
        assert!(matrix.other().bytes >= 60 * (3 * 50 - 64), "what is folded still counts");
    }

    proptest! {
        /// Scans, storms and spoofed sources at several nodes, with restarts: the bound holds and no byte is lost.
        #[test]
        fn bytes_are_conserved_within_the_bound_whatever_nodes_report(
            max_pairs in 1_usize..40,
            steps in proptest::collection::vec(
                (0_u8..4, any::<bool>(), 0_u16..500, 0_u16..60, 1_u64..1_000_000, 0_u64..1_000), 1..60),
        ) {
            let mut matrix = Matrix::new(WINDOW, SILENT, max_pairs);
            // Bytes of each node by report, of which its window holds the newest.
            let mut sent: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
            for (step, (node, is_new_run, first, count, bytes, storm)) in steps.into_iter().enumerate() {
                let now = Timestamp::from_millis(500 * step as u64);
                let cells: Vec<_> = (first..first + count).map(|n| (n, bytes)).collect();
                // Group destinations, and frames with nobody's address as their source.
                let nobody = Pair { source: MacAddr([0xff; 6]), ..pair(1) };
                let group = Pair { destination: MacAddr([0xff; 6]), ..pair(1) };
                let boot = if is_new_run { 1_000 + step as u64 } else { u64::from(node) };
                let mut report = report(boot, step as u64 + 1, &cells);
                let spoofed = Volume { bytes: storm, frames: 1 };
                report.cells.extend([(nobody, spoofed), (group, spoofed)]);
                let total = u64::from(count) * bytes + 2 * storm;
                match matrix.merge(now, &node.to_string(), report) {
                    Merged::Fresh => sent.entry(node).or_default().push(total),
                    Merged::Restarted => drop(sent.insert(node, vec![total])),
                    Merged::Stale => {}
                    refused => prop_assert!(false, "{refused:?}"),
                }
                let pairs: usize = matrix.nodes.values().map(|node| node.window.len()).sum();
                prop_assert!(pairs <= max_pairs && pairs == matrix.pairs);
                for (name, node) in &matrix.nodes {
                    let named: u64 = node.window.volumes().map(|(_, volume)| volume.bytes).sum();
                    let all = &sent[&name.parse().unwrap()];
                    let recent: u64 = all.iter().rev().take(node.window.reports()).sum();
                    prop_assert_eq!(named + node.window.other().bytes, recent);
                }
            }
        }
    }
}
