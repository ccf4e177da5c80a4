//! When a call may start: only so many processes at once, and never two for one key.
//!
//! A program need not be prepared for a FIND while the SUBMIT of that key is dying: what a process holds here it
//! keeps until it has been reaped, whoever still waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use vreserve_sdk::Failure;
use vreserve_sdk::model::RequestKey;

/// The turns of one instance.
#[derive(Debug)]
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    keys: Mutex<BTreeMap<RequestKey, Weak<AsyncMutex<()>>>>,
}

/// What a running process holds.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _key: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    pub(crate) fn new(concurrent: usize) -> Self {
        Turns { places: Arc::new(Semaphore::new(concurrent)), keys: Mutex::default() }
    }

    /// Waits for a turn. The key comes first, so that those who wait for the same one take no place.
    pub(crate) async fn take(&self, key: Option<&RequestKey>) -> Result<Turn, Failure> {
        let key = match key {
            Some(key) => Some(self.lock_of(key).lock_owned().await),
            None => None,
        };
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Failure::unavailable("the instance is closing"))?;
        Ok(Turn { _place: Some(place), _key: key })
    }

    fn lock_of(&self, key: &RequestKey) -> Arc<AsyncMutex<()>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = keys.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        keys.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn key(name: &str) -> RequestKey {
        RequestKey(name.into())
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn one_key_has_one_process_and_others_go_on() {
        let turns = Turns::new(2);
        let first = now(turns.take(Some(&key("k1")))).unwrap().unwrap();
        assert!(now(turns.take(Some(&key("k1")))).is_none());
        let second = now(turns.take(Some(&key("k2")))).unwrap().unwrap();
        assert!(now(turns.take(None)).is_none(), "there are two places");
        drop(first);
        assert!(now(turns.take(Some(&key("k1")))).unwrap().is_ok());
        drop(second);
        assert!(now(turns.take(Some(&key("k3")))).unwrap().is_ok());
        assert_eq!(turns.keys.lock().unwrap().len(), 1, "keys that nobody holds are forgotten");
    }
}
