//! Frames of our own making, put on an interface. The one place in this crate that speaks to the kernel by hand:
//! `nix` has no safe way to name an interface to a packet socket.

#![allow(unsafe_code, reason = "sockaddr_ll has to be handed to bind() by pointer")]

use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket};

/// A packet socket on one interface that only sends.
pub(super) struct FrameSocket(OwnedFd);

impl FrameSocket {
    /// On an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// If there is no such interface, or the right is missing.
    pub(super) fn open(interface: &str) -> anyhow::Result<Self> {
        let index = index_of(interface).with_context(|| format!("find {interface}"))?;
        let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
        let raw = raw.context("open a packet socket")?;
        let family = libc::AF_PACKET as libc::sa_family_t;
        // No protocol: it receives nothing.
        // SAFETY: all-zero bytes are a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        (address.sll_family, address.sll_ifindex) = (family, index);
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the pointer is to a live sockaddr_ll of that length, which bind() only reads.
        let bound = unsafe { libc::bind(raw.as_raw_fd(), (&raw const address).cast(), length) };
        Errno::result(bound).with_context(|| format!("bind to {interface}"))?;
        Ok(Self(raw))
    }

    /// Sends one whole frame; one that the interface's queue has no room for is lost, as on any interface.
    ///
    /// # Errors
    /// If the interface is down or gone.
    pub(super) fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        match send(self.0.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno).context("send a frame"),
        }
    }
}

/// The kernel's number of an interface of the calling thread's namespace.
fn index_of(interface: &str) -> anyhow::Result<i32> {
    let name = std::ffi::CString::new(interface).context("a name without a zero byte")?;
    // SAFETY: the pointer is to a string that ends with a zero byte and lives over the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    anyhow::ensure!(index > 0, "there is no such interface");
    index.try_into().context("an interface's number")
}
