//! The table of reservation instances, and the runtime that their calls run on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use vreserve_abi::export::WithMetadata;
use vreserve_abi::{
    FfiFuture, FfiFutureExt, HostContext, PluginFailure, PluginTable, RErr, ROk, RResult, RStr, RString,
    RawReserve, ReserveTable, ReserveTableRef,
};
use vreserve_model::Failure;

use super::{Shim, document, failure_out, open, text_of};
use crate::{Reserve, dispatch, logging};

/// Serves reserve with `T`.
pub fn add_reserve<T: Reserve>(table: &mut PluginTable) {
    table.open_reserve = open_reserve::<T>;
}

impl<T: Reserve> Shim<T> {
    const RESERVE: &'static WithMetadata<ReserveTable> = &WithMetadata::new(ReserveTable {
        capabilities: capabilities::<T>,
        call: call::<T>,
        close: close_reserve::<T>,
    });
}

/// A reservation backend with the runtime its calls run on.
struct ReserveInstance<T> {
    backend: Arc<T>,
    runtime: OwnRuntime,
}

/// A runtime that may be dropped anywhere: dropping tokio's own would wait, and panics inside another one.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start(host: HostContext) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("reserve-plugin")
            .on_thread_start(move || logging::as_instance(host).for_the_rest_of_the_thread())
            .enable_all()
            .build()
            .map_err(|error| Failure::unavailable(format!("no runtime: {error}")))?;
        Ok(OwnRuntime(Some(runtime)))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is taken by drop only")
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Cancels the work when the host drops the call.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

extern "C" fn open_reserve<T: Reserve>(
    host: HostContext,
    config: RStr<'_>,
) -> RResult<RawReserve, PluginFailure> {
    open(host, config, |config, services| {
        let runtime = OwnRuntime::start(host)?;
        let backend = {
            let _context = runtime.runtime().enter();
            Arc::new(T::open(config, services)?)
        };
        Ok(ReserveInstance { backend, runtime })
    })
    .map(|instance| RawReserve {
        instance: Box::into_raw(Box::new(instance)).cast_const().cast(),
        table: ReserveTableRef(Shim::<T>::RESERVE.static_as_prefix()),
    })
}

unsafe extern "C" fn capabilities<T: Reserve>(instance: *const ()) -> RString {
    // SAFETY: the host passes a pointer that `open_reserve` made for a `T`; it is only shared.
    let instance = unsafe { &*instance.cast::<ReserveInstance<T>>() };
    catch_unwind(AssertUnwindSafe(|| document(&instance.backend.capabilities()))).unwrap_or_default()
}

unsafe extern "C" fn call<T: Reserve>(
    instance: *const (),
    verb: RStr<'_>,
    document: RStr<'_>,
) -> FfiFuture<RResult<RString, PluginFailure>> {
    // SAFETY: as above.
    let instance = unsafe { &*instance.cast::<ReserveInstance<T>>() };
    let backend = Arc::clone(&instance.backend);
    let (verb, document) = (verb.to_string(), document.to_string());
    let task = instance.runtime.runtime().spawn(async move { dispatch(&*backend, &verb, &document).await });
    let abort = AbortOnDrop(task.abort_handle());
    async move {
        let _abort = abort;
        match task.await {
            Ok(Ok(document)) => ROk(document.into()),
            Ok(Err(failure)) => RErr(failure_out(failure)),
            // The work may have had its effect before it died.
            Err(error) => RErr(failure_out(Failure::unknown_outcome(match error.try_into_panic() {
                Ok(panic) => format!("panicked: {}", text_of(&*panic)),
                Err(_) => "the call was cancelled".to_owned(),
            }))),
        }
    }
    .into_ffi()
}

unsafe extern "C" fn close_reserve<T: Reserve>(instance: *const ()) {
    // SAFETY: the host calls this once, last, with a pointer that `open_reserve` made for a `T`.
    let instance = unsafe { Box::from_raw(instance.cast_mut().cast::<ReserveInstance<T>>()) };
    if catch_unwind(AssertUnwindSafe(move || drop(instance))).is_err() {
        tracing::error!("plugin panicked while closing");
    }
}
