//! AF_PACKET sockets of an existing interface: one that captures, one that injects.
#![allow(unsafe_code, reason = "socket, bind and socket options of AF_PACKET")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use vreserve_sdk::Queue;

/// Super-frames count with their buffers' true size, about twice their length, so this holds some hundred.
const QUEUE_BYTES: libc::c_int = 16 << 20;

/// `PACKET_FANOUT_HASH`: by flow, the same for both directions and for all fragments of a datagram.
const FANOUT_HASH: u32 = 0;
/// `PACKET_FANOUT_FLAG_IGNORE_OUTGOING` of linux/if_packet.h: what the sockets ask for one by one does not hold
/// for their group.
const FANOUT_IGNORE_OUTGOING: u32 = 0x4000;

/// `SO_RCVMARK` of asm-generic/socket.h.
const SO_RCVMARK: libc::c_int = 75;

/// A socket that captures all that the interface receives, whoever it is for, but not what it sends; with a
/// virtio-net header before each frame and the VLAN tag in control data. One of several queues shares the
/// interface's flows with the others of this process. `prepare` is called before the first frame comes.
///
/// # Errors
/// The kernel's: no permission, no such interface; what `prepare` returns.
pub fn open_capturing(
    index: u32,
    queue: Queue,
    prepare: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let socket = open(0)?;
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
    set_option(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
    set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &QUEUE_BYTES)?;
    let membership = libc::packet_mreq {
        mr_ifindex: index.cast_signed(),
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    prepare(socket.as_fd())?;
    // Only now does it capture: before, it would have taken frames of every interface.
    bind(fd, index, libc::ETH_P_ALL as u16)?;
    if queue.count > 1 {
        join_group(fd, index)?;
        if queue.index > 0 {
            discard_waiting(fd);
        }
    }
    Ok(socket)
}

/// Joins the group of this process and interface: each flow goes to one of its sockets.
fn join_group(fd: i32, index: u32) -> io::Result<()> {
    // Groups are numbered per namespace with 16 bits; of one process, no two interfaces have the same number.
    let group = (index ^ std::process::id().wrapping_mul(0x9e37)) & 0xffff;
    let fanout = group | (FANOUT_HASH | FANOUT_IGNORE_OUTGOING) << 16;
    set_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &fanout)
}

/// What came between binding and joining, the group's other sockets have had too.
fn discard_waiting(fd: i32) {
    // SAFETY: a call without room for any data; the kernel writes nothing.
    while unsafe { libc::recv(fd, std::ptr::null_mut(), 0, libc::MSG_DONTWAIT | libc::MSG_TRUNC) } >= 0 {}
}

/// A socket that injects frames as if the interface sent them, with a virtio-net header before each. Through its
/// queueing discipline (a veth has none): on the way past it, frames would be lost that an interface without
/// offload cannot send whole; here the kernel cuts them.
///
/// # Errors
/// The kernel's: no permission, no such interface.
pub fn open_injecting(index: u32) -> io::Result<OwnedFd> {
    let socket = open(libc::SOCK_NONBLOCK)?;
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &QUEUE_BYTES)?;
    bind(fd, index, 0)?;
    Ok(socket)
}

/// Has the kernel say each frame's mark in control data (`SO_RCVMARK`, Linux 6.0).
///
/// # Errors
/// The kernel is older.
pub fn receive_marks(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, SO_RCVMARK, &1_i32)
}

/// Frames that the kernel dropped since the last call because the socket's queue was full.
///
/// # Errors
/// It is no such socket.
pub fn dropped(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the option writes at most `len` bytes, the size of the struct that the pointer is to.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            std::ptr::from_mut(&mut statistics).cast(),
            &mut len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(u64::from(statistics.tp_drops)) }
}

/// A socket that receives nothing until it is bound to a protocol.
fn open(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor has just been made and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option<T>(fd: i32, level: i32, option: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from the reference, which is to a value of that size.
    let result = unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn bind(fd: i32, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from the pointer, which is to an address of that size.
    let result = unsafe { libc::bind(fd, std::ptr::from_ref(&address).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
