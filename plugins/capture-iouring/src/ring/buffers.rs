//! The buffers that a ring provides, which are slots lent by the host: the kernel picks one when a frame is there,
//! and gets it back when the host is done with the frame. What lives here is the ring of free ones.
#![allow(unsafe_code, reason = "memory shared with the kernel: mapping, registering, the ring's tail")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Anonymous memory, page-aligned and zero.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and only its owner refers to it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at a place that the kernel chooses touches nobody's memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("the kernel maps nothing at 0 unless it is told to");
        Ok(Mapping { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` made this mapping with this length, and it is unmapped only here.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The free buffers of one ring. Must be dropped after the ring.
pub(super) struct Buffers {
    /// `room` entries that name free buffers; the tail lies in the first one.
    free: Mapping,
    /// A power of two.
    room: u16,
    tail: u16,
}

impl Buffers {
    /// Registers room for `count` buffers with `ring`.
    pub(super) fn register(ring: &IoUring, count: u16) -> io::Result<Self> {
        let room = count.next_power_of_two();
        let free = Mapping::new(usize::from(room) * size_of::<BufRingEntry>())?;
        let address = free.start.as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, has room for `room` entries, and `ReceiveRing` drops the ring before
        // it.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, room, GROUP, 0) }?;
        Ok(Buffers { free, room, tail: 0 })
    }

    /// Gives `len` bytes at `address` to the kernel as buffer `id`, to be written until a completion names it.
    ///
    /// # Safety
    /// The memory is the caller's for as long, outlives the ring, and is not with the kernel already.
    pub(super) unsafe fn give(&mut self, id: u16, address: *mut u8, len: usize) {
        let entries = self.free.start.as_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail & (self.room - 1));
        // SAFETY: the index is below `room`; zeroed entries are valid. The kernel reads this entry only after the
        // tail has passed it, which is stored last. Each buffer is in the ring at most once, so an entry that the
        // kernel has not consumed is never overwritten.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(address as u64);
            entry.set_len(len as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is an aligned u16 in the mapping that only this side writes; the kernel reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
