//! io_uring as this plugin uses it: one ring that receives into buffers it provides, one that sends batches.
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

/// What this kernel's io_uring can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Completion work waits until the owning thread asks for it (6.1): no interruptions in between.
    pub(crate) deferred: bool,
    /// One submitted read completes over and over (6.7).
    pub(crate) read_multishot: bool,
}

impl Abilities {
    /// Finds out by making a small ring and dropping it.
    ///
    /// # Errors
    /// What `io_uring_setup` says if there is no io_uring for this process.
    pub(crate) fn probe() -> io::Result<Self> {
        let (ring, deferred) = match build(2, 2, true) {
            Ok(ring) => (ring, true),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (build(2, 2, false)?, false),
            Err(error) => return Err(error),
        };
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        Ok(Abilities { deferred, read_multishot: probe.is_supported(opcode::ReadMulti::CODE) })
    }
}

/// A ring whose calling thread is its only issuer.
///
/// TASKRUN_FLAG makes the kernel say in shared memory that there is work: an idle poll costs no system call.
/// SUBMIT_ALL keeps a batch going after an entry that fails.
fn build(entries: u32, completions: u32, deferred: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(completions.max(entries)).setup_submit_all().setup_taskrun_flag().dontfork();
    if deferred {
        builder.setup_single_issuer().setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    builder.build(entries)
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
