//! Reading and writing fixed-size fields of a frame. Reads are checked, as the frame is a stranger's; writes
//! are to headers whose place has been checked before.

/// The `N` bytes at `at`, if the frame reaches that far.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The big-endian 16-bit number at `at`, if the frame reaches that far.
pub(crate) fn be16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

/// Writes a big-endian 16-bit number at `at`, which the caller has checked to lie inside `bytes`.
pub(crate) fn write_be16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
