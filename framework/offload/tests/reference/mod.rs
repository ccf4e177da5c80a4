//! What the tests hold the crate against: frames built field by field, and checksums summed byte by byte.
//! Nothing here uses the crate but the metadata type.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use proptest::prelude::*;
use vreserve_offload::{Offload, OffloadKind};

/// RFC 1071 as it is written: bytes in pairs, the carry brought round after each addition.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (index, &byte) in bytes.iter().enumerate() {
        sum += u32::from(byte) << if index % 2 == 0 { 8 } else { 0 };
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Everything a super-frame is made of.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub vlan_tags: usize,
    pub is_ipv6: bool,
    pub is_udp: bool,
    /// IPv4 options in 4-byte words, or IPv6 extension headers of 8 bytes.
    pub network_options: usize,
    /// TCP options in 4-byte words.
    pub tcp_options: usize,
    pub tcp_flags: u8,
    pub sequence: u32,
    pub id: u16,
    pub payload: Vec<u8>,
}

/// A built frame and where its parts stand.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub frame: Vec<u8>,
    pub network: usize,
    pub transport: usize,
    pub payload: usize,
    pub is_ipv6: bool,
    pub is_udp: bool,
}

impl Recipe {
    /// The super-frame with a partial checksum, as a guest with offload hands it over.
    pub(crate) fn build(&self) -> Built {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in 0..self.vlan_tags {
            frame.extend([if tag == 0 { 0x88 } else { 0x81 }, if tag == 0 { 0xa8 } else { 0 }, 0, 7]);
        }
        frame.extend(if self.is_ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let network = frame.len();
        let transport_header = self.transport_header();
        let transport_len = transport_header.len() + self.payload.len();
        frame.extend(if self.is_ipv6 { self.ipv6(transport_len) } else { self.ipv4(transport_len) });
        let transport = frame.len();
        frame.extend(transport_header);
        let payload = frame.len();
        frame.extend(&self.payload);
        let mut built =
            Built { frame, network, transport, payload, is_ipv6: self.is_ipv6, is_udp: self.is_udp };
        let partial = sum(&built.pseudo_header());
        let field = transport + built.checksum_offset();
        built.frame[field..field + 2].copy_from_slice(&partial.to_be_bytes());
        built
    }

    fn protocol(&self) -> u8 {
        if self.is_udp { 17 } else { 6 }
    }

    fn ipv4(&self, transport_len: usize) -> Vec<u8> {
        let header_len = 20 + 4 * self.network_options;
        let total = u16::try_from(header_len + transport_len).unwrap().to_be_bytes();
        let id = self.id.to_be_bytes();
        let mut header =
            vec![0x40 | (header_len / 4) as u8, 0, total[0], total[1], id[0], id[1], 0x40, 0, 64];
        header.extend([self.protocol(), 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        header.resize(header_len, 1);
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn ipv6(&self, transport_len: usize) -> Vec<u8> {
        let payload_len = u16::try_from(8 * self.network_options + transport_len).unwrap().to_be_bytes();
        let mut header = vec![0x60, 0, 0, 0, payload_len[0], payload_len[1], self.protocol(), 64];
        header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        if self.network_options > 0 {
            header[6] = 60;
        }
        for left in (0..self.network_options).rev() {
            header.extend([if left == 0 { self.protocol() } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        header
    }

    fn transport_header(&self) -> Vec<u8> {
        let mut header = vec![0x14, 0x51, 0x1f, 0x90];
        if self.is_udp {
            header.extend(u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes());
            header.extend([0, 0]);
        } else {
            header.extend(self.sequence.to_be_bytes());
            header.extend([1, 2, 3, 4, ((5 + self.tcp_options) << 4) as u8, self.tcp_flags]);
            header.extend([0xff, 0xff, 0, 0, 0, 0]);
            header.resize(20 + 4 * self.tcp_options, 1);
        }
        header
    }
}

impl Built {
    pub(crate) fn checksum_offset(&self) -> usize {
        if self.is_udp { 6 } else { 16 }
    }

    /// Start and offset of the transport checksum.
    pub(crate) fn checksum_place(&self) -> (usize, usize) {
        (self.transport, self.checksum_offset())
    }

    pub(crate) fn offload(&self, segment_size: u16) -> Offload {
        let kind = match (self.is_udp, self.is_ipv6) {
            (true, _) => OffloadKind::Udp,
            (false, false) => OffloadKind::Tcp4,
            (false, true) => OffloadKind::Tcp6,
        };
        Offload {
            kind,
            needs_checksum: true,
            header_len: self.payload as u16,
            segment_size,
            checksum_start: self.transport as u16,
            checksum_offset: self.checksum_offset() as u16,
            ..Offload::default()
        }
    }

    /// The pseudo-header of this frame, or of any wire frame with headers at the same places.
    pub(crate) fn pseudo_header(&self) -> Vec<u8> {
        let addresses = if self.is_ipv6 {
            self.network + 8..self.network + 40
        } else {
            self.network + 12..self.network + 20
        };
        let mut pseudo = self.frame[addresses].to_vec();
        let length = u32::try_from(self.frame.len() - self.transport).unwrap();
        pseudo.extend(length.to_be_bytes());
        pseudo.extend([0, 0, 0, if self.is_udp { 17 } else { 6 }]);
        pseudo
    }

    /// A wire frame cut from this one.
    pub(crate) fn segment(&self, frame: Vec<u8>) -> Built {
        Built { frame, ..self.clone() }
    }

    pub(crate) fn is_transport_checksum_right(&self) -> bool {
        let mut bytes = self.pseudo_header();
        bytes.extend(&self.frame[self.transport..]);
        sum(&bytes) == 0xffff
    }

    pub(crate) fn ip_header(&self) -> &[u8] {
        &self.frame[self.network..self.transport]
    }

    pub(crate) fn transport_header(&self) -> &[u8] {
        &self.frame[self.transport..self.payload]
    }
}

/// Any super-frame a guest may send.
pub(crate) fn recipes() -> impl Strategy<Value = Recipe> {
    let headers = (0usize..3, any::<bool>(), any::<bool>(), 0usize..9, 0usize..11);
    let values = (any::<u8>(), any::<u32>(), any::<u16>());
    let payload = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..4_000),
        1 => (any::<u8>(), 60_000usize..65_400).prop_map(|(byte, len)| vec![byte; len]),
    ];
    (headers, values, payload).prop_map(
        |((vlan_tags, is_ipv6, is_udp, network_options, tcp_options), (tcp_flags, sequence, id), payload)| {
            Recipe {
                vlan_tags,
                is_ipv6,
                is_udp,
                network_options,
                tcp_options,
                tcp_flags,
                sequence,
                id,
                payload,
            }
        },
    )
}

/// A plain TCP super-frame over IPv4 with `len` bytes of payload.
pub(crate) fn tcp4(len: usize) -> Recipe {
    Recipe {
        vlan_tags: 0,
        is_ipv6: false,
        is_udp: false,
        network_options: 0,
        tcp_options: 3,
        tcp_flags: 0x18,
        sequence: u32::MAX - 10,
        id: u16::MAX,
        payload: (0..len).map(|index| index as u8).collect(),
    }
}
