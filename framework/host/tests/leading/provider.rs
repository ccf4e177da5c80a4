//! A reservation system in memory: grants everything, and notes what it was asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use vreserve::plugin::Backend;
use vreserve::store::MemoryStore;
use vreserve_model::{
    Capabilities, Changes, DataPlane, Failure, Observed, Request, RequestKey, ReservationState,
};
use vreserve_sdk::Handle;

/// The provider. It outlives leads.
pub(crate) struct Provider {
    state: Mutex<State>,
    /// Grows with every change that it tells of.
    changes: watch::Sender<Changes>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<RequestKey, Observed>,
    calls: Vec<String>,
    store: MemoryStore,
    /// What was asked for without a record of it.
    unrecorded: Vec<RequestKey>,
    events_fail: u32,
}

impl Default for Provider {
    fn default() -> Self {
        Provider { state: Mutex::default(), changes: watch::channel(Changes::default()).0 }
    }
}

impl Provider {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn call(&self, verb: &str, key: &RequestKey) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.calls.push(format!("{verb} {key}"));
        state
    }

    /// From now on it checks that what it is asked for is on record here.
    pub(crate) fn watches(&self, store: MemoryStore) {
        self.lock().store = store;
    }

    /// How often a verb was called.
    pub(crate) fn count(&self, verb: &str) -> usize {
        let verb = format!("{verb} ");
        self.lock().calls.iter().filter(|call| call.starts_with(&verb)).count()
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    pub(crate) fn held(&self) -> Vec<RequestKey> {
        self.lock().held.keys().cloned().collect()
    }

    /// What was asked for without a record of it.
    pub(crate) fn unrecorded(&self) -> Vec<RequestKey> {
        self.lock().unrecorded.clone()
    }

    /// It holds this, whoever asked for it.
    pub(crate) fn hold(&self, key: &str) {
        let key = RequestKey(key.into());
        self.lock().held.insert(key.clone(), observed(&key, ReservationState::Active));
    }

    /// It ends what it holds, and tells of it if `missed` is not set; else that something was missed.
    pub(crate) fn end_everything(&self, missed: bool) {
        let ended = std::mem::take(&mut self.lock().held);
        self.changes.send_modify(|changes| {
            changes.next += 1;
            changes.missed = missed;
            let told = ended.keys().filter(|_| !missed);
            changes.observed = told.map(|key| observed(key, ReservationState::Released)).collect();
        });
    }

    /// The next calls for events fail.
    pub(crate) fn fail_events(&self, times: u32) {
        self.lock().events_fail = times;
    }
}

fn observed(key: &RequestKey, state: ReservationState) -> Observed {
    Observed {
        key: key.clone(),
        native_id: Some(format!("path-{key}")),
        state,
        native_state: state.to_string(),
        rate: None,
        start_ms: None,
        end_ms: None,
        data_plane: DataPlane::Unknown,
        labels: BTreeMap::new(),
    }
}

fn unsupported<T>() -> Result<T, Failure> {
    Err(Failure::unsupported("not here"))
}

#[async_trait]
impl Backend for Provider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            fused_activation: true,
            advance: true,
            find: true,
            list: true,
            events: true,
            ..Capabilities::default()
        }
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let mut state = self.call("submit", &request.key);
        if !state.store.records().contains_key(&request.key.0) {
            state.unrecorded.push(request.key.clone());
        }
        let granted = observed(&request.key, ReservationState::Active);
        state.held.insert(request.key, granted.clone());
        Ok(granted)
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.call("cancel", &handle.key).held.remove(&handle.key);
        Ok(())
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        Ok(self.call("query", &handle.key).held.get(&handle.key).cloned())
    }

    async fn commit(&self, _: Handle) -> Result<Observed, Failure> {
        unsupported()
    }

    async fn abort(&self, _: Handle) -> Result<(), Failure> {
        unsupported()
    }

    async fn activate(&self, _: Handle, _: Request) -> Result<Observed, Failure> {
        unsupported()
    }

    async fn deactivate(&self, _: Handle) -> Result<Observed, Failure> {
        unsupported()
    }

    async fn modify(&self, _: Handle, _: Request) -> Result<Observed, Failure> {
        unsupported()
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        Ok(self.call("find", &key).held.get(&key).cloned().into_iter().collect())
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        Ok(self.call("list_owned", &RequestKey(owner)).held.values().cloned().collect())
    }

    async fn gc(&self, _: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        unsupported()
    }

    async fn events(&self, since: u64) -> Result<Changes, Failure> {
        {
            let mut state = self.call("events", &RequestKey(since.to_string()));
            if let Some(left) = state.events_fail.checked_sub(1) {
                state.events_fail = left;
                return Err(Failure::unavailable("no events for now"));
            }
        }
        let mut changes = self.changes.subscribe();
        let news = changes.wait_for(|changes| changes.next > since);
        match tokio::time::timeout(Duration::from_secs(5), news).await {
            Ok(Ok(changes)) => Ok(changes.clone()),
            _ => Ok(Changes { next: since, ..Changes::default() }),
        }
    }

    async fn health(&self) -> Result<(), Failure> {
        Ok(())
    }
}
