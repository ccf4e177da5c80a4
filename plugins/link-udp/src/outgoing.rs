//! Datagrams on their way out: consecutive ones to one far node, all of one size but the last, leave as one
//! message that the kernel cuts (`UDP_SEGMENT`). Their order is never changed.
//!
//! A datagram is up to two parts, each in a slot of the batch or in the arena, so that payload leaves from where
//! it lies. Everything is reused from call to call: sending allocates nothing.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use vreserve_sdk::{Batch, Refusal};

use crate::mmsg::{self, Name, Outbox};
use crate::wire::Refused;

/// Datagrams that the kernel cuts one message into at most (`UDP_MAX_SEGMENTS` before Linux 6.10).
const MAX_SEGMENTS: usize = 64;
/// Bytes of one message at most: what an IPv6 datagram carries.
const MAX_MESSAGE: usize = 65_535 - 40 - 8;
/// Datagrams that are collected before they are sent.
const MAX_DATAGRAMS: usize = 512;
/// Bytes of headers, or of whole datagrams, that are made outside of slots. A few messages' worth: more would
/// only push what has been made out of the second-level cache before it is sent.
const ARENA: usize = 256 << 10;

/// Where a part of a datagram lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// In the frame of a slot of the batch.
    Slot { slot: usize, start: usize, len: usize },
    /// In the arena.
    Arena { start: usize, len: usize },
}

impl Part {
    /// No bytes.
    pub(crate) const NONE: Part = Part::Arena { start: 0, len: 0 };

    fn len(self) -> usize {
        match self {
            Part::Slot { len, .. } | Part::Arena { len, .. } => len,
        }
    }
}

#[derive(Clone, Copy)]
struct Datagram {
    slot: usize,
    parts: [Part; 2],
}

/// Consecutive datagrams to one far node.
#[derive(Clone, Copy)]
struct Message {
    far: u32,
    to: Name,
    /// Bytes of each datagram but the last.
    segment: usize,
    bytes: usize,
    first: usize,
    /// One past the last datagram.
    end: usize,
    /// The last datagram is shorter: nothing can follow it.
    is_full: bool,
}

/// What is collected, and what became of it.
pub(crate) struct Outgoing {
    arena: Box<[u8]>,
    arena_used: usize,
    datagrams: Vec<Datagram>,
    messages: Vec<Message>,
    refused: Vec<(usize, Refused)>,
    /// Datagrams that the system called too large, by far node and length, with the slot.
    pub(crate) too_large: Vec<(usize, u32, usize)>,
    outbox: Outbox,
    /// False once the kernel has said that it cannot cut messages on this socket.
    segments: bool,
    /// Datagrams sent since this was last read.
    pub(crate) sent: u64,
}

