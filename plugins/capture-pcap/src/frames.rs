//! A frame as libpcap gives it, in a slot: with what its kernel left to hardware made good, or said.

use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_offload::partial::{finish_checksum, uncut};
use vreserve_offload::{Offload, OffloadKind};
use vreserve_packet::{Unusable, check};
use vreserve_sdk::FrameSlot;

/// Room for an Ethernet header with a VLAN tag and 64 KiB of IP: no frame is larger.
pub(crate) const SNAPLEN: i32 = 65_535 + 18;
/// Bytes after which a call returns though more frames wait, so that they are still in the core's cache.
pub(crate) const RECV_BYTES: usize = vreserve_packet::RECV_BYTES;

/// Puts the frame into the slot; returns how many wire frames it stands for. `frame_max` is the largest wire frame.
///
/// The kernel knows beside a frame whether its checksum is partial and how it is to be cut; libpcap does not pass that on.
/// A checksum that is just the pseudo-header's sum is finished. A frame over the MTU with such a checksum is a TCP
/// super-frame, whose segments are made to fit an MTU of 1,280, since its own segment size is not in it.
///
/// # Errors
/// Why it is to be dropped.
pub(crate) fn accept(
    slot: &mut FrameSlot<'_>,
    frame: &[u8],
    whole_length: usize,
    frame_max: usize,
) -> Result<usize, Unusable> {
    if frame.len() < ETHERNET_HEADER {
        return Err(Unusable::Malformed);
    }
    if frame.len() < whole_length {
        return Err(Unusable::Oversized);
    }
    let space = slot.space();
    let space = space.get_mut(..frame.len()).ok_or(Unusable::Oversized)?;
    space.copy_from_slice(frame);
    slot.set_len(frame.len());
    if frame.len() <= frame_max {
        finish_checksum(slot.frame());
        slot.set_offload(Offload::default().into());
        return Ok(1);
    }
    let offload = uncut(frame, frame_max, None).filter(|offload| offload.kind != OffloadKind::Udp);
    let checked = check(frame, &offload.ok_or(Unusable::Oversized)?, frame_max)?;
    slot.set_offload(checked.offload.into());
    Ok(checked.frames)
}
