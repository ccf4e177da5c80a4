//! One endpoint: the way of a batch out and in.
//!
//! Out: each frame becomes a datagram where it lies, with its header in the slot's headroom; a super-frame
//! becomes one per segment, headers in the arena, payload where it lies ([`vxlan_out`](crate::vxlan_out)); they
//! leave as few messages as may be ([`outgoing`](crate::outgoing)). In: messages are taken apart into
//! datagrams, those admitted ([`admission`](crate::admission)) give frames, and frames that continue one another
//! become super-frames ([`incoming`](crate::incoming)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use vreserve_offload::merge::ChecksumPolicy;
use vreserve_sdk::{Batch, Counter, Host, Refusal};

use crate::admission::{Admission, Admitted, DatagramDrop, DropCounters, DropTally};
use crate::fars::Fars;
use crate::incoming::{Incoming, Placed};
use crate::mmsg::{BATCH, Inbox};
use crate::outgoing::{Flushed, Outgoing};
use crate::partial::finish_checksum;
use crate::vxlan_out::Encapsulation;

/// Messages this large or larger on average are taken a few at a time, or the first would have left the
/// second-level cache before it is read.
const LARGE: usize = 16 << 10;
const FEW: usize = 8;

/// An open endpoint.
pub(crate) struct Endpoint {
    pub(crate) fars: Fars,
    pub(crate) fd: OwnedFd,
    pub(crate) local: SocketAddr,
    pub(crate) admission: Admission,
    inbox: Inbox,
    /// What of the inbox has not been read: there was no slot left for it.
    unread: Unread,
    /// Messages to ask for next time.
    limit: usize,
    encapsulation: Encapsulation,
    outgoing: Outgoing,
    counters: Counters,
}

/// A place in the inbox.
#[derive(Clone, Copy, Default)]
struct Unread {
    message: usize,
    offset: usize,
    messages: usize,
}

struct Counters {
    frames_received: Counter,
    frames_sent: Counter,
    drops: DropCounters,
}

impl Endpoint {
    pub(crate) fn new(fd: OwnedFd, local: SocketAddr, admission: Admission, host: &Host) -> Self {
        Endpoint {
            fars: Fars::new(local.is_ipv4()),
            fd,
            local,
            admission,
            inbox: Inbox::new(),
            unread: Unread::default(),
            limit: BATCH,
            encapsulation: Encapsulation::new(admission),
            outgoing: Outgoing::new(),
            counters: Counters {
                frames_received: host.counter("frames_received", "Frames received from far nodes."),
                frames_sent: host.counter("frames_sent", "Frames sent to far nodes."),
                drops: DropCounters::new(host),
            },
        }
    }

