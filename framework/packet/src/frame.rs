//! What a frame's metadata ask for, checked against the frame, in both directions: what the kernel says of a
//! frame that it gives, what the host says of a frame that it wants sent. Pure.

use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_offload::{Offload, OffloadError, Segments, VnetHeader};
use vreserve_sdk::{FrameSlot, Refusal};

/// More segments than this have fewer than 48 bytes each, the least that TCP of Linux ever sends.
const MAX_SEGMENTS: usize = 65_535 / 48;

const MACS_LEN: usize = 12;
/// A VLAN tag as it stands in a frame.
pub type Tag = [u8; 4];

/// Why a frame is dropped, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The frame, or a segment of it, is larger than the interface takes.
    Oversized,
    /// It is no Ethernet frame, or its metadata contradict it.
    Malformed,
}

impl From<OffloadError> for Unusable {
    fn from(_: OffloadError) -> Self {
        Unusable::Malformed
    }
}

/// A frame whose metadata fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What its metadata say.
    pub offload: Offload,
    /// Wire frames that it stands for.
    pub frames: usize,
}

/// Checks `frame` against what `offload` says of it; `frame_max` is the interface's largest wire frame. The
/// header length, a hint when it comes from the kernel, becomes that of the headers.
///
/// # Errors
/// Why it is to be dropped, or refused.
pub fn check(frame: &[u8], offload: &Offload, frame_max: usize) -> Result<Checked, Unusable> {
    if frame.len() < ETHERNET_HEADER {
        return Err(Unusable::Malformed);
    }
    let (start, offset) = (usize::from(offload.checksum_start), usize::from(offload.checksum_offset));
    if offload.needs_checksum && (start < ETHERNET_HEADER || start + offset + 2 > frame.len()) {
        return Err(Unusable::Malformed);
    }
    if !offload.is_super_frame() {
        let fits = frame.len() <= frame_max;
        let offload = Offload { header_len: 0, segment_size: 0, ..*offload };
        return if fits { Ok(Checked { offload, frames: 1 }) } else { Err(Unusable::Oversized) };
    }
    let segments = Segments::plan(frame, &Offload { header_len: 0, ..*offload })?;
    let frames = segments.len();
    let first = segments.into_iter().next().ok_or(Unusable::Malformed)?;
    if frames > MAX_SEGMENTS {
        return Err(Unusable::Malformed);
    }
    if first.wire_len() > frame_max {
        return Err(Unusable::Oversized);
    }
    let header_len = u16::try_from(first.header_len()).map_err(|_| Unusable::Malformed)?;
    Ok(Checked { offload: Offload { header_len, ..*offload }, frames })
}

/// Puts the virtio-net header that says `offload` before the frame in a slot.
///
/// # Errors
/// `Malformed` if the slot has no headroom.
pub fn put_header(slot: &mut FrameSlot<'_>, offload: &Offload) -> Result<(), Unusable> {
    if !slot.grow_front(VnetHeader::LEN) {
        return Err(Unusable::Malformed);
    }
    slot.frame()[..VnetHeader::LEN].copy_from_slice(&VnetHeader::encode(offload).0);
    Ok(())
}

/// Refuses a frame that the host wants sent; `largest_frame` is what the way takes.
pub fn refuse(slot: &mut FrameSlot<'_>, unusable: Unusable, largest_frame: usize) {
    match unusable {
        Unusable::Oversized => slot.refuse_oversized(u32::try_from(largest_frame).unwrap_or(0)),
        Unusable::Malformed => slot.refuse(Refusal::Malformed),
    }
}

/// Puts a VLAN tag back that the kernel took out, and moves the metadata along. The virtio-net header, which has
/// been read, gives way to it.
pub(crate) fn put_back(tag: Tag, slot: &mut FrameSlot<'_>, offload: &mut Offload) -> Result<(), Unusable> {
    if !slot.grow_front(tag.len()) {
        return Err(Unusable::Malformed);
    }
    let frame = slot.frame();
    frame.copy_within(tag.len()..tag.len() + MACS_LEN, 0);
    frame[MACS_LEN..][..tag.len()].copy_from_slice(&tag);
    let shift = tag.len() as u16;
    if offload.needs_checksum {
        offload.checksum_start = offload.checksum_start.saturating_add(shift);
    }
    if offload.is_super_frame() {
        offload.header_len = offload.header_len.saturating_add(shift);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_offload::OffloadKind;

    const PAYLOAD_LEN: usize = 2000;

    /// A TCP super-frame of IPv4 with a partial checksum.
    fn super_frame() -> (Vec<u8>, Offload) {
        let total = (40 + PAYLOAD_LEN) as u16;
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        frame.extend([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame.extend([0x1b, 0x58, 0x1b, 0x59, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        frame.extend((0..PAYLOAD_LEN).map(|index| index as u8));
        let offload = Offload {
            kind: OffloadKind::Tcp4,
            needs_checksum: true,
            header_len: 256,
            segment_size: 1000,
            checksum_start: 34,
            checksum_offset: 16,
            ..Offload::default()
        };
        (frame, offload)
    }

    #[test]
    fn a_super_frame_is_known_by_its_headers_not_by_the_kernels_hint() {
        let (frame, offload) = super_frame();
        let checked = check(&frame, &offload, 1514).unwrap();
        assert_eq!((checked.frames, checked.offload.header_len), (2, 54));
        assert_eq!(check(&frame, &offload, 1053), Err(Unusable::Oversized), "its segments have 1054");
    }

    #[test]
    fn metadata_that_contradict_their_frame_are_malformed() {
        let (frame, good) = super_frame();
        for bad in [
            Offload { segment_size: 0, ..good },
            Offload { segment_size: 1, ..good },
            Offload { checksum_start: 3000, ..good },
            Offload { checksum_start: 0, ..good },
            Offload { checksum_offset: 0xffff, ..good },
            Offload { kind: OffloadKind::Tcp6, ..good },
            Offload { kind: OffloadKind::Udp, ..good },
            Offload { kind: OffloadKind::None, checksum_start: 2050, ..good },
        ] {
            assert_eq!(check(&frame, &bad, 65_549), Err(Unusable::Malformed), "{bad:?}");
        }
        for len in 0..60 {
            let verdict = check(&frame[..len], &good, 65_549);
            assert_eq!(verdict, Err(Unusable::Malformed), "{len} bytes");
        }
    }
}
