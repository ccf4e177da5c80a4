//! Frames in the host's slots to the interface.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use vreserve_offload::{Offload, VnetHeader, checksum};
use vreserve_packet::{Limit, Unusable, put_header};
use vreserve_sdk::{Batch, FrameSlot, Refusal, tracing};

use crate::attach::Attachment;
use crate::config::{Calls, Kind};
use crate::counters::Tally;
use crate::ring::{SendRing, SendWay};

/// Writes frames to a TAP or an AF_PACKET socket.
pub(crate) struct Writer {
    calls: Caller,
    kind: Kind,
    has_header: bool,
    /// What became of each slot of a batch; kept for its memory.
    written: Vec<Written>,
}

/// What became of one slot.
struct Written {
    /// Wire frames that it stands for; 0 if it was refused before any system call.
    frames: usize,
    /// Bytes written, or an errno, negative.
    result: Cell<i32>,
}

/// How system calls are made.
enum Caller {
    Plain(File),
    Ring { descriptor: OwnedFd, ring: Option<Box<SendRing>> },
}

impl Writer {
    /// A writer that calls as `calls` says; one without io_uring if there is none.
    pub(crate) fn new(attachment: &Attachment, calls: Calls) -> io::Result<Self> {
        let descriptor = attachment.outgoing.try_clone()?;
        let calls = match calls {
            Calls::Ring if is_ring_available(&attachment.info.interface) => {
                Caller::Ring { descriptor, ring: None }
            }
            _ => Caller::Plain(descriptor.into()),
        };
        let (kind, has_header) = (attachment.kind, attachment.has_header);
        Ok(Writer { calls, kind, has_header, written: Vec::new() })
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
        self.written.clear();
        for mut slot in batch.iter_mut() {
            let frames = prepare(&mut slot, self.has_header, limit).unwrap_or_else(|unusable| {
                vreserve_packet::refuse(&mut slot, unusable, limit.frame_max());
                0
            });
            self.written.push(Written { frames, result: Cell::new(0) });
        }
        match &mut self.calls {
            Caller::Plain(file) => write_each(file, batch, &self.written),
            Caller::Ring { descriptor, ring } => {
                if let Err(error) = write_all(descriptor, ring, self.kind, batch, &self.written) {
                    *ring = None;
                    return Err(error);
                }
            }
        }
        self.settle(batch, limit, tally)
    }

    /// Counts what was written, and refuses what was not.
    fn settle(&self, batch: &mut Batch<'_>, limit: &mut Limit, tally: &mut Tally) -> io::Result<()> {
        let header_len = if self.has_header { VnetHeader::LEN } else { 0 };
        for (index, written) in self.written.iter().enumerate().filter(|(_, written)| written.frames > 0) {
            match usize::try_from(written.result.get()) {
                Ok(len) => tally.count_out(len.saturating_sub(header_len), written.frames),
                Err(_) => refuse(&mut batch.slot(index), self.kind, -written.result.get(), limit)?,
            }
        }
        Ok(())
    }
}

fn is_ring_available(interface: &str) -> bool {
    let checked = crate::ring::check();
    if let Err(error) = &checked {
        tracing::warn!(interface, %error, "io_uring is not available; writing without");
    }
    checked.is_ok()
}

/// One write per frame.
fn write_each(file: &mut File, batch: &mut Batch<'_>, written: &[Written]) {
    for (mut slot, written) in batch.iter_mut().zip(written).filter(|(_, written)| written.frames > 0) {
        let result = loop {
            match file.write(slot.frame()) {
                Ok(len) => break i32::try_from(len).unwrap_or(i32::MAX),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break -error.raw_os_error().unwrap_or(libc::EIO),
            }
        };
        written.result.set(result);
    }
}

/// One system call for all frames.
fn write_all(
    descriptor: &OwnedFd,
    ring: &mut Option<Box<SendRing>>,
    kind: Kind,
    batch: &mut Batch<'_>,
    written: &[Written],
) -> io::Result<()> {
    let ring = match ring {
        Some(ring) if ring.is_mine() => ring,
        _ => {
            let way = match kind {
                Kind::Tap => SendWay::Write,
                Kind::Interface => SendWay::Send,
            };
            ring.insert(Box::new(SendRing::open(descriptor.as_fd(), way)?))
        }
    };
    let frames = batch.iter_mut().enumerate().filter(|(index, _)| written[*index].frames > 0);
    let frames = frames.map(|(index, slot)| (index, &*slot.into_frame()));
    ring.send(frames, |index, result| written[index].result.set(result))
}

/// Makes a slot's bytes those to be written, the virtio-net header first; returns how many wire frames they stand
/// for.
fn prepare(slot: &mut FrameSlot<'_>, has_header: bool, limit: &mut Limit) -> Result<usize, Unusable> {
    let offload = Offload::try_from(slot.offload())?;
    let checked = limit.check(slot.frame(), &offload)?;
    if has_header {
        put_header(slot, &checked.offload)?;
    } else if offload.is_super_frame() {
        // The host was told that offload is not for this interface.
        return Err(Unusable::Oversized);
    } else if offload.needs_checksum {
        let (start, offset) = (usize::from(offload.checksum_start), usize::from(offload.checksum_offset));
        checksum::complete(slot.frame(), start, offset)?;
    }
    Ok(checked.frames)
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
            vreserve_packet::refuse(slot, Unusable::Oversized, limit.frame_max());
        }
        libc::EINVAL => slot.refuse(Refusal::Malformed),
        libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM => slot.refuse(Refusal::Busy),
        _ => return Err(io::Error::from_raw_os_error(errno)),
    }
    Ok(())
}