    /// Fills slots from the first on, with what is left in the inbox and then with what one system call gives:
    /// a flood from strangers cannot hold the caller.
    pub(crate) fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let (mut incoming, mut tally) = (Incoming::new(ChecksumPolicy::Verify), DropTally::default());
        let mut frames = 0;
        if self.read_inbox(batch, &mut incoming, &mut tally, &mut frames) {
            match self.inbox.receive(self.fd.as_fd(), self.limit) {
                Ok(messages) => {
                    self.unread = Unread { messages, ..Unread::default() };
                    self.adapt_limit();
                    self.read_inbox(batch, &mut incoming, &mut tally, &mut frames);
                }
                Err(error @ (Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT)) if frames == 0 => {
                    return Err(error.into());
                }
                // Nothing waits, or an ICMP error that some far node caused: not the end of the endpoint.
                Err(_) => {}
            }
        }
        self.counters.frames_received.add(frames);
        self.counters.drops.add(tally);
        Ok(incoming.finish(batch))
    }

    fn adapt_limit(&mut self) {
        let bytes: usize = (0..self.unread.messages).map(|index| self.inbox.arrival(index).bytes.len()).sum();
        self.limit = if bytes >= self.unread.messages * LARGE { FEW } else { BATCH };
    }

    /// Places what has not been read; false if the slots ran out before.
    fn read_inbox(
        &mut self,
        batch: &mut Batch<'_>,
        incoming: &mut Incoming,
        tally: &mut DropTally,
        frames: &mut u64,
    ) -> bool {
        while self.unread.message < self.unread.messages {
            let mut arrival = self.inbox.arrival(self.unread.message);
            let far = arrival.from.and_then(|from| self.fars.number(from.ip()));
            let mut admitting = Admitting { admission: &self.admission, far, batch, incoming, tally, frames };
            if !admitting.read(&mut arrival, &mut self.unread.offset) {
                return false;
            }
            self.unread.message += 1;
            self.unread.offset = 0;
        }
        true
    }

    /// Sends the frames in order; returns how many slots were sent or refused.
    pub(crate) fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut consumed = 0;
        while consumed < batch.len() {
            let end = batch.len().min(consumed + BATCH);
            let flushed = self.send_chunk(batch, consumed, end)?;
            let reached = match flushed {
                Flushed::All => end,
                Flushed::NoRoom(slot) => slot,
            };
            self.outgoing.mark_refused(batch, reached);
            consumed = reached;
            if flushed != Flushed::All {
                break;
            }
        }
        self.counters.frames_sent.add(std::mem::take(&mut self.outgoing.sent));
        Ok(consumed)
    }

    fn send_chunk(&mut self, batch: &mut Batch<'_>, first: usize, end: usize) -> io::Result<Flushed> {
        let Endpoint { fars, fd, encapsulation, outgoing, .. } = self;
        for index in first..end {
            let Some(to) = fars.name(batch.slot(index).far()) else {
                outgoing.refuse(index, Refusal::Down);
                continue;
            };
            // A super-frame of many small segments may need several rounds.
            let mut segment = 0;
            while let Some(next) = encapsulation.collect(batch.slot(index), index, segment, to, outgoing) {
                segment = next;
                let flushed = outgoing.flush(fd.as_fd(), batch, first)?;
                if flushed != Flushed::All {
                    return Ok(flushed);
                }
            }
        }
        Ok(outgoing.flush(fd.as_fd(), batch, first)?)
    }
}

/// What it takes to place the datagrams of one far node.
struct Admitting<'a, 'b> {
    admission: &'a Admission,
    far: Option<u32>,
    batch: &'a mut Batch<'b>,
    incoming: &'a mut Incoming,
    tally: &'a mut DropTally,
    frames: &'a mut u64,
}

impl Admitting<'_, '_> {
    /// Places the datagrams of a message from `offset` on, which moves with them; false if the slots ran out.
    fn read(&mut self, arrival: &mut crate::mmsg::Arrival<'_>, offset: &mut usize) -> bool {
        loop {
            let left = &mut arrival.bytes[*offset..];
            let len = left.len().min(arrival.segment);
            match self.place(&mut left[..len]) {
                Placed::NoSlot => return false,
                Placed::TooLarge => self.tally.note(DatagramDrop::Oversized),
                Placed::InSlot => {}
            }
            *offset += len;
            if *offset == arrival.bytes.len() {
                return true;
            }
        }
    }

    fn place(&mut self, datagram: &mut [u8]) -> Placed {
        let (far, frame) = match self.admission.admit(self.far, datagram) {
            Ok(admitted) => admitted,
            Err(reason) => {
                self.tally.note(reason);
                return Placed::InSlot;
            }
        };
        let placed = match frame {
            Admitted::Frame(frame) => {
                finish_checksum(frame);
                self.incoming.place(self.batch, far, frame)
            }
            Admitted::SuperFrame(frame, offload) => {
                self.incoming.place_alone(self.batch, far, frame, offload.into())
            }
        };
        *self.frames += u64::from(placed == Placed::InSlot);
        placed
    }
}
