//! How a frame stands in the stream: 14 bytes of header, then the frame. Pure.
//!
//! ```text
//!  0        4      5       6            8              10               12                14
//!  │ length │ kind │ flags │ header len │ segment size │ checksum start │ checksum offset │ frame …
//! ```
//! All big-endian; behind the length stand the slot's offload metadata, with the meaning of `struct virtio_net_hdr`.
//! Length 0 is a keep-alive.

use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_sdk::Offload;

/// Bytes before each frame.
pub(crate) const HEADER: usize = 14;
/// The largest frame that is no super-frame.
pub(crate) const LARGEST_FRAME: usize = 65_535;
/// The largest super-frame: an IP datagram of 64 KiB less one byte behind an Ethernet header with a VLAN tag.
pub(crate) const LARGEST_SUPER_FRAME: usize = 65_535 + ETHERNET_HEADER + 4;
/// The largest record.
pub(crate) const LARGEST: usize = HEADER + LARGEST_SUPER_FRAME;
/// A record that carries nothing.
pub(crate) const KEEP_ALIVE: [u8; HEADER] = [0; HEADER];

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The far node lives.
    KeepAlive,
    /// A frame of that many bytes follows.
    Frame(usize, Offload),
}

/// A length that no record has: the stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongLength;

/// The header of a frame.
pub(crate) fn encode(length: usize, offload: &Offload) -> [u8; HEADER] {
    let length = u32::try_from(length).expect("a frame in a slot is shorter than 4 GiB");
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    (bytes[4], bytes[5]) = (offload.kind, offload.flags);
    let fields = [offload.header_len, offload.segment_size, offload.checksum_start, offload.checksum_offset];
    for (at, field) in bytes[6..].chunks_exact_mut(2).zip(fields) {
        at.copy_from_slice(&field.to_be_bytes());
    }
    bytes
}

/// What the record at the beginning of `bytes` is, if all of its header is there.
///
/// # Errors
/// If no record is that long.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Head>, WrongLength> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    match length {
        0 => Ok(Some(Head::KeepAlive)),
        ETHERNET_HEADER..=LARGEST_SUPER_FRAME => {
            let offload = Offload {
                kind: header[4],
                flags: header[5],
                header_len: field(6),
                segment_size: field(8),
                checksum_start: field(10),
                checksum_offset: field(12),
                reserved: 0,
            };
            Ok(Some(Head::Frame(length, offload)))
        }
        _ => Err(WrongLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survive_the_way_there_and_back() {
        let offload = Offload {
            kind: 4,
            flags: 0x81,
            header_len: 66,
            segment_size: 1448,
            checksum_start: 34,
            checksum_offset: 16,
            reserved: 0,
        };
        let header = encode(LARGEST_SUPER_FRAME, &offload);
        assert_eq!(decode(&header), Ok(Some(Head::Frame(LARGEST_SUPER_FRAME, offload))));
        assert_eq!(decode(&header[..13]), Ok(None));
        assert_eq!(decode(&KEEP_ALIVE), Ok(Some(Head::KeepAlive)));
    }

    #[test]
    fn lengths_that_no_frame_has_are_wrong() {
        for length in [1, 13, LARGEST_SUPER_FRAME + 1, 1 << 24, u32::MAX as usize] {
            assert_eq!(decode(&encode(length, &Offload::default())), Err(WrongLength), "{length}");
        }
    }
}
