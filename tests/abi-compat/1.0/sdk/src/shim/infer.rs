//! The table of inference instances.

use vreserve_abi::export::WithMetadata;
use vreserve_abi::{
    Cell, HostContext, InferTable, InferTableRef, PluginFailure, PluginTable, RResult, RSlice, RStr, RVec,
    RawInfer, RawTopology,
};
use vreserve_model::Timestamp;

use super::demands::topology_out;
use super::instance::{boxed, close, on_instance};
use super::{Shim, open};
use crate::Infer;

/// Serves infer with `T`.
pub fn add_infer<T: Infer>(table: &mut PluginTable) {
    table.open_infer = open_infer::<T>;
}

impl<T: Infer> Shim<T> {
    const INFER: &'static WithMetadata<InferTable> = &WithMetadata::new(InferTable {
        observe: observe::<T>,
        merge: merge::<T>,
        infer: infer::<T>,
        close: close::<T>,
    });
}

extern "C" fn open_infer<T: Infer>(host: HostContext, config: RStr<'_>) -> RResult<RawInfer, PluginFailure> {
    open(host, config, T::open).map(|plugin: T| RawInfer {
        instance: boxed(plugin, host),
        table: InferTableRef(Shim::<T>::INFER.static_as_prefix()),
    })
}

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
