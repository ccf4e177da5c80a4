//! The C side of every table: instances behind opaque pointers, panics caught, documents read and written.
//!
//! Used by [`export_plugin!`](crate::export_plugin) only. What lives here is all the unsafe code of the SDK.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use vreserve_abi::export::PrefixTypeTrait;
use vreserve_abi::{
    AdaptTable, Batch as RawBatch, CaptureTable, Cell, DemandRecord, FfiFuture, FfiFutureExt, HostContext,
    InferTable, LinkTable, PluginFailure, PluginTable, RErr, ROk, RResult, RSlice, RStr, RString, RVec,
    RawAdapt, RawCapture, RawInfer, RawLink, RawReserve, RawTopology, ReserveTable, STATUS_OK,
    STATUS_PANICKED, Slot,
};
use vreserve_model::{
    BitsPerSecond, Demand, Failure, FailureKind, MacAddr, Snapshot, Timestamp, TopologyReport,
};

use crate::{Adapt, Batch, Capture, FarId, Host, Infer, Link, Reserve, config, dispatch, logging};

/// An instance that one thread uses at a time. After a panic its state is suspect: it answers nothing more.
struct Instance<T> {
    plugin: T,
    poisoned: bool,
}

/// The bytes of a slot. The clamps hold even if the host's numbers were wrong.
pub(crate) fn slot_bytes(slot: &mut Slot) -> &mut [u8] {
    if slot.base.is_null() {
        return &mut [];
    }
    // SAFETY: `Batch` is made only from slots that the host passed to this call, and the ABI promises that
    // `base .. base + capacity` is valid for reads and writes by this call alone.
    unsafe { std::slice::from_raw_parts_mut(slot.base, slot.capacity as usize) }
}

/// The text as an array, for the metadata section.
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let (text, mut array, mut at) = (text.as_bytes(), [0; N], 0);
    while at < N {
        array[at] = text[at];
        at += 1;
    }
    array
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn failure_out(failure: Failure) -> PluginFailure {
    let retry_after = failure.retry_after.map_or(0, |after| after.as_millis());
    PluginFailure {
        code: failure.kind.code(),
        retry_after_ms: u32::try_from(retry_after).unwrap_or(u32::MAX),
        reason: failure.reason.into(),
        key: failure.key.unwrap_or_default().into(),
    }
}

/// Runs a cold call, turning a panic into an `Internal` failure.
fn contained<T>(call: impl FnOnce() -> Result<T, Failure>) -> RResult<T, PluginFailure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(failure)) => RErr(failure_out(failure)),
        Err(panic) => RErr(failure_out(Failure::internal(format!("panicked: {}", text_of(&*panic))))),
    }
}

/// As `contained`, on an instance: a panic poisons it.
fn on_instance<T, R>(
    instance: *mut (),
    call: impl FnOnce(&mut T) -> Result<R, Failure>,
) -> RResult<R, PluginFailure> {
    // SAFETY: the host passes a pointer that this module's `open` made for a `T`, to one thread at a time.
    let instance = unsafe { &mut *instance.cast::<Instance<T>>() };
    if instance.poisoned {
        return RErr(failure_out(Failure::new(FailureKind::Internal, "the instance panicked before")));
    }
    instance.poisoned = true;
    contained(|| {
        let result = call(&mut instance.plugin);
        instance.poisoned = false;
        result
    })
}

