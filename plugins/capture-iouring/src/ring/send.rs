//! The sending ring: a batch of frames as submission entries, one system call, and all of them completed
//! before the call returns, as the frames' memory is the caller's.
#![allow(unsafe_code, reason = "submission entries with pointers to frames, completed before they end")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::Fixed;
use io_uring::{IoUring, opcode, squeue};

use super::{build, this_thread};

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By write, to a TAP. The descriptor must be non-blocking: then the kernel takes the frame or refuses it
    /// before the submission returns.
    Write,
    /// By send, to a socket, refused rather than queued if there is no room.
    Send,
}

/// Entries per submission; larger batches take several.
const ENTRIES: u32 = 256;

/// See the module.
pub(crate) struct SendRing {
    ring: IoUring,
    way: Way,
    owner: u64,
    /// Entries pushed whose completion has not been taken.
    pending: usize,
}

impl SendRing {
    /// A ring of the calling thread that writes to `fd`.
    pub(crate) fn open(fd: BorrowedFd<'_>, way: Way) -> io::Result<Self> {
        let ring = build(ENTRIES, ENTRIES)?;
        ring.submitter().register_files(&[fd.as_raw_fd()])?;
        Ok(SendRing { ring, way, owner: this_thread(), pending: 0 })
    }

    /// Whether the calling thread made this ring; no other may send.
    pub(crate) fn is_mine(&self) -> bool {
        self.owner == this_thread()
    }

    /// Writes numbered frames in order. `done` hears of each one's number and its bytes written or negative
    /// errno.
    ///
    /// # Errors
    /// The ring failed; it must be dropped and not used again.
    pub(crate) fn send<'f>(
        &mut self,
        frames: impl Iterator<Item = (usize, &'f [u8])>,
        mut done: impl FnMut(usize, i32),
    ) -> io::Result<()> {
        for (number, frame) in frames {
            let entry = self.entry(frame).user_data(number as u64);
            // SAFETY: the frame is borrowed beyond this call, which returns only after `flush` has seen every
            // completion, or with an error after which the ring is dropped: entries not submitted never are
            // then, and those submitted were completed in place, as none may wait (see `entry`).
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.flush(&mut done)?;
                // SAFETY: as above; after a flush the queue is empty, so this push succeeds.
                drop(unsafe { self.ring.submission().push(&entry) });
            }
            self.pending += 1;
        }
        self.flush(&mut done)
    }

    fn flush(&mut self, done: &mut impl FnMut(usize, i32)) -> io::Result<()> {
        while self.pending > 0 {
            match self.ring.submit_and_wait(self.pending) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.reap(done),
            }
        }
        Ok(())
    }

    fn reap(&mut self, done: &mut impl FnMut(usize, i32)) {
        for entry in self.ring.completion() {
            self.pending -= 1;
            done(entry.user_data() as usize, entry.result());
        }
    }

    /// Neither way ever waits: a socket is told not to, and a TAP's send queue has no bound that frames reach.
    fn entry(&self, frame: &[u8]) -> squeue::Entry {
        let len = frame.len() as u32;
        match self.way {
            Way::Write => opcode::Write::new(Fixed(0), frame.as_ptr(), len).build(),
            Way::Send => opcode::Send::new(Fixed(0), frame.as_ptr(), len).flags(libc::MSG_DONTWAIT).build(),
        }
    }
}

impl Drop for SendRing {
    /// The kernel takes a closed ring apart a moment later; until then a TAP would stay busy.
    fn drop(&mut self) {
        drop(self.ring.submitter().unregister_files());
    }
}
