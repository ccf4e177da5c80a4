//! Backends that an earlier run replaced and did not see to their end: opened once more, to give back what they hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use vreserve_model::RequestKey;
use vreserve_sdk::Handle;

use super::places::Places;
use crate::control::lead::{Input, Question};
use crate::loader::Registry;
use crate::plugin::{Backend, HostServices, ReserveInstance};

/// How often a former backend that could not give everything back is asked again.
const RETRY: Duration = Duration::from_secs(30);

/// The places, shared by those who change them.
pub(super) type SharedPlaces = Arc<Mutex<Places>>;

/// Takes a former backend off the record.
pub(super) fn forget(places: &SharedPlaces, place: &str) {
    let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
    places.forget(place);
    if let Err(error) = places.save() {
        tracing::warn!(place, %error, "a former backend is still on record; it is looked at again at the next start");
    }
}

/// Gives back what former backends hold, each on a task of its own.
pub(super) fn clear(
    places: &SharedPlaces,
    registry: &Arc<Registry>,
    services: &Arc<HostServices>,
    lead: &mpsc::Sender<Input>,
    owner: &str,
    deadline: Duration,
) {
    let former: Vec<_> = places.lock().unwrap_or_else(PoisonError::into_inner).former().cloned().collect();
    for former in former {
        let (places, lead, registry) = (places.clone(), lead.clone(), registry.trial());
        let owner = owner.to_owned();
        let host = services.backend_instance(&former.instance().name, &former.place);
        tokio::spawn(async move {
            let place = former.place.clone();
            loop {
                let opened = registry.open_reserve(&former.instance(), &host, deadline);
                let outcome = match opened {
                    Ok(backend) => give_back(&backend, &lead, &owner).await,
                    Err(error) => Err(error.to_string()),
                };
                match outcome {
                    Ok(()) => return forget(&places, &place),
                    Err(reason) => tracing::warn!(place, reason, "a former backend still holds something"),
                }
                tokio::time::sleep(RETRY).await;
            }
        });
    }
}

/// Cancels what the lead does not know. It may know some: a new backend may ask the same provider for it.
async fn give_back(backend: &ReserveInstance, lead: &mpsc::Sender<Input>, owner: &str) -> Result<(), String> {
    let (reply, answer) = oneshot::channel();
    drop(lead.send(Input::Question(Question::Reservations(reply))).await);
    let known = answer.await.map_err(|_| "the lead has ended".to_owned())?;
    let valid: Vec<_> = known.circuits.into_iter().filter_map(|circuit| circuit.key).collect();
    if !backend.capabilities().list {
        return backend.gc(valid).await.map(drop).map_err(|failure| failure.to_string());
    }
    let held = backend.list_owned(owner.to_owned()).await.map_err(|failure| failure.to_string())?;
    // What this run has asked for since the lead was asked is not on the list of what it knows.
    let is_of_this_run = |key: &RequestKey| key.0.starts_with(&format!("{}-", owner.replace('/', "-")));
    let stale = held.into_iter().filter(|seen| !valid.contains(&seen.key) && !is_of_this_run(&seen.key));
    let mut failed = None;
    for seen in stale {
        let handle = Handle { key: seen.key, native_id: seen.native_id };
        if let Err(failure) = backend.cancel(handle).await {
            failed = Some(failure.to_string());
        }
    }
    failed.map_or(Ok(()), Err)
}
