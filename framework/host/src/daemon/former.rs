//! Former backends to their end: what they hold that the lead does not know is given back, then they are off the record.
//!
//! Once the lead has closed a former backend nothing should be left. But a run may have ended in the middle of a
//! replacement, and a provider may hold what was on nobody's record; so each is opened once more, and asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use vreserve_model::RequestKey;
use vreserve_sdk::Handle;

use super::places::{Former, Places};
use crate::config::Config;
use crate::control::lead::{FormerBackend, Input, Question};
use crate::loader::Registry;
use crate::plugin::{Backend, HostServices, ReserveInstance};

/// How often a former backend that could not give everything back is asked again.
const RETRY: Duration = Duration::from_secs(30);

/// The record of former backends, and all that is needed to see them off.
#[derive(Clone)]
pub(super) struct FormerBackends {
    /// Where backends keep their state.
    pub(super) places: Arc<Mutex<Places>>,
    pub(super) registry: Arc<Registry>,
    pub(super) services: Arc<HostServices>,
    pub(super) lead: mpsc::Sender<Input>,
    /// What this run's reservations are owned by: `installation/epoch`.
    pub(super) owner: String,
    /// How long one call may take.
    pub(super) deadline: Duration,
}

impl FormerBackends {
    /// Sees off all that an earlier run has left. Those whose network has no backend now are opened for the lead, which
    /// may have their circuits on record; the last one first, as it is the likeliest to have them.
    pub(super) fn take_up(&self, config: &Config) -> Vec<FormerBackend> {
        let on_record: Vec<_> = self.places().former().cloned().collect();
        let mut opened = Vec::new();
        for former in on_record.into_iter().rev() {
            let is_last = !former.network.is_empty()
                && config.reserves.iter().all(|reserve| reserve.network != former.network);
            let (closed, is_closed) = oneshot::channel();
            let (this, place) = (self.clone(), former.place.clone());
            match is_last.then(|| self.open(&former)) {
                Some(Ok(backend)) => {
                    opened.push(FormerBackend {
                        network: former.network,
                        backend: Arc::new(backend),
                        closed,
                    });
                    tokio::spawn(async move {
                        if is_closed.await.is_ok() {
                            this.see_off(place).await;
                        }
                    });
                }
                _ => drop(tokio::spawn(this.see_off(place))),
            }
        }
        opened
    }

    /// Gives back what the former backend in `place` holds, and takes it off the record.
    pub(super) async fn see_off(self, place: String) {
        let Some(former) = self.places().former().find(|former| former.place == place).cloned() else {
            return;
        };
        while let Err(reason) = self.give_back(&former).await {
            tracing::warn!(place, reason, "a former backend may still hold something");
            tokio::time::sleep(RETRY).await;
        }
        let mut places = self.places();
        places.forget(&place);
        if let Err(error) = places.save() {
            tracing::warn!(place, %error, "a former backend stays on record, and is asked again at the next start");
        }
    }

    /// The record.
    pub(super) fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, former: &Former) -> Result<ReserveInstance, String> {
        let instance = former.instance();
        let host = self.services.backend_instance(&instance.name, &former.place);
        let opened = self.registry.trial().open_reserve(&instance, &host, self.deadline);
        opened.map_err(|error| error.to_string())
    }

    async fn give_back(&self, former: &Former) -> Result<(), String> {
        let backend = self.open(former)?;
        let valid = self.known().await?;
        if !backend.capabilities().list {
            return backend.gc(valid).await.map(drop).map_err(|failure| failure.to_string());
        }
        self.cancel_unknown(&backend, &valid).await
    }

    /// The keys of what the lead knows: a new backend may ask the same provider for it.
    async fn known(&self) -> Result<Vec<RequestKey>, String> {
        let (reply, answer) = oneshot::channel();
        drop(self.lead.send(Input::Question(Question::Reservations(reply))).await);
        let view = answer.await.map_err(|_| "the lead has ended".to_owned())?;
        Ok(view.circuits.into_iter().filter_map(|circuit| circuit.key).collect())
    }

    /// What the lead knows of an earlier run is waited for: a new backend may ask the same provider for it, or the lead
    /// has yet to find that its new backend does not.
    async fn cancel_unknown(&self, backend: &ReserveInstance, valid: &[RequestKey]) -> Result<(), String> {
        let held = backend.list_owned(self.owner.clone()).await.map_err(|failure| failure.to_string())?;
        // What this run has asked for since the lead was asked is not among what it said it knows.
        let of_this_run = format!("{}-", self.owner.replace('/', "-"));
        let earlier = held.into_iter().filter(|seen| !seen.key.0.starts_with(&of_this_run));
        let (known, stale): (Vec<_>, Vec<_>) = earlier.partition(|seen| valid.contains(&seen.key));
        let mut outcome = match known.len() {
            0 => Ok(()),
            count => Err(format!("the lead has {count} of its circuits on record")),
        };
        for seen in stale {
            let handle = Handle { key: seen.key, native_id: seen.native_id };
            if let Err(failure) = backend.cancel(handle).await {
                outcome = Err(failure.to_string());
            }
        }
        outcome
    }
}
