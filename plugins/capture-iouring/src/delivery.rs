//! Frames into slots and out of them: what may pass, what is counted as dropped, what is refused and why. No
//! system calls.

use vreserve_offload::checksum;
use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_sdk::{Batch, FrameSlot, Offload, Refusal};

use crate::config::Kind;
use crate::counters::Tally;
use crate::wire::{Captured, Unusable};

/// Bit 0 of `Offload::flags`: the checksum is partial.
const CHECKSUM_IS_PARTIAL: u8 = 1;

/// Copies a wire frame into a slot.
pub(crate) fn deliver(
    frame: &[u8],
    mut slot: FrameSlot<'_>,
    frame_max: usize,
    tally: &mut Tally,
) -> Result<(), Unusable> {
    if frame.len() < ETHERNET_HEADER {
        return Err(Unusable::Malformed);
    }
    if frame.len() > frame_max {
        return Err(Unusable::Oversized);
    }
    let space = slot.space().get_mut(..frame.len()).ok_or(Unusable::Oversized)?;
    space.copy_from_slice(frame);
    finish(&mut slot, frame.len(), tally);
    Ok(())
}

/// Delivers what an AF_PACKET socket captured, from slot `first` on, and returns how many slots it took. If a
/// super-frame needs more slots than there are, `unfinished` says where to go on with the same buffer.
pub(crate) fn deliver_captured(
    filled: &mut [u8],
    batch: &mut Batch<'_>,
    first: usize,
    frame_max: usize,
    unfinished: &mut Option<(Captured, usize)>,
    tally: &mut Tally,
) -> Result<usize, Unusable> {
    let (captured, delivered) = match unfinished.take() {
        Some(rest) => rest,
        None => (Captured::read(filled)?, 0),
    };
    if !captured.is_super_frame() {
        return deliver(captured.frame(filled), batch.slot(first), frame_max, tally).map(|()| 1);
    }
    let segments = captured.segments(filled)?;
    if segments.clone().next().is_some_and(|largest| largest.wire_len() > frame_max) {
        return Err(Unusable::Oversized);
    }
    if delivered == 0 {
        tally.super_frames += 1;
    }
    let slots = batch.len() - first;
    let left = segments.len() - delivered;
    for (index, segment) in segments.skip(delivered).take(slots).enumerate() {
        let mut slot = batch.slot(first + index);
        let Ok(len) = segment.write(slot.space()) else {
            // No slot has room for it, nor has any for those that follow.
            tally.drop_oversized += (left - index) as u64;
            return Ok(index);
        };
        finish(&mut slot, len, tally);
    }
    if left > slots {
        *unfinished = Some((captured, delivered + slots));
    }
    Ok(left.min(slots))
}

fn finish(slot: &mut FrameSlot<'_>, len: usize, tally: &mut Tally) {
    slot.set_len(len);
    slot.set_offload(Offload::default());
    tally.frames_in += 1;
    tally.bytes_in += len as u64;
}

pub(crate) fn count_unusable(unusable: Unusable, tally: &mut Tally) -> usize {
    match unusable {
        Unusable::Oversized => tally.drop_oversized += 1,
        Unusable::Malformed => tally.drop_malformed += 1,
    }
    0
}

/// The frame in a slot, if it can be sent as it is; otherwise says why not.
pub(crate) fn sendable(mut slot: FrameSlot<'_>, frame_max: usize) -> Option<&[u8]> {
    let offload = slot.offload();
    let refusal = if slot.len() < ETHERNET_HEADER {
        Some(Refusal::Malformed)
    } else if slot.len() > frame_max || offload.kind != 0 {
        Some(Refusal::Oversized)
    } else if offload.flags & CHECKSUM_IS_PARTIAL != 0 {
        let (start, offset) = (usize::from(offload.checksum_start), usize::from(offload.checksum_offset));
        checksum::complete(slot.frame(), start, offset).err().map(|_| Refusal::Malformed)
    } else {
        None
    };
    match refusal {
        Some(refusal) => {
            slot.refuse(refusal);
            None
        }
        None => Some(slot.into_frame()),
    }
}

/// What an errno says of one frame; `None` if it ends the instance.
pub(crate) fn refusal(kind: Kind, errno: i32) -> Option<Refusal> {
    match errno {
        // A TAP that is set down answers so; it may be set up again and the descriptor goes on.
        libc::EIO if kind == Kind::Tap => Some(Refusal::Down),
        libc::EMSGSIZE => Some(Refusal::Oversized),
        libc::EINVAL => Some(Refusal::Malformed),
        libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM | libc::ECANCELED => Some(Refusal::Busy),
        _ => None,
    }
}
