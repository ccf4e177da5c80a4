//! A reservation system that exists in memory only, and speaks the plugins' own interface ([`Reserve`]): the
//! lead's calls reach it as they would reach `reserve-odin` or `reserve-gara`.
//!
//! What lives here: what it holds and what it answers. When it answers, and what goes wrong on the way, is
//! `calls`'s part.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_model::{
    Capabilities, DataPlane, Failure, Observed, Request, RequestKey, ReservationState, Timestamp,
};
use vreserve_sdk::{Handle, Host, Reserve, async_trait};

/// One network's provider.
pub(crate) struct Provider {
    capabilities: Capabilities,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    now: Timestamp,
    last_id: u64,
    held: BTreeMap<String, Held>,
    /// What has changed since it was last asked for, in words.
    news: Vec<String>,
}

/// One reservation.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) request: Request,
    pub(crate) state: ReservationState,
    since: Timestamp,
    /// It is said to carry, and drops everything.
    pub(crate) is_dark: bool,
    /// The share of datagrams that it loses.
    pub(crate) loss: f64,
    /// The share of its rate that it delivers.
    pub(crate) speed: f64,
    /// Asked for by a lead that had died before the request arrived: nobody could wait for it.
    pub(crate) is_late: bool,
}

/// A circuit as frames find it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) is_dark: bool,
    pub(crate) loss: f64,
    pub(crate) bits_per_second: f64,
}

/// It has no settings: the simulation makes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoSettings {}

impl Provider {
    pub(crate) fn new(capabilities: Capabilities) -> Self {
        Provider { capabilities, books: Mutex::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time has passed: holds that nobody has committed are dropped.
    pub(crate) fn set_now(&self, now: Timestamp) {
        let hold_time = self.capabilities.hold_time.unwrap_or(Duration::MAX);
        let mut books = self.books();
        books.now = now;
        books.drop_where("hold ran out", |held| {
            held.state == ReservationState::Held && now.since(held.since) >= hold_time
        });
    }

    /// Looks at everything that it holds.
    pub(crate) fn visit(&self, look: impl FnMut(&Held)) {
        self.books().held.values().for_each(look);
    }

    /// True if it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.books().held.is_empty()
    }

    /// How it is to frames between two of its addresses; none if there is no circuit that carries.
    pub(crate) fn way(&self, one: &str, other: &str) -> Option<Way> {
        let joins = |held: &&Held| {
            let Request { a, z, .. } = &held.request;
            a == one && z == other || a == other && z == one
        };
        let books = self.books();
        let mut active = books.held.values().filter(|held| held.state == ReservationState::Active);
        let held = active.find(joins)?;
        // A provider grants a little more than was asked for.
        let rate = held.request.rate.0 as f64 * 1.1 * held.speed;
        Some(Way { is_dark: held.is_dark, loss: held.loss, bits_per_second: rate })
    }

    /// It knows of nothing any more, and frames pass nowhere.
    pub(crate) fn forget_all(&self) {
        self.books().drop_where("forgotten", |_| true);
    }

    /// It ends the `number`-th of its active circuits.
    pub(crate) fn end(&self, number: usize) {
        let chosen = self.nth_active(number);
        self.books().drop_where("ended", |held| Some(&held.request.key) == chosen.as_ref());
    }

    /// Changes the `number`-th of its active circuits; true if there is one.
    pub(crate) fn spoil(&self, number: usize, change: impl Fn(&mut Held)) -> bool {
        let Some(chosen) = self.nth_active(number) else { return false };
        let mut books = self.books();
        books.held.values_mut().filter(|held| held.request.key == chosen).for_each(change);
        true
    }

    fn nth_active(&self, number: usize) -> Option<RequestKey> {
        let books = self.books();
        let active = books.held.values().filter(|held| held.state == ReservationState::Active);
        let keys: Vec<_> = active.map(|held| held.request.key.clone()).collect();
        keys.get(number % keys.len().max(1)).cloned()
    }

    /// What is granted under a key from now on came too late for anybody to wait for.
    pub(crate) fn mark_late(&self, key: &RequestKey) {
        self.books()
            .held
            .values_mut()
            .filter(|held| held.request.key == *key)
            .for_each(|held| held.is_late = true);
    }

    /// What has changed since this was last asked, in words.
    pub(crate) fn take_news(&self) -> Vec<String> {
        std::mem::take(&mut self.books().news)
    }

    fn granted(&self) -> ReservationState {
        match (self.capabilities.two_phase, self.capabilities.fused_activation) {
            (true, _) => ReservationState::Held,
            (false, true) => ReservationState::Active,
            (false, false) => ReservationState::Booked,
        }
    }

    /// Brings what is held under a key from one state to another.
    fn step(
        &self,
        key: &RequestKey,
        from: ReservationState,
        to: ReservationState,
    ) -> Result<Observed, Failure> {
        let mut books = self.books();
        let now = books.now;
        let found = books.held.iter_mut().find(|(_, held)| held.request.key == *key);
        let Some((id, held)) = found else {
            return Err(Failure::refused(format!("there is no reservation {key}")));
        };
        if held.state != from && held.state != to {
            return Err(Failure::refused(format!("{key} is {}", held.state)));
        }
        if held.state != to {
            (held.state, held.since) = (to, now);
        }
        let observed = held.observed(id);
        books.news.push(format!("{key} is {to}"));
        Ok(observed)
    }

    fn remove(&self, why: &str, is_meant: impl Fn(&Held) -> bool) -> Vec<RequestKey> {
        self.books().drop_where(why, is_meant)
    }
}

impl Books {
    fn drop_where(&mut self, why: &str, is_meant: impl Fn(&Held) -> bool) -> Vec<RequestKey> {
        let gone: Vec<_> =
            self.held.iter().filter(|(_, held)| is_meant(held)).map(|(id, _)| id.clone()).collect();
        let gone = gone.into_iter().filter_map(|id| self.held.remove(&id));
        let keys: Vec<_> = gone.map(|held| held.request.key).collect();
        self.news.extend(keys.iter().map(|key| format!("{key} is gone: {why}")));
        keys
    }
}

impl Held {
    fn observed(&self, id: &str) -> Observed {
        let is_active = self.state == ReservationState::Active;
        Observed {
            key: self.request.key.clone(),
            native_id: Some(id.to_owned()),
            state: self.state,
            native_state: self.state.to_string(),
            rate: Some(self.request.rate),
            start_ms: self.request.start_ms,
            end_ms: self.request.end_ms,
            data_plane: if is_active { DataPlane::Unknown } else { DataPlane::Down },
            labels: BTreeMap::new(),
        }
    }
}

#[async_trait]
impl Reserve for Provider {
    type Config = NoSettings;

