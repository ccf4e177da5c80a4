//! Frames as they arrive: read behind their virtio-net header, checked, and counted by whoever reads them.

use std::io;

use vreserve_offload::{Offload, VnetHeader};
use vreserve_sdk::{Batch, FrameSlot};

use crate::frame::{Checked, Tag, Unusable, put_back};

/// Bytes after which a call returns though more frames wait: what it has read is then still in the second-level
/// cache (1 to 2 MiB per core) when the host and the link touch it. Eight super-frames; no batch of small frames
/// comes near.
pub const RECV_BYTES: usize = 512 << 10;

/// One frame as it was read into a slot.
pub struct Arrived {
    /// What the kernel says of its offloads.
    pub header: VnetHeader,
    /// The VLAN tag that was taken out of it.
    pub tag: Option<Tag>,
    /// Its mark, if the socket asks for marks.
    pub mark: Option<u32>,
    /// It was larger than the slot.
    pub is_cut_off: bool,
}

/// Reads frames into slots until none wait or enough have come; returns how many slots are filled. `keep` is told
/// of each frame, or why there is none, and says whether the frame stays in its slot.
///
/// # Errors
/// What ends the instance, unless frames came before it.
pub fn fill(
    batch: &mut Batch<'_>,
    mut read: impl FnMut(&mut FrameSlot<'_>) -> io::Result<Arrived>,
    mut keep: impl FnMut(&mut FrameSlot<'_>, Result<&Arrived, Unusable>) -> bool,
) -> io::Result<usize> {
    let (mut filled, mut bytes) = (0, 0);
    while filled < batch.len() && bytes < RECV_BYTES {
        let mut slot = batch.slot(filled);
        let arrived = match read(&mut slot) {
            Ok(arrived) => arrived,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => break,
                Some(libc::EINTR) => continue,
                // The kernel answers a super-frame of a kind that a virtio-net header cannot express so.
                Some(libc::EINVAL) => {
                    keep(&mut slot, Err(Unusable::Malformed));
                    continue;
                }
                _ if filled > 0 => break,
                _ => return Err(error),
            },
        };
        bytes += slot.len();
        filled += usize::from(keep(&mut slot, Ok(&arrived)));
    }
    Ok(filled)
}

/// Checks the frame in a slot by `check` and gives it its metadata; returns how many wire frames it stands for.
///
/// # Errors
/// Why it is to be dropped.
pub fn accept(
    slot: &mut FrameSlot<'_>,
    arrived: &Arrived,
    check: impl FnOnce(&[u8], &Offload) -> Result<Checked, Unusable>,
) -> Result<usize, Unusable> {
    if arrived.is_cut_off {
        return Err(Unusable::Oversized);
    }
    let offload: Offload = arrived.header.decode()?;
    let mut checked = check(slot.frame(), &offload)?;
    if let Some(tag) = arrived.tag {
        put_back(tag, slot, &mut checked.offload)?;
    }
    slot.set_offload(checked.offload.into());
    Ok(checked.frames)
}

/// Makes room for the header before the frame, lets `read` fill both, and takes the header off again. `read`
/// says how many bytes came.
///
/// # Errors
/// `read`'s, or that the slot has no headroom.
pub fn behind_header<T>(
    slot: &mut FrameSlot<'_>,
    read: impl FnOnce(&mut [u8]) -> io::Result<(usize, T)>,
) -> io::Result<(VnetHeader, T)> {
    if !slot.grow_front(VnetHeader::LEN) {
        return Err(io::Error::other("the slot has no headroom"));
    }
    let result = read(slot.space());
    let len = result.as_ref().map_or(0, |(len, _)| *len);
    slot.set_len(len.max(VnetHeader::LEN));
    // What is shorter than a header leaves a frame of no bytes, whatever is read here.
    let header = slot.frame().first_chunk().copied().unwrap_or_default();
    let is_cut = slot.cut_front(VnetHeader::LEN);
    debug_assert!(is_cut, "it was set to have that many");
    result.map(|(_, more)| (VnetHeader(header), more))
}
