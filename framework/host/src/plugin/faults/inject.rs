//! One call on its way to the backend and back, hit by a fault or not.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use vreserve_model::{Failure, RequestKey};
use vreserve_sdk::Verb;

use super::super::reserve::nobody_knows;
use super::answers::{Answer, garbled};
use super::{Fault, FaultyBackend};

/// A call that is under way.
pub(super) type Asking<'a, A> = Pin<Box<dyn Future<Output = Result<A, Failure>> + Send + 'a>>;
type Ask<'a, A> = Box<dyn Fn() -> Asking<'a, A> + Send + Sync + 'a>;

/// A call that may be made more than once, or not at all.
pub(super) struct Call<'a, A> {
    verb: Verb,
    /// What it is about, if that is one reservation.
    key: Option<RequestKey>,
    ask: Ask<'a, A>,
    /// What a black hole answers.
    instead: Option<Ask<'a, A>>,
}

impl<'a, A> Call<'a, A> {
    pub(super) fn new(
        verb: Verb,
        key: Option<RequestKey>,
        ask: impl Fn() -> Asking<'a, A> + Send + Sync + 'a,
    ) -> Self {
        Call { verb, key, ask: Box::new(ask), instead: None }
    }

    pub(super) fn or_instead(self, instead: impl Fn() -> Asking<'a, A> + Send + Sync + 'a) -> Self {
        Call { instead: Some(Box::new(instead)), ..self }
    }

    fn nobody_knows<T>(&self, reason: &str) -> Result<T, Failure> {
        Err(nobody_knows(self.verb, &format!("{reason} (a fault injected on purpose)")))
    }
}

/// The order in which calls began, and how far they have been answered.
pub(super) struct Turns {
    begun: AtomicU64,
    /// The latest to begin of those that were answered.
    answered: watch::Sender<u64>,
}

impl Default for Turns {
    fn default() -> Self {
        Turns { begun: AtomicU64::new(0), answered: watch::Sender::new(0) }
    }
}

/// One call's place in the order; given up when it is answered or dropped.
struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Turns {
    fn begin(&self) -> Turn<'_> {
        Turn { turns: self, number: self.begun.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Turn<'_> {
    /// Waits until a later call was answered, for `at_most` so long.
    async fn let_another_pass(&self, at_most: Duration) {
        let mut answered = self.turns.answered.subscribe();
        // Nobody comes: the answer is late, and in order.
        let _ = timeout(at_most, answered.wait_for(|latest| *latest > self.number)).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.answered.send_if_modified(|latest| {
            let is_later = self.number > *latest;
            *latest = self.number.max(*latest);
            is_later
        });
    }
}

impl FaultyBackend {
    /// Makes a call, or what a fault makes of it.
    pub(super) async fn call<A: Answer>(&self, call: Call<'_, A>) -> Result<A, Failure> {
        let turn = self.turns.begin();
        let Some((fault, time)) = self.dice.roll(call.verb) else {
            return (call.ask)().await.map(|answer| self.known.retold(answer));
        };
        let (instance, verb) = (&self.instance, call.verb.name());
        let key = call.key.as_ref().map_or("", |key| key.0.as_str());
        tracing::warn!(instance, fault = fault.name(), verb, key, "fault injected");
        let count = self.counts[&fault];
        let number = count.fetch_add(1, Ordering::Relaxed);
        match timeout(self.deadline, self.inject(fault, time, number, &call, &turn)).await {
            Ok(answer) => answer.map(|answer| self.known.retold(answer)),
            Err(_elapsed) => call.nobody_knows(&format!(
                "no answer to {} within {} s",
                call.verb,
                self.deadline.as_secs_f32()
            )),
        }
    }

    async fn inject<A: Answer>(
        &self,
        fault: Fault,
        time: Duration,
        number: u64,
        call: &Call<'_, A>,
        turn: &Turn<'_>,
    ) -> Result<A, Failure> {
        let ask = &call.ask;
        match fault {
            Fault::Hang => std::future::pending().await,
            Fault::Delay => {
                let answer = ask().await;
                tokio::time::sleep(time).await;
                answer
            }
            Fault::ReplyLostBefore => call.nobody_knows("the connection was lost"),
            Fault::ReplyLostAfter => {
                if let Ok(answer) = ask().await {
                    // The host does not see it; amnesia must know it all the same.
                    self.known.retold(answer);
                }
                call.nobody_knows("the connection was lost")
            }
            Fault::Duplicate => tokio::join!(ask(), ask()).0,
            Fault::Reordered => {
                let answer = ask().await;
                turn.let_another_pass(time).await;
                answer
            }
            Fault::Garbage => {
                let answer = self.known.retold(ask().await?);
                garbled(call.verb, call.key.as_ref(), &answer, number)
            }
            Fault::Refusal => Err(Failure::refused("no (a fault injected on purpose)")),
            Fault::ForcedEnd => {
                let answer = ask().await?;
                self.later.end(time, answer.handles(), self.inner.clone(), self.nowhere.clone());
                Ok(answer)
            }
            Fault::BlackHole => match &call.instead {
                Some(instead) => instead().await,
                None => ask().await,
            },
            Fault::Amnesia => {
                let answer = ask().await;
                self.later.forget(time, self.known.clone(), self.inner.clone(), self.nowhere.clone());
                answer
            }
        }
    }
}
