//! What a guest is told whose frame is larger than its way can carry: ICMP "fragmentation needed" (RFC 1191)
//! or ICMPv6 "packet too big" (RFC 4443 §3.2), made from the frame itself, and how often that is said.
//!
//! The answer comes from the address that the guest wrote to, as Linux does for its own layer-2 tunnels: a
//! node has no address in the guests' network. Who gets it, and by which interface, is the host's part.

use std::time::Duration;

use vreserve_model::Timestamp;
use vreserve_offload::checksum::{Sum, pseudo_ipv6};
use vreserve_offload::{Ip, IpVersion, Layout};

use crate::frame::EthernetHeader;

/// Octets of the longest answer: an Ethernet header with two VLAN tags, and the least MTU of IPv6.
pub const MAX_ANSWER: usize = 14 + 2 * 4 + LEAST_MTU_V6;

/// No path is narrower (RFC 791 §3.1, RFC 8200 §5).
const LEAST_MTU_V4: usize = 68;
const LEAST_MTU_V6: usize = 1280;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;
/// An ICMP error over IPv4 has at most 576 octets (RFC 1812 §4.3.2.3).
const MAX_ERROR_V4: usize = 576;
const HOP_LIMIT: u8 = 64;

/// Writes the answer to `frame`, which was refused by a way that takes frames of at most `limit` octets
/// (Ethernet header and tags included; of a super-frame: its segments), and returns its length.
///
/// None if nothing may be said: the frame is not IP or not to and from one station, it fits, it may be
/// fragmented on the way (IPv4 without DF), it is a later fragment, or an ICMP error itself (RFC 1122
/// §3.2.2, RFC 4443 §2.4).
pub fn answer(frame: &[u8], limit: usize, answer: &mut [u8; MAX_ANSWER]) -> Option<usize> {
    let ethernet = EthernetHeader::parse(frame).ok()?;
    let ip = Layout::parse(frame).ok()?.ip?;
    let mtu = limit.saturating_sub(ip.start);
    if !ethernet.destination().is_station() {
        return None;
    }
    let len = match ip.version {
        IpVersion::V4 { .. } => answer_v4(frame, &ip, mtu.max(LEAST_MTU_V4), &mut answer[ip.start..]),
        IpVersion::V6 => answer_v6(frame, &ip, mtu.max(LEAST_MTU_V6), &mut answer[ip.start..]),
    }?;
    answer[..ip.start].copy_from_slice(&frame[..ip.start]);
    answer[..6].copy_from_slice(&frame[6..12]);
    answer[6..12].copy_from_slice(&frame[..6]);
    Some(ip.start + len)
}

