//! Reading an AF_PACKET socket: a frame per recvmsg, straight into its slot, with control data beside it.
#![allow(unsafe_code, reason = "recvmsg with control data")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use vreserve_sdk::FrameSlot;

use crate::arrived::{Arrived, behind_header};
use crate::control::{AUXILIARY_SPACE, MARK_SPACE, mark_in, tag_in};

/// See the module.
pub struct PacketReader {
    socket: OwnedFd,
}

const CONTROL_LEN: usize = AUXILIARY_SPACE + MARK_SPACE;

/// Aligned as a `struct cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

impl PacketReader {
    /// Reads from a socket of [`crate::socket::open_capturing`].
    pub fn new(socket: OwnedFd) -> Self {
        PacketReader { socket }
    }

    /// Reads one frame, which with its virtio-net header need not fit the slot; `EAGAIN` if none waits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&mut self, slot: &mut FrameSlot<'_>) -> io::Result<Arrived> {
        let mut control = Control([0; CONTROL_LEN]);
        let (header, is_cut_off) = behind_header(slot, |space| receive(&self.socket, space, &mut control))?;
        Ok(Arrived { header, tag: tag_in(&control.0), mark: mark_in(&control.0), is_cut_off })
    }
}

/// One recvmsg: how many bytes came, and whether there were more than the space holds.
fn receive(socket: &OwnedFd, space: &mut [u8], control: &mut Control) -> io::Result<(usize, bool)> {
    let mut part = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.0.as_mut_ptr().cast(), CONTROL_LEN);
    // SAFETY: the message names the space and the control data, both borrowed for this call, with their lengths.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    Ok((len, message.msg_flags & libc::MSG_TRUNC != 0))
}
