//! TAP devices: making one or attaching to it, and checking one that was handed over.
#![allow(unsafe_code, reason = "ioctl requests of /dev/net/tun and duplicating a descriptor given by number")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use vreserve_offload::VnetHeader;
use vreserve_packet::ifreq::{carry_out, name_of, named};

/// What the frames of a TAP descriptor look like, as set by whoever made it.
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) is_tap: bool,
    /// Each frame has a virtio-net header in front.
    pub(crate) has_vnet_header: bool,
    /// Each frame has four bytes of flags and protocol in front.
    pub(crate) has_packet_info: bool,
}

/// An attached TAP, each frame with a virtio-net header in front.
pub(crate) struct Attached {
    pub(crate) device: OwnedFd,
    /// It may have several queues, of which this is one.
    pub(crate) is_multi_queue: bool,
}

/// Attaches to the TAP `name`, making it if there is none: with several queues if `wants_queues`, unless it is
/// one that was made otherwise.
pub(crate) fn attach(name: &str, wants_queues: bool) -> io::Result<Attached> {
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let is_multi_queue = match set_name(&device, name, wants_queues) {
        Ok(()) => wants_queues,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set_name(&device, name, !wants_queues)?;
            !wants_queues
        }
        Err(error) => return Err(error),
    };
    Ok(Attached { device: device.into(), is_multi_queue })
}

/// The kernel takes the header from whoever attaches last, so a persistent TAP that was made without gets it too.
fn set_name(device: &File, name: &str, is_multi_queue: bool) -> io::Result<()> {
    let queues = if is_multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    let mut request = named(name);
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | queues;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: this request takes a struct ifreq of a name and flags.
    unsafe { carry_out(device.as_raw_fd(), libc::TUNSETIFF, &mut request) }
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
    // SAFETY: this request takes a struct ifreq of a name and flags.
    unsafe { carry_out(fd.as_raw_fd(), libc::TUNGETIFF, &mut request) }?;
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

/// Asks for headers of 10 bytes and for as much offload as the kernel has; true if that is all that this plugin
/// speaks (6.2: UDP too), false if TCP or only checksums or nothing.
pub(crate) fn accept_offloads(fd: i32) -> io::Result<bool> {
    let len = VnetHeader::LEN as libc::c_int;
    // SAFETY: the request reads one int, which the pointer is to.
    if unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let all = tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6;
    for wanted in [all, tcp, libc::TUN_F_CSUM] {
        match set_offloads(fd, wanted) {
            Ok(()) => return Ok(wanted == all),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    set_offloads(fd, 0).map(|()| false)
}

/// Makes the kernel give plain wire frames, whatever an earlier user of a TAP had asked for.
pub(crate) fn refuse_offloads(fd: i32) -> io::Result<()> {
    set_offloads(fd, 0)
}

fn set_offloads(fd: i32, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: the argument of this request is a number, not a pointer.
    let result = unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `_IO('T', 227)` of linux/if_tun.h.
const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;
