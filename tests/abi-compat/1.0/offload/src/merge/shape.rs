//! Where the headers of a frame that may be merged stand, and which of their bits may differ between frames of
//! one super-frame. There are eight such masks, made at compile time.

use crate::checksum::{Wide, pseudo};
use crate::{IpVersion, Layout, Transport};

/// Ethernet, one VLAN tag, IPv6, TCP with all its options; a multiple of a word.
pub(super) const MAX_HEADER: usize = 120;

pub(super) const TCP_SEQUENCE: usize = 4;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_FIN: u8 = 0x01;
pub(super) const TCP_PSH: u8 = 0x08;
pub(super) const TCP_CWR: u8 = 0x80;
/// SYN, RST and URG: none of them with data that may be joined.
const TCP_SINGULAR: u8 = 0x02 | 0x04 | 0x20;
/// The flags in which the frames of a super-frame may differ; what they then mean is checked apart.
const TCP_VARYING: u8 = TCP_FIN | TCP_PSH | TCP_CWR;

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const UDP: usize = 8;

/// The headers of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// First byte of the IP header.
    pub(super) ip: usize,
    /// First byte of the transport header.
    pub(super) transport: usize,
    /// First byte of the payload.
    pub(super) header_len: usize,
    pub(super) is_ipv6: bool,
    pub(super) is_udp: bool,
    /// A bit is set where all frames of a super-frame must agree.
    mask: &'static [u8; MAX_HEADER],
}

impl Shape {
    /// The shape of `frame` and the sum of its pseudo-header without the length, if the frame may be part of a
    /// super-frame: TCP or UDP with payload, whole, unpadded, under at most one VLAN tag and without IPv4
    /// options or IPv6 extension headers.
    pub(super) fn of(frame: &[u8]) -> Option<(Shape, Wide)> {
        let layout = Layout::parse(frame).ok()?;
        let ip = layout.ip?;
        let is_ipv6 = ip.version == IpVersion::V6;
        let (is_udp, transport_len) = match ip.transport {
            Transport::Tcp { header_len } => (false, header_len),
            Transport::Udp { length } if ip.transport_start + length == ip.end => (true, UDP),
            _ => return None,
        };
        let header_len = ip.transport_start + transport_len;
        let is_plain = layout.vlan_tags <= 1 && ip.transport_start - ip.start == ip_header_len(is_ipv6);
        if !is_plain || ip.end != frame.len() || header_len == frame.len() {
            return None;
        }
        let (start, transport) = (ip.start, ip.transport_start);
        let mask = &MASKS[usize::from(layout.vlan_tags)][usize::from(is_ipv6)][usize::from(is_udp)];
        let shape = Shape { ip: start, transport, header_len, is_ipv6, is_udp, mask };
        let is_singular = !is_udp && frame[transport + TCP_FLAGS] & TCP_SINGULAR != 0;
        (!is_singular).then(|| (shape, Wide::from(pseudo(frame, &ip, 0))))
    }

    /// Where the transport checksum stands, from the transport header's start.
    pub(super) fn checksum_offset(&self) -> usize {
        if self.is_udp { 6 } else { 16 }
    }

    /// Length of IP and transport header in bytes.
    pub(super) fn ip_overhead(&self) -> usize {
        self.header_len - self.ip
    }

    /// Length of the transport header in bytes.
    pub(super) fn transport_len(&self) -> usize {
        self.header_len - self.transport
    }

    /// Whether `header` agrees with the first frame's wherever the mask says. Words at a time; the last word
    /// overlaps, as every header is longer than one.
    #[inline]
    pub(super) fn agrees(&self, header: &[u8], first: &[u8; MAX_HEADER]) -> bool {
        if header.len() != self.header_len {
            return false;
        }
        let (first, mask) = (&first[..self.header_len], &self.mask[..self.header_len]);
        let words =
            header.as_chunks::<8>().0.iter().zip(first.as_chunks::<8>().0).zip(mask.as_chunks::<8>().0);
        let body = words.fold(0, |all, ((own, first), mask)| all | differing(*own, *first, *mask));
        let last = header.last_chunk().zip(first.last_chunk()).zip(mask.last_chunk());
        let tail = last.map_or(1, |((own, first), mask)| differing(*own, *first, *mask));
        body | tail == 0
    }
}

#[inline]
fn differing(own: [u8; 8], first: [u8; 8], mask: [u8; 8]) -> u64 {
    (u64::from_ne_bytes(own) ^ u64::from_ne_bytes(first)) & u64::from_ne_bytes(mask)
}

const fn ip_header_len(is_ipv6: bool) -> usize {
    if is_ipv6 { 40 } else { 20 }
}

/// By VLAN tags, IPv6 and UDP.
static MASKS: [[[[u8; MAX_HEADER]; 2]; 2]; 2] = [
    [[mask(0, false, false), mask(0, false, true)], [mask(0, true, false), mask(0, true, true)]],
    [[mask(1, false, false), mask(1, false, true)], [mask(1, true, false), mask(1, true, true)]],
];

const fn mask(vlan_tags: usize, is_ipv6: bool, is_udp: bool) -> [u8; MAX_HEADER] {
    let mut mask = [0xff; MAX_HEADER];
    let ip = ETHERNET + vlan_tags * VLAN_TAG;
    let transport = ip + ip_header_len(is_ipv6);
    if is_ipv6 {
        // Payload length.
        mask = with_gap(mask, ip + 4, 2);
    } else {
        // Total length and identification, then the checksum.
        mask = with_gap(mask, ip + 2, 4);
        mask = with_gap(mask, ip + 10, 2);
    }
    if is_udp {
        // Length and checksum.
        with_gap(mask, transport + 4, 4)
    } else {
        mask[transport + TCP_FLAGS] = !TCP_VARYING;
        mask = with_gap(mask, transport + TCP_SEQUENCE, 4);
        // Checksum.
        with_gap(mask, transport + 16, 2)
    }
}

const fn with_gap(mut mask: [u8; MAX_HEADER], at: usize, len: usize) -> [u8; MAX_HEADER] {
    let mut index = at;
    while index < at + len {
        mask[index] = 0;
        index += 1;
    }
    mask
}
