//! The table of capture instances.

use vreserve_abi::export::WithMetadata;
use vreserve_abi::{
    Batch, CaptureTable, CaptureTableRef, HostContext, PluginFailure, PluginTable, RResult, RStr, RString,
    RawCapture, Slot,
};

use super::instance::{boxed, close, on_batch, on_instance};
use super::{Shim, document, open};
use crate::Capture;

/// Serves capture with `T`.
pub fn add_capture<T: Capture>(table: &mut PluginTable) {
    table.open_capture = open_capture::<T>;
}

impl<T: Capture> Shim<T> {
    const CAPTURE: &'static WithMetadata<CaptureTable> = &WithMetadata::new(CaptureTable {
        recv: recv::<T>,
        send: send::<T>,
        ready_fd: ready_fd::<T>,
        describe: describe::<T>,
        close: close::<T>,
    });
}

extern "C" fn open_capture<T: Capture>(
    host: HostContext,
    config: RStr<'_>,
) -> RResult<RawCapture, PluginFailure> {
    open(host, config, T::open).map(|plugin: T| RawCapture {
        instance: boxed(plugin, host),
        table: CaptureTableRef(Shim::<T>::CAPTURE.static_as_prefix()),
    })
}

unsafe extern "C" fn recv<T: Capture>(instance: *mut (), slots: *mut Slot, count: u32) -> Batch {
    on_batch(instance, slots, count, T::recv)
}

unsafe extern "C" fn send<T: Capture>(instance: *mut (), slots: *mut Slot, count: u32) -> Batch {
    on_batch(instance, slots, count, T::send)
}

unsafe extern "C" fn ready_fd<T: Capture>(instance: *mut ()) -> i32 {
    on_instance(instance, |capture: &mut T| Ok(capture.ready_fd())).unwrap_or(None).unwrap_or(-1)
}

unsafe extern "C" fn describe<T: Capture>(instance: *mut ()) -> RString {
    on_instance(instance, |capture: &mut T| Ok(document(&capture.info()))).unwrap_or_default()
}
