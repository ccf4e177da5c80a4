//! Frames of the kit, told apart by number.

use vreserve_abi::Offload;

/// A frame with what goes with it in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) far: u32,
    pub(super) offload: Offload,
}

/// IEEE 802 local experimental EtherType 2: nobody else's frames have it.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb6];
/// The smallest Ethernet frame, without its check sequence.
pub(super) const SHORTEST: usize = 60;
/// Addresses, type and number.
const HEADER: usize = 18;

/// A frame of `len` bytes to far node `far`.
pub(super) fn numbered(number: u32, len: usize, far: u32) -> Frame {
    let mut bytes = vec![0; len.max(HEADER)];
    bytes[..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0, 0xaa]);
    bytes[12..14].copy_from_slice(&ETHER_TYPE);
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    for (at, byte) in bytes[HEADER..].iter_mut().enumerate() {
        *byte = (at as u32 ^ number) as u8;
    }
    Frame { bytes, far, offload: Offload::default() }
}

/// Batches of what is no frame, with metadata that are true of nothing.
pub(super) fn nonsense() -> impl Iterator<Item = [Frame; 7]> {
    let bogus = Offload { kind: 0xee, flags: 0xff, header_len: 9999, segment_size: 1, ..Offload::default() };
    let beyond = Offload { flags: 1, checksum_start: 9000, checksum_offset: 9000, ..Offload::default() };
    let cut = Offload { kind: 1, header_len: 54, segment_size: 100, ..Offload::default() };
    [Offload::default(), bogus, beyond, cut].into_iter().map(|offload| {
        let lengths = [0, 1, 13, 14, SHORTEST, 9000, 65_550];
        lengths.map(|len| Frame { bytes: vec![0xff; len], far: u32::MAX, offload })
    })
}

/// The number of a frame of the kit; none for anybody else's.
pub(super) fn number_of(bytes: &[u8]) -> Option<u32> {
    let number = bytes.get(14..HEADER)?;
    (bytes[12..14] == ETHER_TYPE).then(|| u32::from_be_bytes([number[0], number[1], number[2], number[3]]))
}

/// Whether a frame is, byte for byte, the one of its number and length.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    number_of(bytes).is_some_and(|number| numbered(number, bytes.len(), 0).bytes == bytes)
}
