//! What is asked of a frame's offload metadata before anything believes it: plugins, guests with packet
//! sockets and far nodes can all write there.

use vreserve_abi::Slot;

/// `Offload::flags`: the checksum is partial.
pub(super) const NEEDS_CHECKSUM: u8 = 1;

/// False if the metadata contradict the frame: an unknown kind, a super-frame without a segment size or with
/// headers beyond its end, a partial checksum beyond the end. Whether the headers are what the kind says is
/// for whoever cuts the frame to see.
#[inline]
pub(super) fn is_sound(slot: &Slot) -> bool {
    let offload = &slot.offload;
    offload.kind | offload.flags & NEEDS_CHECKSUM == 0 || are_sound_metadata(slot)
}

fn are_sound_metadata(slot: &Slot) -> bool {
    let (offload, len) = (&slot.offload, slot.len);
    let is_sound_kind = match offload.kind {
        0 => true,
        1 | 4 | 5 => offload.segment_size != 0 && u32::from(offload.header_len) <= len,
        _ => false,
    };
    let checksum_end = u32::from(offload.checksum_start) + u32::from(offload.checksum_offset) + 2;
    is_sound_kind && (offload.flags & NEEDS_CHECKSUM == 0 || checksum_end <= len)
}

#[cfg(test)]
mod tests {
    use vreserve_abi::Offload;

    use super::*;

    fn slot(offload: Offload) -> Slot {
        let (base, capacity, offset, len) = (std::ptr::null_mut(), 4096, 256, 1000);
        Slot { base, capacity, offset, len, far: 0, offload, refusal: 0, buffer: 0, limit: 0 }
    }

    #[test]
    fn metadata_that_contradict_the_frame_are_found() {
        let tcp = Offload {
            kind: 1,
            flags: NEEDS_CHECKSUM,
            header_len: 54,
            segment_size: 400,
            checksum_start: 34,
            checksum_offset: 16,
            reserved: 0,
        };
        for sound in [
            tcp,
            Offload::default(),
            Offload { kind: 5, ..tcp },
            Offload { kind: 4, flags: 0x80, ..tcp },
            Offload { flags: 2, segment_size: 7, ..Offload::default() },
            Offload { header_len: 1000, checksum_start: 998, checksum_offset: 0, ..tcp },
        ] {
            assert!(is_sound(&slot(sound)), "{sound:?}");
        }
        for bogus in [
            Offload { segment_size: 0, ..tcp },
            Offload { header_len: 1001, ..tcp },
            Offload { kind: 2, ..tcp },
            Offload { kind: 0x81, ..tcp },
            Offload { checksum_start: 983, ..tcp },
            Offload { checksum_start: u16::MAX, checksum_offset: u16::MAX, ..tcp },
            Offload { flags: 1, checksum_start: 999, ..Offload::default() },
        ] {
            assert!(!is_sound(&slot(bogus)), "{bogus:?}");
        }
    }
}
