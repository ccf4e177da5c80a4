//! Forwards a plugin's `tracing` events to the host.
//!
//! Each shared object has its own copy of tracing's dispatcher, so events would go nowhere without this.

use std::cell::Cell;
use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use vreserve_abi::HostContext;

struct Forward {
    /// The first instance that was opened: it stands for threads that work for none.
    host: HostContext,
}

thread_local! {
    /// The instance that this thread works for.
    static CURRENT: Cell<Option<HostContext>> = const { Cell::new(None) };
}

/// While it lives, what this thread logs is logged as that instance's.
pub(crate) struct AsInstance {
    before: Option<HostContext>,
}

/// Marks the current thread as working for an instance. Does not allocate.
pub(crate) fn as_instance(host: HostContext) -> AsInstance {
    AsInstance { before: CURRENT.try_with(|current| current.replace(Some(host))).ok().flatten() }
}

impl AsInstance {
    /// The mark stays.
    pub(crate) fn for_the_rest_of_the_thread(self) {
        std::mem::forget(self);
    }
}

impl Drop for AsInstance {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.set(self.before));
    }
}

/// Sends this shared object's events to the host. Where a subscriber is set already (a plugin linked
/// statically into the host), it stays.
pub(crate) fn install(host: HostContext) {
    drop(tracing::subscriber::set_global_default(Forward { host }));
}

fn level_number(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let max_level = self.host.table.max_level();
        metadata.is_event() && level_number(metadata.level()) <= max_level(self.host.context)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let host = CURRENT.try_with(Cell::get).ok().flatten().unwrap_or(self.host);
        let log = host.table.log();
        let metadata = event.metadata();
        log(host.context, level_number(metadata.level()), metadata.target().into(), line.0.as_str().into());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.0, "{space}{value:?}")
        } else {
            write!(self.0, "{space}{}={value:?}", field.name())
        };
    }
}
