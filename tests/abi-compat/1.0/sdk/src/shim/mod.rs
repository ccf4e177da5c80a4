//! The C side of every table: instances behind opaque pointers, panics caught, documents read and written.
//!
//! Used by [`export_plugin!`](crate::export_plugin), and by the host to read and write the same documents.
//! What lives in this folder is all the unsafe code of the SDK, one file per kind; here is what they share.

mod adapt;
mod capture;
mod demands;
mod infer;
mod instance;
mod link;
mod reserve;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vreserve_abi::{HostContext, PluginFailure, PluginTable, RErr, ROk, RResult, RStr, RString, Slot};
use vreserve_model::{Failure, FailureKind};

use crate::{Adapt, Capture, Host, Infer, Link, Reserve, config, logging};

pub use adapt::add_adapt;
pub use capture::add_capture;
pub use demands::{snapshot_out, topology_in, topology_out};
pub use infer::add_infer;
pub use link::add_link;
pub use reserve::add_reserve;

/// Names the tables of one implementation: they are constants, so that opening an instance allocates
/// nothing that outlives it.
struct Shim<T>(std::marker::PhantomData<T>);

/// The bytes of a slot. The clamps hold even if the host's numbers were wrong.
pub(crate) fn slot_bytes(slot: &mut Slot) -> &mut [u8] {
    if slot.base.is_null() {
        return &mut [];
    }
    // SAFETY: `Batch` is made only from slots that the host passed to this call, and the ABI promises that
    // `base .. base + capacity` is valid for reads and writes by this call alone. `LentSlots::put` puts in place of
    // one only what the ABI promises to this instance alone, each at most once.
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

/// Turns what came across the boundary back into a failure.
pub fn failure_in(failure: &PluginFailure) -> Failure {
    let retry_after = u64::from(failure.retry_after_ms);
    Failure {
        kind: FailureKind::from_code(failure.code),
        reason: failure.reason.to_string(),
        key: (!failure.key.is_empty() || failure.code == FailureKind::Invalid.code())
            .then(|| failure.key.to_string()),
        retry_after: (retry_after > 0).then(|| Duration::from_millis(retry_after)),
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

/// Opens an instance of any kind: configuration read, logs connected, panics contained.
fn open<C: DeserializeOwned, T>(
    host: HostContext,
    text: RStr<'_>,
    open: impl FnOnce(C, Host) -> Result<T, Failure>,
) -> RResult<T, PluginFailure> {
    contained(|| {
        logging::install(host);
        let _logs = logging::as_instance(host);
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