/// A batch call on an instance: a panic poisons it, an error is an errno.
fn on_batch<T>(
    instance: *mut (),
    slots: *mut Slot,
    count: u32,
    call: impl FnOnce(&mut T, &mut Batch<'_>) -> io::Result<usize>,
) -> RawBatch {
    // SAFETY: as in `on_instance`.
    let instance = unsafe { &mut *instance.cast::<Instance<T>>() };
    if instance.poisoned {
        return RawBatch { n: 0, status: STATUS_PANICKED };
    }
    let slots = if count == 0 || slots.is_null() {
        &mut []
    } else {
        // SAFETY: the host passes `count` slots that are its own and this call's alone.
        unsafe { std::slice::from_raw_parts_mut(slots, count as usize) }
    };
    let plugin = &mut instance.plugin;
    match catch_unwind(AssertUnwindSafe(|| call(plugin, &mut Batch::new(slots)))) {
        Ok(Ok(n)) => RawBatch { n: u32::try_from(n).unwrap_or(u32::MAX), status: STATUS_OK },
        Ok(Err(error)) => {
            RawBatch { n: 0, status: error.raw_os_error().filter(|code| *code > 0).unwrap_or(libc_eio()) }
        }
        Err(panic) => {
            instance.poisoned = true;
            tracing::error!(reason = text_of(&*panic), "plugin panicked");
            RawBatch { n: 0, status: STATUS_PANICKED }
        }
    }
}

/// EIO: for I/O errors that carry no number.
const fn libc_eio() -> i32 {
    5
}

fn boxed<T>(plugin: T) -> *mut () {
    Box::into_raw(Box::new(Instance { plugin, poisoned: false })).cast()
}

unsafe extern "C" fn close<T>(instance: *mut ()) {
    // SAFETY: the host calls `close` once, last, with a pointer that `boxed` made for a `T`.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance<T>>()) };
    if catch_unwind(AssertUnwindSafe(move || drop(instance))).is_err() {
        tracing::error!("plugin panicked while closing");
    }
}

/// Opens an instance of any kind: configuration read, logs connected, panics contained.
fn open<C: DeserializeOwned, T>(
    host: HostContext,
    text: RStr<'_>,
    open: impl FnOnce(C, Host) -> Result<T, Failure>,
) -> RResult<T, PluginFailure> {
    contained(|| {
        logging::install(host);
        open(config::read(text.as_str())?, Host::new(host))
    })
}

fn validate<C: DeserializeOwned>(
    text: RStr<'_>,
    check: impl FnOnce(&C) -> Result<(), Failure>,
) -> RResult<(), PluginFailure> {
    contained(|| check(&config::read(text.as_str())?))
}

fn document<T: Serialize>(value: &T) -> RString {
    serde_json::to_string(value).unwrap_or_default().into()
}

/// The schema of a configuration type.
pub fn schema<C: JsonSchema>() -> RString {
    catch_unwind(config::schema::<C>).unwrap_or_default().into()
}

/// The answer for a kind that this library does not serve.
pub fn unsupported_kind<T>() -> RResult<T, PluginFailure> {
    RErr(failure_out(Failure::unsupported("the plugin does not serve this kind")))
}

/// A root table that serves no kind yet.
pub fn empty_table() -> PluginTable {
    extern "C" fn validate(_: RStr<'_>, _: RStr<'_>) -> RResult<(), PluginFailure> {
        unsupported_kind()
    }
    extern "C" fn schema(_: RStr<'_>) -> RString {
        RString::new()
    }
    extern "C" fn none<T>(_: HostContext, _: RStr<'_>) -> RResult<T, PluginFailure> {
        unsupported_kind()
    }
    PluginTable {
        validate,
        schema,
        open_capture: none,
        open_link: none,
        open_infer: none,
        open_adapt: none,
        open_reserve: none,
    }
}

/// Serves capture with `T`.
pub fn add_capture<T: Capture>(table: &mut PluginTable) {
    unsafe extern "C" fn recv<T: Capture>(instance: *mut (), slots: *mut Slot, count: u32) -> RawBatch {
        on_batch(instance, slots, count, T::recv)
    }
    unsafe extern "C" fn send<T: Capture>(instance: *mut (), slots: *mut Slot, count: u32) -> RawBatch {
        on_batch(instance, slots, count, T::send)
    }
    unsafe extern "C" fn ready_fd<T: Capture>(instance: *mut ()) -> i32 {
        on_instance(instance, |capture: &mut T| Ok(capture.ready_fd())).unwrap_or(None).unwrap_or(-1)
    }
    unsafe extern "C" fn describe<T: Capture>(instance: *mut ()) -> RString {
        on_instance(instance, |capture: &mut T| Ok(document(&capture.info()))).unwrap_or_default()
    }
    extern "C" fn open_capture<T: Capture>(
        host: HostContext,
        config: RStr<'_>,
    ) -> RResult<RawCapture, PluginFailure> {
        open(host, config, T::open).map(|capture: T| RawCapture {
            instance: boxed(capture),
            table: CaptureTable {
                recv: recv::<T>,
                send: send::<T>,
                ready_fd: ready_fd::<T>,
                describe: describe::<T>,
                close: close::<T>,
            }
            .leak_into_prefix(),
        })
    }
    table.open_capture = open_capture::<T>;
}

/// Serves link with `T`.
pub fn add_link<T: Link>(table: &mut PluginTable) {
    unsafe extern "C" fn recv<T: Link>(instance: *mut (), slots: *mut Slot, count: u32) -> RawBatch {
        on_batch(instance, slots, count, T::recv)
    }
    unsafe extern "C" fn send<T: Link>(instance: *mut (), slots: *mut Slot, count: u32) -> RawBatch {
        on_batch(instance, slots, count, T::send)
    }
    unsafe extern "C" fn ready_fd<T: Link>(instance: *mut ()) -> i32 {
        on_instance(instance, |link: &mut T| Ok(link.ready_fd())).unwrap_or(None).unwrap_or(-1)
    }
    unsafe extern "C" fn add_far<T: Link>(
        instance: *mut (),
        far: u32,
        address: RStr<'_>,
    ) -> RResult<(), PluginFailure> {
        on_instance(instance, |link: &mut T| link.add_far(FarId(far), address.as_str()))
    }
    unsafe extern "C" fn remove_far<T: Link>(instance: *mut (), far: u32) {
        drop(on_instance(instance, |link: &mut T| {
            link.remove_far(FarId(far));
            Ok(())
        }));
    }
    unsafe extern "C" fn describe<T: Link>(instance: *mut ()) -> RString {
        on_instance(instance, |link: &mut T| Ok(document(&link.info()))).unwrap_or_default()
    }
    extern "C" fn open_link<T: Link>(host: HostContext, config: RStr<'_>) -> RResult<RawLink, PluginFailure> {
        open(host, config, T::open).map(|link: T| RawLink {
            instance: boxed(link),
            table: LinkTable {
                recv: recv::<T>,
                send: send::<T>,
                ready_fd: ready_fd::<T>,
                add_far: add_far::<T>,
                remove_far: remove_far::<T>,
                describe: describe::<T>,
                close: close::<T>,
            }
            .leak_into_prefix(),
        })
    }
    table.open_link = open_link::<T>;
}

fn record_of(demand: &Demand) -> DemandRecord {
    DemandRecord {
        source: demand.source.0,
        destination: demand.destination.0,
        reserved: 0,
        rate: demand.rate.0,
        frames_per_second: demand.frames_per_second,
        confidence: demand.confidence,
    }
}

fn demand_of(record: &DemandRecord) -> Demand {
    Demand {
        source: MacAddr(record.source),
        destination: MacAddr(record.destination),
        rate: BitsPerSecond(record.rate),
        frames_per_second: record.frames_per_second,
        confidence: record.confidence,
    }
}

/// A topology report as it crosses the boundary.
pub fn topology_out(mut report: TopologyReport) -> RawTopology {
    let demands = report.demands.iter().map(record_of).collect();
    report.demands.clear();
    RawTopology { document: document(&report), demands }
}

/// A topology report as it came across the boundary.
///
/// # Errors
/// `Internal` if the plugin's document cannot be read.
pub fn topology_in(raw: &RawTopology) -> Result<TopologyReport, Failure> {
    let mut report: TopologyReport = serde_json::from_str(raw.document.as_str())
        .map_err(|error| Failure::internal(format!("the topology document cannot be read: {error}")))?;
    report.demands = raw.demands.iter().map(demand_of).collect();
    Ok(report)
}

/// Serves infer with `T`.
pub fn add_infer<T: Infer>(table: &mut PluginTable) {
    unsafe extern "C" fn observe<T: Infer>(
        instance: *mut (),
        now: u64,
        cells: RSlice<'_, Cell>,
    ) -> RResult<RVec<u8>, PluginFailure> {
        on_instance(instance, |infer: &mut T| infer.observe(Timestamp(now), cells.as_slice()).map(RVec::from))
    }
    unsafe extern "C" fn merge<T: Infer>(
        instance: *mut (),
        now: u64,
        node: RStr<'_>,
        report: RSlice<'_, u8>,
    ) -> RResult<(), PluginFailure> {
        on_instance(instance, |infer: &mut T| infer.merge(Timestamp(now), node.as_str(), report.as_slice()))
    }
    unsafe extern "C" fn infer<T: Infer>(instance: *mut (), now: u64) -> RResult<RawTopology, PluginFailure> {
        on_instance(instance, |infer: &mut T| infer.infer(Timestamp(now)).map(topology_out))
    }
    extern "C" fn open_infer<T: Infer>(
        host: HostContext,
        config: RStr<'_>,
    ) -> RResult<RawInfer, PluginFailure> {
        open(host, config, T::open).map(|plugin: T| RawInfer {
            instance: boxed(plugin),
            table: InferTable {
                observe: observe::<T>,
                merge: merge::<T>,
                infer: infer::<T>,
                close: close::<T>,
            }
            .leak_into_prefix(),
        })
    }
    table.open_infer = open_infer::<T>;
}

/// A snapshot as it crosses the boundary: the document, and its demands apart.
pub fn snapshot_out(snapshot: &Snapshot) -> (String, Vec<DemandRecord>) {
    let mut bare = Snapshot {
        now: snapshot.now,
        nodes: snapshot.nodes.clone(),
        guests: snapshot.guests.clone(),
        topology: TopologyReport::silent(),
        backends: snapshot.backends.clone(),
        circuits: snapshot.circuits.clone(),
    };
    bare.topology.pattern = snapshot.topology.pattern;
    bare.topology.settled = snapshot.topology.settled;
    bare.topology.silent_nodes.clone_from(&snapshot.topology.silent_nodes);
    let document = serde_json::to_string(&bare).expect("a snapshot is plain JSON");
    (document, snapshot.topology.demands.iter().map(record_of).collect())
}

/// Serves adapt with `T`.
pub fn add_adapt<T: Adapt>(table: &mut PluginTable) {
    unsafe extern "C" fn adapt<T: Adapt>(
        instance: *mut (),
        snapshot: RStr<'_>,
        demands: RSlice<'_, DemandRecord>,
    ) -> RResult<RString, PluginFailure> {
        on_instance(instance, |adapt: &mut T| {
            let mut snapshot: Snapshot = config::read(snapshot.as_str())?;
            snapshot.topology.demands = demands.iter().map(demand_of).collect();
            adapt.adapt(&snapshot).map(|wanted| document(&wanted))
        })
    }
    extern "C" fn open_adapt<T: Adapt>(
        host: HostContext,
        config: RStr<'_>,
    ) -> RResult<RawAdapt, PluginFailure> {
        open(host, config, T::open).map(|plugin: T| RawAdapt {
            instance: boxed(plugin),
            table: AdaptTable { adapt: adapt::<T>, close: close::<T> }.leak_into_prefix(),
        })
    }
    table.open_adapt = open_adapt::<T>;
}

/// A reservation backend with the runtime its calls run on.
struct ReserveInstance<T> {
    backend: Arc<T>,
    runtime: Option<Runtime>,
}

impl<T> Drop for ReserveInstance<T> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
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

/// Serves reserve with `T`.
pub fn add_reserve<T: Reserve>(table: &mut PluginTable) {
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
        let runtime = instance.runtime.as_ref().expect("the runtime lives until close");
        let task = runtime.spawn(async move { dispatch(&*backend, &verb, &document).await });
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
    extern "C" fn open_reserve<T: Reserve>(
        host: HostContext,
        config: RStr<'_>,
    ) -> RResult<RawReserve, PluginFailure> {
        open(host, config, |config, host| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("reserve-plugin")
                .enable_all()
                .build()
                .map_err(|error| Failure::unavailable(format!("no runtime: {error}")))?;
            let backend = {
                let _context = runtime.enter();
                Arc::new(T::open(config, host)?)
            };
            Ok(ReserveInstance { backend, runtime: Some(runtime) })
        })
        .map(|instance| RawReserve {
            instance: Box::into_raw(Box::new(instance)).cast_const().cast(),
            table: ReserveTable {
                capabilities: capabilities::<T>,
                call: call::<T>,
                close: close_reserve::<T>,
            }
            .leak_into_prefix(),
        })
    }
    table.open_reserve = open_reserve::<T>;
}

macro_rules! validators {
    ($($name:ident: $kind:ident;)+) => {$(
        /// Checks a configuration of this kind without side effects.
        pub fn $name<T: $kind>(config: RStr<'_>) -> RResult<(), PluginFailure> {
            validate::<T::Config>(config, T::validate)
        }
    )+};
}

validators! {
    validate_capture: Capture;
    validate_link: Link;
    validate_infer: Infer;
    validate_adapt: Adapt;
    validate_reserve: Reserve;
}

/// Turns what came across the boundary back into a failure.
pub fn failure_in(failure: &PluginFailure) -> Failure {
    let retry_after = u64::from(failure.retry_after_ms);
    Failure {
        kind: FailureKind::from_code(failure.code),
        reason: failure.reason.to_string(),
        key: (!failure.key.is_empty() || failure.code == FailureKind::Invalid.code())
            .then(|| failure.key.to_string()),
        retry_after: (retry_after > 0).then(|| std::time::Duration::from_millis(retry_after)),
    }
}
