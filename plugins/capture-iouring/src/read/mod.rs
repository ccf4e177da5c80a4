//! Frames from the interface into the host's slots.

mod ring;
mod tap;

use std::io;
use std::os::fd::RawFd;

use vreserve_packet::{Arrived, Limit, PacketReader, Unusable};
use vreserve_sdk::{Batch, FrameSlot, Host, LentSlots, tracing};

use crate::attach::Attachment;
use crate::config::{Calls, Kind};
use crate::counters::Tally;

/// With fewer slots the ring would run dry in the middle of every burst.
const LENT_LEAST: usize = 8;

/// How frames are read.
pub(crate) enum Reader {
    /// From a TAP, one read per frame.
    Tap(tap::TapReader),
    /// From an AF_PACKET socket, one recvmsg per frame.
    Packet(PacketReader),
    /// From either by io_uring, any number of frames per system call.
    Ring(Box<ring::RingReader>),
}

impl Reader {
    /// A reader that calls as `calls` says; one without io_uring where that is impossible.
    pub(crate) fn new(attachment: &Attachment, calls: Calls, host: &Host) -> io::Result<Self> {
        let descriptor = attachment.incoming.try_clone()?;
        let (kind, has_header) = (attachment.kind, attachment.has_header);
        if calls == Calls::Ring
            && let Some(lent) = slots_for_a_ring(host, &attachment.info.interface)
        {
            let reader = ring::RingReader::new(descriptor, kind, has_header, lent)?;
            return Ok(Reader::Ring(Box::new(reader)));
        }
        Ok(match kind {
            Kind::Tap => Reader::Tap(tap::TapReader::new(descriptor, has_header)),
            Kind::Interface => Reader::Packet(PacketReader::new(descriptor)),
        })
    }

    /// What to poll if it is not the interface's own descriptor.
    pub(crate) fn ready_fd(&self) -> Option<RawFd> {
        match self {
            Reader::Tap(_) | Reader::Packet(_) => None,
            Reader::Ring(reader) => Some(reader.ready_fd()),
        }
    }

    /// Fills slots from the first on; 0 if no frames wait.
    ///
    /// # Errors
    /// What ends the instance.
    pub(crate) fn recv(
        &mut self,
        batch: &mut Batch<'_>,
        limit: &mut Limit,
        tally: &mut Tally,
    ) -> io::Result<usize> {
        match self {
            Reader::Tap(reader) => fill(batch, limit, tally, |slot| reader.read(slot)),
            Reader::Packet(reader) => fill(batch, limit, tally, |slot| reader.read(slot)),
            Reader::Ring(reader) => reader.recv(batch, limit, tally),
        }
    }
}

/// The slots that the kernel may fill, or none with a word about why not.
fn slots_for_a_ring(host: &Host, interface: &str) -> Option<LentSlots> {
    if let Err(error) = crate::ring::check() {
        tracing::warn!(interface, %error, "io_uring is not available; reading without");
        return None;
    }
    let lent = host.lent().filter(|lent| lent.len() >= LENT_LEAST);
    if lent.is_none() {
        tracing::warn!(
            interface,
            least = LENT_LEAST,
            "the host lends too few slots; reading without io_uring"
        );
    }
    lent
}

/// Reads frames into slots until none wait or enough have come.
fn fill(
    batch: &mut Batch<'_>,
    limit: &mut Limit,
    tally: &mut Tally,
    read: impl FnMut(&mut FrameSlot<'_>) -> io::Result<Arrived>,
) -> io::Result<usize> {
    vreserve_packet::fill(batch, read, |slot, arrived| {
        match arrived.and_then(|arrived| accept(slot, arrived, limit)) {
            Ok(frames) => tally.count_in(slot.len(), frames),
            Err(unusable) => {
                tally.count_unusable(unusable);
                return false;
            }
        }
        true
    })
}

/// Checks the frame in a slot and gives it its metadata; returns how many wire frames it stands for.
fn accept(slot: &mut FrameSlot<'_>, arrived: &Arrived, limit: &mut Limit) -> Result<usize, Unusable> {
    vreserve_packet::accept(slot, arrived, |frame, offload| limit.check(frame, offload))
}
