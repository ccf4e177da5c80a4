//! Reservation backends without `async`: plain methods that may block, on threads of the instance's own runtime.

use std::panic::resume_unwind;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use vreserve_model::{Capabilities, Changes, Failure, Observed, Request, RequestKey};

use crate::reserve::unsupported;
use crate::{Handle, Host, Reserve};

/// A reservation backend whose methods may block; [`Blocking`] makes a [`Reserve`] of it.
///
/// The methods mean what those of [`Reserve`] mean, one by one, and have the same defaults. Calls overlap, up to
/// [`THREADS`](BlockingReserve::THREADS) of them; more wait.
///
/// A call that has begun goes on to its end even if the host no longer waits for it: nothing can stop a thread.
/// The host then takes its outcome as unknown and looks the key up, perhaps while the call still runs. So make
/// sure that every call ends by itself (time-outs on every socket): one that hangs keeps its thread, and when
/// all of them hang, no call is served any more.
pub trait BlockingReserve: Sized + Send + Sync + 'static {
    /// The keys of this plugin's table in the node's configuration; deny unknown fields.
    type Config: DeserializeOwned + JsonSchema;

    /// How many calls may run at once.
    const THREADS: usize = 8;

    /// See [`Reserve::validate`].
    ///
    /// # Errors
    /// As there.
    fn validate(config: &Self::Config) -> Result<(), Failure> {
        let _ = config;
        Ok(())
    }

    /// See [`Reserve::open`].
    ///
    /// # Errors
    /// As there.
    fn open(config: Self::Config, host: Host) -> Result<Self, Failure>;

    /// See [`Reserve::capabilities`]. Must not block.
    fn capabilities(&self) -> Capabilities;

    /// See [`Reserve::submit`].
    ///
    /// # Errors
    /// As there.
    fn submit(&self, request: Request) -> Result<Observed, Failure>;

    /// See [`Reserve::cancel`].
    ///
    /// # Errors
    /// As there.
    fn cancel(&self, handle: Handle) -> Result<(), Failure>;

    /// See [`Reserve::query`].
    ///
    /// # Errors
    /// As there.
    fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        let _ = handle;
        Err(unsupported("query"))
    }

    /// See [`Reserve::commit`].
    ///
    /// # Errors
    /// As there.
    fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        let _ = handle;
        Err(unsupported("commit"))
    }

    /// See [`Reserve::abort`].
    ///
    /// # Errors
    /// As there.
    fn abort(&self, handle: Handle) -> Result<(), Failure> {
        let _ = handle;
        Err(unsupported("abort"))
    }

    /// See [`Reserve::activate`].
    ///
    /// # Errors
    /// As there.
    fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let _ = (handle, request);
        Err(unsupported("activate"))
    }

    /// See [`Reserve::deactivate`].
    ///
    /// # Errors
    /// As there.
    fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        let _ = handle;
        Err(unsupported("deactivate"))
    }

    /// See [`Reserve::modify`].
    ///
    /// # Errors
    /// As there.
    fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        let _ = (handle, request);
        Err(unsupported("modify"))
    }

    /// See [`Reserve::find`].
    ///
    /// # Errors
    /// As there.
    fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        let _ = key;
        Err(unsupported("find"))
    }

    /// See [`Reserve::list_owned`].
    ///
    /// # Errors
    /// As there.
    fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        let _ = owner;
        Err(unsupported("list_owned"))
    }

    /// See [`Reserve::gc`].
    ///
    /// # Errors
    /// As there.
    fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        let _ = valid;
        Err(unsupported("gc"))
    }

    /// See [`Reserve::events`]. It takes a thread for as long as it waits.
    ///
    /// # Errors
    /// As there.
    fn events(&self, since: u64) -> Result<Changes, Failure> {
        let _ = since;
        Err(unsupported("events"))
    }

    /// See [`Reserve::health`].
    ///
    /// # Errors
    /// As there.
    fn health(&self) -> Result<(), Failure> {
        Err(unsupported("health"))
    }
}

/// Makes a [`Reserve`] of a [`BlockingReserve`].
///
/// ```ignore
/// vreserve_sdk::export_plugin!(name = "reserve-mine", reserve = vreserve_sdk::Blocking<Mine>);
/// ```
pub struct Blocking<B> {
    backend: Arc<B>,
    threads: Arc<Semaphore>,
}

impl<B: BlockingReserve> Blocking<B> {
    /// Runs a call on a thread where it may block. A thread is free again when its call has ended, not when nobody
    /// waits for it any more.
    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&B) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        let thread = thread.map_err(|_| Failure::unavailable("the instance is closing"))?;
        let backend = Arc::clone(&self.backend);
        let task = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            call(&backend)
        });
        match task.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            // Told by the table as the panic of any call.
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Err(Failure::unknown_outcome("the call was cut off")),
        }
    }
}

#[async_trait]
impl<B: BlockingReserve> Reserve for Blocking<B> {
    type Config = B::Config;

    fn validate(config: &Self::Config) -> Result<(), Failure> {
        B::validate(config)
    }

    fn open(config: Self::Config, host: Host) -> Result<Self, Failure> {
        let threads = Arc::new(Semaphore::new(B::THREADS.max(1)));
        Ok(Blocking { backend: Arc::new(B::open(config, host)?), threads })
    }

    fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        self.run(|backend| backend.submit(request)).await
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.run(|backend| backend.cancel(handle)).await
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        self.run(|backend| backend.query(handle)).await
    }

    async fn commit(&self, handle: Handle) -> Result<Observed, Failure> {
        self.run(|backend| backend.commit(handle)).await
    }

    async fn abort(&self, handle: Handle) -> Result<(), Failure> {
        self.run(|backend| backend.abort(handle)).await
    }

    async fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        self.run(|backend| backend.activate(handle, request)).await
    }

    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        self.run(|backend| backend.deactivate(handle)).await
    }

    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        self.run(|backend| backend.modify(handle, request)).await
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        self.run(|backend| backend.find(key)).await
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        self.run(|backend| backend.list_owned(owner)).await
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        self.run(|backend| backend.gc(valid)).await
    }

    async fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.run(move |backend| backend.events(since)).await
    }

    async fn health(&self) -> Result<(), Failure> {
        self.run(B::health).await
    }
}
