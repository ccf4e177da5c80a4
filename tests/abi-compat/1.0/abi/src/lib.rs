//! The C-layout tables that a plugin and the host share: version 1 of the plugin ABI.
//!
//! The only crate that names `abi_stable`. It holds tables of `extern "C"` functions, the flat records
//! they take, and the layout check that both sides agree. It holds no logic of either side: authors use
//! the safe traits of `vreserve-sdk`, the host its loader.
//!
//! Hot calls ([`CaptureTable`], [`LinkTable`]) move batches of [`Slot`]s that the host owns. Cold calls
//! carry JSON documents of `vreserve-model`, which may gain fields without a new ABI version. Every
//! function catches panics inside the plugin (`STATUS_PANICKED`, `FailureKind::Internal`).
#![allow(unsafe_code, reason = "derive(StableAbi) writes unsafe impls; root.rs casts the loader symbol")]
#![deny(missing_docs)]

mod host;
#[cfg(test)]
mod layout;
mod offload;
mod records;
mod root;
mod tables;

pub use abi_stable::std_types::{RErr, ROk, RResult, RSlice, RStr, RString, RVec};
pub use async_ffi::{FfiFuture, FutureExt as FfiFutureExt};

pub use host::{HostContext, HostTable, HostTableRef, Identity, Pool, Queue};
pub use records::{Batch, Cell, DemandRecord, Offload, PluginFailure, STATUS_OK, STATUS_PANICKED, Slot};
pub use root::{LayoutMismatch, METADATA_SECTION, SYMBOL_PREFIX, root_from_symbol};
pub use tables::{
    AdaptTable, AdaptTableRef, CaptureTable, CaptureTableRef, InferTable, InferTableRef, LinkTable,
    LinkTableRef, PluginRef, PluginTable, RawAdapt, RawCapture, RawInfer, RawLink, RawReserve, RawTopology,
    ReserveTable, ReserveTableRef,
};

/// The version of this ABI. A plugin loads if its major version is the host's.
pub const ABI_VERSION: &str = env!("CARGO_PKG_VERSION");

/// For `export_plugin!`, the shims of the SDK and the host's own table only.
#[doc(hidden)]
pub mod export {
    pub use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
    pub use abi_stable::prefix_type::{PrefixTypeTrait, WithMetadata};
}
