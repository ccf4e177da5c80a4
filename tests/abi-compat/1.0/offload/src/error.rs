//! What can be wrong with a frame ([`Malformed`]) and with what is asked of it ([`OffloadError`]).

use thiserror::Error;

use crate::OffloadKind;

/// Why the headers of a frame cannot be read. A closed set: each value may be a counter's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum Malformed {
    /// The frame is shorter than an Ethernet header.
    #[error("the frame ends inside its Ethernet header")]
    EthernetTruncated,
    /// The frame ends inside a VLAN tag.
    #[error("the frame ends inside a VLAN tag")]
    VlanTruncated,
    /// The frame ends inside its IPv4 header.
    #[error("the frame ends inside its IPv4 header")]
    Ipv4Truncated,
    /// The ethertype says IPv4 but the version field does not.
    #[error("the ethertype says IPv4 but the version field does not")]
    Ipv4Version,
    /// The IPv4 header claims fewer than 20 bytes.
    #[error("the IPv4 header claims fewer than 20 bytes")]
    Ipv4HeaderLength,
    /// The IPv4 total length is shorter than its header or longer than the frame.
    #[error("the IPv4 total length is shorter than its header or longer than the frame")]
    Ipv4TotalLength,
    /// The frame ends inside its IPv6 header.
    #[error("the frame ends inside its IPv6 header")]
    Ipv6Truncated,
    /// The ethertype says IPv6 but the version field does not.
    #[error("the ethertype says IPv6 but the version field does not")]
    Ipv6Version,
    /// The IPv6 payload length is longer than the frame.
    #[error("the IPv6 payload length is longer than the frame")]
    Ipv6PayloadLength,
    /// An IPv6 extension header reaches beyond the payload.
    #[error("an IPv6 extension header reaches beyond the payload")]
    Ipv6Extension,
    /// The chain of IPv6 extension headers is longer than any honest sender makes it.
    #[error("the chain of IPv6 extension headers is too long")]
    Ipv6ExtensionChain,
    /// The IP payload is shorter than a TCP header.
    #[error("the IP payload is shorter than a TCP header")]
    TcpTruncated,
    /// The TCP data offset is below 20 bytes or beyond the IP payload.
    #[error("the TCP data offset is below 20 bytes or beyond the IP payload")]
    TcpDataOffset,
    /// The IP payload is shorter than a UDP header.
    #[error("the IP payload is shorter than a UDP header")]
    UdpTruncated,
    /// The UDP length is below 8 bytes or beyond the IP payload.
    #[error("the UDP length is below 8 bytes or beyond the IP payload")]
    UdpLength,
    /// The IP payload is shorter than an SCTP header.
    #[error("the IP payload is shorter than an SCTP header")]
    SctpTruncated,
}

/// Why a frame could not be completed, segmented or described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OffloadError {
    /// The headers of the frame cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The metadata does not describe a super-frame, so there is nothing to segment.
    #[error("the frame is not a super-frame")]
    NotSuperFrame,
    /// A super-frame with a segment size of zero.
    #[error("the segment size is zero")]
    SegmentSizeZero,
    /// The header length of the metadata lies beyond the frame.
    #[error("a header of {header_len} bytes does not fit a frame of {frame_len}")]
    HeaderBeyondFrame {
        /// What the metadata says, in bytes.
        header_len: usize,
        /// Length of the frame in bytes.
        frame_len: usize,
    },
    /// The metadata names a kind that the frame is not, or the frame is a fragment.
    #[error("the frame cannot be segmented as {kind:?}")]
    KindMismatch {
        /// What the metadata says.
        kind: OffloadKind,
    },
    /// The metadata puts the checksum elsewhere than the frame's own headers do.
    #[error("the checksum at {start}+{offset} is not that of the transport header")]
    ChecksumElsewhere {
        /// First summed byte.
        start: usize,
        /// Distance of the field from `start`.
        offset: usize,
    },
    /// The IP or UDP length of a super-frame leaves bytes over.
    #[error("the headers account for {claimed} bytes of a frame of {frame_len}")]
    LengthMismatch {
        /// Where the frame ends by its headers, in bytes from its start.
        claimed: usize,
        /// Length of the frame in bytes.
        frame_len: usize,
    },
    /// The checksum to complete lies beyond the frame.
    #[error("a checksum at {start}+{offset} lies beyond a frame of {frame_len}")]
    ChecksumBeyondFrame {
        /// First summed byte.
        start: usize,
        /// Distance of the field from `start`.
        offset: usize,
        /// Length of the frame in bytes.
        frame_len: usize,
    },
    /// The caller's buffer is too short.
    #[error("{needed} bytes do not fit a buffer of {room}")]
    ShortBuffer {
        /// Bytes to be written.
        needed: usize,
        /// Bytes there are.
        room: usize,
    },
    /// The virtio-net header asks for a kind of segmentation that is not spoken here (UFO, tunnels).
    #[error("unknown segmentation type {gso_type:#04x}")]
    UnknownSegmentation {
        /// The `gso_type` field as it stands.
        gso_type: u8,
    },
}
