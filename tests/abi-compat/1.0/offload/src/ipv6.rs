//! The IPv6 header and the bounded walk along its extension headers (RFC 8200 §4).

use crate::bytes::array_at;
use crate::parse::parse_transport;
use crate::{Ip, IpVersion, Malformed, Transport};

const HEADER_LEN: usize = 40;
/// RFC 8200 §4.1 knows seven places in a chain; every further header is a stranger wasting our time.
const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

pub(crate) fn parse_ipv6(frame: &[u8], start: usize) -> Result<Ip, Malformed> {
    let header = frame[start..].first_chunk::<HEADER_LEN>().ok_or(Malformed::Ipv6Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Malformed::Ipv6Version);
    }
    let end = start + HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = frame.get(start + HEADER_LEN..end).ok_or(Malformed::Ipv6PayloadLength)?;
    let chain = walk(payload, header[6])?;
    let transport = if chain.is_whole {
        parse_transport(chain.protocol, &payload[chain.len..])?
    } else {
        Transport::Opaque
    };
    let transport_start = start + HEADER_LEN + chain.len;
    Ok(Ip { version: IpVersion::V6, start, transport_start, end, protocol: chain.protocol, transport })
}

/// The extension headers of one datagram.
struct Chain {
    /// Their length in bytes.
    len: usize,
    /// The first protocol that is no extension header.
    protocol: u8,
    /// Whether the transport header behind them can be read and summed.
    is_whole: bool,
}

fn walk(payload: &[u8], first: u8) -> Result<Chain, Malformed> {
    let mut chain = Chain { len: 0, protocol: first, is_whole: true };
    for _ in 0..=MAX_EXTENSIONS {
        if !is_extension(chain.protocol) {
            return Ok(chain);
        }
        let fields: [u8; 8] = array_at(payload, chain.len).ok_or(Malformed::Ipv6Extension)?;
        let len = extension_len(chain.protocol, fields[1]);
        if chain.len + len > payload.len() {
            return Err(Malformed::Ipv6Extension);
        }
        let is_whole = is_whole_behind(chain.protocol, fields);
        chain = Chain { len: chain.len + len, protocol: fields[0], is_whole };
        if !is_whole {
            return Ok(chain);
        }
    }
    Err(Malformed::Ipv6ExtensionChain)
}

fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

fn extension_len(protocol: u8, len_field: u8) -> usize {
    match protocol {
        FRAGMENT => 8,
        // In units of 4 bytes, less two (RFC 4302 §2.2); all others in units of 8, less one.
        AUTHENTICATION => (usize::from(len_field) + 2) * 4,
        _ => (usize::from(len_field) + 1) * 8,
    }
}

/// Whether the datagram is still whole behind this extension header. A fragment is not, unless it is the only
/// one (RFC 6946); with segments left to visit the pseudo-header's destination is not the one in the IPv6
/// header.
fn is_whole_behind(protocol: u8, fields: [u8; 8]) -> bool {
    match protocol {
        FRAGMENT => u16::from_be_bytes([fields[2], fields[3]]) & 0xfff9 == 0,
        ROUTING => fields[3] == 0,
        _ => true,
    }
}
