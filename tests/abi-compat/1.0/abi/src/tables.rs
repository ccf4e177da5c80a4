//! The tables of functions that a plugin exports, one per kind, and the root table.
//!
//! Instances are opaque pointers. A capture, link, infer or adapt instance is used by one thread at a
//! time and may move between threads between calls; a reserve instance may be called from any thread at
//! once. `close` is called exactly once, last.

use abi_stable::StableAbi;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use async_ffi::FfiFuture;

use crate::host::HostContext;
use crate::records::{Batch, Cell, DemandRecord, PluginFailure, Slot};

/// A capture instance: one interface (or one queue of it).
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = CaptureTableRef)))]
#[sabi(missing_field(option))]
pub struct CaptureTable {
    /// Fills up to that many slots with frames from the guests; never blocks; 0 means none are waiting.
    pub recv: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    /// Hands frames to the guests; never blocks. May overwrite the bytes before a frame.
    pub send: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    /// A file descriptor that polls readable while frames wait (level-triggered), or -1 if it must be polled.
    pub ready_fd: unsafe extern "C" fn(*mut ()) -> i32,
    /// A JSON object about the interface: at least `interface` and `mtu`.
    pub describe: unsafe extern "C" fn(*mut ()) -> RString,
    /// Ends the instance.
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(*mut ()),
}

/// A link instance: one endpoint, with any number of far nodes.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = LinkTableRef)))]
#[sabi(missing_field(option))]
pub struct LinkTable {
    /// Fills up to that many slots with frames from far nodes; never blocks.
    pub recv: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    /// Sends each frame to the far node in its slot; never blocks. May overwrite the bytes before a frame
    /// and the frame itself.
    pub send: unsafe extern "C" fn(*mut (), *mut Slot, u32) -> Batch,
    /// As in [`CaptureTable::ready_fd`].
    pub ready_fd: unsafe extern "C" fn(*mut ()) -> i32,
    /// Admits a far node by its address and its public key (32 bytes, or empty if it has none): from now on
    /// its datagrams are received, marked with that number, and frames can be sent to it. An address in use, or
    /// one that cannot be read, is an error.
    pub add_far: unsafe extern "C" fn(*mut (), u32, RStr<'_>, RSlice<'_, u8>) -> RResult<(), PluginFailure>,
    /// Forgets a far node; its datagrams are then a stranger's. Unknown numbers are ignored.
    pub remove_far: unsafe extern "C" fn(*mut (), u32),
    /// A JSON object about the endpoint: at least `address` and `mtu` (the largest frame it can carry).
    pub describe: unsafe extern "C" fn(*mut ()) -> RString,
    /// Ends the instance.
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(*mut ()),
}

/// An inference instance: on every node it turns local counts into reports, on the lead it merges them.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = InferTableRef)))]
#[sabi(missing_field(option))]
pub struct InferTable {
    /// Takes the node's counts since the last call (time in ns on this node's clock); returns the report to
    /// send to the lead, empty for none.
    pub observe: unsafe extern "C" fn(*mut (), u64, RSlice<'_, Cell>) -> RResult<RVec<u8>, PluginFailure>,
    /// On the lead: takes one node's report.
    pub merge: unsafe extern "C" fn(*mut (), u64, RStr<'_>, RSlice<'_, u8>) -> RResult<(), PluginFailure>,
    /// On the lead: what is believed now.
    pub infer: unsafe extern "C" fn(*mut (), u64) -> RResult<RawTopology, PluginFailure>,
    /// Ends the instance.
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(*mut ()),
}

/// An adaptation instance, on the lead.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AdaptTableRef)))]
#[sabi(missing_field(option))]
pub struct AdaptTable {
    /// Takes a `Snapshot` document without its demands, and the demands; returns a `Wanted` document.
    pub adapt:
        unsafe extern "C" fn(*mut (), RStr<'_>, RSlice<'_, DemandRecord>) -> RResult<RString, PluginFailure>,
    /// Ends the instance.
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(*mut ()),
}

/// A reservation instance, on the lead.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ReserveTableRef)))]
#[sabi(missing_field(option))]
pub struct ReserveTable {
    /// The `Capabilities` document.
    pub capabilities: unsafe extern "C" fn(*const ()) -> RString,
    /// Carries out a verb (see `vreserve_sdk::reserve::Verb`) on a document; returns a document. The work
    /// runs on the plugin's own runtime; dropping the future cancels it and leaves the outcome unknown.
    pub call:
        unsafe extern "C" fn(*const (), RStr<'_>, RStr<'_>) -> FfiFuture<RResult<RString, PluginFailure>>,
    /// Ends the instance; no call is in flight.
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(*const ()),
}

macro_rules! raw_instances {
    ($($(#[$doc:meta])+ $name:ident($table:ident, $pointer:ty);)+) => {$(
        $(#[$doc])+
        #[repr(C)]
        #[derive(StableAbi)]
        pub struct $name {
            /// The instance.
            pub instance: $pointer,
            /// Its functions.
            pub table: $table,
        }
    )+};
}

raw_instances! {
    /// An opened capture instance.
    RawCapture(CaptureTableRef, *mut ());
    /// An opened link instance.
    RawLink(LinkTableRef, *mut ());
    /// An opened inference instance.
    RawInfer(InferTableRef, *mut ());
    /// An opened adaptation instance.
    RawAdapt(AdaptTableRef, *mut ());
    /// An opened reservation instance.
    RawReserve(ReserveTableRef, *const ());
}

/// What inference believes: a `TopologyReport` document without its demands, and the demands.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawTopology {
    /// The document.
    pub document: RString,
    /// The demands, highest rate first.
    pub demands: RVec<DemandRecord>,
}

/// The root table of a plugin library. A library may serve several kinds; the functions of kinds it does
/// not serve fail with `Unsupported`. Configuration is JSON text.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
#[sabi(missing_field(option))]
pub struct PluginTable {
    /// Checks a configuration for a kind without any side effect.
    pub validate: extern "C" fn(RStr<'_>, RStr<'_>) -> RResult<(), PluginFailure>,
    /// The JSON Schema of a kind's configuration, or empty.
    pub schema: extern "C" fn(RStr<'_>) -> RString,
    /// Opens a capture instance.
    pub open_capture: extern "C" fn(HostContext, RStr<'_>) -> RResult<RawCapture, PluginFailure>,
    /// Opens a link instance.
    pub open_link: extern "C" fn(HostContext, RStr<'_>) -> RResult<RawLink, PluginFailure>,
    /// Opens an inference instance.
    pub open_infer: extern "C" fn(HostContext, RStr<'_>) -> RResult<RawInfer, PluginFailure>,
    /// Opens an adaptation instance.
    pub open_adapt: extern "C" fn(HostContext, RStr<'_>) -> RResult<RawAdapt, PluginFailure>,
    /// Opens a reservation instance.
    #[sabi(last_prefix_field)]
    pub open_reserve: extern "C" fn(HostContext, RStr<'_>) -> RResult<RawReserve, PluginFailure>,
}
