//! Offload metadata between its flat record and the typed value that `vreserve-offload` works with. Both have
//! the meaning of `struct virtio_net_hdr`, so this is its encoding.

use vreserve_offload::{OffloadError, VnetHeader};

use crate::records::Offload;

/// `Offload::flags`, bit 7, as in the type field of a virtio-net header.
const ECN: u8 = 0x80;

impl Offload {
    /// True for an ordinary frame with complete checksums, of which nothing else is said.
    pub fn is_plain(&self) -> bool {
        self.kind == 0 && self.flags == 0
    }
}

impl From<vreserve_offload::Offload> for Offload {
    fn from(offload: vreserve_offload::Offload) -> Self {
        let VnetHeader([flags, kind, rest @ ..]) = VnetHeader::encode(&offload);
        let (fields, _) = rest.as_chunks::<2>();
        let field = |index: usize| u16::from_ne_bytes(fields[index]);
        Offload {
            kind: kind & !ECN,
            flags: flags | kind & ECN,
            header_len: field(0),
            segment_size: field(1),
            checksum_start: field(2),
            checksum_offset: field(3),
            reserved: 0,
        }
    }
}

impl TryFrom<Offload> for vreserve_offload::Offload {
    type Error = OffloadError;

    /// # Errors
    /// [`OffloadError::UnknownSegmentation`] for kinds that do not exist, and ECN on anything but TCP.
    fn try_from(offload: Offload) -> Result<Self, OffloadError> {
        let mut bytes = [0; VnetHeader::LEN];
        bytes[0] = offload.flags & !ECN;
        bytes[1] = offload.kind | offload.flags & ECN;
        let fields =
            [offload.header_len, offload.segment_size, offload.checksum_start, offload.checksum_offset];
        for (field, value) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
        VnetHeader(bytes).decode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_flag_survives_the_way_there_and_back() {
        for kind in [0, 1, 4, 5] {
            for flags in [0, 1, 2, 3, ECN, ECN | 1] {
                let raw = Offload {
                    kind,
                    flags,
                    header_len: 66,
                    segment_size: 1448,
                    checksum_start: 34,
                    checksum_offset: 16,
                    reserved: 0,
                };
                match vreserve_offload::Offload::try_from(raw) {
                    Ok(typed) => assert_eq!(Offload::from(typed), raw),
                    Err(_) => assert!(flags & ECN != 0 && !matches!(kind, 1 | 4)),
                }
            }
        }
        assert!(vreserve_offload::Offload::try_from(Offload { kind: 2, ..Offload::default() }).is_err());
        assert!(Offload::default().is_plain());
    }
}