fn answer_v4(frame: &[u8], ip: &Ip, mtu: usize, out: &mut [u8]) -> Option<usize> {
    let packet = &frame[ip.start..ip.end];
    let (source, destination): ([u8; 4], [u8; 4]) = (array_at(packet, 12)?, array_at(packet, 16)?);
    let flags_and_offset = u16::from_be_bytes(array_at(packet, 6)?);
    let (is_fixed, is_first) = (flags_and_offset & 0x4000 != 0, flags_and_offset & 0x1fff == 0);
    let is_heard = is_host_v4(source) && is_host_v4(destination);
    let is_query = ip.protocol != 1 || frame[ip.transport_start..ip.end].first().is_some_and(is_icmp_query);
    if packet.len() <= mtu || !is_fixed || !is_first || !is_heard || !is_query {
        return None;
    }
    let quote = &packet[..packet.len().min(MAX_ERROR_V4 - IPV4_HEADER - ICMP_HEADER)];
    let len = IPV4_HEADER + ICMP_HEADER + quote.len();
    let (header, icmp) = out.get_mut(..len)?.split_at_mut(IPV4_HEADER);
    // Precedence "internetwork control" (RFC 1812 §4.3.2.5), don't fragment.
    header.copy_from_slice(&[0x45, 0xc0, 0, 0, 0, 0, 0x40, 0, HOP_LIMIT, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    header[2..4].copy_from_slice(&narrow(len).to_be_bytes());
    header[12..16].copy_from_slice(&destination);
    header[16..20].copy_from_slice(&source);
    let checksum = Sum::of(header).checksum();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    icmp[..6].copy_from_slice(&[3, 4, 0, 0, 0, 0]);
    icmp[6..8].copy_from_slice(&narrow(mtu).to_be_bytes());
    icmp[ICMP_HEADER..].copy_from_slice(quote);
    let checksum = Sum::of(icmp).checksum();
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    Some(len)
}

fn answer_v6(frame: &[u8], ip: &Ip, mtu: usize, out: &mut [u8]) -> Option<usize> {
    let packet = &frame[ip.start..ip.end];
    let (source, destination): ([u8; 16], [u8; 16]) = (array_at(packet, 8)?, array_at(packet, 24)?);
    let is_heard = is_host_v6(source) && is_host_v6(destination);
    if packet.len() <= mtu || !is_heard || !may_be_answered_v6(packet) {
        return None;
    }
    let quote = &packet[..packet.len().min(LEAST_MTU_V6 - IPV6_HEADER - ICMP_HEADER)];
    let payload_len = narrow(ICMP_HEADER + quote.len());
    let len = IPV6_HEADER + usize::from(payload_len);
    let (header, icmp) = out.get_mut(..len)?.split_at_mut(IPV6_HEADER);
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 58, HOP_LIMIT]);
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[8..24].copy_from_slice(&destination);
    header[24..40].copy_from_slice(&source);
    icmp[..4].copy_from_slice(&[2, 0, 0, 0]);
    icmp[4..8].copy_from_slice(&u32::from(narrow(mtu)).to_be_bytes());
    icmp[ICMP_HEADER..].copy_from_slice(quote);
    let sum = pseudo_ipv6(destination, source, 58, payload_len.into()) + Sum::of(icmp);
    icmp[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    Some(len)
}

/// Questions and their answers; every other type is an error, or may be one.
fn is_icmp_query(icmp_type: &u8) -> bool {
    matches!(icmp_type, 0 | 8 | 13..=18)
}

/// Walks the extension headers, which [`Layout::parse`] has found to lie inside the packet: false for later
/// fragments, ICMPv6 errors, and chains whose end is not in the packet.
fn may_be_answered_v6(packet: &[u8]) -> bool {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const ICMP: u8 = 58;
    const DESTINATION_OPTIONS: u8 = 60;
    let (mut next, mut at) = (packet[6], IPV6_HEADER);
    loop {
        let Some([following, units, offset_high, offset_low]) = array_at(packet, at) else {
            // Not even the first octets of what is announced.
            return next != ICMP;
        };
        let len = match next {
            ICMP => return following >= 128,
            FRAGMENT if u16::from_be_bytes([offset_high, offset_low]) & 0xfff8 != 0 => return false,
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(units) + 2) * 4,
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(units) + 1) * 8,
            _ => return true,
        };
        (next, at) = (following, at + len);
    }
}

/// Not "this network", loopback, a group, reserved or broadcast.
fn is_host_v4(address: [u8; 4]) -> bool {
    !matches!(address[0], 0 | 127 | 224..)
}

fn is_host_v6(address: [u8; 16]) -> bool {
    address[0] != 0xff && address != [0; 16]
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Both lengths of answers and MTUs below that of the refused frame, whose own length stood in 16 bits, fit.
fn narrow(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// How often something may be done: so many at once, then so many per second (a token bucket, kept as the
/// time at which it will be full again).
#[derive(Clone, Debug)]
pub struct Allowance {
    every: Duration,
    ahead: Duration,
    full_at: Timestamp,
}

impl Allowance {
    /// At most `burst` at once, and one more `every` so often. A burst of 0 counts as 1.
    pub fn new(burst: u32, every: Duration) -> Self {
        Allowance { every, ahead: every * burst.saturating_sub(1), full_at: Timestamp::ZERO }
    }

    /// True if it may be done now; it then counts as done.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let full_at = self.full_at.max(now);
        let is_allowed = full_at.since(now) <= self.ahead;
        if is_allowed {
            self.full_at = full_at + self.every;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests;
