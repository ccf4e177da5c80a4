//! The VXLAN header of RFC 7348 §5: flags, and the 24-bit network identifier.

/// Bytes of the header.
pub(crate) const HEADER: usize = 8;

/// The I flag: the network identifier is valid. All other bits of the header are reserved.
const VALID_VNI: u8 = 0x08;

/// The header of network `vni` (24 bits); reserved fields are zero, as a sender must leave them.
pub(crate) fn encode(vni: u32) -> [u8; HEADER] {
    let [_, a, b, c] = vni.to_be_bytes();
    [VALID_VNI, 0, 0, 0, a, b, c, 0]
}

/// The network identifier of a datagram, or `None` if it is too short or its I flag is not set. Reserved
/// fields are ignored, as a receiver must.
pub(crate) fn decode(datagram: &[u8]) -> Option<u32> {
    let [flags, _, _, _, a, b, c, _, ..] = datagram else { return None };
    (flags & VALID_VNI != 0).then(|| u32::from_be_bytes([0, *a, *b, *c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_laid_out_as_in_rfc_7348() {
        assert_eq!(encode(0x12_3456), [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
        assert_eq!(decode(&[0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0]), Some(0x12_3456));
    }

    #[test]
    fn reserved_bits_are_ignored_and_the_i_flag_is_required() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0, 0, 7, 0xff, 1, 2]), Some(7));
        assert_eq!(decode(&[0xf7, 0, 0, 0, 0, 0, 7, 0]), None);
        assert_eq!(decode(&[0x08, 0, 0, 0, 0, 0, 7]), None);
        assert_eq!(decode(&[]), None);
    }
}
