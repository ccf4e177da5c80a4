//! Where in a list, sorted by the exact addresses that its rules name, those lie that name given ones.
//!
//! One open-addressing table of runs, half empty, each with its addresses: a look-up waits for memory once.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::DefaultHashBuilder;
use vreserve_model::MacAddr;

use crate::frame::EthernetHeader;
use crate::rules::{MacMatch, Rule};

/// The exact source and destination that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Addresses {
    source: u64,
    destination: u64,
}

/// In the place of an address: the rule names none. No address has more than 48 bits.
const ANY: u64 = u64::MAX;

impl Addresses {
    /// Those of a rule.
    pub(super) fn of_rule(rule: &Rule) -> Self {
        let number = |side: MacMatch| side.exact().map_or(ANY, number_of);
        Addresses { source: number(rule.source), destination: number(rule.destination) }
    }

    /// What the rules that may match a frame with this header name.
    pub(super) fn that_fit(header: &EthernetHeader) -> [Self; 4] {
        let (source, destination) = (number_of(header.source()), number_of(header.destination()));
        [(source, destination), (source, ANY), (ANY, destination), (ANY, ANY)]
            .map(|(source, destination)| Addresses { source, destination })
    }

    /// Which of the four kinds this is.
    fn kind(self) -> usize {
        usize::from(self.source == ANY) << 1 | usize::from(self.destination == ANY)
    }
}

fn number_of(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Rules in a row with the same addresses.
#[derive(Clone, Copy, Debug)]
struct Run {
    addresses: Addresses,
    start: u32,
    /// Equal to `start` in an unused place of the table.
    end: u32,
}

/// The runs of one list.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// A power of two of places, at least twice as many as runs.
    places: Vec<Run>,
    /// Which of the four kinds of addresses occur at all: most lists have two.
    kinds: [bool; 4],
    /// Random: guests choose their addresses.
    hasher: DefaultHashBuilder,
}

impl Index {
    /// The index of a list, by the addresses of its rules, which are sorted.
    pub(super) fn of_sorted(list: impl Iterator<Item = Addresses>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (at, addresses) in (0..).zip(list) {
            match runs.last_mut() {
                Some(run) if run.addresses == addresses => run.end = at + 1,
                _ => runs.push(Run { addresses, start: at, end: at + 1 }),
            }
        }
        let unused = Run { addresses: Addresses { source: ANY, destination: ANY }, start: 0, end: 0 };
        let size = (runs.len() * 2).next_power_of_two();
        let mut index =
            Index { places: vec![unused; size], kinds: [false; 4], hasher: DefaultHashBuilder::default() };
        for run in runs {
            index.kinds[run.addresses.kind()] = true;
            let place = index.place_of(run.addresses);
            index.places[place] = run;
        }
        index
    }

    /// Where the rules with these addresses lie; empty if there are none.
    #[inline]
    pub(super) fn find(&self, addresses: Addresses) -> Range<usize> {
        if !self.kinds[addresses.kind()] {
            return 0..0;
        }
        let run = &self.places[self.place_of(addresses)];
        run.start as usize..run.end as usize
    }

    /// The place of a run with these addresses, or the unused one where it would be. There is one: half of
    /// them are unused.
    fn place_of(&self, addresses: Addresses) -> usize {
        let mask = self.places.len() - 1;
        let mut place = self.hasher.hash_one(addresses) as usize & mask;
        loop {
            let run = &self.places[place];
            if run.start == run.end || run.addresses == addresses {
                return place;
            }
            place = (place + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_found_whole_and_nothing_else_is() {
        let addresses = |source, destination| Addresses { source, destination };
        let mut list: Vec<_> = (0..1_000).map(|at| addresses(at / 30, at % 3)).collect();
        list.extend((0..5).map(|_| addresses(ANY, 7)));
        list.sort_unstable();
        let index = Index::of_sorted(list.iter().copied());
        for wanted in &list {
            let found = &list[index.find(*wanted)];
            assert!(found.iter().all(|other| other == wanted));
            assert_eq!(found.len(), list.iter().filter(|other| *other == wanted).count());
        }
        for absent in [addresses(50, 1), addresses(1, ANY), addresses(ANY, ANY), addresses(ANY, 8)] {
            assert!(index.find(absent).is_empty(), "{absent:?}");
        }
    }

    #[test]
    fn an_empty_list_has_nothing() {
        let index = Index::of_sorted(std::iter::empty());
        assert!(index.find(Addresses { source: 1, destination: 2 }).is_empty());
    }
}
