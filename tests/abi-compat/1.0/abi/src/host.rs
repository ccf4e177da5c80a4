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
    pub pool: extern "C" fn(usize) -> Pool,
    /// Which queue of its interface or endpoint this instance is to serve.
    pub queue: extern "C" fn(usize) -> Queue,
    /// Who this node is; told to link instances only.
    #[sabi(last_prefix_field)]
    pub identity: extern "C" fn(usize) -> Identity,
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
    /// The first of the slots lent to this instance for as long as it is open: it may have the kernel fill
    /// them between calls. `recv` may put a lent slot in place of one of the batch; the frame in it is then the
    /// host's until the next `recv`.
    pub lent_first: usize,
    /// Number of slots lent to this instance; may be 0.
    pub lent_count: usize,
}

/// The host has several workers, each with an instance of its own on one queue of the interface or endpoint.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// This instance's queue, below `count`.
    pub index: u32,
    /// Number of queues, at least 1.
    pub count: u32,
}

/// The node's static key pair (X25519, RFC 7748).
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Identity {
    /// The private key; all zero if the node has none or does not tell this instance.
    pub secret: [u8; 32],
    /// The public key, by which other nodes know this one.
    pub public: [u8; 32],
}

impl Pool {
    /// What an instance sees that has no data path.
    pub const NONE: Pool =
        Pool { base: std::ptr::null_mut(), slot_size: 0, count: 0, lent_first: 0, lent_count: 0 };
}

impl Queue {
    /// What an instance sees that serves its interface or endpoint alone.
    pub const ONLY: Queue = Queue { index: 0, count: 1 };
}

impl Identity {
    /// What an instance sees that is not told.
    pub const NONE: Identity = Identity { secret: [0; 32], public: [0; 32] };
}
