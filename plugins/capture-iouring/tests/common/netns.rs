//! Network namespaces of a test: made with `ip`, named after the process, removed when the test ends.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;
use nix::sched::{CloneFlags, setns};

/// A network namespace that is removed when this is dropped.
pub(crate) struct Netns {
    pub(crate) name: String,
}

impl Netns {
    /// Makes one, or says visibly why the test is skipped.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            // Not by eprintln, which the test runner captures.
            std::io::stderr().write_all(b"SKIPPED: network namespaces need root\n").unwrap();
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("vrcap-{}-{number}", std::process::id());
        run(&["netns", "add", &name]);
        let netns = Netns { name };
        netns.ip(&["link", "set", "lo", "up"]);
        // Otherwise neighbour discovery mixes with the frames that a test counts.
        netns.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap());
        Some(netns)
    }

    /// `ip -n <this namespace> …`, which must succeed.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        let output = run(&[&["-n", self.name.as_str()], arguments].concat());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether there is an interface of that name.
    pub(crate) fn has(&self, interface: &str) -> bool {
        let arguments = ["-n", &self.name, "link", "show", interface];
        Command::new("ip").args(arguments).output().unwrap().status.success()
    }

    /// Returns when the interface is gone. It goes with its last descriptor, which a child of another test may
    /// have until it executes its program.
    pub(crate) fn await_gone(&self, interface: &str) {
        let patience = Instant::now() + PATIENCE;
        while self.has(interface) {
            assert!(Instant::now() < patience, "{interface} stays");
        }
    }

    /// Returns when frames can pass: the kernel notices some time after both ends of a pair were set up, and until then
    /// drops what is sent.
    pub(crate) fn await_up(&self, interface: &str) {
        let patience = Instant::now() + Duration::from_secs(10);
        while !self.ip(&["link", "show", interface]).contains("state UP") {
            assert!(Instant::now() < patience, "{interface} stays down");
        }
    }

    /// Runs `call` on a thread in this namespace.
    pub(crate) fn inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let enter_and_call = || {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            call()
        };
        thread::scope(|scope| scope.spawn(enter_and_call).join().unwrap())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "delete", &self.name]).output());
    }
}

fn run(arguments: &[&str]) -> Output {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
