//! io_uring as this plugin uses it: one ring that receives into the slots lent by the host, one that sends batches.
//!
//! Two rings rather than one, so that reaping a batch's writes never touches completed reads, which must stay
//! where they are for the ready descriptor to be level-triggered. Both belong to the thread that made them
//! (SINGLE_ISSUER); [`this_thread`] tells when an instance has moved and needs new ones.

mod buffers;
mod receive;
mod send;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::{IoUring, Probe, opcode};

pub(crate) use receive::{Outcome, ReceiveRing, Way as ReceiveWay};
pub(crate) use send::{SendRing, Way as SendWay};

/// Whether this kernel has all that the rings need: completion work that waits until the owning thread asks for it
/// (6.1), so that nothing is read behind the owner's back, and reads that complete over and over (6.7).
///
/// # Errors
/// What is missing.
pub(crate) fn check() -> io::Result<()> {
    let ring = build(2, 2)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    if probe.is_supported(opcode::ReadMulti::CODE) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::Unsupported, "no multishot reads (Linux 6.7)"))
    }
}

/// A ring whose calling thread is its only issuer.
///
/// TASKRUN_FLAG makes the kernel say in shared memory that there is work: an idle poll costs no system call.
/// SUBMIT_ALL keeps a batch going after an entry that fails.
fn build(entries: u32, completions: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(completions.max(entries)).setup_submit_all().setup_taskrun_flag().dontfork();
    builder.setup_single_issuer().setup_defer_taskrun().build(entries)
}

/// A number for the calling thread that no other thread of this process ever has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}
