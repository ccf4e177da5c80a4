//! The flat records that cross the boundary. Their layout is frozen within a major version.

use abi_stable::StableAbi;
use abi_stable::std_types::RString;

/// The call did what it could; `Batch::n` says how much.
pub const STATUS_OK: i32 = 0;
/// The plugin panicked; this instance answers nothing else from now on and must be closed.
pub const STATUS_PANICKED: i32 = -1;

/// Offload metadata of a frame, with the meaning of `struct virtio_net_hdr`.
///
/// All zero: an ordinary frame with complete checksums.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// 0 none, 1 TCP over IPv4, 4 TCP over IPv6, 5 UDP: what kind of super-frame this is.
    pub kind: u8,
    /// Bit 0: the checksum at `checksum_start + checksum_offset` holds only the pseudo-header's sum.
    /// Bit 1: checksums have been verified. Bit 7: TCP with ECN.
    pub flags: u8,
    /// Bytes of headers to repeat before each segment.
    pub header_len: u16,
    /// Payload bytes per segment; 0 unless `kind` says it is a super-frame.
    pub segment_size: u16,
    /// Where the checksummed part begins, from the frame's first byte.
    pub checksum_start: u16,
    /// Where the checksum field is, from `checksum_start`.
    pub checksum_offset: u16,
    /// Zero.
    pub reserved: u16,
}

/// One frame in memory that the host owns.
///
/// Bytes `base .. base + capacity` are valid for reads and writes during the call; the frame lies at
/// `offset .. offset + len`. The room before it is for outer headers, written in place.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Slot {
    /// First byte of the slot's memory.
    pub base: *mut u8,
    /// Bytes of memory from `base`.
    pub capacity: u32,
    /// Where the frame begins, from `base`.
    pub offset: u32,
    /// Bytes of the frame.
    pub len: u32,
    /// Link plugins: the far node it came from or goes to, by the number given to `add_far`.
    pub far: u32,
    /// Offload metadata.
    pub offload: Offload,
    /// After `send`: 0 the frame was taken; otherwise why it was not: 1 too large for the way, 2 no room,
    /// 3 the way is down, 4 malformed.
    pub refusal: u32,
    /// The slot's number in the host's pool.
    pub buffer: u32,
    /// After `send` refused the frame as too large: the largest frame (for a super-frame, the largest segment)
    /// that the way takes, Ethernet header included; 0 if that is not known.
    pub limit: u32,
}

// SAFETY: a slot only says where memory is; whoever reads or writes there answers for it.
unsafe impl Send for Slot {}

/// What a batch call did.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Slots filled (`recv`) or consumed (`send`), counted from the first.
    pub n: u32,
    /// [`STATUS_OK`], [`STATUS_PANICKED`], or a positive errno.
    pub status: i32,
}

/// Traffic of one ordered pair of guests since the last call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The sending guest's MAC address.
    pub source: [u8; 6],
    /// The receiving guest's MAC address.
    pub destination: [u8; 6],
    /// VLAN id, or 0xffff for untagged.
    pub vlan: u16,
    /// Zero.
    pub reserved: u16,
    /// Bytes of frames.
    pub bytes: u64,
    /// Frames on the wire: a super-frame counts its segments.
    pub frames: u64,
}

/// `vreserve_model::Demand` as a flat record.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq)]
pub struct DemandRecord {
    /// The sending guest's MAC address.
    pub source: [u8; 6],
    /// The receiving guest's MAC address.
    pub destination: [u8; 6],
    /// Zero.
    pub reserved: u32,
    /// Bits per second.
    pub rate: u64,
    /// Frames per second.
    pub frames_per_second: f64,
    /// 0 to 1.
    pub confidence: f64,
}

/// `vreserve_model::Failure` with C layout.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct PluginFailure {
    /// The code of the `FailureKind`.
    pub code: u32,
    /// `retry_after` in milliseconds; 0 for none.
    pub retry_after_ms: u32,
    /// One line for a person.
    pub reason: RString,
    /// The wrong key's path, or empty.
    pub key: RString,
}
