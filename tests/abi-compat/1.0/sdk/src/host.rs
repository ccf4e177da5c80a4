//! The host as a plugin sees it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use vreserve_abi::{HostContext, Identity, Queue};

use crate::LentSlots;

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

    /// Which queue of its interface or endpoint this instance is to serve. A plugin that knows only one serves
    /// it all, and says so in `info`: it is then opened once.
    pub fn queue(&self) -> Queue {
        let queue = self.context.table.queue();
        queue(self.context.context)
    }

    /// The slots of the host's pool that are lent to this instance, if any; they are given once, until dropped.
    pub fn lent(&self) -> Option<LentSlots> {
        let pool = self.context.table.pool();
        LentSlots::of(&pool(self.context.context))
    }

    /// The node's key pair, by which other nodes know it; only link instances are told.
    pub fn identity(&self) -> Option<Identity> {
        let identity = self.context.table.identity();
        Some(identity(self.context.context)).filter(|identity| identity.secret != [0; 32])
    }

    /// A directory for this instance's durable state. It exists and nobody else writes there.
    pub fn state_dir(&self) -> PathBuf {
        let state_dir = self.context.table.state_dir();
        PathBuf::from(state_dir(self.context.context).into_string())
    }
}

/// The number of queues of an instance that does not speak of queues.
pub(crate) const fn one_queue() -> u32 {
    1
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
