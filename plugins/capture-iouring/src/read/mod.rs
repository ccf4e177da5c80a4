//! Frames from the interface into the host's slots.

mod packet;
mod tap;

use std::io;

use vreserve_offload::{Offload, VnetHeader};
use vreserve_sdk::{Batch, FrameSlot};

use crate::attach::Attachment;
use crate::config::Kind;
use crate::counters::Tally;
use crate::frame::{Tag, Unusable, put_back, to_slot};
use crate::limit::Limit;

/// Bytes after which a call returns though more frames wait: what it has read is then still in the second-level
/// cache (1 to 2 MiB per core) when the host and the link touch it. Eight super-frames; no batch of small frames
/// comes near.
pub(crate) const RECV_BYTES: usize = 512 << 10;

/// How frames are read.
pub(crate) enum Reader {
    /// From a TAP, one read per frame.
    Tap(tap::TapReader),
    /// From an AF_PACKET socket, one recvmsg per frame.
    Packet(packet::PacketReader),
}

impl Reader {
    pub(crate) fn new(attachment: &Attachment) -> io::Result<Self> {
        let descriptor = attachment.incoming.try_clone()?;
        Ok(match attachment.kind {
            Kind::Tap => Reader::Tap(tap::TapReader::new(descriptor, attachment.has_header)),
            Kind::Interface => Reader::Packet(packet::PacketReader::new(descriptor)),
        })
    }

    pub(crate) fn recv(
        &mut self,
        batch: &mut Batch<'_>,
        limit: &mut Limit,
        tally: &mut Tally,
    ) -> io::Result<usize> {
        match self {
            Reader::Tap(reader) => fill(batch, limit, tally, |slot| reader.read(slot)),
            Reader::Packet(reader) => fill(batch, limit, tally, |slot| reader.read(slot)),
        }
    }
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
    slot.set_offload(to_slot(&checked.offload));
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
