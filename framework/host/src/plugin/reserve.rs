//! Reservation instances: the [`Backend`] behind a plugin.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vreserve_abi::PluginRef;
use vreserve_model::{Capabilities, Changes, Failure, Observed, Request, RequestKey};
use vreserve_sdk::{Handle, Verb};

use super::boundary::ReserveCalls;
use super::{Backend, InstanceHost, documents};

/// An open reservation instance, shared by its clones. Closed when the last clone is dropped and the last
/// call has ended.
#[derive(Clone)]
pub struct ReserveInstance {
    calls: Arc<ReserveCalls>,
    capabilities: Arc<Capabilities>,
    deadline: Duration,
}

impl ReserveInstance {
    /// Opens an instance with `settings` (a JSON object). A call that takes longer than `deadline` is dropped.
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if it panics or its capabilities cannot be read.
    pub fn open(
        plugin: PluginRef,
        host: &InstanceHost,
        settings: &str,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let calls = ReserveCalls::open(plugin, host, settings)?;
        let capabilities = documents::read("capabilities", calls.capabilities().as_str())?;
        Ok(ReserveInstance { calls: Arc::new(calls), capabilities: Arc::new(capabilities), deadline })
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(&self, verb: Verb, question: &Q) -> Result<A, Failure> {
        let document = serde_json::to_string(question)
            .map_err(|error| Failure::internal(format!("{verb} cannot be asked: {error}")))?;
        // Declared before the future, so dropped after it: no call outlives its instance.
        let calls = Arc::clone(&self.calls);
        let answer = contained(calls.call(verb.name(), &document));
        let answer = match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => documents::answer(answer)?,
            Ok(Err(_panic)) => return Err(nobody_knows(verb, "the plugin panicked")),
            Err(_elapsed) => {
                let reason = format!("no answer to {verb} within {} s", self.deadline.as_secs_f32());
                return Err(nobody_knows(verb, &reason));
            }
        };
        documents::read("answer", answer.as_str()).map_err(|failure| nobody_knows(verb, &failure.reason))
    }

    async fn observe<Q: Serialize>(
        &self,
        verb: Verb,
        question: &Q,
        key: &RequestKey,
    ) -> Result<Observed, Failure> {
        let observed: Observed = self.call(verb, question).await?;
        about(verb, &observed, key)?;
        Ok(observed)
    }
}

/// Runs a plugin's future; a panic that comes out of it stays here.
async fn contained<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The failure of a verb whose answer never came or made no sense.
pub(super) fn nobody_knows(verb: Verb, reason: &str) -> Failure {
    match verb {
        Verb::Query | Verb::Find | Verb::ListOwned | Verb::Events | Verb::Health => {
            Failure::unavailable(reason)
        }
        _ => Failure::unknown_outcome(reason),
    }
}

/// Checks that an answer is about the reservation that was asked about.
pub(super) fn about(verb: Verb, observed: &Observed, key: &RequestKey) -> Result<(), Failure> {
    if observed.key == *key {
        Ok(())
    } else {
        Err(nobody_knows(verb, &format!("{verb} of {key} was answered with {:.80}", observed.key.0)))
    }
}

#[async_trait]
impl Backend for ReserveInstance {
    fn capabilities(&self) -> Capabilities {
        Capabilities::clone(&self.capabilities)
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        self.observe(Verb::Submit, &request, &request.key).await
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.call(Verb::Cancel, &handle).await
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        let observed: Option<Observed> = self.call(Verb::Query, &handle).await?;
        observed.iter().try_for_each(|observed| about(Verb::Query, observed, &handle.key))?;
        Ok(observed)
    }

    async fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        self.observe(Verb::Commit, &handle, &handle.key).await
    }

    async fn abort(&self, handle: Handle) -> Result<(), Failure> {
        self.call(Verb::Abort, &handle).await
    }

    async fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let key = handle.key.clone();
        self.observe(Verb::Activate, &(handle, request), &key).await
    }

    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        self.observe(Verb::Deactivate, &handle, &handle.key).await
    }

    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let key = handle.key.clone();
        self.observe(Verb::Modify, &(handle, request), &key).await
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        let found: Vec<Observed> = self.call(Verb::Find, &key).await?;
        found.iter().try_for_each(|observed| about(Verb::Find, observed, &key))?;
        Ok(found)
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        self.call(Verb::ListOwned, &owner).await
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        self.call(Verb::Gc, &valid).await
    }

    async fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.call(Verb::Events, &since).await
    }

    async fn health(&self) -> Result<(), Failure> {
        self.call(Verb::Health, &()).await
    }
}
