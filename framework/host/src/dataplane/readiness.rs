//! Which ports have frames waiting: one epoll set per worker, and the ports to ask in the next turn.
//!
//! Only those are asked that the set named, that gave frames in the last turn, or that have no
//! descriptor: hundreds of silent ports cost a busy one nothing. All descriptors are level-triggered, so a
//! port that is asked too little is named again.
#![allow(unsafe_code, reason = "descriptors belong to plugins: they come as numbers")]

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The longest sleep in ms: bounds how late a clock jump or a lost wake-up is noticed.
const LONGEST: u16 = 100;
/// How long at most, in ms, ports without a descriptor are not asked.
const RESTLESS: u16 = 1;
/// Marks the mailbox's bell in the set.
const BELL: u64 = u64::MAX;
/// So many times in a row may ports be called ready that then have nothing: then a wait is in place, or a
/// plugin's broken descriptor would take a whole core.
const HOLLOW_WAITS: u32 = 64;

/// How a port can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// By this descriptor.
    Descriptor(RawFd),
    /// It must be asked again and again.
    Restless,
    /// It has failed.
    Closed,
}

/// The ports that have, or may have, frames waiting. Ports are known by their number.
pub(super) struct Readiness {
    /// None if the system gave no set; then all ports are restless.
    set: Option<Epoll>,
    events: Vec<EpollEvent>,
    restless: Vec<usize>,
    /// The ports to ask in the next turn, each once.
    due: Vec<usize>,
    /// The memory of the list that is not in use.
    spare: Vec<usize>,
    is_due: Vec<bool>,
    hollow_waits: u32,
}

impl Readiness {
    /// For `ports` ports, none of them watched yet.
    pub(super) fn new(ports: usize) -> Self {
        Readiness {
            set: None,
            events: vec![EpollEvent::empty(); ports + 1],
            restless: Vec::with_capacity(ports),
            due: Vec::with_capacity(ports),
            spare: Vec::with_capacity(ports),
            is_due: vec![false; ports],
            hollow_waits: 0,
        }
    }

