//! Notices a call into the plugin that does not return, and says which.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one case is doing.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Option<(String, Instant)>>>);

thread_local! {
    /// The watch of the case that this thread runs.
    static CURRENT: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

impl Watch {
    /// Watches the calls that this thread makes from now on.
    pub(super) fn begin(&self) {
        CURRENT.with(|current| *current.borrow_mut() = Some(self.clone()));
    }

    /// The call that has been under way for at least that long.
    pub(super) fn stuck_for(&self, patience: Duration) -> Option<String> {
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        call.as_ref().filter(|(_, since)| since.elapsed() >= patience).map(|(what, _)| what.clone())
    }

    fn note(&self, call: Option<(String, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }
}

/// Makes a call into the plugin; `what` names it in reports.
pub(super) fn watched<T>(what: impl FnOnce() -> String, call: impl FnOnce() -> T) -> T {
    let watch = CURRENT.with(|current| current.borrow().clone());
    if let Some(watch) = &watch {
        watch.note(Some((what(), Instant::now())));
    }
    let result = call();
    if let Some(watch) = &watch {
        watch.note(None);
    }
    result
}
