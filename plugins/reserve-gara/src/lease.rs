//! Renewing leases: as long as this plugin runs and the host wants them, and not longer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vreserve_sdk::model::RequestKey;

use crate::gara::Gara;

/// A renewal that failed is tried again after this part of the lease; half of it is left then.
const RETRY: u32 = 8;

/// Renews each lease at half of its time, for ever. Renewals run side by side: one that hangs holds up no other.
pub(crate) async fn renew_for_ever(gara: Arc<Gara>) {
    loop {
        let changed = gara.record.changed.notified();
        match gara.record.next_renewal() {
            None => changed.await,
            Some((at, key)) if at <= Instant::now() => {
                // Until the outcome is known; also if there never is one.
                gara.record
                    .renew_at(&key, Instant::now() + gara.config.duration / RETRY + gara.config.timeout);
                tokio::spawn(renew(gara.clone(), key));
            }
            Some((at, _)) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = changed => {}
                }
            }
        }
    }
}

async fn renew(gara: Arc<Gara>, key: RequestKey) {
    match gara.renew(&key).await {
        Ok(true) => gara.record.renew_at(&key, Instant::now() + half(gara.config.duration)),
        // The server says that it is over; the host will hear of it and give it up.
        Ok(false) => gara.record.given_up(&key),
        Err(failure) => {
            tracing::warn!(%key, %failure, "a lease is not renewed yet");
            gara.record.renew_at(&key, Instant::now() + gara.config.duration / RETRY);
        }
    }
}

/// When a lease is to be renewed.
pub(crate) fn half(duration: Duration) -> Duration {
    duration / 2
}