    fn open(_: NoSettings, _: Host) -> Result<Self, Failure> {
        Err(Failure::unsupported("the simulation makes its providers itself"))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let state = self.granted();
        let mut books = self.books();
        if let Some((id, held)) = books.held.iter().find(|(_, held)| held.request.key == request.key) {
            return Ok(held.observed(id));
        }
        if self.capabilities.max_concurrent.is_some_and(|most| books.held.len() >= most as usize) {
            return Err(Failure::refused("there is no room"));
        }
        books.last_id += 1;
        let id = format!("{:04}", books.last_id);
        let since = books.now;
        books.news.push(format!("{} is {state}, {} to {}", request.key, request.a, request.z));
        let held = Held { request, state, since, is_dark: false, loss: 0.0, speed: 1.0, is_late: false };
        let observed = held.observed(&id);
        books.held.insert(id, held);
        Ok(observed)
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.remove("cancelled", |held| held.request.key == handle.key);
        Ok(())
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        Ok(self.find(handle.key).await?.pop())
    }

    async fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        let fused = self.capabilities.fused_activation;
        let to = if fused { ReservationState::Active } else { ReservationState::Booked };
        self.step(&handle.key, ReservationState::Held, to)
    }

    async fn abort(&self, handle: Handle) -> Result<(), Failure> {
        self.remove("aborted", |held| held.request.key == handle.key && held.state == ReservationState::Held);
        match self.find(handle.key).await?.pop() {
            Some(held) => Err(Failure::refused(format!("{} is {}, and no hold", held.key, held.state))),
            None => Ok(()),
        }
    }

    async fn activate(&self, handle: Handle, _: Request) -> Result<Observed, Failure> {
        self.step(&handle.key, ReservationState::Booked, ReservationState::Active)
    }

    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        self.step(&handle.key, ReservationState::Active, ReservationState::Booked)
    }

    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let mut books = self.books();
        let found = books.held.iter_mut().find(|(_, held)| held.request.key == handle.key);
        let (id, held) =
            found.ok_or_else(|| Failure::refused(format!("there is no reservation {}", handle.key)))?;
        (held.request.rate, held.request.end_ms) = (request.rate, request.end_ms);
        Ok(held.observed(id))
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        let books = self.books();
        let found = books.held.iter().filter(|(_, held)| held.request.key == key);
        Ok(found.map(|(id, held)| held.observed(id)).collect())
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let installation = |owner: &str| owner.split('/').next().unwrap_or_default().to_owned();
        let books = self.books();
        let is_owned = |held: &Held| installation(&held.request.owner) == installation(&owner);
        let owned = books.held.iter().filter(|(_, held)| is_owned(held));
        Ok(owned.map(|(id, held)| held.observed(id)).collect())
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        Ok(self.remove("collected", |held| !valid.contains(&held.request.key)))
    }

    async fn health(&self) -> Result<(), Failure> {
        Ok(())
    }
}
