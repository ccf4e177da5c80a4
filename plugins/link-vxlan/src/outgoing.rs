//! Frames for far nodes from the host's slots to the device.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use vreserve_offload::{Offload, VnetHeader};
use vreserve_packet::{BATCH, MarkedSender, Unusable, put_header, refuse};
use vreserve_sdk::{Batch, Counter, FrameSlot, Host, Refusal};

use crate::fars::Fars;
use crate::limit::Limit;

/// See the module.
pub(crate) struct Outgoing {
    socket: OwnedFd,
    sender: MarkedSender,
    /// Of the chunk being sent.
    prepared: [Prepared; BATCH],
    frames_sent: Counter,
}

/// What a slot became.
#[derive(Clone, Copy, Default)]
struct Prepared {
    /// The far node's.
    mark: u32,
    /// Wire frames that it stands for; 0 if it was refused.
    frames: u64,
}

/// What an error of the kernel means for the frame that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendError {
    /// The call was interrupted.
    Interrupted,
    /// Nothing can be sent now.
    NoRoom,
    /// The frame is larger than the device's MTU.
    Oversized,
    /// This frame cannot be sent; the next one may.
    Refused(Refusal),
    /// The device is down or gone.
    Fatal,
}

impl Outgoing {
    pub(crate) fn new(socket: OwnedFd, host: &Host) -> Self {
        Outgoing {
            socket,
            sender: MarkedSender::default(),
            prepared: [Prepared::default(); BATCH],
            frames_sent: host.counter("frames_sent", "Frames sent to far nodes."),
        }
    }

    /// Sends the frames in order; returns how many slots were sent or refused.
    ///
    /// # Errors
    /// What ends the instance.
    pub(crate) fn send(
        &mut self,
        batch: &mut Batch<'_>,
        fars: &Fars,
        limit: &mut Limit,
    ) -> io::Result<usize> {
        let mut first = 0;
        while first < batch.len() {
            let end = batch.len().min(first + BATCH);
            for index in first..end {
                let mut slot = batch.slot(index);
                self.prepared[index - first] = prepare(&mut slot, fars, limit);
            }
            let reached = self.send_chunk(batch, (first, end), limit)?;
            if reached < end {
                take_back(batch, (reached, end), &self.prepared[reached - first..]);
                return Ok(reached);
            }
            first = end;
        }
        Ok(first)
    }

    /// Sends prepared slots; returns the first that there is no room for.
    fn send_chunk(
        &mut self,
        batch: &mut Batch<'_>,
        (first, end): (usize, usize),
        limit: &mut Limit,
    ) -> io::Result<usize> {
        let mut next = first;
        while next < end {
            let waiting = &self.prepared[next - first..end - first];
            // As many as there are before the next refused one.
            let run = waiting.iter().take_while(|prepared| prepared.frames > 0).count();
            if run == 0 {
                next += 1;
                continue;
            }
            let prepared = &self.prepared;
            let mark_of = |index: usize| prepared[index - first].mark;
            match self.sender.send(self.socket.as_fd(), batch, (next, next + run), mark_of) {
                Ok(sent) => {
                    self.frames_sent.add(waiting[..sent].iter().map(|prepared| prepared.frames).sum());
                    next += sent;
                }
                Err(error) => match SendError::of(&error) {
                    SendError::Interrupted => {}
                    SendError::NoRoom => return Ok(next),
                    SendError::Fatal => return Err(error),
                    SendError::Oversized => {
                        limit.has_changed();
                        refuse(&mut batch.slot(next), Unusable::Oversized, limit.largest_frame());
                        next += 1;
                    }
                    SendError::Refused(refusal) => {
                        batch.slot(next).refuse(refusal);
                        next += 1;
                    }
                },
            }
        }
        Ok(end)
    }
}

/// Makes a slot's bytes those to be written, the virtio-net header first, or refuses it.
fn prepare(slot: &mut FrameSlot<'_>, fars: &Fars, limit: &mut Limit) -> Prepared {
    let Some(mark) = fars.mark(slot.far()) else {
        slot.refuse(Refusal::Down);
        return Prepared::default();
    };
    match with_header(slot, limit) {
        Ok(frames) => Prepared { mark, frames: frames as u64 },
        Err(unusable) => {
            refuse(slot, unusable, limit.largest_frame());
            Prepared::default()
        }
    }
}

fn with_header(slot: &mut FrameSlot<'_>, limit: &mut Limit) -> Result<usize, Unusable> {
    let offload = Offload::try_from(slot.offload())?;
    let checked = limit.check_out(slot.frame(), &offload)?;
    put_header(slot, &checked.offload)?;
    Ok(checked.frames)
}

/// Slots that are not consumed will be offered again, as they were.
fn take_back(batch: &mut Batch<'_>, (first, end): (usize, usize), prepared: &[Prepared]) {
    for (index, _) in (first..end).zip(prepared).filter(|(_, prepared)| prepared.frames > 0) {
        let is_cut = batch.slot(index).cut_front(VnetHeader::LEN);
        debug_assert!(is_cut, "it was put there");
    }
}

impl SendError {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINTR) => SendError::Interrupted,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => SendError::NoRoom,
            Some(libc::EMSGSIZE) => SendError::Oversized,
            Some(libc::EINVAL) => SendError::Refused(Refusal::Malformed),
            Some(
                libc::ENETDOWN | libc::ENXIO | libc::ENODEV | libc::EBADF | libc::ENOTSOCK | libc::EFAULT,
            ) => SendError::Fatal,
            _ => SendError::Refused(Refusal::Down),
        }
    }
}
