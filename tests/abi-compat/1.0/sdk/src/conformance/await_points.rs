//! Drops a backend's submit at every point where it waits. Through the C table such points cannot be seen, as they lie
//! on the plugin's own runtime; so this one part of the kit calls the trait.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use serde_json::Value;
use vreserve_abi::{Identity, Pool};
use vreserve_model::{Failure, FailureKind, Observed, Request, RequestKey};

use super::host::{Offer, StateDir};
use super::opened::PATIENCE;
use super::surroundings::Surroundings;
use crate::{Handle, Host, Reserve};

/// More than any backend has; one that waits for ever would never be done.
const MOST: usize = 10_000;

/// Submits again and again, drops the call at its first point of waiting, its second, and so on until it answers
/// before that, and each time releases what may be held: nothing may be found afterwards. Returns how many points
/// there were.
///
/// # Panics
/// With what was left behind, or if the surroundings give no configuration or request.
pub fn drop_at_every_await_point<R: Reserve>(surroundings: &impl Surroundings) -> usize {
    let config = surroundings.config(1).and_then(|config| request(surroundings, 0).map(|_| config));
    let config = config.expect("the surroundings have a configuration and a request");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a test may have a runtime");
    let points = runtime.block_on(every_point::<R>(surroundings, &config));
    runtime.shutdown_background();
    match points {
        Ok(points) => points,
        Err(reason) => panic!("{reason}"),
    }
}

async fn every_point<R: Reserve>(surroundings: &impl Surroundings, config: &Value) -> Result<usize, String> {
    let state = StateDir::new()?;
    let offer = Offer::new(Pool::NONE, Identity::NONE, state.path());
    let config = crate::read_config(&config.to_string()).map_err(|failure| failure.to_string())?;
    let backend = R::open(config, Host::new(offer.context())).map_err(|failure| failure.to_string())?;
    for point in 0..MOST {
        let request = request(surroundings, point)?;
        let answer = drop_after(point, backend.submit(request.clone())).await;
        let dropped = format!("a submit dropped at point {point} of waiting");
        release(&backend, &request.key).await.map_err(|reason| format!("{dropped}: {reason}"))?;
        let found = backend.find(request.key.clone()).await.map_err(|failure| failure.to_string())?;
        if let Some(held) = found.iter().find(|observed| observed.state.may_hold_capacity()) {
            return Err(format!("{dropped}: after its release {} is {}", held.key, held.state));
        }
        if let Ok(held @ 1..) = surroundings.held() {
            return Err(format!("{dropped}: by its own books the provider still holds {held}"));
        }
        match answer {
            None => {}
            Some(Ok(_)) => return Ok(point),
            Some(Err(failure)) => return Err(format!("submit fails: {failure}")),
        }
    }
    Err(format!("submit waits more than {MOST} times"))
}

/// What the call answers, unless it waits for the time after `waits` others: it is then dropped.
async fn drop_after(
    waits: usize,
    call: impl Future<Output = Result<Observed, Failure>>,
) -> Option<Result<Observed, Failure>> {
    let (mut call, mut polls) = (pin!(call), 0);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if polls == waits => Poll::Ready(None),
        Poll::Pending => {
            polls += 1;
            Poll::Pending
        }
    })
    .await
}

async fn release<R: Reserve>(backend: &R, key: &RequestKey) -> Result<(), String> {
    let since = Instant::now();
    loop {
        match backend.cancel(Handle { key: key.clone(), native_id: None }).await {
            Ok(()) => return Ok(()),
            Err(failure) if failure.kind != FailureKind::Internal && since.elapsed() < PATIENCE => {
                tokio::task::yield_now().await;
            }
            Err(failure) => return Err(format!("cancel: {failure}")),
        }
    }
}

fn request(surroundings: &impl Surroundings, point: usize) -> Result<Request, String> {
    let mut request = surroundings.request(1)?;
    request.key = RequestKey(format!("kit-await-{}-{point}", std::process::id()));
    request.owner = "kit/await".to_owned();
    Ok(request)
}
