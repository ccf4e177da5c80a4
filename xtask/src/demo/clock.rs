//! The one clock of the demo: the wall clock, because the daemons' events carry it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).expect("the year 586,000 is far")
}

/// Milliseconds since the Unix epoch, as in the daemons' events.
pub(crate) fn now_ms() -> u64 {
    now_us() / 1000
}
