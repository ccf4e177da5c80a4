//! A node's traffic matrix: what its workers counted, per ordered pair of guests, between reports.
//!
//! The number of pairs is bounded. When there are too many, the least active ones give up their name and
//! their counts join the anonymous rest: the sum of all bytes is exact at any time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vreserve_model::MacAddr;

use crate::counters::{Cell, Weight};

/// What was added to a matrix between two reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixDelta {
    /// The pairs that were active, in order of source, destination and VLAN, each once.
    pub cells: Vec<Cell>,
    /// Traffic of pairs without a name.
    pub other: Weight,
}

/// Source, destination and VLAN.
type Pair = (MacAddr, MacAddr, u16);

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    unreported: Weight,
    total: Weight,
}

/// The matrix of one node.
#[derive(Clone, Debug)]
pub struct TrafficMatrix {
    pairs: BTreeMap<Pair, Tally>,
    other: Tally,
    max_pairs: usize,
}

impl TrafficMatrix {
    /// An empty matrix of at most `max_pairs` pairs, at least one.
    pub fn new(max_pairs: usize) -> Self {
        TrafficMatrix { pairs: BTreeMap::new(), other: Tally::default(), max_pairs: max_pairs.max(1) }
    }

    /// Adds what one worker counted: its cells and the counts it had no cell for.
    pub fn merge(&mut self, cells: &[Cell], other: Weight) {
        self.other.add(other);
        for cell in cells {
            let pair = (cell.source, cell.destination, cell.vlan);
            if self.pairs.len() >= self.max_pairs && !self.pairs.contains_key(&pair) {
                self.fold_least_active();
            }
            self.pairs.entry(pair).or_default().add(cell.weight());
        }
    }

    /// What was added since the last call.
    pub fn take_delta(&mut self) -> MatrixDelta {
        let taken = self.pairs.iter_mut().map(|(pair, tally)| (*pair, std::mem::take(&mut tally.unreported)));
        MatrixDelta {
            cells: taken.filter(|(_, weight)| *weight != Weight::ZERO).map(cell).collect(),
            other: std::mem::take(&mut self.other.unreported),
        }
    }

    /// The running totals of the pairs that still have a name, in order, reported or not.
    pub fn totals(&self) -> impl ExactSizeIterator<Item = Cell> + '_ {
        self.pairs.iter().map(|(pair, tally)| cell((*pair, tally.total)))
    }

    /// The running total of pairs without a name.
    pub fn other_total(&self) -> Weight {
        self.other.total
    }

    /// Takes the name of an eighth of the pairs (at least one): those with the fewest bytes since the
    /// last report, and among those with the fewest ever. An eighth at once, so that a scan of addresses
    /// pays for the sorting once in many pairs.
    fn fold_least_active(&mut self) {
        let mut by_activity: Vec<_> = self
            .pairs
            .iter()
            .map(|(pair, tally)| (tally.unreported.bytes, tally.total.bytes, *pair))
            .collect();
        by_activity.sort_unstable();
        let fold = (self.max_pairs / 8).max(1);
        for (_, _, pair) in by_activity.into_iter().take(fold) {
            let tally = self.pairs.remove(&pair).expect("the pair was listed just now");
            self.other.unreported += tally.unreported;
            self.other.total += tally.total;
        }
    }
}

impl Tally {
    fn add(&mut self, weight: Weight) {
        self.unreported += weight;
        self.total += weight;
    }
}

fn cell(((source, destination, vlan), Weight { bytes, frames }): (Pair, Weight)) -> Cell {
    Cell { source, destination, vlan, bytes, frames }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::NO_VLAN;

    fn cell(source: u8, destination: u8, bytes: u64) -> Cell {
        let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
        Cell { source: mac(source), destination: mac(destination), vlan: NO_VLAN, bytes, frames: 1 }
    }

    #[test]
    fn workers_add_up_and_a_report_holds_only_what_is_new() {
        let mut matrix = TrafficMatrix::new(10);
        matrix.merge(&[cell(2, 1, 10), cell(1, 2, 5)], Weight::ZERO);
        matrix.merge(&[cell(2, 1, 7)], Weight::frame(3));
        let mut both = cell(2, 1, 17);
        both.frames = 2;
        let delta = MatrixDelta { cells: vec![cell(1, 2, 5), both], other: Weight::frame(3) };
        assert_eq!(matrix.take_delta(), delta);
        matrix.merge(&[cell(1, 2, 1)], Weight::ZERO);
        assert_eq!(matrix.take_delta().cells, [cell(1, 2, 1)]);
        assert_eq!(matrix.take_delta(), MatrixDelta::default());
        assert_eq!(matrix.totals().map(|cell| cell.bytes).collect::<Vec<_>>(), [6, 17]);
    }

    #[test]
    fn a_pair_in_use_keeps_its_name_while_others_come_and_go() {
        let mut matrix = TrafficMatrix::new(16);
        for round in 0..200u8 {
            matrix.merge(&[cell(250, 251, 1_000_000), cell(round, 252, 60)], Weight::ZERO);
        }
        assert!(matrix.totals().len() <= 16);
        let busy = matrix.totals().find(|total| total.source == cell(250, 0, 0).source).unwrap();
        assert_eq!((busy.bytes, busy.frames), (200_000_000, 200));
        assert!(matrix.other_total().bytes >= 60 * (200 - 16));
    }

    proptest! {
        #[test]
        fn bytes_and_frames_are_conserved_whatever_the_bound(
            max_pairs in 1usize..12,
            rounds in proptest::collection::vec(
                (proptest::collection::vec((0u8..6, 0u8..6, 0u64..5000), 0..20), 0u64..100),
                0..8,
            ),
        ) {
            let mut matrix = TrafficMatrix::new(max_pairs);
            let (mut merged, mut reported) = (Weight::ZERO, Weight::ZERO);
            for (cells, other) in rounds {
                let cells: Vec<_> = cells.into_iter().map(|(s, d, bytes)| cell(s, d, bytes)).collect();
                let other = Weight::frame(other);
                cells.iter().map(Cell::weight).chain([other]).for_each(|weight| merged += weight);
                matrix.merge(&cells, other);
                prop_assert!(matrix.totals().len() <= max_pairs);
                let delta = matrix.take_delta();
                prop_assert!(delta.cells.is_sorted());
                delta.cells.iter().map(Cell::weight).chain([delta.other]).for_each(|w| reported += w);
                prop_assert_eq!(merged, reported);
            }
            let mut total = matrix.other_total();
            matrix.totals().for_each(|cell| total += cell.weight());
            prop_assert_eq!(merged, total);
        }
    }
}
