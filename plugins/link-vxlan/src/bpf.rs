//! The bpf(2) system call: loading a program, attaching it to a device or a socket, and whether a device has any.
#![allow(
    unsafe_code,
    reason = "bpf(2) takes unions with addresses in them, and no crate that is free of a loader calls it"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::programs::Instruction;

// Commands, program types and attach types of linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_QUERY: libc::c_int = 16;
const LINK_CREATE: libc::c_int = 28;
const SOCKET_FILTER: u32 = 1;
const SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;

/// Room for what the kernel says of a program that it refuses.
const LOG_LEN: usize = 16 << 10;

/// Which way of a device a program stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Ingress,
    Egress,
}

impl Way {
    fn attach_type(self) -> u32 {
        match self {
            Way::Ingress => TCX_INGRESS,
            Way::Egress => TCX_EGRESS,
        }
    }
}

/// The members of `union bpf_attr` for PROG_LOAD, as far as they are used.
#[repr(C, align(8))]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// For LINK_CREATE.
#[repr(C, align(8))]
struct LinkCreate {
    program: u32,
    device: u32,
    attach_type: u32,
    flags: u32,
}

/// For PROG_QUERY, up to the last member that the kernel writes.
#[repr(C, align(8))]
#[derive(Default)]
struct Query {
    device: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    reserved: u32,
    arrays: [u64; 3],
    revision: u64,
}

/// Loads a program for a device.
pub(crate) fn load_classifier(program: &[Instruction]) -> io::Result<OwnedFd> {
    load(SCHED_CLS, program)
}

/// Loads a program for a socket.
pub(crate) fn load_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    load(SOCKET_FILTER, program)
}

/// Attaches a program to the device with this index, until the descriptor is closed.
///
/// # Errors
/// `EINVAL` if the kernel has no TCX (before Linux 6.6).
pub(crate) fn attach(program: &OwnedFd, device: u32, way: Way) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd().cast_unsigned();
    let mut attributes = LinkCreate { program, device, attach_type: way.attach_type(), flags: 0 };
    // SAFETY: the command reads these attributes, which have no addresses in them.
    let link = unsafe { bpf(LINK_CREATE, &mut attributes) }?;
    // SAFETY: the descriptor has just been made and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// How many programs are attached to the device.
pub(crate) fn count(device: u32, way: Way) -> io::Result<u32> {
    let mut attributes = Query { device, attach_type: way.attach_type(), ..Query::default() };
    // SAFETY: the command writes to these attributes alone, as they have no addresses in them.
    match unsafe { bpf(PROG_QUERY, &mut attributes) } {
        Ok(_) => Ok(attributes.count),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Has a program decide which frames a socket takes.
pub(crate) fn attach_filter(socket: BorrowedFd<'_>, program: &OwnedFd) -> io::Result<()> {
    let program = program.as_raw_fd();
    let (value, len) = ((&raw const program).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the option reads one int, which the pointer is to.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_BPF, value, len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Loads a program; what the kernel says of one that it refuses becomes the error.
fn load(program_type: u32, program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut log = vec![0_u8; LOG_LEN];
    let mut attributes = Load {
        program_type,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr().expose_provenance() as u64,
        licence: c"MIT".as_ptr().expose_provenance() as u64,
        log_level: 1,
        log_size: LOG_LEN as u32,
        log: log.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: the addresses are of that many instructions, of a C string and of that many bytes to write to, all of
    // which outlive the call.
    match unsafe { bpf(PROG_LOAD, &mut attributes) } {
        // SAFETY: the descriptor has just been made and nobody else has it.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(error) => {
            let said = String::from_utf8_lossy(&log);
            let last =
                said.trim_end_matches(['\0', '\n']).lines().rev().find(|line| !line.starts_with("processed"));
            Err(match last {
                Some(line) => io::Error::new(error.kind(), format!("{error}: {line}")),
                None => error,
            })
        }
    }
}

/// # Safety
/// The attributes are those of the command, and every address in them is of memory that the command may use.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are of the size given; the rest is the caller's word.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
