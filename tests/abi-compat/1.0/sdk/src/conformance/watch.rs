//! Notices a call into the plugin that does not return, and says which.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one case is doing.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Doing>>);

#[derive(Default)]
struct Doing {
    call: Option<(String, Instant)>,
    /// The thread's place under `/proc`.
    thread: Option<PathBuf>,
}

thread_local! {
    /// The watch of the case that this thread runs.
    static CURRENT: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

impl Watch {
    /// Watches the calls that this thread makes from now on.
    pub(super) fn begin(&self) {
        let place = std::fs::read_link("/proc/thread-self").ok();
        self.doing().thread = place.map(|place| PathBuf::from("/proc").join(place));
        CURRENT.with(|current| *current.borrow_mut() = Some(self.clone()));
    }

    /// The call that has been under way for at least that long.
    pub(super) fn overdue(&self, patience: Duration) -> Option<String> {
        let doing = self.doing();
        doing.call.as_ref().filter(|(_, since)| since.elapsed() >= patience).map(|(what, _)| what.clone())
    }

    /// Whether the thread waits for something. One that works, or would if the machine let it, does not.
    pub(super) fn is_asleep(&self) -> bool {
        let Some(place) = self.doing().thread.clone() else { return true };
        let stat = std::fs::read_to_string(place.join("stat")).unwrap_or_default();
        !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: Option<(String, Instant)>) {
        self.doing().call = call;
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
