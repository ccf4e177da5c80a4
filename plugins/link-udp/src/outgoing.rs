//! What goes out of one chunk of a batch: which slots, to whom, and which are refused. Reused from call to
//! call, so that sending allocates nothing.

use nix::errno::Errno;
use vreserve_sdk::{Batch, FrameSlot, Offload, Refusal};

use crate::admission::ETHERNET_HEADER;
use crate::mmsg::{BATCH, Name};
use crate::vxlan;

/// `Offload::flags`, bit 0: the checksum is still partial.
const NEEDS_CHECKSUM: u8 = 1;

/// What an error of `sendmmsg` means for the first frame it was to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The call was interrupted.
    Interrupted,
    /// No frame can be sent now.
    NoRoom,
    /// This frame cannot be sent; the next one may.
    Refused(Refusal),
    /// The socket itself is unusable.
    Fatal,
}

impl SendError {
    pub(crate) fn of(errno: Errno) -> Self {
        match errno {
            Errno::EINTR => SendError::Interrupted,
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM => SendError::NoRoom,
            Errno::EMSGSIZE => SendError::Refused(Refusal::Oversized),
            Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT => SendError::Fatal,
            // No route, no such neighbour, forbidden by a firewall, device gone: one far node's trouble.
            _ => SendError::Refused(Refusal::Down),
        }
    }
}

/// The frames of one chunk.
#[derive(Debug)]
pub(crate) struct Outgoing<N> {
    /// Slots that carry a header and wait to be sent, ascending.
    pub(crate) indices: Vec<usize>,
    /// Where each of them goes.
    pub(crate) names: Vec<Option<N>>,
    refused: Vec<(usize, Refusal)>,
}

impl<N: Name> Outgoing<N> {
    pub(crate) fn new() -> Self {
        Outgoing {
            indices: Vec::with_capacity(BATCH),
            names: Vec::with_capacity(BATCH),
            refused: Vec::with_capacity(BATCH),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.indices.clear();
        self.names.clear();
        self.refused.clear();
    }

    pub(crate) fn push(&mut self, index: usize, prepared: Result<N, Refusal>) {
        match prepared {
            Ok(name) => {
                self.indices.push(index);
                self.names.push(Some(name));
            }
            Err(refusal) => self.refused.push((index, refusal)),
        }
    }

    /// The frame at `index` was ready and could not be sent.
    pub(crate) fn refuse(&mut self, index: usize, refusal: Refusal) {
        self.refused.push((index, refusal));
    }

    /// Marks the refused slots before `end`; those behind it will be offered again.
    pub(crate) fn mark_refused(&self, batch: &mut Batch<'_>, end: usize) {
        for (index, refusal) in self.refused.iter().filter(|(index, _)| *index < end) {
            batch.slot(*index).refuse(*refusal);
        }
    }
}

/// Makes a datagram of the frame in `slot`, in place, with `header` in front.
pub(crate) fn encapsulate(
    slot: &mut FrameSlot<'_>,
    header: [u8; vxlan::HEADER],
    largest_frame: usize,
) -> Result<(), Refusal> {
    let offload = slot.offload();
    // A super-frame's segments would need a datagram each.
    if slot.len() > largest_frame || offload.kind != 0 {
        return Err(Refusal::Oversized);
    }
    if slot.len() < ETHERNET_HEADER {
        return Err(Refusal::Malformed);
    }
    if offload.flags & NEEDS_CHECKSUM != 0 {
        let (start, offset) = (offload.checksum_start.into(), offload.checksum_offset.into());
        vreserve_offload::checksum::complete(slot.frame(), start, offset).map_err(|_| Refusal::Malformed)?;
        slot.set_offload(Offload::default());
    }
    if !slot.grow_front(vxlan::HEADER) {
        return Err(Refusal::Malformed);
    }
    slot.frame()[..vxlan::HEADER].copy_from_slice(&header);
    Ok(())
}

/// Takes the header off again from a frame that was not sent.
pub(crate) fn decapsulate(mut slot: FrameSlot<'_>) {
    let has_header = slot.cut_front(vxlan::HEADER);
    debug_assert!(has_header, "only slots with a header are taken back");
}
