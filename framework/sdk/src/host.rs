//! The host as a plugin sees it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use vreserve_abi::HostContext;

/// The host, for one plugin instance: counters and a place for durable state. Logs go through [`tracing`].
#[derive(Clone, Copy)]
pub struct Host {
    context: HostContext,
}

/// A count that the host shows under `vreserve status`. Cheap to copy; may be used from any thread.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    cell: &'static AtomicU64,
}

impl Host {
    pub(crate) fn new(context: HostContext) -> Self {
        Host { context }
    }

    /// The counter `name` (snake case; `drop_` in front of reasons for dropped frames), with one line of
    /// help. The same name gives the same counter.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = self.context.table.counter();
        Counter { cell: counter(self.context.context, name.into(), help.into()) }
    }

    /// A directory for this instance's durable state. It exists and nobody else writes there.
    pub fn state_dir(&self) -> PathBuf {
        let state_dir = self.context.table.state_dir();
        PathBuf::from(state_dir(self.context.context).into_string())
    }
}

impl Counter {
    /// Adds `n`. One addition per batch, not per frame: an atomic costs as much as a lookup.
    pub fn add(&self, n: u64) {
        if n != 0 {
            self.cell.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.cell.load(Ordering::Relaxed)
    }
}
