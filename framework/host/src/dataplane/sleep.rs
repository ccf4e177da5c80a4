//! How the worker waits: until a frame, a command or a timer is due.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// The longest sleep: bounds how late a clock jump or a lost wake-up is noticed.
const LONGEST: Duration = Duration::from_millis(100);

/// The descriptors that end a sleep.
pub(super) struct Sleep {
    fds: Vec<libc::pollfd>,
    /// True if some instance has no descriptor and must be asked again and again.
    restless: bool,
}

impl Sleep {
    pub(super) fn new() -> Self {
        Sleep { fds: Vec::new(), restless: false }
    }

    /// Takes stock of what can end a sleep. Called when an instance came or went.
    pub(super) fn watch(&mut self, bell: BorrowedFd<'_>, instances: impl Iterator<Item = Option<RawFd>>) {
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        self.fds.clear();
        self.fds.push(entry(bell.as_raw_fd()));
        self.restless = false;
        for fd in instances {
            match fd {
                Some(fd) => self.fds.push(entry(fd)),
                None => self.restless = true,
            }
        }
    }

    /// Sleeps until something is ready or `limit` has passed.
    #[allow(unsafe_code, reason = "ppoll on a vector of our own: nix's wrapper wants borrowed descriptors")]
    pub(super) fn sleep(&mut self, limit: Duration) {
        let limit = if self.restless { Duration::from_millis(1) } else { limit.min(LONGEST) };
        let timeout = libc::timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
        // SAFETY: the pointer and count are of a live vector; the timeout outlives the call. A descriptor
        // that was closed meanwhile is reported as such, which ends the sleep.
        unsafe {
            libc::ppoll(self.fds.as_mut_ptr(), self.fds.len() as libc::nfds_t, &timeout, std::ptr::null())
        };
    }
}
