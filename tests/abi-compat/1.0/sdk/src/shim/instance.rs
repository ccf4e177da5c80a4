//! Instances that one thread uses at a time, behind opaque pointers.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vreserve_abi::{
    Batch as RawBatch, HostContext, PluginFailure, RErr, RResult, STATUS_OK, STATUS_PANICKED, Slot,
};
use vreserve_model::Failure;

use super::{contained, failure_out, text_of};
use crate::{Batch, logging};

/// An instance that one thread uses at a time. After a panic its state is suspect: it answers nothing more.
struct Instance<T> {
    plugin: T,
    host: HostContext,
    poisoned: bool,
}

/// As `contained`, on an instance: a panic poisons it.
pub(super) fn on_instance<T, R>(
    instance: *mut (),
    call: impl FnOnce(&mut T) -> Result<R, Failure>,
) -> RResult<R, PluginFailure> {
    // SAFETY: the host passes a pointer that this module's `open` made for a `T`, to one thread at a time.
    let instance = unsafe { &mut *instance.cast::<Instance<T>>() };
    if instance.poisoned {
        return RErr(failure_out(Failure::internal("the instance panicked before")));
    }
    let _logs = logging::as_instance(instance.host);
    instance.poisoned = true;
    contained(|| {
        let result = call(&mut instance.plugin);
        instance.poisoned = false;
        result
    })
}

/// A batch call on an instance: a panic poisons it, an error is an errno.
pub(super) fn on_batch<T>(
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
    let _logs = logging::as_instance(instance.host);
    let slots = if count == 0 || slots.is_null() {
        &mut []
    } else {
        // SAFETY: the host passes `count` slots that are its own and this call's alone.
        unsafe { std::slice::from_raw_parts_mut(slots, count as usize) }
    };
    let plugin = &mut instance.plugin;
    match catch_unwind(AssertUnwindSafe(|| call(plugin, &mut Batch::new(slots)))) {
        Ok(Ok(n)) => RawBatch { n: u32::try_from(n).unwrap_or(u32::MAX), status: STATUS_OK },
        Ok(Err(error)) => RawBatch { n: 0, status: errno(&error) },
        Err(panic) => {
            instance.poisoned = true;
            tracing::error!(reason = text_of(&*panic), "plugin panicked");
            RawBatch { n: 0, status: STATUS_PANICKED }
        }
    }
}

/// The error's number; EIO for errors that carry none.
fn errno(error: &io::Error) -> i32 {
    const EIO: i32 = 5;
    error.raw_os_error().filter(|code| *code > 0).unwrap_or(EIO)
}

/// An instance as the host holds it.
pub(super) fn boxed<T>(plugin: T, host: HostContext) -> *mut () {
    Box::into_raw(Box::new(Instance { plugin, host, poisoned: false })).cast()
}

pub(super) unsafe extern "C" fn close<T>(instance: *mut ()) {
    // SAFETY: the host calls `close` once, last, with a pointer that `boxed` made for a `T`.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance<T>>()) };
    let _logs = logging::as_instance(instance.host);
    if catch_unwind(AssertUnwindSafe(move || drop(instance))).is_err() {
        tracing::error!("plugin panicked while closing");
    }
}
