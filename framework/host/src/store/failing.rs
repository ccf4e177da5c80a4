//! A decorator that makes any store fail, as disks do.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Change, Store, StoreError};

/// How a store fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// It cannot be opened, as for wrong rights or damage.
    Closed,
    /// It can be read, but not written.
    ReadOnly,
    /// There is no room.
    Full,
    /// It is written, and then says that it was not: power was lost before the answer.
    Torn,
    /// Writing takes until the fault is another.
    Slow,
}

/// The switch of a [`FailingStore`]; its clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    inner: Arc<(Mutex<Fault>, Condvar)>,
}

impl Faults {
    /// From now on it fails like this.
    pub fn set(&self, fault: Fault) {
        *self.lock() = fault;
        self.inner.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Fault> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it fails now; waits while it is slow.
    fn current(&self) -> Fault {
        let waited = self.inner.1.wait_while(self.lock(), |fault| *fault == Fault::Slow);
        *waited.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Any other store, failing as its [`Faults`] say.
#[derive(Clone, Debug)]
pub struct FailingStore<S> {
    inner: S,
    faults: Faults,
}

impl<S: Store> FailingStore<S> {
    /// Makes `inner` fail as `faults` say.
    pub fn new(inner: S, faults: Faults) -> Self {
        FailingStore { inner, faults }
    }
}

impl<S: Store> Store for FailingStore<S> {
    fn load(&mut self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        if self.faults.current() == Fault::Closed {
            let reason = "permission denied".to_owned();
            return Err(StoreError::Open { place: "the store".to_owned(), reason });
        }
        self.inner.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let fault = self.faults.current();
        if matches!(fault, Fault::None | Fault::Torn) {
            self.inner.commit(changes)?;
        }
        let reason = match fault {
            Fault::None | Fault::Slow => return Ok(()),
            Fault::Closed => "permission denied",
            Fault::ReadOnly => "read-only file system",
            Fault::Full => "no space left on device",
            Fault::Torn => "input/output error",
        };
        Err(StoreError::Write { place: "the store".to_owned(), reason: reason.to_owned() })
    }
}