    /// Takes stock of what can be waited for. Called when an instance came or went; a new set each time, so
    /// that nothing of a closed descriptor can stay behind.
    pub(super) fn watch(&mut self, bell: BorrowedFd<'_>, ports: impl Iterator<Item = Watch>) {
        self.restless.clear();
        self.set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .inspect_err(|error| tracing::error!(%error, "no epoll set; all instances are polled"))
            .ok();
        let added = self.set.as_ref().map(|set| set.add(bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL)));
        if let Some(Err(error)) = added {
            tracing::error!(%error, "commands are waited for by polling");
        }
        for (port, watch) in ports.enumerate() {
            match watch {
                Watch::Descriptor(fd) if self.add(port, fd) => {}
                Watch::Descriptor(_) | Watch::Restless => self.restless.push(port),
                Watch::Closed => {}
            }
        }
    }

    fn add(&self, port: usize, fd: RawFd) -> bool {
        if fd < 0 {
            return false;
        }
        // SAFETY: the descriptor is only handed to the kernel, which refuses one that is not open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, port as u64);
        self.set.as_ref().is_some_and(|set| set.add(fd, event).is_ok())
    }

    /// True while ports are to be asked without waiting.
    pub(super) fn is_any_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The ports to ask now, each once; give the list back to [`end_turn`](Self::end_turn).
    pub(super) fn begin_turn(&mut self) -> Vec<usize> {
        for index in 0..self.restless.len() {
            self.ask_again(self.restless[index]);
        }
        let due = std::mem::replace(&mut self.due, std::mem::take(&mut self.spare));
        due.iter().for_each(|port| self.is_due[*port] = false);
        due
    }

    /// Ends a turn in which `asked` were asked, and frames came or not.
    pub(super) fn end_turn(&mut self, mut asked: Vec<usize>, frames_came: bool) {
        asked.clear();
        self.spare = asked;
        if frames_came {
            self.hollow_waits = 0;
        }
    }

    /// Puts a port on the list of the next turn.
    pub(super) fn ask_again(&mut self, port: usize) {
        if !std::mem::replace(&mut self.is_due[port], true) {
            self.due.push(port);
        }
    }

    /// Puts every port on the list of the next turn.
    pub(super) fn ask_all(&mut self) {
        (0..self.is_due.len()).for_each(|port| self.ask_again(port));
    }

    /// Looks, without waiting, which ports are ready.
    pub(super) fn poll(&mut self) {
        self.ask_set(EpollTimeout::ZERO);
    }

    /// Waits until a port is ready or the bell rings, or for `limit`: one system call.
    pub(super) fn wait(&mut self, limit: Duration) {
        if self.hollow_waits >= HOLLOW_WAITS || self.set.is_none() {
            std::thread::sleep(limit.min(Duration::from_millis(u64::from(RESTLESS))));
        }
        let longest = if self.restless.is_empty() { LONGEST } else { RESTLESS };
        // Rounded up: a timer that is a little late is better than one that takes two wake-ups.
        let limit = limit.as_nanos().div_ceil(1_000_000).min(u128::from(longest));
        self.ask_set(EpollTimeout::from(u16::try_from(limit).expect("bounded by LONGEST")));
        self.hollow_waits += 1;
    }

    fn ask_set(&mut self, timeout: EpollTimeout) {
        let Some(set) = &self.set else { return };
        // An interrupted wait is a short one.
        let ready = set.wait(&mut self.events, timeout).unwrap_or(0);
        for event in 0..ready {
            match self.events[event].data() {
                BELL => self.hollow_waits = 0,
                port => self.ask_again(usize::try_from(port).expect("a port's number")),
            }
        }
        if ready == 0 {
            self.hollow_waits = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn turn(readiness: &mut Readiness) -> Vec<usize> {
        let due = readiness.begin_turn();
        let asked = due.clone();
        readiness.end_turn(due, false);
        asked
    }

    #[test]
    fn only_ports_with_something_waiting_are_asked_and_none_is_forgotten() {
        let pairs: Vec<_> = (0..512).map(|_| UnixDatagram::pair().unwrap()).collect();
        let (bell, mut ringer) = std::io::pipe().unwrap();
        let mut readiness = Readiness::new(pairs.len());
        let watches = pairs.iter().map(|(near, _)| Watch::Descriptor(near.as_raw_fd()));
        readiness.watch(bell.as_fd(), watches);
        readiness.wait(SOON);
        assert!(turn(&mut readiness).is_empty(), "nothing waits");

        for port in [7, 300] {
            pairs[port].1.send(b"frame").unwrap();
        }
        readiness.poll();
        readiness.poll();
        let mut asked = turn(&mut readiness);
        asked.sort_unstable();
        assert_eq!(asked, [7, 300], "each once");
        pairs[7].0.recv(&mut [0; 8]).unwrap();
        readiness.poll();
        assert_eq!(turn(&mut readiness), [300], "what was not taken is still there");

        pairs[300].0.recv(&mut [0; 8]).unwrap();
        ringer.write_all(b"!").unwrap();
        readiness.wait(Duration::from_secs(60));
        assert!(turn(&mut readiness).is_empty(), "the bell ends a wait and is no port");
    }

    #[test]
    fn ports_without_a_descriptor_are_asked_every_turn_and_failed_ones_never() {
        let (bell, _ringer) = std::io::pipe().unwrap();
        let mut readiness = Readiness::new(3);
        readiness.watch(bell.as_fd(), [Watch::Closed, Watch::Restless, Watch::Descriptor(-7)].into_iter());
        assert_eq!(turn(&mut readiness), [1, 2]);
        readiness.wait(Duration::from_secs(60));
        assert_eq!(turn(&mut readiness), [1, 2]);
    }

    #[test]
    fn a_port_that_gave_frames_is_due_in_the_next_turn() {
        let mut readiness = Readiness::new(2);
        readiness.ask_again(1);
        let due = readiness.begin_turn();
        assert_eq!(due, [1]);
        readiness.ask_again(1);
        readiness.end_turn(due, true);
        assert!(readiness.is_any_due());
        assert_eq!(turn(&mut readiness), [1]);
        assert!(!readiness.is_any_due());
    }
}
