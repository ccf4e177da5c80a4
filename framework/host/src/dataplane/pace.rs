//! How a worker's thread behaves towards the rest of the machine.
#![allow(unsafe_code, reason = "setpriority has no wrapper in the libraries that are here")]

use std::time::Duration;

use nix::sys::prctl;

/// When a worker waits and who goes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a worker polls after a frame, at most, before it sleeps; zero sleeps at once.
    pub spin: Duration,
    /// How long a worker waits between two batches while links bring super-frames; zero never waits. Frames
    /// that come meanwhile join the next batch's super-frames, each of which costs the guest as much as one
    /// frame: what a network card's interrupt moderation does.
    pub gather: Duration,
    /// Steps that a worker goes before ordinary processes, 0 to 20. If guests went first they would go on
    /// making frames that nobody has the time to carry (receive livelock: Mogul and Ramakrishnan, 1997).
    pub priority: usize,
}

impl Pace {
    /// Puts it in force for the calling thread.
    pub(super) fn apply(self) {
        // Waits of some microseconds are meant so; the default would add fifty.
        if let Err(error) = prctl::set_timerslack(1) {
            tracing::debug!(reason = error.desc(), "short waits are long");
        }
        if self.priority > 0 {
            let nice = -libc::c_int::try_from(self.priority).unwrap_or(20);
            // SAFETY: a system call without pointers; 0 means the calling thread.
            if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } != 0 {
                let reason = std::io::Error::last_os_error();
                tracing::warn!(%reason, "the data plane has no priority over the guests");
            }
        }
    }
}
