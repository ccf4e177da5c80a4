//! Frames from the interface into the host's slots.

mod packet;
mod ring;
mod tap;

use std::io;
use std::os::fd::RawFd;

use vreserve_offload::{Offload, VnetHeader};
use vreserve_sdk::{Batch, FrameSlot, Host, LentSlots, tracing};

use crate::attach::Attachment;
use crate::config::{Calls, Kind};
use crate::counters::Tally;
use crate::frame::{Tag, Unusable, put_back};
use crate::limit::Limit;

/// Bytes after which a call returns though more frames wait: what it has read is then still in the second-level
/// cache (1 to 2 MiB per core) when the host and the link touch it. Eight super-frames; no batch of small frames
/// comes near.
pub(crate) const RECV_BYTES: usize = 512 << 10;

/// With fewer slots the ring would run dry in the middle of every burst.
const LENT_LEAST: usize = 8;

/// How frames are read.
pub(crate) enum Reader {
    /// From a TAP, one read per frame.
    Tap(tap::TapReader),
    /// From an AF_PACKET socket, one recvmsg per frame.
    Packet(packet::PacketReader),
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
            Kind::Interface => Reader::Packet(packet::PacketReader::new(descriptor)),
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

/// One frame as it was read into a slot.
struct Arrived {
    header: VnetHeader,
    tag: Option<Tag>,
    /// It was larger than the slot.
    is_cut_off: bool,
}

/// Reads frames into slots until none wait or enough have come.
fn fill(
    batch: &mut Batch<'_>,
    limit: &mut Limit,
    tally: &mut Tally,
    mut read: impl FnMut(&mut FrameSlot<'_>) -> io::Result<Arrived>,
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
                    tally.drop_malformed += 1;
                    continue;
                }
                _ if filled > 0 => break,
                _ => return Err(error),
            },
        };
        bytes += slot.len();
        match accept(&mut slot, &arrived, limit) {
            Ok(frames) => {
                tally.count_in(slot.len(), frames);
                filled += 1;
            }
            Err(unusable) => tally.count_unusable(unusable),
        }
    }
    Ok(filled)
}

/// Checks the frame in a slot and gives it its metadata; returns how many wire frames it stands for.
fn accept(slot: &mut FrameSlot<'_>, arrived: &Arrived, limit: &mut Limit) -> Result<usize, Unusable> {
    if arrived.is_cut_off {
        return Err(Unusable::Oversized);
    }
    let offload: Offload = arrived.header.decode()?;
    let mut checked = limit.check(slot.frame(), &offload)?;
    if let Some(tag) = arrived.tag {
        put_back(tag, slot, &mut checked.offload)?;
    }
    slot.set_offload(checked.offload.into());
    Ok(checked.frames)
}

/// Makes room for the header before the frame, lets `read` fill both, and takes the header off again. `read`
/// says how many bytes came.
fn behind_header<T>(
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
