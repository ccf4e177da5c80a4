//! Processes that belong to a lab: those started through it, and whatever else runs in its namespaces.
//!
//! A recorded pid is trusted only together with its start time, so a recycled pid is never signalled.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::netns;

/// How long a process may take to end after SIGTERM, and the kernel after SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// Between two looks at `/proc`: the end of a process that is not our child cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process started through the lab, leader of a process group of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub started: u64,
    /// Whose namespace it was started in.
    pub member: String,
    /// The command, for people.
    pub command: String,
}

impl Process {
    /// Whether this very process still runs; one that has ended and waits for its parent does not.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// Start time of a running process.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, field 2, may hold anything, also blanks and parentheses; the rest follows the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// Ends the recorded processes with their groups, and every process inside the namespaces: SIGTERM first,
/// then SIGKILL. Returns how many there were, and how many outlived even that.
pub(super) fn end(recorded: &[Process], namespaces: &[String]) -> (usize, usize) {
    let networks: BTreeSet<_> = namespaces.iter().filter_map(|name| netns::identity(name)).collect();
    let seen = signal(recorded, &networks, Signal::SIGTERM);
    if seen > 0 && !are_gone(recorded, &networks) {
        signal(recorded, &networks, Signal::SIGKILL);
        if !are_gone(recorded, &networks) {
            return (seen, inside(&networks).len() + recorded.iter().filter(|p| p.is_alive()).count());
        }
    }
    (seen, 0)
}

fn signal(recorded: &[Process], networks: &BTreeSet<(u64, u64)>, signal: Signal) -> usize {
    let mut pids: BTreeSet<i32> = inside(networks).into_iter().collect();
    for process in recorded.iter().filter(|process| process.is_alive()) {
        // A process that ends between the look and the signal is what we want.
        let _ = killpg(Pid::from_raw(process.pid), signal);
        pids.insert(process.pid);
    }
    for pid in &pids {
        let _ = kill(Pid::from_raw(*pid), signal);
    }
    pids.len()
}

/// Waits, within bounds, until none is left.
fn are_gone(recorded: &[Process], networks: &BTreeSet<(u64, u64)>) -> bool {
    let deadline = Instant::now() + GRACE;
    loop {
        if !recorded.iter().any(Process::is_alive) && inside(networks).is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Every running process, but ourselves, whose network is one of these.
fn inside(networks: &BTreeSet<(u64, u64)>) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        *pid != own && start_time(*pid).is_some() && network_of(*pid).is_some_and(|id| networks.contains(&id))
    })
    .collect()
}

fn network_of(pid: i32) -> Option<(u64, u64)> {
    std::fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_not_the_recorded_process() {
        let pid = std::process::id().cast_signed();
        let started = start_time(pid).unwrap();
        let process = Process { pid, started, member: "alpha".into(), command: "test".into() };
        assert!(process.is_alive());
        assert!(!Process { started: started + 1, ..process }.is_alive());
    }
}
