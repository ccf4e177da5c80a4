//! A packet socket on one interface: the kernel's side of a capture, as tcpdump or a guest's program would see it.
#![allow(unsafe_code, reason = "socket calls of AF_PACKET")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::netns::Netns;
use super::{PATIENCE, is_readable};

/// A socket that sees all frames of one interface and can send on it. It has no virtio-net header.
pub(crate) struct RawSocket {
    socket: OwnedFd,
}

impl RawSocket {
    pub(crate) fn open(netns: &Netns, interface: &str) -> Self {
        netns.inside(|| {
            let index = nix::net::if_::if_nametoindex(interface).unwrap();
            // SAFETY: system calls with a pointer to an address of the size given.
            let socket = unsafe {
                let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
                assert!(fd >= 0, "{}", io::Error::last_os_error());
                let room: libc::c_int = 32 << 20;
                let len = size_of::<libc::c_int>() as u32;
                let option = libc::SO_RCVBUFFORCE;
                assert_eq!(libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const room).cast(), len), 0);
                let mut address: libc::sockaddr_ll = std::mem::zeroed();
                address.sll_family = libc::AF_PACKET as u16;
                address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
                address.sll_ifindex = index as i32;
                let len = size_of::<libc::sockaddr_ll>() as u32;
                assert_eq!(libc::bind(fd, (&raw const address).cast(), len), 0);
                OwnedFd::from_raw_fd(fd)
            };
            RawSocket { socket }
        })
    }

    /// Sends a frame out of the interface.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.try_send(frame).unwrap();
    }

    pub(crate) fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer is to that many bytes.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame that `is_wanted` picks.
    pub(crate) fn recv_wanted(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        loop {
            assert!(is_readable(self.socket.as_fd(), PATIENCE), "no frame came");
            let mut frame = vec![0; 70_000];
            // SAFETY: the pointer is to that many bytes.
            let len =
                unsafe { libc::recv(self.socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
            frame.truncate(usize::try_from(len).expect("a readable socket"));
            if is_wanted(&frame) {
                return frame;
            }
        }
    }
}
