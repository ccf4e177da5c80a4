//! Forwards a plugin's `tracing` events to the host.
//!
//! Each shared object has its own copy of tracing's dispatcher, so events would go nowhere without this.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use vreserve_abi::HostContext;

struct Forward {
    host: HostContext,
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
        let log = self.host.table.log();
        let metadata = event.metadata();
        log(
            self.host.context,
            level_number(metadata.level()),
            metadata.target().into(),
            line.0.as_str().into(),
        );
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
