//! Counts of dropped datagrams by reason: summed up in a call, added to the host's counters once.

use vreserve_sdk::{Counter, Host};

/// Counters for a closed set of `N` reasons, which are known by their place in it.
pub(crate) struct Drops<const N: usize> {
    counters: [Counter; N],
    counts: [u64; N],
}

impl<const N: usize> Drops<N> {
    /// Counters with these names and helps.
    pub(crate) fn new(host: &Host, reasons: [(&str, &str); N]) -> Self {
        Drops { counters: reasons.map(|(name, help)| host.counter(name, help.trim())), counts: [0; N] }
    }

    pub(crate) fn note(&mut self, reason: usize) {
        self.counts[reason] += 1;
    }

    /// Adds what was noted to the host's counters.
    pub(crate) fn settle(&mut self) {
        for (counter, count) in self.counters.iter().zip(&mut self.counts) {
            counter.add(std::mem::take(count));
        }
    }
}
