//! Plugins that do not return: noticed from outside, said once, and interrupted where that can be done.
//!
//! A worker that is inside a plugin's call carries nothing for anybody, and a thread cannot be ended. But what waits where
//! it must not mostly waits in the kernel: a signal has the kernel answer "interrupted", the plugin takes that for an error,
//! and the instance ends and is opened anew as after any other. One that computes for ever is named, and no more.
#![allow(unsafe_code, reason = "a handler for a signal, and the signal sent to one thread of this process")]

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::worker::PortNumber;

/// By default without effect, so that one which comes late, or from elsewhere, harms nobody.
const SIGNAL: Signal = Signal::SIGURG;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A worker that has not ended a turn for so many looks stands still: even an idle one turns ten times a second.
const LOOKS: u32 = 4;
/// Stands for no port.
const NOBODY: PortNumber = PortNumber::MAX;

/// A worker's sign of life. Costs it a store a turn and one a call.
#[derive(Debug)]
pub(super) struct Pulse {
    /// The kernel's number of the worker's thread.
    thread: AtomicI32,
    turns: AtomicU64,
    /// The port whose plugin was last asked to receive or send in this turn.
    port: AtomicUsize,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Pulse { thread: AtomicI32::new(0), turns: AtomicU64::new(0), port: AtomicUsize::new(NOBODY) }
    }

    /// Called by the worker before all else.
    pub(super) fn begin(&self) {
        self.thread.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
    }

    /// A turn begins. Only the worker counts, so that no addition need be atomic.
    #[inline]
    pub(super) fn turn(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.rest();
    }

    /// No plugin is asked to receive or send.
    #[inline]
    pub(super) fn rest(&self) {
        self.port.store(NOBODY, Ordering::Relaxed);
    }

    /// A port's plugin is called.
    #[inline]
    pub(super) fn call(&self, port: PortNumber) {
        self.port.store(port, Ordering::Relaxed);
    }
}

/// What is watched: a worker's pulse and the names of its ports, in the order of their numbers.
pub(super) struct Watched {
    pub(super) pulse: Arc<Pulse>,
    pub(super) ports: Vec<String>,
}

/// The thread that watches; it ends when this is dropped.
pub(super) struct Watchdog {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches these workers.
    ///
    /// # Errors
    /// If the system gives no thread, or takes no handler.
    pub(super) fn start(workers: Vec<Watched>) -> std::io::Result<Self> {
        // Without SA_RESTART: a system call that waits is to end, not to go on.
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, which is safe at any point.
        unsafe { sigaction(SIGNAL, &action) }?;
        let (stop, stopped) = mpsc::channel();
        let watch = move || watch(&workers, &stopped);
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watchdog of the data plane panicked");
        }
    }
}

extern "C" fn nothing(_: c_int) {}

/// Looks until nobody is there to stop it any more.
fn watch(workers: &[Watched], stopped: &mpsc::Receiver<()>) {
    let mut seen = vec![Seen { turns: 0, looks: 0 }; workers.len()];
    while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        for (index, (worker, seen)) in workers.iter().zip(&mut seen).enumerate() {
            let thread = worker.pulse.thread.load(Ordering::Relaxed);
            // One that has not begun has no thread.
            if thread == 0 || !seen.stands_still(worker.pulse.turns.load(Ordering::Relaxed)) {
                continue;
            }
            let port = worker.ports.get(worker.pulse.port.load(Ordering::Relaxed));
            if seen.looks == LOOKS {
                say(index, port);
            }
            if port.is_some() && seen.looks % LOOKS == 0 {
                interrupt(thread);
            }
        }
    }
}

/// What was seen of a worker.
#[derive(Clone, Copy)]
struct Seen {
    turns: u64,
    /// How often it has been seen at this turn since.
    looks: u32,
}

impl Seen {
    fn stands_still(&mut self, turns: u64) -> bool {
        if turns != self.turns {
            *self = Seen { turns, looks: 0 };
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        self.looks >= LOOKS
    }
}

fn say(worker: usize, port: Option<&String>) {
    match port {
        Some(instance) => tracing::warn!(
            worker,
            instance,
            "the plugin has not returned for a second: this worker stands still; interrupting it"
        ),
        None => tracing::warn!(worker, "this worker has stood still for a second"),
    }
}

/// Ends the system call that a thread of this process waits in.
fn interrupt(thread: i32) {
    let process = nix::unistd::getpid().as_raw();
    // SAFETY: plain numbers; a thread that has ended meanwhile is not found, and any other of this process does nothing
    // with the signal.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, SIGNAL as c_int) };
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_worker_stands_still_once_it_has_been_seen_at_one_turn_for_a_second() {
        let mut seen = Seen { turns: 0, looks: 0 };
        assert!(!seen.stands_still(1));
        let looks: Vec<bool> = (0..5).map(|_| seen.stands_still(1)).collect();
        assert_eq!(looks, [false, false, false, true, true]);
        assert!(!seen.stands_still(2));
    }

    #[test]
    fn what_waits_in_the_kernel_is_interrupted() {
        let pulse = Arc::new(Pulse::new());
        let watched = Watched { pulse: pulse.clone(), ports: vec!["link.x".to_owned()] };
        let watchdog = Watchdog::start(vec![watched]).unwrap();
        let (mut here, _there) = UnixStream::pair().unwrap();
        pulse.begin();
        pulse.turn();
        pulse.call(0);
        let waited = here.read(&mut [0]).unwrap_err();
        assert_eq!(waited.kind(), std::io::ErrorKind::Interrupted);
        drop(watchdog);
    }
}
