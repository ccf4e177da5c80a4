//! `sendmmsg` on an AF_PACKET socket: one system call for up to [`BATCH`] frames, each with a mark of its own
//! (`SO_MARK`), by which programs of the kernel tell frames apart. No allocation after the first call.
#![allow(unsafe_code, reason = "message headers of the kernel hold raw pointers")]

use std::io;
use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use vreserve_sdk::Batch;

/// Frames per system call.
pub const BATCH: usize = 64;

/// One control message with a mark.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    mark: u32,
}

/// See the module.
pub struct MarkedSender {
    headers: Box<[libc::mmsghdr]>,
    parts: Box<[libc::iovec]>,
    controls: Box<[Control]>,
}

// SAFETY: the pointers are written anew before each call from borrowed slots and own boxes, and not read after it.
unsafe impl Send for MarkedSender {}

impl Default for MarkedSender {
    fn default() -> Self {
        // SAFETY: zeros are valid for these structs of numbers and pointers.
        let (header, part, mut control): (_, _, Control) = unsafe { (zeroed(), zeroed(), zeroed()) };
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SO_MARK;
        control.header.cmsg_len = offset_of!(Control, mark) + size_of::<u32>();
        MarkedSender {
            headers: vec![header; BATCH].into_boxed_slice(),
            parts: vec![part; BATCH].into_boxed_slice(),
            controls: vec![control; BATCH].into_boxed_slice(),
        }
    }
}

impl MarkedSender {
    /// Sends the frames in slots `first` to `end` of the batch, at most [`BATCH`], whose virtio-net header stands
    /// before them; `mark_of` gives the mark of each by its slot's number. Returns how many were sent, at least one.
    ///
    /// # Errors
    /// What went wrong with the frame in slot `first`.
    ///
    /// # Panics
    /// If there are none to send.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        batch: &mut Batch<'_>,
        (first, end): (usize, usize),
        mark_of: impl Fn(usize) -> u32,
    ) -> io::Result<usize> {
        let count = (end - first).min(BATCH);
        assert!(count > 0, "a call sends something");
        for index in 0..count {
            let frame = batch.slot(first + index).into_frame();
            self.parts[index] = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            self.controls[index].mark = mark_of(first + index);
            let header = &mut self.headers[index].msg_hdr;
            (header.msg_iov, header.msg_iovlen) = (&raw mut self.parts[index], 1);
            header.msg_control = ptr::from_mut(&mut self.controls[index]).cast();
            header.msg_controllen = size_of::<Control>();
        }
        // SAFETY: every header points to a control message and a part, which are this value's own, with their
        // lengths; the parts point to the batch's slots, borrowed for this call. The kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
