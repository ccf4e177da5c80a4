//! Reading by io_uring: the kernel writes frames into slots lent by the host, which are put into the batch as they
//! are. A slot goes back to the kernel with the next call, when the host is done with its frame.
#![allow(unsafe_code, reason = "giving slots to the kernel, which must be the instance's")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use vreserve_offload::VnetHeader;
use vreserve_packet::{AUXILIARY_SPACE as CONTROL_LEN, Arrived, Limit, RECV_BYTES, Unusable, tag_in};
use vreserve_sdk::{Batch, FrameSlot, LentSlots};

use super::accept;
use crate::config::Kind;
use crate::counters::Tally;
use crate::ring::{Outcome, ReceiveRing, ReceiveWay};

/// `struct io_uring_recvmsg_out`: lengths of name, control data and payload, and flags, four bytes each.
const RESULT_LEN: usize = 16;
/// Where the flags stand in it.
const FLAGS_AT: usize = 12;

/// See the module.
pub(crate) struct RingReader {
    // The ring goes before the slots that it writes to.
    ring: Option<ReceiveRing>,
    lent: LentSlots,
    /// Readable with the interface (frames wait that no ring has read) and with the ring (completed reads wait).
    /// The ring alone does not do: with DEFER_TASKRUN nobody who polls it is woken before its thread enters it. Nor
    /// may it: it belongs to a thread and is replaced when the instance moves.
    ready: Epoll,
    descriptor: OwnedFd,
    kind: Kind,
    has_header: bool,
}

impl RingReader {
    pub(super) fn new(
        descriptor: OwnedFd,
        kind: Kind,
        has_header: bool,
        lent: LentSlots,
    ) -> io::Result<Self> {
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        watch(&ready, descriptor.as_fd())?;
        Ok(RingReader { ring: None, lent, ready, descriptor, kind, has_header })
    }

    /// What to poll.
    pub(super) fn ready_fd(&self) -> RawFd {
        self.ready.0.as_raw_fd()
    }

    pub(super) fn recv(
        &mut self,
        batch: &mut Batch<'_>,
        limit: &mut Limit,
        tally: &mut Tally,
    ) -> io::Result<usize> {
        if batch.is_empty() {
            return Ok(0);
        }
        self.take_back(batch);
        let filled = self.take_completed(batch, limit, tally)?;
        if filled > 0 {
            return Ok(filled);
        }
        self.run(batch)?;
        self.take_completed(batch, limit, tally)
    }

    /// What the host has had since the last call, the kernel may fill again.
    fn take_back(&mut self, batch: &mut Batch<'_>) {
        let ring = &mut self.ring;
        self.lent.take_back(batch, |index| {
            if let Some(ring) = ring {
                // SAFETY: a completion named the slot, the host has given it back, and `self` drops the ring first.
                unsafe { ring.give(index) };
            }
        });
    }

    /// Lets the ring of this thread work, making it if there is none. A ring of another thread has been emptied
    /// before: what it had not completed is still with the interface.
    fn run(&mut self, batch: &mut Batch<'_>) -> io::Result<()> {
        if !self.ring.as_ref().is_some_and(ReceiveRing::is_mine) {
            self.ring = None;
            let headroom = batch.slot(0).headroom();
            let ring = self.open_ring(headroom)?;
            watch(&self.ready, ring.as_fd())?;
            self.ring = Some(ring);
        }
        self.ring.as_mut().map_or(Ok(()), ReceiveRing::run)
    }

    fn open_ring(&self, headroom: usize) -> io::Result<ReceiveRing> {
        let way = match self.kind {
            Kind::Tap => ReceiveWay::Read,
            Kind::Interface => ReceiveWay::ReceiveMessage { control_len: CONTROL_LEN },
        };
        let start = headroom.saturating_sub(self.prefix_len());
        let mut ring = ReceiveRing::open(self.descriptor.as_fd(), way, &self.lent, start)?;
        for index in 0..self.lent.len() {
            // SAFETY: none is the host's, as `recv` has taken all back, and no other ring of this instance is left
            // that would read into them; `self` drops the ring before the slots.
            unsafe { ring.give(index) };
        }
        Ok(ring)
    }

