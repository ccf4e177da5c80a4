//! The table of link instances.

use vreserve_abi::export::WithMetadata;
use vreserve_abi::{
    Batch, HostContext, LinkTable, LinkTableRef, PluginFailure, PluginTable, RResult, RSlice, RStr, RString,
    RawLink, Slot,
};

use super::instance::{boxed, close, on_batch, on_instance};
use super::{Shim, document, open};
use crate::{FarId, FarNode, Link};

/// Serves link with `T`.
pub fn add_link<T: Link>(table: &mut PluginTable) {
    table.open_link = open_link::<T>;
}

impl<T: Link> Shim<T> {
    const LINK: &'static WithMetadata<LinkTable> = &WithMetadata::new(LinkTable {
        recv: recv::<T>,
        send: send::<T>,
        ready_fd: ready_fd::<T>,
        add_far: add_far::<T>,
        remove_far: remove_far::<T>,
        describe: describe::<T>,
        close: close::<T>,
    });
}

extern "C" fn open_link<T: Link>(host: HostContext, config: RStr<'_>) -> RResult<RawLink, PluginFailure> {
    open(host, config, T::open).map(|plugin: T| RawLink {
        instance: boxed(plugin, host),
        table: LinkTableRef(Shim::<T>::LINK.static_as_prefix()),
    })
}

unsafe extern "C" fn recv<T: Link>(instance: *mut (), slots: *mut Slot, count: u32) -> Batch {
    on_batch(instance, slots, count, T::recv)
}

unsafe extern "C" fn send<T: Link>(instance: *mut (), slots: *mut Slot, count: u32) -> Batch {
    on_batch(instance, slots, count, T::send)
}

unsafe extern "C" fn ready_fd<T: Link>(instance: *mut ()) -> i32 {
    on_instance(instance, |link: &mut T| Ok(link.ready_fd())).unwrap_or(None).unwrap_or(-1)
}

unsafe extern "C" fn add_far<T: Link>(
    instance: *mut (),
    far: u32,
    address: RStr<'_>,
    key: RSlice<'_, u8>,
) -> RResult<(), PluginFailure> {
    let node = FarNode { address: address.as_str(), key: key.as_slice().try_into().ok() };
    on_instance(instance, |link: &mut T| link.add_far(FarId(far), &node))
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
