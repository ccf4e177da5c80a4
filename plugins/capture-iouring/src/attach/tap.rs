//! TAP devices: making one or attaching to it, and checking one that was handed over.
#![allow(unsafe_code, reason = "ioctl requests of /dev/net/tun and duplicating a descriptor given by number")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::ifreq::{carry_out, name_of, named};

/// What the frames of a TAP descriptor look like, as set by whoever made it.
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) is_tap: bool,
    /// Each frame has a virtio-net header in front.
    pub(crate) has_vnet_header: bool,
    /// Each frame has four bytes of flags and protocol in front.
    pub(crate) has_packet_info: bool,
}

/// Attaches to the TAP `name`, making it if there is none.
pub(crate) fn attach(name: &str) -> io::Result<OwnedFd> {
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = named(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    carry_out(device.as_raw_fd(), libc::TUNSETIFF, &mut request)?;
    refuse_offloads(device.as_raw_fd())?;
    Ok(device.into())
}

/// Duplicates the descriptor with this number, so that the original survives this instance. It becomes
/// non-blocking, which both share.
pub(crate) fn duplicate(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: a number that is no open descriptor is answered with EBADF; nothing is closed or taken over.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the copy has just been made and nobody else has it.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    // SAFETY: both requests take and return numbers.
    let result = unsafe {
        let flags = libc::fcntl(copy.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(copy.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(copy) }
}

/// What `fd` is. An error means that it is no TUN or TAP at all.
pub(crate) fn shape(fd: BorrowedFd<'_>) -> io::Result<Shape> {
    let mut request = named("");
    carry_out(fd.as_raw_fd(), libc::TUNGETIFF, &mut request)?;
    // SAFETY: the kernel wrote this field of the union in answer to TUNGETIFF.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(Shape {
        name: name_of(&request),
        is_tap: flags & libc::IFF_TAP != 0,
        has_vnet_header: flags & libc::IFF_VNET_HDR != 0,
        has_packet_info: flags & libc::IFF_NO_PI == 0,
    })
}

/// The network namespace that the device behind `fd` is in.
pub(crate) fn netns_of(fd: BorrowedFd<'_>) -> io::Result<File> {
    // SAFETY: the request takes no argument and returns a new descriptor.
    let netns = unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETDEVNETNS) };
    if netns < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor has just been made and nobody else has it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(netns) }))
}

/// Makes the kernel give plain wire frames, whatever an earlier user of a persistent TAP had asked for.
pub(crate) fn refuse_offloads(fd: i32) -> io::Result<()> {
    // SAFETY: the argument of this request is a number, not a pointer.
    let result = unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, 0 as libc::c_ulong) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `_IO('T', 227)` of linux/if_tun.h.
const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;
