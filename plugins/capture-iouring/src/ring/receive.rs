//! The receiving ring: reads stay armed, completed ones are looked at where they lie and let go when their
//! frame has been delivered. A completion that has not been let go keeps the ring's descriptor readable.
#![allow(unsafe_code, reason = "submission entries with pointers, which outlive the ring's requests")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use io_uring::types::{CancelBuilder, Fixed, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffers::{Buffers, GROUP};
use super::{Abilities, build, this_thread};

/// How frames are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By read: a TAP gives one frame per read. The descriptor must be non-blocking, or the kernel hands each
    /// read to a worker thread.
    Read,
    /// By recvmsg, with room for that many bytes of control data before each frame.
    ReceiveMessage {
        /// Bytes of `msg_control`.
        control_len: usize,
    },
}

/// What the oldest completion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A frame of `len` bytes in buffer `id`, possibly cut off at the buffer's length.
    Filled {
        /// The buffer's number.
        id: u16,
        /// Bytes that the kernel wrote.
        len: usize,
    },
    /// Nothing: a read ended for want of buffers, or without data.
    Nothing,
    /// The read failed with this errno.
    Failed(i32),
}

/// Reads that wait at the same time where each completes but once (before 6.7). All are issued by one thread,
/// in order, so frames stay in order.
const SINGLE_READS: u32 = 32;

/// See the module.
pub(crate) struct ReceiveRing {
    // Order matters: the ring is closed before the memory that its requests refer to goes.
    ring: IoUring,
    buffers: Buffers,
    /// Read by the kernel whenever a recvmsg is armed.
    message: Box<libc::msghdr>,
    way: Way,
    multishot: bool,
    /// Reads that are armed.
    armed: u32,
    owner: u64,
}

// SAFETY: all pointers are into memory that the value owns. SINGLE_ISSUER concerns the kernel only, which
// refuses a submission by another thread.
unsafe impl Send for ReceiveRing {}

impl ReceiveRing {
    /// A ring of the calling thread that reads from `fd`. Nothing is read before [`run`](Self::run).
    pub(crate) fn open(
        fd: BorrowedFd<'_>,
        way: Way,
        abilities: Abilities,
        depth: u16,
        buffer_len: usize,
    ) -> io::Result<Self> {
        let depth = depth.next_power_of_two();
        // Each frame holds a buffer, so completions never exceed the depth but by those without one.
        let ring = build(SINGLE_READS, 2 * u32::from(depth) + SINGLE_READS, abilities.deferred)?;
        ring.submitter().register_files(&[fd.as_raw_fd()])?;
        let buffers = Buffers::register(&ring, depth, buffer_len)?;
        // SAFETY: all-zero is a valid value of this plain C struct.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        if let Way::ReceiveMessage { control_len } = way {
            message.msg_controllen = control_len;
        }
        let multishot = way != Way::Read || abilities.read_multishot;
        Ok(ReceiveRing { ring, buffers, message, way, multishot, armed: 0, owner: this_thread() })
    }

    /// Whether the calling thread made this ring. If not, completions can be taken, but nothing be armed.
    pub(crate) fn is_mine(&self) -> bool {
        self.owner == this_thread()
    }

    /// The oldest completion; it stays until [`advance`](Self::advance).
    pub(crate) fn peek(&mut self) -> Option<Outcome> {
        let mut completions = self.ring.completion();
        let entry = completions.next();
        // Dropping the queue would let the entry go.
        std::mem::forget(completions);
        entry.map(|entry| outcome(&entry))
    }

    /// Lets the oldest completion go, and its buffer back to the kernel.
    pub(crate) fn advance(&mut self) {
        let Some(entry) = self.ring.completion().next() else { return };
        if !cqueue::more(entry.flags()) {
            self.armed -= 1;
        }
        if let Some(id) = cqueue::buffer_select(entry.flags()) {
            self.buffers.give(id);
        }
    }

    /// The bytes of a buffer that a completion named.
    pub(crate) fn buffer(&mut self, id: u16) -> &mut [u8] {
        self.buffers.buffer(id)
    }

    /// Bytes of each buffer: a frame that fills one has been cut off.
    pub(crate) fn buffer_len(&self) -> usize {
        self.buffers.buffer_len()
    }

    /// Arms what is not armed and lets the kernel complete what it can: one system call, or none if it has
    /// nothing to do.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let wanted = if self.multishot { 1 } else { SINGLE_READS };
        let entry = self.entry();
        let mut submissions = self.ring.submission();
        while self.armed < wanted {
            // SAFETY: the descriptor is registered; buffers and message live as long as the ring.
            if unsafe { submissions.push(&entry) }.is_err() {
                break;
            }
            self.armed += 1;
        }
        let is_idle = submissions.is_empty() && !submissions.taskrun() && !submissions.cq_overflow();
        drop(submissions);
        if is_idle {
            return Ok(());
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            // A signal, or no memory for a request now: what was pushed is submitted by the next call.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn entry(&self) -> squeue::Entry {
        let len = self.buffers.buffer_len() as u32;
        match self.way {
            Way::ReceiveMessage { .. } => {
                opcode::RecvMsgMulti::new(Fixed(0), std::ptr::from_ref(&*self.message), GROUP).build()
            }
            // The kernel takes the length from the buffer and accepts no other. The builder of io-uring 0.7
            // forgets that the descriptor is a registered one, so this says it again.
            Way::Read if self.multishot => {
                opcode::ReadMulti::new(Fixed(0), 0, GROUP).build().flags(squeue::Flags::FIXED_FILE)
            }
            Way::Read => opcode::Read::new(Fixed(0), std::ptr::null_mut(), len)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        }
    }
}

