//! One endpoint of one IP version: the way of a batch out and in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use vreserve_sdk::{Batch, Counter, Host, Offload, Refusal};

use crate::admission::{Admission, DropCounters, DropTally};
use crate::fars::Fars;
use crate::mmsg::{self, Arrival, BATCH, Name};
use crate::outgoing::{Outgoing, SendError, decapsulate, encapsulate};
use crate::partial::finish_checksum;
use crate::vxlan;

/// An open endpoint.
pub(crate) struct Endpoint<N> {
    pub(crate) fars: Fars<N>,
    pub(crate) fd: OwnedFd,
    pub(crate) local: SocketAddr,
    pub(crate) admission: Admission,
    arrivals: Vec<Arrival>,
    outgoing: Outgoing<N>,
    counters: Counters,
}

struct Counters {
    frames_received: Counter,
    frames_sent: Counter,
    drops: DropCounters,
}

impl<N: Name> Endpoint<N> {
    pub(crate) fn new(fd: OwnedFd, local: SocketAddr, admission: Admission, host: &Host) -> Self {
        Endpoint {
            fars: Fars::new(),
            fd,
            local,
            admission,
            arrivals: Vec::with_capacity(BATCH),
            outgoing: Outgoing::new(),
            counters: Counters {
                frames_received: host.counter("frames_received", "Frames received from far nodes."),
                frames_sent: host.counter("frames_sent", "Frames sent to far nodes."),
                drops: DropCounters::new(host),
            },
        }
    }

    /// Fills slots from the first on. At most as many datagrams are taken as there are slots, so that a flood
    /// from strangers cannot hold the caller.
    pub(crate) fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let (mut filled, mut taken, mut tally) = (0, 0, DropTally::default());
        while taken < batch.len() {
            let limit = BATCH.min(batch.len() - taken);
            match mmsg::recv::<N>(self.fd.as_fd(), batch, filled, limit, &mut self.arrivals) {
                Ok(()) => {}
                Err(error @ (Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT)) if filled == 0 => {
                    return Err(error.into());
                }
                // Nothing waits, or an ICMP error that some far node caused: not the end of the endpoint.
                Err(_) => break,
            }
            filled = self.settle(batch, filled, &mut tally);
            taken += self.arrivals.len();
            if self.arrivals.len() < limit {
                break;
            }
        }
        self.counters.frames_received.add(filled as u64);
        self.counters.drops.add(tally);
        Ok(filled)
    }

    /// Admits or drops what has arrived in the slots from `first` on, and closes the gaps; returns where the
    /// filled slots end.
    fn settle(&self, batch: &mut Batch<'_>, first: usize, tally: &mut DropTally) -> usize {
        let mut end = first;
        for (index, arrival) in self.arrivals.iter().enumerate() {
            let far = arrival.from.and_then(|ip| self.fars.number(ip));
            let mut slot = batch.slot(first + index);
            let datagram = &slot.space()[..arrival.len];
            match self.admission.admit(far, datagram, arrival.truncated) {
                Ok(far) => {
                    move_datagram(batch, first + index, end, arrival.len);
                    fill(batch, end, far, arrival.len);
                    end += 1;
                }
                Err(reason) => tally.note(reason),
            }
        }
        end
    }

    /// Sends the frames in order; returns how many slots were sent or refused.
    pub(crate) fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut consumed = 0;
        while consumed < batch.len() {
            let end = batch.len().min(consumed + BATCH);
            let reached = self.send_chunk(batch, consumed, end)?;
            consumed = reached;
            if reached < end {
                break;
            }
        }
        Ok(consumed)
    }

    fn send_chunk(&mut self, batch: &mut Batch<'_>, first: usize, end: usize) -> io::Result<usize> {
        self.prepare(batch, first, end);
        let (mut next, mut sent) = (0, 0);
        while next < self.outgoing.indices.len() {
            let (indices, names) = (&self.outgoing.indices[next..], &self.outgoing.names[next..]);
            let index = indices[0];
            let error = match mmsg::send(self.fd.as_fd(), batch, indices, names) {
                Ok(count) => {
                    next += count;
                    sent += count as u64;
                    continue;
                }
                Err(errno) => errno,
            };
            match SendError::of(error) {
                SendError::Interrupted => {}
                SendError::NoRoom => break,
                SendError::Fatal => return Err(error.into()),
                SendError::Refused(refusal) => {
                    decapsulate(batch.slot(index));
                    self.outgoing.refuse(index, refusal);
                    next += 1;
                }
            }
        }
        self.counters.frames_sent.add(sent);
        let left = &self.outgoing.indices[next..];
        for index in left {
            decapsulate(batch.slot(*index));
        }
        let reached = left.first().copied().unwrap_or(end);
        self.outgoing.mark_refused(batch, reached);
        Ok(reached)
    }

    /// Puts headers in front of the frames of `first .. end`, and sorts out those that cannot be sent.
    fn prepare(&mut self, batch: &mut Batch<'_>, first: usize, end: usize) {
        let header = vxlan::encode(self.admission.vni);
        self.outgoing.clear();
        for index in first..end {
            let mut slot = batch.slot(index);
            let name = self.fars.name(slot.far()).ok_or(Refusal::Down);
            let prepared = name
                .and_then(|name| encapsulate(&mut slot, header, self.admission.largest_frame).map(|()| name));
            self.outgoing.push(index, prepared);
        }
    }
}

/// Copies a datagram into the slot at `to`, if a dropped one before it left that free. Rare.
fn move_datagram(batch: &mut Batch<'_>, from: usize, to: usize, len: usize) {
    if from == to {
        return;
    }
    let mut slots = batch.iter_mut().skip(to);
    let free = slots.next().expect("a free slot lies before the one that is moved").into_space();
    let full = slots.nth(from - to - 1).expect("the batch has that slot").into_space();
    let len = len.min(free.len());
    free[..len].copy_from_slice(&full[..len]);
}

/// Says what lies in the slot at `index`: a frame behind a VXLAN header.
fn fill(batch: &mut Batch<'_>, index: usize, far: u32, len: usize) {
    let mut slot = batch.slot(index);
    slot.set_len(len);
    slot.set_far(far);
    slot.set_offload(Offload::default());
    let has_header = slot.cut_front(vxlan::HEADER);
    debug_assert!(has_header, "only datagrams with a whole header are admitted");
    finish_checksum(slot.frame());
}
