//! The plugin's instance: frames from completed reads into the host's slots, frames in slots to the interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use vreserve_offload::parse::ETHERNET_HEADER;
use vreserve_sdk::{Batch, Capture, Failure, Host, InterfaceInfo};

use crate::attach::{Attachment, packet};
use crate::config::{Config, Kind};
use crate::counters::{Counters, Tally};
use crate::delivery::{count_unusable, deliver, deliver_captured, refusal, sendable};
use crate::ring::{Abilities, Outcome, ReceiveRing, ReceiveWay, SendRing, SendWay};
use crate::wire::{self, Captured, Unusable};

/// A frame may have one VLAN tag beyond what the MTU says.
const TAG: usize = 4;

/// One captured interface.
pub struct IoUringCapture {
    // Rings before the attachment: they hold its descriptors.
    receive: Option<ReceiveRing>,
    send: Option<SendRing>,
    /// The super-frame in the oldest completion, and how many of its segments have been delivered.
    unfinished: Option<(Captured, usize)>,
    /// Readable with the interface (frames wait that no ring has read) and with the receiving ring (completed
    /// reads wait). The ring alone does not do: with DEFER_TASKRUN nobody who polls it is woken before its
    /// thread enters it. Nor may it: it belongs to a thread and is replaced when the instance moves.
    ready: Epoll,
    attachment: Attachment,
    abilities: Abilities,
    queue_depth: u16,
    /// Largest frame of this interface.
    frame_max: usize,
    /// Frames have been received since the kernel was last asked for what it dropped.
    is_busy: bool,
    /// Errno of each frame of a batch that was not taken, kept for its memory.
    refused: Vec<(usize, i32)>,
    counters: Counters,
}

impl Capture for IoUringCapture {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let abilities = Abilities::probe().map_err(|error| {
            Failure::unavailable(format!("io_uring (Linux 5.19) is not available: {error}"))
        })?;
        let attachment = Attachment::open(&config)?;
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .and_then(|ready| watch(&ready, attachment.incoming.as_fd()).map(|()| ready))
            .map_err(|error| Failure::unavailable(format!("epoll: {}", error.desc())))?;
        Ok(IoUringCapture {
            receive: None,
            send: None,
            unfinished: None,
            ready,
            abilities,
            queue_depth: config.queue_depth,
            frame_max: attachment.info.mtu as usize + ETHERNET_HEADER + TAG,
            attachment,
            is_busy: false,
            refused: Vec::new(),
            counters: Counters::new(&host),
        })
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        if batch.is_empty() {
            return Ok(0);
        }
        let mut tally = Tally::default();
        let result = self.recv_counting(batch, &mut tally);
        self.counters.add(&tally);
        result
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        if batch.is_empty() {
            return Ok(0);
        }
        let mut tally = Tally::default();
        let result = self.send_counting(batch, &mut tally);
        self.counters.add(&tally);
        result
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.ready.0.as_raw_fd())
    }

    fn info(&self) -> InterfaceInfo {
        self.attachment.info.clone()
    }
}

impl IoUringCapture {
    fn recv_counting(&mut self, batch: &mut Batch<'_>, tally: &mut Tally) -> io::Result<usize> {
        let filled = self.take_completed(batch, tally)?;
        if filled > 0 {
            return Ok(filled);
        }
        self.run()?;
        let filled = self.take_completed(batch, tally)?;
        if filled == 0 {
            self.count_dropped(tally)?;
        }
        Ok(filled)
    }

    /// Lets the ring of this thread work, making it if there is none. A ring of another thread has been emptied
    /// before: what it had not completed is still with the interface.
    fn run(&mut self) -> io::Result<()> {
        if !self.receive.as_ref().is_some_and(ReceiveRing::is_mine) {
            let incoming = self.attachment.incoming.as_fd();
            let (way, buffer_len) = match self.attachment.kind {
                // One byte more than the largest frame tells that a frame was larger.
                Kind::Tap => (ReceiveWay::Read, (self.frame_max + 1).next_multiple_of(64)),
                Kind::Interface => {
                    (ReceiveWay::ReceiveMessage { control_len: wire::CONTROL_LEN }, wire::BUFFER_LEN)
                }
            };
            self.receive = None;
            let ring = ReceiveRing::open(incoming, way, self.abilities, self.queue_depth, buffer_len)?;
            watch(&self.ready, ring.as_fd())?;
            self.receive = Some(ring);
        }
        self.receive.as_mut().map_or(Ok(()), ReceiveRing::run)
    }

