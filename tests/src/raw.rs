//! Ethernet frames as a hostile or broken guest would send them.

#![allow(unsafe_code, reason = "a link-layer address can be made only from its C structure")]

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};

use crate::world::World;

/// Sends frames out of `interface` of a member, each exactly as it is.
///
/// # Panics
/// If the kernel will not send one.
#[track_caller]
pub fn send(world: &World, member: &str, interface: &str, frames: &[Vec<u8>]) {
    let sent = world.lab().inside(member, || {
        let index = nix::net::if_::if_nametoindex(interface)?;
        let socket: OwnedFd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        let to = address(index);
        frames
            .iter()
            .try_for_each(|frame| sendto(socket.as_raw_fd(), frame, &to, MsgFlags::empty()).map(drop))
    });
    sent.expect("the member has a namespace").expect("the kernel sends the frames");
}

fn address(index: u32) -> LinkAddr {
    // SAFETY: all zeroes is a value of this plain structure.
    let mut raw: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    raw.sll_family = libc::AF_PACKET as u16;
    raw.sll_ifindex = index.cast_signed();
    raw.sll_halen = 6;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a whole `sockaddr_ll` of the family and length given, alive during the call.
    let address = unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) };
    address.expect("the structure is that of a link-layer address")
}
