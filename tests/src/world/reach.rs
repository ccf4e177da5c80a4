//! Running programs in a lab's members, and whether guests reach each other.

use std::process::Command;
use std::time::{Duration, Instant};

use vreserve_testbed::Lab;

use super::World;
use crate::ping::Ping;

impl World {
    /// Runs a command line in a member's namespace to its end.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn exec(&self, member: &str, words: &[&str]) -> String {
        exec(self.lab(), member, words)
    }

    /// Pings from one guest an address that need not be a guest's, five times a second.
    pub fn ping_address(&self, from: &str, to: &str, count: usize) -> Ping {
        let count = count.to_string();
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c", &count, "-i", "0.2", "-W", "2", to]);
        Ping::of(&self.lab().exec(from, &mut ping).expect("ping runs"))
    }

    /// Pings from one guest another, five times a second.
    pub fn ping(&self, from: &str, to: &str, count: usize) -> Ping {
        self.ping_address(from, &self.address(to).to_string(), count)
    }

    /// Asserts that two guests reach each other, each reply coming once. Ping gives the first requests a
    /// second chance: the guests may still be learned.
    #[track_caller]
    pub fn assert_reachable(&self, from: &str, to: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ping = self.ping(from, to, 3);
            if ping.is_perfect() {
                return;
            }
            assert!(Instant::now() < deadline, "{from} does not reach {to}:\n{}", ping.text);
        }
    }
}

#[track_caller]
pub(super) fn exec(lab: &Lab, member: &str, words: &[&str]) -> String {
    let output = lab.exec(member, Command::new(words[0]).args(&words[1..])).expect("the program starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?} in {member}: {out}{err}");
    out.into_owned()
}
