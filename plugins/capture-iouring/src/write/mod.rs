//! Frames in the host's slots to the interface.

use std::fs::File;
use std::io::{self, Write};

use vreserve_offload::{VnetHeader, checksum};
use vreserve_sdk::{Batch, FrameSlot, Refusal};

use crate::attach::Attachment;
use crate::config::Kind;
use crate::counters::Tally;
use crate::frame::{Unusable, from_slot};
use crate::limit::Limit;

/// How frames are written: a write per frame, to a TAP or an AF_PACKET socket.
pub(crate) struct Writer {
    file: File,
    kind: Kind,
    has_header: bool,
}

impl Writer {
    pub(crate) fn new(attachment: &Attachment) -> io::Result<Self> {
        let file = attachment.outgoing.try_clone()?.into();
        Ok(Writer { file, kind: attachment.kind, has_header: attachment.has_header })
    }

    /// Writes every frame of the batch, or refuses it.
    ///
    /// # Errors
    /// What ends the instance.
    pub(crate) fn send(
        &mut self,
        batch: &mut Batch<'_>,
        limit: &mut Limit,
        tally: &mut Tally,
    ) -> io::Result<()> {
        for mut slot in batch.iter_mut() {
            match prepare(&mut slot, self.has_header, limit) {
                Ok(frames) => self.write(slot, frames, limit, tally)?,
                Err(unusable) => refuse_unusable(&mut slot, unusable, limit),
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        mut slot: FrameSlot<'_>,
        frames: usize,
        limit: &mut Limit,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let header_len = if self.has_header { VnetHeader::LEN } else { 0 };
        let errno = loop {
            match self.file.write(slot.frame()) {
                Ok(_) => {
                    tally.count_out(slot.len() - header_len, frames);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.raw_os_error().unwrap_or(libc::EIO),
            }
        };
        refuse(&mut slot, self.kind, errno, limit)
    }
}

/// Makes a slot's bytes those to be written, the virtio-net header first; returns how many wire frames they stand
/// for.
fn prepare(slot: &mut FrameSlot<'_>, has_header: bool, limit: &mut Limit) -> Result<usize, Unusable> {
    let offload = from_slot(&slot.offload())?;
    let checked = limit.check(slot.frame(), &offload)?;
    if has_header {
        if !slot.grow_front(VnetHeader::LEN) {
            return Err(Unusable::Malformed);
        }
        slot.frame()[..VnetHeader::LEN].copy_from_slice(&VnetHeader::encode(&checked.offload).0);
    } else if offload.is_super_frame() {
        // The host was told that offload is not for this interface.
        return Err(Unusable::Oversized);
    } else if offload.needs_checksum {
        let (start, offset) = (usize::from(offload.checksum_start), usize::from(offload.checksum_offset));
        checksum::complete(slot.frame(), start, offset)?;
    }
    Ok(checked.frames)
}

fn refuse_unusable(slot: &mut FrameSlot<'_>, unusable: Unusable, limit: &Limit) {
    match unusable {
        Unusable::Oversized => slot.refuse_oversized(u32::try_from(limit.frame_max()).unwrap_or(0)),
        Unusable::Malformed => slot.refuse(Refusal::Malformed),
    }
}

/// Refuses a frame that the kernel did not take.
///
/// # Errors
/// The errno, if it ends the instance.
fn refuse(slot: &mut FrameSlot<'_>, kind: Kind, errno: i32, limit: &mut Limit) -> io::Result<()> {
    match errno {
        // A TAP that is set down answers so; it may be set up again and the descriptor goes on.
        libc::EIO if kind == Kind::Tap => slot.refuse(Refusal::Down),
        libc::EMSGSIZE => {
            limit.has_changed();
            refuse_unusable(slot, Unusable::Oversized, limit);
        }
        libc::EINVAL => slot.refuse(Refusal::Malformed),
        libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM => slot.refuse(Refusal::Busy),
        _ => return Err(io::Error::from_raw_os_error(errno)),
    }
    Ok(())
}
