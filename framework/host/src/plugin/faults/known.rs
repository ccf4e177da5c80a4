//! What went through an instance that injects faults: what the provider holds, what it is said to have forgotten;
//! and what happens to it later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use vreserve_model::{RequestKey, ReservationState};
use vreserve_sdk::Handle;

use super::super::Backend;
use super::MemoryBackend;
use super::answers::Answer;
use super::memory::in_state;

/// A provider that cannot be reached just now is asked again to end something, so often and after this long.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// What is known of reservations, by key.
#[derive(Default)]
pub(super) struct Known(Mutex<Books>);

#[derive(Default)]
struct Books {
    /// What the provider holds, as far as answers told.
    held: BTreeMap<RequestKey, Handle>,
    /// Said to be active, and never switched through.
    claimed: BTreeSet<RequestKey>,
    /// Said to have never been there.
    forgotten: BTreeSet<RequestKey>,
}

impl Known {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from an answer, and tells it as the faults before would have it.
    pub(super) fn retold<A: Answer>(&self, answer: A) -> A {
        let handles = answer.handles();
        let mut books = self.books();
        for (observed, handle) in answer.observed().iter().zip(handles) {
            if observed.state.may_hold_capacity() {
                books.held.insert(handle.key.clone(), handle);
            } else {
                books.held.remove(&handle.key);
            }
        }
        answer.retain(|observed| {
            if observed.state == ReservationState::Booked && books.claimed.contains(&observed.key) {
                *observed = in_state(observed.clone(), ReservationState::Active);
            }
            !books.forgotten.contains(&observed.key)
        })
    }

    /// It is given back.
    pub(super) fn remove(&self, key: &RequestKey) {
        let mut books = self.books();
        books.held.remove(key);
        books.claimed.remove(key);
    }

    /// From now on it is said to be active.
    pub(super) fn claim(&self, key: &RequestKey) {
        self.books().claimed.insert(key.clone());
    }

    /// From now on no more; false if it was not.
    pub(super) fn unclaim(&self, key: &RequestKey) -> bool {
        self.books().claimed.remove(key)
    }

    /// Everything that is held; from now on it has never been there.
    fn forget_all(&self) -> Vec<Handle> {
        let mut books = self.books();
        let held = std::mem::take(&mut books.held);
        books.claimed.clear();
        books.forgotten.extend(held.keys().cloned());
        held.into_values().collect()
    }
}

/// What happens some time after a call. Dropped, it does not happen any more.
#[derive(Default)]
pub(super) struct Later(Mutex<JoinSet<()>>);

impl Later {
    fn after(&self, time: Duration, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            tokio::time::sleep(time).await;
            work.await;
        });
    }

    /// Has the provider end these.
    pub(super) fn end(
        &self,
        time: Duration,
        handles: Vec<Handle>,
        inner: Arc<dyn Backend>,
        nowhere: Arc<MemoryBackend>,
    ) {
        self.after(time, async move { end_all(handles, &*inner, &nowhere).await });
    }

    /// Has the provider end everything, and denies that it ever was.
    pub(super) fn forget(
        &self,
        time: Duration,
        known: Arc<Known>,
        inner: Arc<dyn Backend>,
        nowhere: Arc<MemoryBackend>,
    ) {
        self.after(time, async move { end_all(known.forget_all(), &*inner, &nowhere).await });
    }
}

async fn end_all(handles: Vec<Handle>, inner: &dyn Backend, nowhere: &MemoryBackend) {
    for handle in handles {
        if nowhere.holds(&handle.key) {
            // Nothing is there that could refuse.
            let _ = nowhere.cancel(handle).await;
        } else {
            end(handle, inner).await;
        }
    }
}

async fn end(handle: Handle, inner: &dyn Backend) {
    for _ in 0..TRIES {
        match inner.cancel(handle.clone()).await {
            Ok(()) => return tracing::warn!(key = %handle.key, "ended behind the host's back"),
            Err(failure) => {
                tracing::warn!(key = %handle.key, %failure, "not yet ended behind the host's back")
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