    /// Bytes that the kernel writes before each frame.
    fn prefix_len(&self) -> usize {
        let header = if self.has_header { VnetHeader::LEN } else { 0 };
        match self.kind {
            Kind::Tap => header,
            Kind::Interface => RESULT_LEN + CONTROL_LEN + header,
        }
    }

    /// Puts completed reads into the batch until either runs out, or enough have come.
    fn take_completed(
        &mut self,
        batch: &mut Batch<'_>,
        limit: &mut Limit,
        tally: &mut Tally,
    ) -> io::Result<usize> {
        let (mut filled, mut bytes) = (0, 0);
        while filled < batch.len() && bytes < RECV_BYTES {
            let Some(ring) = &mut self.ring else { break };
            match ring.peek() {
                None => break,
                Some(Outcome::Failed(_)) if filled > 0 => break,
                Some(outcome) => {
                    ring.advance();
                    bytes += outcome.len();
                    filled += usize::from(self.handle(outcome, batch, filled, limit, tally)?);
                }
            }
        }
        Ok(filled)
    }

    /// Deals with one completion; true if there is a frame in the batch's slot `at` now.
    fn handle(
        &mut self,
        outcome: Outcome,
        batch: &mut Batch<'_>,
        at: usize,
        limit: &mut Limit,
        tally: &mut Tally,
    ) -> io::Result<bool> {
        let (index, len) = match outcome {
            Outcome::Filled { index, len } => (index, len),
            Outcome::Nothing => return Ok(false),
            // The kernel answers a super-frame of a kind that a virtio-net header cannot express so.
            Outcome::Failed(libc::EINVAL) if self.kind == Kind::Interface => {
                tally.drop_malformed += 1;
                return Ok(false);
            }
            Outcome::Failed(errno) => return Err(io::Error::from_raw_os_error(errno)),
        };
        let prefix_len = self.prefix_len();
        let ring = self.ring.as_mut().expect("a completion comes from a ring");
        self.lent.put(batch, at, index, ring.start(), len);
        let mut slot = batch.slot(at);
        let accepted = unwrap(&mut slot, self.kind, self.has_header, prefix_len, ring.is_full(len))
            .and_then(|arrived| accept(&mut slot, &arrived, limit));
        match accepted {
            Ok(frames) => tally.count_in(slot.len(), frames),
            Err(unusable) => {
                tally.count_unusable(unusable);
                let index = self.lent.withdraw(batch, at);
                // SAFETY: a completion named the slot, and the host has not had it.
                unsafe { ring.give(index) };
            }
        }
        Ok(accepted.is_ok())
    }
}

/// Takes what the kernel wrote before the frame off its front.
fn unwrap(
    slot: &mut FrameSlot<'_>,
    kind: Kind,
    has_header: bool,
    prefix_len: usize,
    is_cut_off: bool,
) -> Result<Arrived, Unusable> {
    let prefix = slot.frame().get(..prefix_len).ok_or(Unusable::Malformed)?;
    let mut arrived = Arrived { header: VnetHeader::default(), tag: None, mark: None, is_cut_off };
    if has_header {
        arrived.header = VnetHeader(*prefix.last_chunk().ok_or(Unusable::Malformed)?);
    }
    if kind == Kind::Interface {
        let flags = prefix[FLAGS_AT..].first_chunk().copied().map_or(0, i32::from_ne_bytes);
        arrived.is_cut_off |= flags & libc::MSG_TRUNC != 0;
        arrived.tag = tag_in(&prefix[RESULT_LEN..RESULT_LEN + CONTROL_LEN]);
    }
    if slot.cut_front(prefix_len) { Ok(arrived) } else { Err(Unusable::Malformed) }
}

/// Makes `ready` readable whenever `fd` is.
fn watch(ready: &Epoll, fd: BorrowedFd<'_>) -> nix::Result<()> {
    ready.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))
}
