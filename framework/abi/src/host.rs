//! What the host offers a plugin: logs, counters, its pool of slots, a place for durable state.

use std::sync::atomic::AtomicU64;

use abi_stable::StableAbi;
use abi_stable::std_types::{RStr, RString};

/// The host's functions. All may be called from any thread; the first argument is
/// [`HostContext::context`].
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostTableRef)))]
#[sabi(missing_field(option))]
pub struct HostTable {
    /// Writes one log line: level 1 (error) to 5 (trace), target, message.
    pub log: extern "C" fn(usize, u8, RStr<'_>, RStr<'_>),
    /// The most verbose level that the host wants.
    pub max_level: extern "C" fn(usize) -> u8,
    /// A counter cell of this instance by name, with one line of help. The same name gives the same cell;
    /// cells live for ever.
    pub counter: extern "C" fn(usize, RStr<'_>, RStr<'_>) -> &'static AtomicU64,
    /// The directory for this instance's durable state; it exists.
    pub state_dir: extern "C" fn(usize) -> RString,
    /// The pool that all slots come from, so that a plugin may register it with the kernel.
    #[sabi(last_prefix_field)]
    pub pool: extern "C" fn(usize) -> Pool,
}

/// The host as one plugin instance sees it.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HostContext {
    /// The functions.
    pub table: HostTableRef,
    /// Tells the host which instance calls.
    pub context: usize,
}

/// The memory of all slots: `count` slots of `slot_size` bytes from `base`, page-aligned.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Pool {
    /// First byte, or null if the instance has no data path.
    pub base: *mut u8,
    /// Bytes per slot.
    pub slot_size: usize,
    /// Number of slots.
    pub count: usize,
}
