//! A reservation system that keeps its promises in memory and does nothing: behind a black hole, and in tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use vreserve_model::{
    Capabilities, Changes, DataPlane, Failure, Observed, Request, RequestKey, ReservationState,
};
use vreserve_sdk::Handle;

use super::super::Backend;

/// Promises everything, at once, up to `max_concurrent` of its capabilities.
pub struct MemoryBackend {
    capabilities: Capabilities,
    /// What its ids begin with.
    prefix: &'static str,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Ids are never used twice.
    last_id: u64,
    asked: u64,
    reservations: BTreeMap<RequestKey, (String, Observed)>,
}

impl MemoryBackend {
    /// Empty, with these capabilities; its ids are `prefix` and a number.
    pub fn new(capabilities: Capabilities, prefix: &'static str) -> Self {
        MemoryBackend { capabilities, prefix, held: Mutex::default() }
    }

    /// Everything it holds, by key.
    pub fn reservations(&self) -> Vec<Observed> {
        self.held().reservations.values().map(|(_, observed)| observed.clone()).collect()
    }

    /// Whether it holds something under `key`.
    pub fn holds(&self, key: &RequestKey) -> bool {
        self.held().reservations.contains_key(key)
    }

    /// How many calls have reached it.
    pub fn asked(&self) -> u64 {
        self.held().asked
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for a call.
    fn asked_now(&self) -> MutexGuard<'_, Held> {
        let mut held = self.held();
        held.asked += 1;
        held
    }

    /// Brings what is held under `key` from one of `from` to another state.
    fn step(
        &self,
        key: &RequestKey,
        from: &[ReservationState],
        to: ReservationState,
    ) -> Result<Observed, Failure> {
        let mut held = self.asked_now();
        let (_, observed) = held.reservations.get_mut(key).ok_or_else(|| unknown(key))?;
        if !from.contains(&observed.state) && observed.state != to {
            return Err(Failure::refused(format!("{key} is {}", observed.state)));
        }
        *observed = in_state(observed.clone(), to);
        Ok(observed.clone())
    }

    fn remove(&self, is_meant: impl Fn(&RequestKey) -> bool) -> Vec<RequestKey> {
        let mut held = self.asked_now();
        let keys: Vec<_> = held.reservations.keys().filter(|key| is_meant(key)).cloned().collect();
        keys.iter().for_each(|key| drop(held.reservations.remove(key)));
        keys
    }
}

fn unknown(key: &RequestKey) -> Failure {
    Failure::refused(format!("there is no reservation {key}"))
}

/// The same reservation in another state.
pub(super) fn in_state(observed: Observed, state: ReservationState) -> Observed {
    let data_plane = if state == ReservationState::Active { DataPlane::Up } else { DataPlane::Down };
    Observed { state, native_state: state.to_string(), data_plane, ..observed }
}

/// What a request asks for, as granted.
pub(super) fn granted(request: &Request, native_id: Option<String>, state: ReservationState) -> Observed {
    let observed = Observed {
        key: request.key.clone(),
        native_id,
        state,
        native_state: String::new(),
        rate: Some(request.rate),
        start_ms: request.start_ms,
        end_ms: request.end_ms,
        data_plane: DataPlane::Unknown,
        labels: BTreeMap::new(),
    };
    in_state(observed, state)
}

#[async_trait]
impl Backend for MemoryBackend {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let mut held = self.asked_now();
        if let Some((_, known)) = held.reservations.get(&request.key) {
            return Ok(known.clone());
        }
        if self.capabilities.max_concurrent.is_some_and(|most| held.reservations.len() >= most as usize) {
            return Err(Failure::refused("there is no room"));
        }
        held.last_id += 1;
        let id = format!("{}{}", self.prefix, held.last_id);
        let state = match (self.capabilities.two_phase, self.capabilities.fused_activation) {
            (true, _) => ReservationState::Held,
            (false, true) => ReservationState::Active,
            (false, false) => ReservationState::Booked,
        };
        let observed = granted(&request, Some(id), state);
        held.reservations.insert(request.key.clone(), (request.owner, observed.clone()));
        Ok(observed)
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.remove(|key| *key == handle.key);
        Ok(())
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        Ok(self.asked_now().reservations.get(&handle.key).map(|(_, observed)| observed.clone()))
    }

    async fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        let fused = self.capabilities.fused_activation;
        let to = if fused { ReservationState::Active } else { ReservationState::Booked };
        self.step(&handle.key, &[ReservationState::Held], to)
    }

    async fn abort(&self, handle: Handle) -> Result<(), Failure> {
        self.remove(|key| *key == handle.key);
        Ok(())
    }

    async fn activate(&self, handle: Handle, _: Request) -> Result<Observed, Failure> {
        self.step(&handle.key, &[ReservationState::Booked], ReservationState::Active)
    }

    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        self.step(&handle.key, &[ReservationState::Active], ReservationState::Booked)
    }

    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let mut held = self.asked_now();
        let (_, observed) = held.reservations.get_mut(&handle.key).ok_or_else(|| unknown(&handle.key))?;
        (observed.rate, observed.end_ms) = (Some(request.rate), request.end_ms);
        Ok(observed.clone())
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        Ok(self
            .asked_now()
            .reservations
            .get(&key)
            .map(|(_, observed)| observed.clone())
            .into_iter()
            .collect())
    }

    /// Epochs are not looked at, as PLUGINS.md has it: an owner is its installation.
    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let installation = |owner: &str| owner.split('/').next().unwrap_or_default().to_owned();
        let held = self.asked_now();
        let owned = held.reservations.values().filter(|(of, _)| installation(of) == installation(&owner));
        Ok(owned.map(|(_, observed)| observed.clone()).collect())
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        Ok(self.remove(|key| !valid.contains(key)))
    }

    async fn events(&self, _: u64) -> Result<Changes, Failure> {
        Err(Failure::unsupported("nothing happens here by itself"))
    }

    async fn health(&self) -> Result<(), Failure> {
        drop(self.asked_now());
        Ok(())
    }
}
