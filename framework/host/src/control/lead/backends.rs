//! What watches a backend: its health every two seconds, and its own word of changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use vreserve_model::FailureKind;

use super::generations::OpenBackend;
use super::{Input, Running};
use crate::plugin::Backend;

/// How often backends are asked how they are.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// A backend that answers at once is asked for changes no more often than this.
const EVENTS_INTERVAL: Duration = Duration::from_millis(50);
/// After events that failed, doubling from the first to the second.
const EVENTS_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The tasks that watch one backend. They end when this is dropped.
pub(super) struct Watch {
    tasks: Vec<AbortHandle>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Running {
    /// Watches every backend that is not watched yet. Before the journal is read none is: what an earlier
    /// lead left behind must be known first.
    pub(super) fn watch_backends(&mut self) {
        if !self.is_restored {
            return;
        }
        for (network, open) in self.shell.backends.current() {
            if !self.watches.contains_key(network) {
                let watch = Watch::start(network, open, &self.inputs);
                self.watches.insert(network.clone(), watch);
            }
        }
    }
}

impl Watch {
    fn start(network: &str, open: &OpenBackend, inputs: &mpsc::Sender<Input>) -> Self {
        let backend = &open.backend;
        let health = ask_health(network.to_owned(), open.clone(), inputs.clone());
        let mut tasks = vec![tokio::spawn(health).abort_handle()];
        if backend.capabilities().events {
            let follow = follow_events(network.to_owned(), backend.clone(), inputs.clone());
            tasks.push(tokio::spawn(follow).abort_handle());
        }
        Watch { tasks }
    }
}

async fn ask_health(network: String, open: OpenBackend, inputs: mpsc::Sender<Input>) {
    loop {
        let (outcome, generation) = (open.backend.health().await, open.generation);
        if inputs.send(Input::Health { network: network.clone(), generation, outcome }).await.is_err() {
            return;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

/// Hands on what the backend tells of changes. While that fails the lead's own look-ups go on, so nothing
/// but time is lost; what changed meanwhile comes, or is said to be missed, with the next answer.
async fn follow_events(network: String, backend: Arc<dyn Backend>, inputs: mpsc::Sender<Input>) {
    let (mut since, mut retry_in) = (0, EVENTS_RETRY.0);
    loop {
        let not_before = Instant::now() + EVENTS_INTERVAL;
        match backend.events(since).await {
            Ok(changes) => {
                (since, retry_in) = (changes.next, EVENTS_RETRY.0);
                let is_news = changes.missed || !changes.observed.is_empty();
                let input = Input::Changes { network: network.clone(), changes };
                if is_news && inputs.send(input).await.is_err() {
                    return;
                }
                tokio::time::sleep_until(not_before).await;
            }
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                return tracing::warn!(network, %failure, "no events after all");
            }
            Err(failure) => {
                tracing::debug!(network, %failure, "no events");
                tokio::time::sleep(retry_in).await;
                retry_in = (retry_in * 2).min(EVENTS_RETRY.1);
            }
        }
    }
}
