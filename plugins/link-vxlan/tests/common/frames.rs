//! Frames as a guest's kernel makes them: super-frames of TCP and UDP with partial checksums, and frames of no protocol.

use vreserve_offload::checksum::{Sum, complete, pseudo_ipv4, pseudo_ipv6};
use vreserve_offload::{OffloadKind, Segments};
use vreserve_sdk::Offload;

/// A frame with its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

impl Frame {
    pub(crate) fn plain(bytes: Vec<u8>) -> Self {
        Frame { bytes, offload: Offload::default() }
    }

    /// The frames that it stands for, with complete checksums: cut by the library that has tests of its own.
    pub(crate) fn wire_frames(&self) -> Vec<Vec<u8>> {
        let offload = vreserve_offload::Offload::try_from(self.offload).unwrap();
        if offload.is_super_frame() {
            let segments = Segments::plan(&self.bytes, &offload).unwrap();
            return segments
                .map(|segment| {
                    let mut bytes = vec![0; segment.wire_len()];
                    segment.write(&mut bytes).unwrap();
                    bytes
                })
                .collect();
        }
        let mut bytes = self.bytes.clone();
        if offload.needs_checksum {
            complete(&mut bytes, offload.checksum_start.into(), offload.checksum_offset.into()).unwrap();
        }
        vec![bytes]
    }
}

/// Where a frame of [`Flow::frame`] comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) is_tcp: bool,
    pub(crate) is_ipv4: bool,
}

pub(crate) const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const FAR_STATION: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const STATION_IP: [u8; 4] = [10, 8, 0, 1];
pub(crate) const FAR_STATION_IP: [u8; 4] = [10, 8, 0, 2];

impl Flow {
    pub(crate) const ALL: [Flow; 4] = [
        Flow { is_tcp: true, is_ipv4: true },
        Flow { is_tcp: true, is_ipv4: false },
        Flow { is_tcp: false, is_ipv4: true },
        Flow { is_tcp: false, is_ipv4: false },
    ];

    /// A frame from 10.8.0.1 to 10.8.0.2 (or IPv6 addresses) from port 6000 to 5000 with a partial checksum, to be
    /// cut into segments of `segment` bytes if that is less than the payload.
    pub(crate) fn frame(self, payload: &[u8], segment: usize) -> Frame {
        let transport_len = if self.is_tcp { 20 } else { 8 };
        let total = transport_len + payload.len();
        let protocol = if self.is_tcp { 6 } else { 17 };
        let (mut bytes, partial) = self.headers(total, protocol);
        let start = bytes.len();
        bytes.extend([6000_u16, 5000].into_iter().flat_map(u16::to_be_bytes));
        if self.is_tcp {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff]);
        } else {
            bytes.extend((total as u16).to_be_bytes());
        }
        bytes.extend(partial.to_be_bytes());
        bytes.extend(if self.is_tcp { &[0, 0][..] } else { &[] });
        bytes.extend(payload);
        let is_super_frame = segment < payload.len();
        let kind = match (is_super_frame, self.is_tcp, self.is_ipv4) {
            (false, _, _) => OffloadKind::None,
            (true, true, true) => OffloadKind::Tcp4,
            (true, true, false) => OffloadKind::Tcp6,
            (true, false, _) => OffloadKind::Udp,
        };
        let offload = vreserve_offload::Offload {
            kind,
            needs_checksum: true,
            header_len: if is_super_frame { (start + transport_len) as u16 } else { 0 },
            segment_size: if is_super_frame { segment as u16 } else { 0 },
            checksum_start: start as u16,
            checksum_offset: if self.is_tcp { 16 } else { 6 },
            ..Default::default()
        };
        Frame { bytes, offload: offload.into() }
    }

    /// Ethernet and IP headers, and the sum of the pseudo-header.
    fn headers(self, total: usize, protocol: u8) -> (Vec<u8>, u16) {
        let mut bytes = [FAR_STATION, STATION].concat();
        if self.is_ipv4 {
            let len = (20 + total) as u16;
            let mut header = vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            header.extend(STATION_IP.into_iter().chain(FAR_STATION_IP));
            let sum = Sum::of(&header).checksum().to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            bytes.extend([0x08, 0x00].into_iter().chain(header));
            return (bytes, pseudo_ipv4(STATION_IP, FAR_STATION_IP, protocol, total as u16).partial());
        }
        let address = |last: u8| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend((total as u16).to_be_bytes().into_iter().chain([protocol, 64]));
        bytes.extend(address(1).into_iter().chain(address(2)));
        (bytes, pseudo_ipv6(address(1), address(2), protocol, total as u32).partial())
    }
}

/// A frame of an experimental type (IEEE 802) of `len` bytes, told apart by `number`.
pub(crate) fn numbered(number: u32, len: usize) -> Frame {
    let mut bytes = [&FAR_STATION[..], &STATION, &[0x88, 0xb5], &number.to_be_bytes()].concat();
    bytes.resize(len, number as u8);
    Frame::plain(bytes)
}
