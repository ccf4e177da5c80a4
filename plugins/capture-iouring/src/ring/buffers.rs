//! Buffers that a ring provides: the kernel picks one when a frame is there, and gets it back when the frame
//! has been copied. The memory and the ring of free buffers are one mapping each.
#![allow(unsafe_code, reason = "memory shared with the kernel: mapping, registering, the ring's tail")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Anonymous memory, page-aligned and zero; pages never touched cost nothing.
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

/// The provided buffers of one ring. Must be dropped after the ring.
pub(super) struct Buffers {
    /// `count` entries that name free buffers; the tail lies in the first one.
    free: Mapping,
    memory: Mapping,
    count: u16,
    buffer_len: usize,
    tail: u16,
}

impl Buffers {
    /// Makes `count` (a power of two) buffers of `buffer_len` bytes each and registers them with `ring`.
    pub(super) fn register(ring: &IoUring, count: u16, buffer_len: usize) -> io::Result<Self> {
        let free = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * buffer_len)?;
        let address = free.start.as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, has room for `count` entries, and `ReceiveRing` drops the ring
        // before these buffers.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0) }?;
        let mut buffers = Buffers { free, memory, count, buffer_len, tail: 0 };
        for id in 0..count {
            buffers.give(id);
        }
        Ok(buffers)
    }

    /// Bytes of each buffer.
    pub(super) fn buffer_len(&self) -> usize {
        self.buffer_len
    }

    /// The buffer `id`, which the kernel must have handed out and not got back.
    pub(super) fn buffer(&mut self, id: u16) -> &mut [u8] {
        assert!(id < self.count, "the kernel hands out buffers that it was given");
        // SAFETY: the buffer lies in the mapping as `id < count`. The kernel handed it out with a completion
        // and does not write to it again before `give`; the borrow of `self` keeps `give` away meanwhile.
        unsafe {
            let start = self.memory.start.as_ptr().add(usize::from(id) * self.buffer_len);
            std::slice::from_raw_parts_mut(start, self.buffer_len)
        }
    }

    /// Gives the buffer `id` to the kernel.
    pub(super) fn give(&mut self, id: u16) {
        assert!(id < self.count, "the kernel hands out buffers that it was given");
        let entries = self.free.start.as_ptr().cast::<BufRingEntry>();
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: the index is below `count`, for which the mapping has room; zeroed entries are valid. The
        // kernel reads this entry only after the tail has passed it, which is stored last. Each buffer is in
        // the ring at most once, so an entry that the kernel has not consumed is never overwritten.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(self.memory.start.as_ptr().add(usize::from(id) * self.buffer_len) as u64);
            entry.set_len(self.buffer_len as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is an aligned u16 in the mapping that only this side writes; the kernel reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