/// How far a batch got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything was sent or refused.
    All,
    /// There is no room for what the slot with this number holds, and all behind it.
    NoRoom(usize),
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Outgoing {
            arena: vec![0; ARENA].into_boxed_slice(),
            arena_used: 0,
            datagrams: Vec::with_capacity(MAX_DATAGRAMS),
            messages: Vec::with_capacity(mmsg::BATCH),
            refused: Vec::with_capacity(mmsg::BATCH),
            too_large: Vec::with_capacity(MAX_DATAGRAMS),
            outbox: Outbox::new(2 * MAX_DATAGRAMS),
            segments: true,
            sent: 0,
        }
    }

    /// Whether one more datagram can be collected.
    pub(crate) fn has_room(&self) -> bool {
        self.datagrams.len() < MAX_DATAGRAMS && self.messages.len() < mmsg::BATCH
    }

    /// That many bytes of the arena, and where they begin in it; none if there are no more.
    pub(crate) fn take_arena(&mut self, len: usize) -> Option<(usize, &mut [u8])> {
        let start = self.arena_used;
        let bytes = self.arena.get_mut(start..start + len)?;
        self.arena_used += len;
        Some((start, bytes))
    }

    /// Collects a datagram of slot number `slot`, which there must be room for.
    pub(crate) fn push(&mut self, slot: usize, far: u32, to: Name, parts: [Part; 2]) {
        let len = parts[0].len() + parts[1].len();
        let end = self.datagrams.len() + 1;
        self.datagrams.push(Datagram { slot, parts });
        match self.messages.last_mut() {
            Some(last) if self.segments && last.takes(far, len) => {
                last.is_full = len < last.segment;
                last.bytes += len;
                last.end = end;
            }
            _ => self.messages.push(Message {
                far,
                to,
                segment: len,
                bytes: len,
                first: end - 1,
                end,
                is_full: false,
            }),
        }
    }

    /// The frame in that slot is not sent.
    pub(crate) fn refuse(&mut self, slot: usize, refused: Refused) {
        self.refused.push((slot, refused));
    }

    /// Sends what has been collected from slots `base` to `base + BATCH` of `batch`, and forgets it.
    ///
    /// # Errors
    /// If the socket itself is unusable.
    pub(crate) fn flush(
        &mut self,
        fd: BorrowedFd<'_>,
        batch: &mut Batch<'_>,
        base: usize,
    ) -> nix::Result<Flushed> {
        let mut frames: [&[u8]; mmsg::BATCH] = [&[]; mmsg::BATCH];
        for (frame, slot) in frames.iter_mut().zip(batch.iter_mut().skip(base)) {
            *frame = slot.into_frame();
        }
        let flushed = self.send_all(fd, &Memory { frames: &frames, base });
        self.arena_used = 0;
        self.datagrams.clear();
        self.messages.clear();
        flushed
    }

    /// Marks the refused slots before `end`, and forgets them; those behind it will be offered again.
    pub(crate) fn mark_refused(&mut self, batch: &mut Batch<'_>, end: usize) {
        for (index, refused) in self.refused.drain(..).filter(|(index, _)| *index < end) {
            refused.mark(batch.slot(index));
        }
    }

    fn send_all(&mut self, fd: BorrowedFd<'_>, memory: &Memory<'_>) -> nix::Result<Flushed> {
        let mut next = 0;
        while next < self.messages.len() {
            let Err(errno) = self.send_messages(fd, memory, &mut next) else { break };
            let message = self.messages[next];
            let slot = self.datagrams[message.first].slot;
            match SendError::of(errno) {
                SendError::Interrupted => {}
                SendError::NoRoom => return Ok(Flushed::NoRoom(slot)),
                SendError::Fatal => return Err(errno),
                SendError::Refused(refusal) => {
                    next += 1;
                    if message.len() == 1 {
                        self.note_refused(slot, message.far, message.bytes, refusal);
                        continue;
                    }
                    // EIO: the device computes no checksums, without which the kernel cuts nothing.
                    self.segments &= errno != Errno::EIO;
                    if let Flushed::NoRoom(slot) = self.send_singly(fd, memory, &message)? {
                        return Ok(Flushed::NoRoom(slot));
                    }
                }
            }
        }
        Ok(Flushed::All)
    }

    fn note_refused(&mut self, slot: usize, far: u32, len: usize, refusal: Refusal) {
        match refusal {
            Refusal::Oversized if self.too_large.len() < MAX_DATAGRAMS => {
                self.too_large.push((slot, far, len))
            }
            refusal => self.refuse(slot, refusal.into()),
        }
    }

    /// Sends messages from number `next` on, which it moves past what was sent, until one fails.
    fn send_messages(
        &mut self,
        fd: BorrowedFd<'_>,
        memory: &Memory<'_>,
        next: &mut usize,
    ) -> nix::Result<()> {
        let Outgoing { arena, datagrams, messages, outbox, sent, .. } = self;
        let first = *next;
        let mut loading = outbox.load();
        for message in &messages[first..] {
            let segment = if message.len() > 1 { message.segment } else { 0 };
            let parts = datagrams[message.first..message.end].iter().flat_map(|datagram| datagram.parts);
            loading.push(message.to, segment as u16, parts.filter_map(|part| memory.bytes(part, arena)));
        }
        while *next < messages.len() {
            let count = loading.send(fd, *next - first)?;
            let gone = &messages[*next..*next + count];
            *sent += gone.iter().map(|message| message.len() as u64).sum::<u64>();
            *next += count;
        }
        Ok(())
    }

    /// Sends the datagrams of a message that the kernel would not cut one by one, and finds out which of them
    /// cannot be sent.
    fn send_singly(
        &mut self,
        fd: BorrowedFd<'_>,
        memory: &Memory<'_>,
        message: &Message,
    ) -> nix::Result<Flushed> {
        for index in message.first..message.end {
            let Datagram { slot, parts } = self.datagrams[index];
            let mut loading = self.outbox.load();
            loading.push(message.to, 0, parts.iter().filter_map(|part| memory.bytes(*part, &self.arena)));
            loop {
                match loading.send(fd, 0).map_err(|errno| (errno, SendError::of(errno))) {
                    Ok(_) => self.sent += 1,
                    Err((_, SendError::Interrupted)) => continue,
                    Err((_, SendError::NoRoom)) => return Ok(Flushed::NoRoom(slot)),
                    Err((errno, SendError::Fatal)) => return Err(errno),
                    Err((_, SendError::Refused(refusal))) => {
                        let len = parts[0].len() + parts[1].len();
                        self.note_refused(slot, message.far, len, refusal);
                    }
                }
                break;
            }
        }
        Ok(Flushed::All)
    }
}

impl Message {
    /// Number of datagrams.
    fn len(&self) -> usize {
        self.end - self.first
    }

    /// Whether a datagram of `len` bytes can be its next.
    fn takes(&self, far: u32, len: usize) -> bool {
        self.far == far
            && !self.is_full
            && len <= self.segment
            && self.len() < MAX_SEGMENTS
            && self.bytes + len <= MAX_MESSAGE
    }
}

/// The frames of a chunk of a batch.
struct Memory<'a> {
    frames: &'a [&'a [u8]; mmsg::BATCH],
    base: usize,
}

impl Memory<'_> {
    fn bytes<'b>(&'b self, part: Part, arena: &'b [u8]) -> Option<&'b [u8]> {
        let (whole, start, len) = match part {
            Part::Slot { slot, start, len } => (self.frames[slot - self.base], start, len),
            Part::Arena { start, len } => (arena, start, len),
        };
        (len > 0).then(|| &whole[start..start + len])
    }
}

/// What an error of `sendmmsg` means for the first message it was to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendError {
    /// The call was interrupted.
    Interrupted,
    /// Nothing can be sent now.
    NoRoom,
    /// This message cannot be sent; the next one may.
    Refused(Refusal),
    /// The socket itself is unusable.
    Fatal,
}

impl SendError {
    fn of(errno: Errno) -> Self {
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
