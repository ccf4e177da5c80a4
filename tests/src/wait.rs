//! Waiting for something to be so, within bounds.

use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until `look` finds something.
///
/// # Panics
/// If it has not within `bound`.
#[track_caller]
pub fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `holds` says yes.
///
/// # Panics
/// If it has not within `bound`.
#[track_caller]
pub fn until_true(what: &str, bound: Duration, mut holds: impl FnMut() -> bool) {
    until(what, bound, || holds().then_some(()));
}
