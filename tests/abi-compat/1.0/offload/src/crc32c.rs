//! CRC32c as SCTP uses it (RFC 9260 §6.8 and appendix A). A virtio-net header asks for it with the flag of
//! the Internet checksum; answering with the wrong one would destroy a guest's SCTP silently.

use crate::bytes::array_at;

/// Where the checksum stands in an SCTP header. No other protocol the kernel offloads has its checksum there.
pub(crate) const SCTP_CHECKSUM_OFFSET: usize = 8;

const FIELD: std::ops::Range<usize> = SCTP_CHECKSUM_OFFSET..SCTP_CHECKSUM_OFFSET + 4;
/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const TABLE: [u32; 256] = table();

/// Writes the checksum of an SCTP datagram: at least a common header of 12 bytes, as the parser has seen.
pub(crate) fn write_sctp(datagram: &mut [u8]) {
    let checksum = sctp_checksum(datagram);
    datagram[FIELD].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether the checksum of an SCTP datagram is right.
pub(crate) fn is_sctp_valid(datagram: &[u8]) -> bool {
    array_at(datagram, SCTP_CHECKSUM_OFFSET).map(u32::from_le_bytes) == Some(sctp_checksum(datagram))
}

/// The checksum of the datagram with its own field taken as zero.
fn sctp_checksum(datagram: &[u8]) -> u32 {
    let before = extend(!0, &datagram[..FIELD.start]);
    !extend(extend(before, &[0; 4]), &datagram[FIELD.end..])
}

fn extend(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |register, &byte| {
        TABLE[((register ^ u32::from(byte)) & 0xff) as usize] ^ (register >> 8)
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            register = (register >> 1) ^ (POLYNOMIAL & (register & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = register;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_value_comes_out() {
        assert_eq!(!extend(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_written_checksum_is_valid_and_a_flipped_bit_is_not() {
        let mut datagram = *b"\x13\x88\x13\x89vtag????chunk";
        write_sctp(&mut datagram);
        assert!(is_sctp_valid(&datagram));
        datagram[14] ^= 1;
        assert!(!is_sctp_valid(&datagram));
    }
}
