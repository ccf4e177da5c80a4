//! Several workers on one address and port: a classic BPF program in the kernel says which socket of the group
//! takes a datagram, before anything is queued.
//!
//! Sockets are numbered in the order they were bound, which is the order of the workers. A pair of guests stays
//! on one worker, so its frames keep their order.
#![allow(unsafe_code, reason = "the socket option takes a pointer to a program")]

use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH, BPF_TAX, BPF_W,
    BPF_X, BPF_XOR,
};
use nix::errno::Errno;

use crate::config::Format;
use crate::vxlan;

/// `BPF_A` of linux/filter.h: return the accumulator.
const BPF_A: u32 = 0x10;
/// Where the second byte of the secure format names the worker.
const LANE: u32 = 1;
/// The last four bytes of the addresses in the inner Ethernet header.
const DESTINATION: u32 = vxlan::HEADER as u32 + 2;
const SOURCE: u32 = vxlan::HEADER as u32 + 8;
/// Spreads addresses that differ in few bits (Knuth's multiplicative hashing).
const SPREAD: u32 = 2_654_435_769;

/// Has the kernel spread the datagrams of `fd`'s group over `count` workers.
pub(crate) fn attach(fd: BorrowedFd<'_>, format: Format, count: u32) -> nix::Result<()> {
    let program = match format {
        Format::Secure => vec![load(BPF_B, LANE), modulo(count), RETURN],
        // The same for both directions of a pair.
        Format::Vxlan => vec![
            load(BPF_W, SOURCE),
            op(BPF_MISC | BPF_TAX, 0),
            load(BPF_W, DESTINATION),
            op(BPF_ALU | BPF_XOR | BPF_X, 0),
            op(BPF_ALU | BPF_MUL | BPF_K, SPREAD),
            op(BPF_ALU | BPF_RSH | BPF_K, 16),
            modulo(count),
            RETURN,
        ],
    };
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a handful of instructions"),
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the option reads a program of the length that it says, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

const RETURN: libc::sock_filter = op(BPF_RET | BPF_A, 0);

const fn op(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// A datagram that is too short for it goes to the first worker.
const fn load(size: u32, at: u32) -> libc::sock_filter {
    op(BPF_LD | BPF_ABS | size, at)
}

const fn modulo(count: u32) -> libc::sock_filter {
    op(BPF_ALU | BPF_MOD | BPF_K, count)
}