impl AsFd for ReceiveRing {
    /// Readable while completions wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns this descriptor and is borrowed as long as it.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for ReceiveRing {
    /// Requests that still hold the interface would outlive the ring for a moment, and a TAP stay busy. On
    /// another thread than the ring's the kernel refuses all this, and the moment passes.
    fn drop(&mut self) {
        let submitter = self.ring.submitter();
        let patience = Timespec::from(std::time::Duration::from_millis(100));
        if submitter.register_sync_cancel(Some(patience), CancelBuilder::any()).is_ok() {
            drop(submitter.submit());
        }
        drop(submitter.unregister_files());
    }
}

fn outcome(entry: &cqueue::Entry) -> Outcome {
    match (entry.result(), cqueue::buffer_select(entry.flags())) {
        (len, Some(id)) if len > 0 => Outcome::Filled { id, len: len.unsigned_abs() as usize },
        (0.., _) => Outcome::Nothing,
        (error, _) => match -error {
            libc::ENOBUFS | libc::ECANCELED | libc::EAGAIN | libc::EINTR => Outcome::Nothing,
            errno => Outcome::Failed(errno),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn drain(ring: &mut ReceiveRing) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(outcome) = ring.peek() {
            match outcome {
                Outcome::Filled { id, len } => frames.push(ring.buffer(id)[..len].to_vec()),
                Outcome::Nothing => {}
                Outcome::Failed(errno) => panic!("errno {errno}"),
            }
            ring.advance();
        }
        frames
    }

    /// Kernels differ in how reads are armed and in when completions come; what is received does not.
    #[test]
    fn every_kernels_way_of_reading_gives_the_same_frames_in_order() {
        let here = Abilities::probe().unwrap();
        for deferred in [here.deferred, false] {
            for read_multishot in [here.read_multishot, false] {
                let (near, far) = UnixDatagram::pair().unwrap();
                near.set_nonblocking(true).unwrap();
                let abilities = Abilities { deferred, read_multishot };
                let mut ring = ReceiveRing::open(near.as_fd(), Way::Read, abilities, 5, 64).unwrap();
                ring.run().unwrap();
                assert!(drain(&mut ring).is_empty());
                let sent: Vec<_> = (1..=60u8).map(|number| vec![number; usize::from(number)]).collect();
                let mut received = Vec::new();
                for burst in sent.chunks(6) {
                    burst.iter().for_each(|frame| assert_eq!(far.send(frame).unwrap(), frame.len()));
                    while received.len() < usize::from(burst[5][0]) {
                        ring.run().unwrap();
                        received.extend(drain(&mut ring));
                    }
                }
                assert_eq!(received, sent, "{abilities:?}");
            }
        }
    }
}
