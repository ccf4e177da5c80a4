//! One endpoint: the way of a batch out and in.
//!
//! Out: the wire format makes datagrams of each frame ([`Wire::collect`]), which leave as few messages as may be
//! ([`outgoing`](crate::outgoing)). In: the format makes frames of the datagrams in each message
//! ([`Wire::place`]), and frames that continue one another become super-frames ([`incoming`](crate::incoming)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use vreserve_offload::merge::ChecksumPolicy;
use vreserve_sdk::{Batch, Counter, Failure, FarId, FarNode, Host};

use crate::incoming::Incoming;
use crate::mmsg::{self, BATCH, Inbox};
use crate::outgoing::{Flushed, Outgoing};
use crate::wire::{Refused, Wire};

/// Messages this large or larger on average are taken a few at a time, or the first would have left the
/// second-level cache before it is read.
const LARGE: usize = 16 << 10;
const FEW: usize = 8;
/// System calls per batch at most: a flood from strangers cannot hold the caller.
const CALLS: usize = 4;
/// With so many bytes of frames in a batch it ends, while they are still in the core's own cache.
const HOT_BYTES: usize = 256 << 10;
/// Room for the largest datagram that a format sends by itself.
const OWN_DATAGRAM: usize = 65_535;

/// An open endpoint.
pub(crate) struct Endpoint {
    pub(crate) fd: OwnedFd,
    pub(crate) local: SocketAddr,
    pub(crate) wire: Box<dyn Wire>,
    policy: ChecksumPolicy,
    inbox: Inbox,
    unread: Unread,
    /// Messages to ask for next time.
    limit: usize,
    outgoing: Outgoing,
    own: Box<[u8]>,
    frames_received: Counter,
    frames_sent: Counter,
}

/// What of the inbox has not been read: there was no slot left for it.
#[derive(Clone, Copy, Default)]
struct Unread {
    message: usize,
    offset: usize,
    messages: usize,
}

impl Endpoint {
    pub(crate) fn new(
        fd: OwnedFd,
        local: SocketAddr,
        wire: Box<dyn Wire>,
        policy: ChecksumPolicy,
        host: &Host,
    ) -> Self {
        Endpoint {
            fd,
            local,
            wire,
            policy,
            inbox: Inbox::new(),
            unread: Unread::default(),
            limit: BATCH,
            outgoing: Outgoing::new(),
            own: vec![0; OWN_DATAGRAM].into_boxed_slice(),
            frames_received: host.counter("frames_received", "Frames received from far nodes."),
            frames_sent: host.counter("frames_sent", "Frames sent to far nodes."),
        }
    }

    /// Admits a far node, and begins to speak to it.
    pub(crate) fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        self.wire.begin(Instant::now());
        self.wire.add_far(far, node)?;
        self.send_own();
        Ok(())
    }

    /// Fills slots from the first on, with what is left in the inbox and then with what a few system calls give.
    /// More than one, as super-frames end where a batch ends.
    pub(crate) fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut incoming = Incoming::new(self.policy);
        self.wire.begin(Instant::now());
        // Without slots what waits is left in the socket, which polls readable for as long.
        let mut calls_left = if batch.is_empty() { 0 } else { CALLS };
        while self.read_inbox(batch, &mut incoming) && calls_left > 0 && incoming.bytes < HOT_BYTES {
            let limit = self.limit;
            match self.inbox.receive(self.fd.as_fd(), limit) {
                Ok(messages) => {
                    self.unread = Unread { messages, ..Unread::default() };
                    self.adapt_limit();
                    let is_drained = messages < limit;
                    calls_left = if is_drained { 0 } else { calls_left - 1 };
                }
                Err(error @ (Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT)) if incoming.frames == 0 => {
                    return Err(error.into());
                }
                // Nothing waits, or an ICMP error that some far node caused: not the end of the endpoint.
                Err(_) => break,
            }
        }
        self.send_own();
        self.wire.settle();
        self.frames_received.add(incoming.frames);
        Ok(incoming.finish(batch))
    }

    fn adapt_limit(&mut self) {
        let bytes: usize = (0..self.unread.messages).map(|index| self.inbox.len(index)).sum();
        self.limit = if bytes >= self.unread.messages * LARGE { FEW } else { BATCH };
    }

    /// Places what has not been read; false if the slots ran out before.
    fn read_inbox(&mut self, batch: &mut Batch<'_>, incoming: &mut Incoming) -> bool {
        while self.unread.message < self.unread.messages {
            let mut arrival = self.inbox.arrival(self.unread.message);
            if !self.wire.place(&mut arrival, &mut self.unread.offset, batch, incoming) {
                return false;
            }
            self.unread.message += 1;
            self.unread.offset = 0;
        }
        true
    }

    /// Sends what the format has to say by itself. What does not go out now is sent again by its own rules.
    fn send_own(&mut self) {
        while let Some((len, to, far)) = self.wire.poll(&mut self.own) {
            let sent = mmsg::send_one(self.fd.as_fd(), to.into(), &self.own[..len]);
            if let (Err(Errno::EMSGSIZE), Some(far)) = (sent, far) {
                self.wire.handle_too_large(far, len);
            }
        }
    }

    /// Sends the frames in order; returns how many slots were sent or refused.
    pub(crate) fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        self.wire.begin(Instant::now());
        let mut consumed = 0;
        while consumed < batch.len() {
            let end = batch.len().min(consumed + BATCH);
            let flushed = self.send_chunk(batch, consumed, end)?;
            consumed = match flushed {
                Flushed::All => end,
                Flushed::NoRoom(slot) => slot,
            };
            self.mark_refused(batch, consumed);
            if flushed != Flushed::All {
                break;
            }
        }
        self.frames_sent.add(std::mem::take(&mut self.outgoing.sent));
        Ok(consumed)
    }

    fn send_chunk(&mut self, batch: &mut Batch<'_>, first: usize, end: usize) -> io::Result<Flushed> {
        let Endpoint { fd, wire, outgoing, .. } = self;
        for index in first..end {
            // A super-frame of many segments may need several rounds.
            let mut segment = 0;
            loop {
                match wire.collect(batch.slot(index), index, segment, outgoing) {
                    Ok(None) => break,
                    Ok(Some(next)) => segment = next,
                    Err(refused) => {
                        outgoing.refuse(index, refused);
                        break;
                    }
                }
                let flushed = outgoing.flush(fd.as_fd(), batch, first)?;
                if flushed != Flushed::All {
                    return Ok(flushed);
                }
            }
        }
        Ok(outgoing.flush(fd.as_fd(), batch, first)?)
    }

    fn mark_refused(&mut self, batch: &mut Batch<'_>, end: usize) {
        while let Some((slot, far, len)) = self.outgoing.too_large.pop() {
            let limit = self.wire.handle_too_large(far, len);
            self.outgoing.refuse(slot, Refused::Oversized(limit));
        }
        self.outgoing.mark_refused(batch, end);
    }
}
