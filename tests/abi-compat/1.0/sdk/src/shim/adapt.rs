//! The table of adaptation instances.

use vreserve_abi::export::WithMetadata;
use vreserve_abi::{
    AdaptTable, AdaptTableRef, DemandRecord, HostContext, PluginFailure, PluginTable, RResult, RSlice, RStr,
    RString, RawAdapt,
};
use vreserve_model::Snapshot;

use super::demands::demand_of;
use super::instance::{boxed, close, on_instance};
use super::{Shim, document, open};
use crate::{Adapt, config};

/// Serves adapt with `T`.
pub fn add_adapt<T: Adapt>(table: &mut PluginTable) {
    table.open_adapt = open_adapt::<T>;
}

impl<T: Adapt> Shim<T> {
    const ADAPT: &'static WithMetadata<AdaptTable> =
        &WithMetadata::new(AdaptTable { adapt: adapt::<T>, close: close::<T> });
}

extern "C" fn open_adapt<T: Adapt>(host: HostContext, config: RStr<'_>) -> RResult<RawAdapt, PluginFailure> {
    open(host, config, T::open).map(|plugin: T| RawAdapt {
        instance: boxed(plugin, host),
        table: AdaptTableRef(Shim::<T>::ADAPT.static_as_prefix()),
    })
}

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