    /// Moves frames from completed reads into slots until either run out.
    fn take_completed(&mut self, batch: &mut Batch<'_>, tally: &mut Tally) -> io::Result<usize> {
        let Some(ring) = &mut self.receive else { return Ok(0) };
        let kind = self.attachment.kind;
        let mut filled = 0;
        while filled < batch.len() {
            match ring.peek() {
                None => break,
                Some(Outcome::Nothing) => ring.advance(),
                // The kernel answers a super-frame of a kind that a virtio-net header cannot express so.
                Some(Outcome::Failed(libc::EINVAL)) if kind == Kind::Interface => {
                    tally.drop_malformed += 1;
                    ring.advance();
                }
                Some(Outcome::Failed(_)) if filled > 0 => break,
                Some(Outcome::Failed(errno)) => {
                    ring.advance();
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Some(Outcome::Filled { id, len }) => {
                    let is_cut_off = len >= ring.buffer_len();
                    let bytes = &mut ring.buffer(id)[..len];
                    let delivered = if is_cut_off {
                        Err(Unusable::Oversized)
                    } else if kind == Kind::Tap {
                        deliver(bytes, batch.slot(filled), self.frame_max, tally).map(|()| 1)
                    } else {
                        deliver_captured(bytes, batch, filled, self.frame_max, &mut self.unfinished, tally)
                    };
                    filled += delivered.unwrap_or_else(|unusable| count_unusable(unusable, tally));
                    if self.unfinished.is_some() {
                        break;
                    }
                    ring.advance();
                }
            }
        }
        self.is_busy |= filled > 0;
        Ok(filled)
    }

    /// Asks the kernel what it dropped, once whenever traffic pauses.
    fn count_dropped(&mut self, tally: &mut Tally) -> io::Result<()> {
        if std::mem::take(&mut self.is_busy) && self.attachment.kind == Kind::Interface {
            tally.drop_busy += packet::dropped(self.attachment.incoming.as_fd())?;
        }
        Ok(())
    }

    fn send_counting(&mut self, batch: &mut Batch<'_>, tally: &mut Tally) -> io::Result<usize> {
        if !self.send.as_ref().is_some_and(SendRing::is_mine) {
            let way = match self.attachment.kind {
                Kind::Tap => SendWay::Write,
                Kind::Interface => SendWay::Send,
            };
            self.send = Some(SendRing::open(self.attachment.outgoing.as_fd(), way, self.abilities)?);
        }
        let ring = self.send.as_mut().expect("there is one now");
        let frame_max = self.frame_max;
        let refused = &mut self.refused;
        refused.clear();
        let frames = batch
            .iter_mut()
            .enumerate()
            .filter_map(|(number, slot)| sendable(slot, frame_max).map(|frame| (number, frame)));
        let sent = ring.send(frames, |number, result| match usize::try_from(result) {
            Ok(bytes) => {
                tally.frames_out += 1;
                tally.bytes_out += bytes as u64;
            }
            Err(_) => refused.push((number, -result)),
        });
        if let Err(error) = sent {
            self.send = None;
            return Err(error);
        }
        for &(number, errno) in &self.refused {
            let refusal =
                refusal(self.attachment.kind, errno).ok_or_else(|| io::Error::from_raw_os_error(errno))?;
            batch.slot(number).refuse(refusal);
        }
        Ok(batch.len())
    }
}

/// Makes `ready` readable whenever `fd` is.
fn watch(ready: &Epoll, fd: BorrowedFd<'_>) -> nix::Result<()> {
    ready.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))
}
