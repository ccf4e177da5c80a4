//! Frames as the host hands them over, checked: what both wire formats ask of a slot before they send it.

use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_offload::{Offload, Segments, checksum};
use vreserve_sdk::{FrameSlot, Refusal};

use crate::wire::Refused;

/// More segments than this have fewer than 48 bytes each, the least that TCP of Linux ever sends: nobody's honest
/// super-frame.
const MAX_SEGMENTS: usize = 65_535 / 48;

/// What is to be done to the frame in `slot`; for one that is no super-frame its checksum has been completed, and the
/// slot says so: a frame that there was no room for is prepared again.
pub(crate) fn prepare(slot: &mut FrameSlot<'_>, largest_frame: usize) -> Result<Offload, Refused> {
    let raw = slot.offload();
    if raw.is_plain() {
        check_length(slot.len(), largest_frame)?;
        return Ok(Offload::default());
    }
    let offload = Offload::try_from(raw).map_err(|_| Refusal::Malformed)?;
    if offload.is_super_frame() {
        return Ok(offload);
    }
    check_length(slot.len(), largest_frame)?;
    if offload.needs_checksum {
        let (start, offset) = (offload.checksum_start.into(), offload.checksum_offset.into());
        checksum::complete(slot.frame(), start, offset).map_err(|_| Refusal::Malformed)?;
        slot.set_offload(Offload::default().into());
    }
    Ok(Offload::default())
}

fn check_length(len: usize, largest_frame: usize) -> Result<(), Refused> {
    if len > largest_frame {
        return Err(Refused::Oversized(largest_frame));
    }
    if len < ETHERNET_HEADER { Err(Refusal::Malformed.into()) } else { Ok(()) }
}

/// The segments of a super-frame, none of which is larger than `largest_frame`.
pub(crate) fn segments<'a>(
    frame: &'a [u8],
    offload: &Offload,
    largest_frame: usize,
) -> Result<Segments<'a>, Refused> {
    let segments = Segments::plan(frame, offload).map_err(|_| Refusal::Malformed)?;
    if segments.len() > MAX_SEGMENTS {
        return Err(Refusal::Malformed.into());
    }
    // The first is the longest.
    match segments.clone().next() {
        Some(first) if first.wire_len() > largest_frame => Err(Refused::Oversized(largest_frame)),
        _ => Ok(segments),
    }
}
