//! The receiving ring: one read stays armed and completes once per frame, each into a slot lent by the host.
//! Completions are looked at where they lie; one that has not been let go keeps the ring's descriptor readable.
#![allow(unsafe_code, reason = "submission entries with pointers, which outlive the ring's requests")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use io_uring::types::{CancelBuilder, Fixed, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use vreserve_sdk::LentSlots;

use super::buffers::{Buffers, GROUP};
use super::{build, this_thread};

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
    /// A frame: `len` bytes in lent slot `index`, possibly cut off at the slot's end.
    Filled {
        /// The slot's number among those lent.
        index: usize,
        /// Bytes that the kernel wrote.
        len: usize,
    },
    /// Nothing: the read ended for want of slots, or without data.
    Nothing,
    /// The read failed with this errno.
    Failed(i32),
}

impl Outcome {
    /// Bytes that the kernel wrote.
    pub(crate) fn len(self) -> usize {
        match self {
            Outcome::Filled { len, .. } => len,
            Outcome::Nothing | Outcome::Failed(_) => 0,
        }
    }
}

/// See the module.
pub(crate) struct ReceiveRing {
    // Order matters: the ring is closed before the memory that its requests refer to goes.
    ring: IoUring,
    buffers: Buffers,
    /// Read by the kernel whenever a recvmsg is armed.
    message: Box<libc::msghdr>,
    way: Way,
    is_armed: bool,
    /// The first lent slot, and the size of each.
    slots: *mut u8,
    slot_size: usize,
    /// Where in each slot the kernel writes.
    start: usize,
    owner: u64,
}

// SAFETY: all pointers are into memory that the value owns or that outlives it (`open`). SINGLE_ISSUER concerns the
// kernel only, which refuses a submission by another thread.
unsafe impl Send for ReceiveRing {}

impl ReceiveRing {
    /// A ring of the calling thread that reads from `fd` into lent slots, from byte `start` on. Nothing is read
    /// before [`run`](Self::run), nor but by it.
    pub(crate) fn open(fd: BorrowedFd<'_>, way: Way, lent: &LentSlots, start: usize) -> io::Result<Self> {
        let count = u16::try_from(lent.len()).unwrap_or(u16::MAX / 2);
        // Each frame holds a slot, so completions exceed their number only by one without.
        let ring = build(1, 2 * u32::from(count))?;
        ring.submitter().register_files(&[fd.as_raw_fd()])?;
        let buffers = Buffers::register(&ring, count)?;
        // SAFETY: all-zero is a valid value of this plain C struct.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        if let Way::ReceiveMessage { control_len } = way {
            message.msg_controllen = control_len;
        }
        let (slots, slot_size) = (lent.memory(0), lent.slot_size());
        let start = start.min(slot_size);
        let owner = this_thread();
        Ok(ReceiveRing { ring, buffers, message, way, is_armed: false, slots, slot_size, start, owner })
    }

    /// Whether the calling thread made this ring. If not, completions can be taken, but nothing be armed.
    pub(crate) fn is_mine(&self) -> bool {
        self.owner == this_thread()
    }

    /// Where in each slot the kernel writes.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Whether a read of `len` bytes has filled its slot, and may have been cut off.
    pub(crate) fn is_full(&self, len: usize) -> bool {
        len >= self.slot_size - self.start
    }

    /// Gives a lent slot to the kernel.
    ///
    /// # Safety
    /// The slot is one of those that the ring was opened with, outlives the ring, is not with the kernel already,
    /// and is not given to the host before a completion names it.
    pub(crate) unsafe fn give(&mut self, index: usize) {
        let memory = self.slots.wrapping_add(index * self.slot_size + self.start);
        // SAFETY: the caller's word; what follows `start` lies in the slot.
        unsafe { self.buffers.give(index as u16, memory, self.slot_size - self.start) };
    }

    /// The oldest completion; it stays until [`advance`](Self::advance).
    pub(crate) fn peek(&mut self) -> Option<Outcome> {
        let mut completions = self.ring.completion();
        let entry = completions.next();
        // Dropping the queue would let the entry go.
        std::mem::forget(completions);
        entry.map(|entry| outcome(&entry))
    }

    /// Lets the oldest completion go. The slot that it named stays with the instance.
    pub(crate) fn advance(&mut self) {
        let Some(entry) = self.ring.completion().next() else { return };
        self.is_armed &= cqueue::more(entry.flags());
    }

    /// Arms the read if it is not armed and lets the kernel complete what it can: one system call, or none if it
    /// has nothing to do.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let entry = self.entry();
        let mut submissions = self.ring.submission();
        if !self.is_armed {
            // SAFETY: the descriptor is registered; buffers and message live as long as the ring.
            self.is_armed = unsafe { submissions.push(&entry) }.is_ok();
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
        match self.way {
            Way::ReceiveMessage { .. } => {
                opcode::RecvMsgMulti::new(Fixed(0), std::ptr::from_ref(&*self.message), GROUP).build()
            }
            // The kernel takes the length from the buffer and accepts no other. The builder of io-uring 0.7
            // forgets that the descriptor is a registered one, so this says it again.
            Way::Read => opcode::ReadMulti::new(Fixed(0), 0, GROUP).build().flags(squeue::Flags::FIXED_FILE),
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
    /// another thread than the ring's the kernel refuses all this, and the moment passes; nothing is read in it, as
    /// only the ring's own thread ever reads.
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
        (len, Some(id)) if len > 0 => {
            Outcome::Filled { index: usize::from(id), len: len.unsigned_abs() as usize }
        }
        (0.., _) => Outcome::Nothing,
        (error, _) => match -error {
            libc::ENOBUFS | libc::ECANCELED | libc::EAGAIN | libc::EINTR => Outcome::Nothing,
            errno => Outcome::Failed(errno),
        },
    }
}
