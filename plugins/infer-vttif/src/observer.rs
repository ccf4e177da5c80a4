//! The node's side: from what the guests sent since the last call to a report.

use hashbrown::HashMap;
use vreserve_sdk::Cell;
use vreserve_sdk::model::{MacAddr, Timestamp};

use crate::report::{Pair, Report, Volume};

/// Makes this node's reports.
#[derive(Debug)]
pub struct Observer {
    boot: u64,
    sequence: u64,
    last: Option<Timestamp>,
    max_pairs: usize,
}

impl Observer {
    /// `boot` tells this run of the node from its earlier ones; a report holds at most `max_pairs` pairs.
    pub fn new(boot: u64, max_pairs: usize) -> Self {
        Observer { boot, sequence: 0, last: None, max_pairs }
    }

    /// The report of the interval since the last call. The first call only starts the clock: nobody knows in
    /// what time its cells came about, so they are left out.
    pub fn observe(&mut self, now: Timestamp, cells: &[Cell]) -> Report {
        self.sequence += 1;
        let last = self.last.replace(now);
        let mut report = Report { boot: self.boot, sequence: self.sequence, ..Report::default() };
        if let Some(last) = last.filter(|last| *last < now) {
            report.interval = now.since(last);
            (report.cells, report.other) = self.tally(cells);
        }
        report
    }

    /// Sums over VLANs and worker threads, and folds what is no guest pair or is past the bound. Pairs that
    /// sent nothing are left out: being in a report marks the onset of a pair's traffic.
    fn tally(&self, cells: &[Cell]) -> (Vec<(Pair, Volume)>, Volume) {
        let mut pairs: HashMap<Pair, Volume> = HashMap::with_capacity(cells.len().min(self.max_pairs));
        let mut other = Volume::default();
        for cell in cells.iter().filter(|cell| cell.bytes > 0) {
            let pair = Pair { source: MacAddr(cell.source), destination: MacAddr(cell.destination) };
            let volume = Volume { bytes: cell.bytes, frames: cell.frames };
            let sum = if pair.is_between_stations() { pairs.entry(pair).or_default() } else { &mut other };
            sum.add(volume);
        }
        let mut cells: Vec<_> = pairs.into_iter().collect();
        cells.sort_unstable_by_key(|(pair, volume)| (std::cmp::Reverse(volume.bytes), *pair));
        for (_, volume) in cells.drain(self.max_pairs.min(cells.len())..) {
            other.add(volume);
        }
        (cells, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn cell(source: u8, destination: u8, bytes: u64) -> Cell {
        let mac = |last| [2, 0, 0, 0, 0, last];
        Cell {
            source: mac(source),
            destination: mac(destination),
            vlan: 0xffff,
            reserved: 0,
            bytes,
            frames: bytes / 1000,
        }
    }

    #[test]
    fn intervals_come_from_the_node_clock_and_empty_ones_are_reported() {
        let mut observer = Observer::new(7, 10);
        let first = observer.observe(Timestamp::from_millis(100), &[cell(1, 2, 5_000)]);
        assert_eq!((first.sequence, first.interval, first.cells.len()), (1, Duration::ZERO, 0));
        let second = observer.observe(Timestamp::from_millis(600), &[]);
        assert_eq!((second.sequence, second.interval), (2, Duration::from_millis(500)));
    }

    #[test]
    fn one_pair_on_two_vlans_is_one_cell_and_broadcast_is_none() {
        let mut observer = Observer::new(7, 10);
        observer.observe(Timestamp::ZERO, &[]);
        let tagged = Cell { vlan: 5, ..cell(1, 2, 1_000) };
        let broadcast = Cell { destination: [0xff; 6], ..cell(1, 0, 300) };
        let report = observer.observe(Timestamp::from_millis(500), &[cell(1, 2, 2_000), tagged, broadcast]);
        assert_eq!(report.cells.len(), 1);
        assert_eq!(report.cells[0].1.bytes, 3_000);
        assert_eq!(report.other.bytes, 300);
        assert!(observer.observe(Timestamp::from_millis(900), &[cell(1, 2, 0)]).cells.is_empty());
    }

    proptest! {
        #[test]
        fn bytes_are_conserved_and_the_most_active_pairs_survive(
            volumes in proptest::collection::vec((1_u8..30, 1_u8..30, 0_u64..1_000_000), 0..200),
            max_pairs in 1_usize..20,
        ) {
            let cells: Vec<_> = volumes.iter().map(|(s, d, bytes)| cell(*s, *d, *bytes)).collect();
            let mut observer = Observer::new(7, max_pairs);
            observer.observe(Timestamp::ZERO, &[]);
            let report = observer.observe(Timestamp::from_millis(500), &cells);
            let sent: u64 = cells.iter().map(|cell| cell.bytes).sum();
            let told: u64 = report.cells.iter().map(|(_, volume)| volume.bytes).sum();
            prop_assert_eq!(told + report.other.bytes, sent);
            prop_assert!(report.cells.len() <= max_pairs);
            prop_assert!(report.cells.is_sorted_by_key(|(_, volume)| std::cmp::Reverse(volume.bytes)));
        }
    }
}
