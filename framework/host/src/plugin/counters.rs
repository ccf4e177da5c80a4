//! Counter cells that plugins add to and the host reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::PluginKind;

/// How many counters one instance may have; what it counts beyond goes into one cell, [`OVERFLOW`].
const MAX_COUNTERS: usize = 256;
/// Longest name of a counter in bytes; longer ones are cut.
const MAX_NAME: usize = 64;
/// Longest help text in bytes; longer ones are cut.
const MAX_HELP: usize = 256;
/// Collects what counters beyond the limit count.
const OVERFLOW: &str = "counters_over_limit";

/// One counter of one instance, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterReading {
    /// The instance's kind.
    pub kind: PluginKind,
    /// The instance's name.
    pub instance: String,
    /// The counter's name.
    pub name: String,
    /// What it counts, in one line.
    pub help: String,
    /// The count since the daemon started.
    pub value: u64,
}

struct Cell {
    count: &'static AtomicU64,
    help: String,
}

/// The counters of one instance. Cells are leaked, once per name: a plugin may hold on to them for ever.
#[derive(Default)]
pub(super) struct Counters {
    cells: Mutex<BTreeMap<String, Cell>>,
}

impl Counters {
    /// The cell of `name`.
    pub(super) fn cell(&self, name: &str, help: &str) -> &'static AtomicU64 {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, help) = (cut(name, MAX_NAME), cut(help, MAX_HELP));
        if let Some(cell) = cells.get(name) {
            return cell.count;
        }
        let (name, help) = if cells.len() + 1 < MAX_COUNTERS {
            (name, help)
        } else {
            (OVERFLOW, "sum of the counters beyond the limit per instance")
        };
        let cell = cells
            .entry(name.to_owned())
            .or_insert_with(|| Cell { count: Box::leak(Box::new(AtomicU64::new(0))), help: help.to_owned() });
        cell.count
    }

    /// Every counter with its value, by name.
    pub(super) fn readings(&self, kind: PluginKind, instance: &str) -> Vec<CounterReading> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = |(name, cell): (&String, &Cell)| CounterReading {
            kind,
            instance: instance.to_owned(),
            name: name.clone(),
            help: cell.help.clone(),
            value: cell.count.load(Ordering::Relaxed),
        };
        cells.iter().map(reading).collect()
    }
}

/// At most `max` bytes of `text`, whole characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_cell() {
        let counters = Counters::default();
        counters.cell("drop_runt", "too short").fetch_add(3, Ordering::Relaxed);
        counters.cell("drop_runt", "said otherwise").fetch_add(4, Ordering::Relaxed);
        let readings = counters.readings(PluginKind::Link, "internet");
        assert_eq!(readings.len(), 1);
        assert_eq!((readings[0].value, readings[0].help.as_str()), (7, "too short"));
    }

    #[test]
    fn a_plugin_that_invents_names_cannot_use_up_memory() {
        let counters = Counters::default();
        for n in 0..10_000 {
            counters.cell(&format!("counter_{n}"), "").fetch_add(1, Ordering::Relaxed);
        }
        let readings = counters.readings(PluginKind::Link, "internet");
        assert_eq!(readings.len(), MAX_COUNTERS);
        assert_eq!(readings.iter().map(|reading| reading.value).sum::<u64>(), 10_000);
        assert!(counters.cell(&"ä".repeat(1000), "").load(Ordering::Relaxed) > 0, "shares the overflow cell");
    }
}
