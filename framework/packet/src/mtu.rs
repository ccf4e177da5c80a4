//! When to ask an interface for its MTU: a frame that is too large may show that it has grown, one that has shrunk shows
//! in no frame.

use std::time::{Duration, Instant};

use crate::ifreq::Interface;

/// How often the MTU is asked for though no frame says anything. Asked only when traffic pauses, it costs nothing.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// One interface whose MTU is followed.
pub struct MtuWatch {
    interface: Interface,
    asked_at: Instant,
    /// The MTU has been asked for in this call: however many frames are too large, one system call.
    is_asked: bool,
}

impl MtuWatch {
    /// Follows an interface whose MTU is known at `now`.
    pub fn new(interface: Interface, now: Instant) -> Self {
        MtuWatch { interface, asked_at: now, is_asked: false }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        self.interface.name()
    }

    /// Starts a call of the host's.
    pub fn begin(&mut self) {
        self.is_asked = false;
    }

    /// To be asked when traffic pauses: true if the MTU is to be asked for, the last time being long ago.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.asked_at) >= ASK_EVERY;
        if is_due {
            self.asked_at = now;
        }
        is_due
    }

    /// The MTU in bytes; none if it was asked for in this call already, or the interface has no name any more.
    pub fn ask(&mut self) -> Option<u32> {
        if std::mem::replace(&mut self.is_asked, true) {
            return None;
        }
        self.interface.mtu().ok()
    }
}
