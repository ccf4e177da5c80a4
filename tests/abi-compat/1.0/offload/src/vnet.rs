//! The metadata of a super-frame, and the 10 bytes of `struct virtio_net_hdr` in which TAP devices and
//! AF_PACKET sockets pass it (`linux/virtio_net.h`; fields in the machine's own byte order).

use crate::OffloadError;

const FLAG_NEEDS_CHECKSUM: u8 = 1;
const FLAG_DATA_VALID: u8 = 2;

const TYPE_NONE: u8 = 0;
const TYPE_TCP4: u8 = 1;
const TYPE_TCP6: u8 = 4;
const TYPE_UDP: u8 = 5;
const TYPE_ECN: u8 = 0x80;

/// What a super-frame is to be cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OffloadKind {
    /// Nothing: the frame is a wire frame already.
    #[default]
    None,
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// UDP datagrams over IPv4 or IPv6 (USO).
    Udp,
}

/// What the sender of a frame left for the hardware to do. The default is: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offload {
    /// How the frame is to be segmented.
    pub kind: OffloadKind,
    /// A TCP super-frame with CWR set, which only its first segment may keep.
    pub ecn: bool,
    /// The transport checksum is partial: see [`crate::checksum::complete`].
    pub needs_checksum: bool,
    /// The transport checksum has been verified or may be trusted.
    pub data_valid: bool,
    /// Length of all headers in bytes. A hint only: the kernel gives the length of its linear buffer, which
    /// may reach into the payload. Segmentation reads the headers themselves.
    pub header_len: u16,
    /// Payload bytes per segment; the last may have fewer.
    pub segment_size: u16,
    /// First byte that the partial checksum covers, from the frame's start.
    pub checksum_start: u16,
    /// Where the checksum field stands, from `checksum_start`.
    pub checksum_offset: u16,
}

impl Offload {
    /// Whether the frame stands for several.
    pub fn is_super_frame(&self) -> bool {
        self.kind != OffloadKind::None
    }
}

/// A `struct virtio_net_hdr` as it stands just before a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader(pub [u8; VnetHeader::LEN]);

impl VnetHeader {
    /// Length in bytes.
    pub const LEN: usize = 10;

    /// Reads the header. Flags that only a hypervisor sets are ignored.
    ///
    /// # Errors
    /// [`OffloadError::UnknownSegmentation`] for UFO, tunnels, and ECN on anything but TCP.
    pub fn decode(&self) -> Result<Offload, OffloadError> {
        let [flags, gso_type, rest @ ..] = self.0;
        let (fields, _) = rest.as_chunks::<2>();
        let field = |index: usize| u16::from_ne_bytes(fields[index]);
        let (kind, ecn) = decode_type(gso_type).ok_or(OffloadError::UnknownSegmentation { gso_type })?;
        Ok(Offload {
            kind,
            ecn,
            needs_checksum: flags & FLAG_NEEDS_CHECKSUM != 0,
            data_valid: flags & FLAG_DATA_VALID != 0,
            header_len: field(0),
            segment_size: field(1),
            checksum_start: field(2),
            checksum_offset: field(3),
        })
    }

    /// Writes the header. ECN on anything but TCP is left out, as the kernel would refuse the frame.
    pub fn encode(offload: &Offload) -> VnetHeader {
        let checksum = if offload.needs_checksum { FLAG_NEEDS_CHECKSUM } else { 0 };
        let valid = if offload.data_valid { FLAG_DATA_VALID } else { 0 };
        let mut bytes = [0; VnetHeader::LEN];
        bytes[0] = checksum | valid;
        bytes[1] = encode_type(offload.kind, offload.ecn);
        bytes[2..4].copy_from_slice(&offload.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&offload.segment_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&offload.checksum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&offload.checksum_offset.to_ne_bytes());
        VnetHeader(bytes)
    }
}

fn decode_type(gso_type: u8) -> Option<(OffloadKind, bool)> {
    let ecn = gso_type & TYPE_ECN != 0;
    match (gso_type & !TYPE_ECN, ecn) {
        (TYPE_NONE, false) => Some((OffloadKind::None, false)),
        (TYPE_TCP4, _) => Some((OffloadKind::Tcp4, ecn)),
        (TYPE_TCP6, _) => Some((OffloadKind::Tcp6, ecn)),
        (TYPE_UDP, false) => Some((OffloadKind::Udp, false)),
        _ => None,
    }
}

fn encode_type(kind: OffloadKind, ecn: bool) -> u8 {
    let ecn = if ecn { TYPE_ECN } else { 0 };
    match kind {
        OffloadKind::None => TYPE_NONE,
        OffloadKind::Tcp4 => TYPE_TCP4 | ecn,
        OffloadKind::Tcp6 => TYPE_TCP6 | ecn,
        OffloadKind::Udp => TYPE_UDP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_bytes_for_a_tcp_super_frame_are_read() {
        let [start, offset] = [34u16, 16].map(u16::to_ne_bytes);
        let [header, size] = [66u16, 1448].map(u16::to_ne_bytes);
        let bytes = [&[1, 0x81][..], &header, &size, &start, &offset].concat();
        let offload = VnetHeader(bytes.try_into().unwrap()).decode().unwrap();
        let expected = Offload {
            kind: OffloadKind::Tcp4,
            ecn: true,
            needs_checksum: true,
            data_valid: false,
            header_len: 66,
            segment_size: 1448,
            checksum_start: 34,
            checksum_offset: 16,
        };
        assert_eq!(offload, expected);
    }

    #[test]
    fn a_header_of_zeros_asks_for_nothing() {
        assert_eq!(VnetHeader::default().decode(), Ok(Offload::default()));
        assert_eq!(VnetHeader::encode(&Offload::default()), VnetHeader::default());
    }

    #[test]
    fn every_type_is_either_read_and_written_alike_or_refused() {
        for gso_type in 0..=u8::MAX {
            let header = VnetHeader([3, gso_type, 1, 2, 3, 4, 5, 6, 7, 8]);
            match header.decode() {
                Ok(offload) => assert_eq!(VnetHeader::encode(&offload), header),
                Err(error) => assert_eq!(error, OffloadError::UnknownSegmentation { gso_type }),
            }
            let is_known = matches!(gso_type, 0 | 1 | 4 | 5 | 0x81 | 0x84);
            assert_eq!(header.decode().is_ok(), is_known, "{gso_type:#x}");
        }
    }
}
