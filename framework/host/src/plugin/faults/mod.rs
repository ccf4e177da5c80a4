//! Faults between the host and a reservation system, on purpose: a decorator around any [`Backend`].
//!
//! ```text
//!  lead ─▶ FaultyBackend ── dice: is this call hit? ── no ──▶ the backend
//!                              └ yes: hang, lose, double, hold back, garble, refuse …, and count it
//! ```
//! `wrap = "faults"` puts it around a `[reserve.<instance>]`; tests put it around a [`MemoryBackend`]. It stands on
//! the host's side of the plugin boundary: a doubled request reaches the plugin twice, and whether the provider
//! hears it twice is the plugin's part. Garbage is read as a plugin's own answers are, with the same checks.
//!
//! What it cannot do: break a data plane that a provider has set up (a black hole is a promise for which nobody was
//! asked, so nothing is there), and make a provider forget what it still switches (amnesia has the provider end
//! everything that came through this instance, and denies ever having known it). Held-back answers, black holes and
//! what was forgotten are kept in memory: a restart of the daemon ends them.

mod answers;
mod dice;
mod inject;
mod known;
mod memory;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use vreserve_model::{Capabilities, Changes, Failure, Observed, Request, RequestKey, ReservationState};
use vreserve_sdk::{Handle, Verb};

use super::{Backend, InstanceHost};
use dice::Dice;
use inject::{Call, Turns};
use known::{Known, Later};

pub use memory::MemoryBackend;
pub use plan::{Chance, Fault, FaultPlan, Rule, VERBS, When};

/// A backend into whose calls faults are injected.
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    /// Behind black holes.
    nowhere: Arc<MemoryBackend>,
    instance: String,
    deadline: Duration,
    dice: Dice,
    /// How often each fault was injected.
    counts: BTreeMap<Fault, &'static AtomicU64>,
    known: Arc<Known>,
    turns: Turns,
    later: Later,
}

impl FaultyBackend {
    /// Wraps the backend of the instance `name`. Its calls take no longer than `deadline`; what is injected is
    /// counted as `fault_<name>` among the counters of `host`, and logged.
    pub fn wrap(
        inner: Arc<dyn Backend>,
        plan: FaultPlan,
        name: &str,
        deadline: Duration,
        host: &InstanceHost,
    ) -> Self {
        tracing::warn!(
            instance = name,
            faults = plan.summary(),
            "THIS INSTANCE INJECTS FAULTS: not for real use"
        );
        let capabilities = inner.capabilities();
        let help =
            |fault: Fault| format!("Calls into which a fault was injected on purpose: {}.", fault.name());
        let count = |fault| (fault, host.counter(&format!("fault_{}", Fault::name(fault)), &help(fault)));
        FaultyBackend {
            dice: Dice::new(plan, capabilities.fused_activation),
            nowhere: Arc::new(MemoryBackend::new(
                Capabilities { max_concurrent: None, ..capabilities },
                "black-hole-",
            )),
            inner,
            instance: name.to_owned(),
            deadline,
            counts: Fault::ALL.into_iter().map(count).collect(),
            known: Arc::default(),
            turns: Turns::default(),
            later: Later::default(),
        }
    }

    /// Who answers for a key: the backend, or the black hole that promised it.
    fn of(&self, key: &RequestKey) -> &dyn Backend {
        if self.nowhere.holds(key) { &*self.nowhere } else { &*self.inner }
    }

    /// The call of a verb about one reservation.
    fn about<'a, A>(
        &'a self,
        verb: Verb,
        handle: Handle,
        ask: impl Fn(&'a dyn Backend, Handle) -> inject::Asking<'a, A> + Send + Sync + 'a,
    ) -> Call<'a, A> {
        let key = handle.key.clone();
        Call::new(verb, Some(key), move || ask(self.of(&handle.key), handle.clone()))
    }
}

#[async_trait]
impl Backend for FaultyBackend {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let (key, elsewhere) = (request.key.clone(), request.clone());
        let call = Call::new(Verb::Submit, Some(key), move || self.of(&request.key).submit(request.clone()));
        self.call(call.or_instead(move || self.nowhere.submit(elsewhere.clone()))).await
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        let key = handle.key.clone();
        self.call(self.about(Verb::Cancel, handle, |backend, handle| backend.cancel(handle))).await?;
        self.known.remove(&key);
        Ok(())
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        self.call(self.about(Verb::Query, handle, |backend, handle| backend.query(handle))).await
    }

    async fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        self.call(self.about(Verb::Commit, handle, |backend, handle| backend.commit(handle))).await
    }

    async fn abort(&self, handle: Handle) -> Result<(), Failure> {
        let key = handle.key.clone();
        self.call(self.about(Verb::Abort, handle, |backend, handle| backend.abort(handle))).await?;
        self.known.remove(&key);
        Ok(())
    }

    async fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let (id, asked) = (handle.native_id.clone(), request.clone());
        let call = self
            .about(Verb::Activate, handle, move |backend, handle| backend.activate(handle, request.clone()));
        let call = call.or_instead(move || {
            self.known.claim(&asked.key);
            let observed = memory::granted(&asked, id.clone(), ReservationState::Active);
            Box::pin(std::future::ready(Ok(observed)))
        });
        self.call(call).await
    }

    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        if self.known.unclaim(&handle.key) {
            // It was never switched through.
            let found = self.inner.find(handle.key.clone()).await?.into_iter().next();
            return found.ok_or_else(|| Failure::refused(format!("there is no reservation {}", handle.key)));
        }
        self.call(self.about(Verb::Deactivate, handle, |backend, handle| backend.deactivate(handle))).await
    }

    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let call =
            self.about(Verb::Modify, handle, move |backend, handle| backend.modify(handle, request.clone()));
        self.call(call).await
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        let of = key.clone();
        self.call(Call::new(Verb::Find, Some(key), move || self.of(&of).find(of.clone()))).await
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let both = move |owner: String| async move {
            let mut all = self.inner.list_owned(owner.clone()).await?;
            all.extend(self.nowhere.list_owned(owner).await?);
            Ok(all)
        };
        self.call(Call::new(Verb::ListOwned, None, move || Box::pin(both(owner.clone())))).await
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        let both = move |valid: Vec<RequestKey>| async move {
            let mut cancelled = self.inner.gc(valid.clone()).await?;
            cancelled.extend(self.nowhere.gc(valid).await?);
            Ok(cancelled)
        };
        let cancelled = self.call(Call::new(Verb::Gc, None, move || Box::pin(both(valid.clone())))).await?;
        cancelled.iter().for_each(|key| self.known.remove(key));
        Ok(cancelled)
    }

    async fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.call(Call::new(Verb::Events, None, move || self.inner.events(since))).await
    }

    async fn health(&self) -> Result<(), Failure> {
        self.call(Call::new(Verb::Health, None, move || self.inner.health())).await
    }
}
