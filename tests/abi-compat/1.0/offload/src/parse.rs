//! Where the headers of an Ethernet frame stand: ethertype behind up to two VLAN tags, IPv4 with options,
//! IPv6 with extension headers, TCP, UDP and SCTP. A [`Layout`] holds offsets and no bytes, so the frame may
//! be written to.

use crate::Malformed;
use crate::bytes::be16_at;
use crate::ipv6;

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of SCTP.
pub const PROTOCOL_SCTP: u8 = 132;

/// 802.1Q and 802.1ad.
const VLAN_ETHERTYPES: [u16; 2] = [0x8100, 0x88a8];
const MAX_VLAN_TAGS: u8 = 2;

/// Where the headers of one frame stand. Every offset is in bytes from the frame's start and lies inside the
/// frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The ethertype behind the VLAN tags; below 0x0600 it is an 802.3 length.
    pub ethertype: u16,
    /// How many VLAN tags were stepped over, 0 to 2. A third is left as the ethertype.
    pub vlan_tags: u8,
    /// The IP header, if the frame carries one.
    pub ip: Option<Ip>,
}

/// The IP part of a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// IPv4 or IPv6.
    pub version: IpVersion,
    /// First byte of the IP header.
    pub start: usize,
    /// First byte behind the IP header, its options and extension headers.
    pub transport_start: usize,
    /// First byte behind the IP payload; what follows is Ethernet padding.
    pub end: usize,
    /// Protocol number of what stands at `transport_start`.
    pub protocol: u8,
    /// What stands at `transport_start`.
    pub transport: Transport,
}

/// The version of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4 {
        /// Length of the header with its options, 20 to 60 bytes.
        header_len: usize,
    },
    /// IPv6.
    V6,
}

/// The transport header of an IP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Length of the header with its options, 20 to 60 bytes.
        header_len: usize,
    },
    /// UDP.
    Udp {
        /// The UDP length: header and payload, at least 8 bytes.
        length: usize,
    },
    /// SCTP.
    Sctp,
    /// Another protocol, or one that cannot be seen whole: a fragment, an encrypted payload, an IPv6 datagram
    /// whose routing header hides the final destination.
    Opaque,
}

impl Layout {
    /// Reads the headers of a frame.
    ///
    /// # Errors
    /// [`Malformed`] names the header that is wrong. Frames that are not IP are never malformed behind their
    /// tags.
    pub fn parse(frame: &[u8]) -> Result<Layout, Malformed> {
        let mut ethertype = be16_at(frame, ETHERNET_HEADER - 2).ok_or(Malformed::EthernetTruncated)?;
        let mut start = ETHERNET_HEADER;
        let mut vlan_tags = 0;
        while vlan_tags < MAX_VLAN_TAGS && VLAN_ETHERTYPES.contains(&ethertype) {
            ethertype = be16_at(frame, start + 2).ok_or(Malformed::VlanTruncated)?;
            start += 4;
            vlan_tags += 1;
        }
        let ip = match ethertype {
            ETHERTYPE_IPV4 => Some(parse_ipv4(frame, start)?),
            ETHERTYPE_IPV6 => Some(ipv6::parse_ipv6(frame, start)?),
            _ => None,
        };
        Ok(Layout { ethertype, vlan_tags, ip })
    }
}

fn parse_ipv4(frame: &[u8], start: usize) -> Result<Ip, Malformed> {
    let header = frame[start..].first_chunk::<20>().ok_or(Malformed::Ipv4Truncated)?;
    if header[0] >> 4 != 4 {
        return Err(Malformed::Ipv4Version);
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header_len < 20 {
        return Err(Malformed::Ipv4HeaderLength);
    }
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let end = start + total_len;
    if total_len < header_len || end > frame.len() {
        return Err(Malformed::Ipv4TotalLength);
    }
    let protocol = header[9];
    let transport_start = start + header_len;
    // More-fragments flag and fragment offset.
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let transport = if is_fragment {
        Transport::Opaque
    } else {
        parse_transport(protocol, &frame[transport_start..end])?
    };
    Ok(Ip { version: IpVersion::V4 { header_len }, start, transport_start, end, protocol, transport })
}

/// What `payload`, which is all that IP carries behind its headers, begins with.
pub(crate) fn parse_transport(protocol: u8, payload: &[u8]) -> Result<Transport, Malformed> {
    match protocol {
        PROTOCOL_TCP => parse_tcp(payload),
        PROTOCOL_UDP => parse_udp(payload),
        PROTOCOL_SCTP if payload.len() < 12 => Err(Malformed::SctpTruncated),
        PROTOCOL_SCTP => Ok(Transport::Sctp),
        _ => Ok(Transport::Opaque),
    }
}

fn parse_tcp(payload: &[u8]) -> Result<Transport, Malformed> {
    let header = payload.first_chunk::<20>().ok_or(Malformed::TcpTruncated)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 || header_len > payload.len() {
        return Err(Malformed::TcpDataOffset);
    }
    Ok(Transport::Tcp { header_len })
}

fn parse_udp(payload: &[u8]) -> Result<Transport, Malformed> {
    let header = payload.first_chunk::<8>().ok_or(Malformed::UdpTruncated)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if length < 8 || length > payload.len() {
        return Err(Malformed::UdpLength);
    }
    Ok(Transport::Udp { length })
}
