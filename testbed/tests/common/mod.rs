//! What the real tests share: the visible skip, names of their own, and traffic that arrives or does not.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod gara;

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use vreserve_testbed::{Lab, LabSpec};

/// Long enough for an ARP retry (1 s) after a path came up; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(400);

/// Whether the machine lets us make namespaces; says so where nobody captures it, when not.
pub(crate) fn can_run() -> bool {
    let reason = if !nix::unistd::geteuid().is_root() {
        "not root"
    } else if ["ip", "tc"].iter().any(|tool| std::process::Command::new(tool).arg("-V").output().is_err()) {
        "iproute2 is not installed"
    } else {
        return true;
    };
    skip(reason);
    false
}

/// Says that the running test is left out, where nobody captures it.
pub(crate) fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    // One write, so that concurrent tests do not tear the line apart.
    let _ = std::io::stderr().write_all(format!("\nSKIPPED: {test}: {reason}\n").as_bytes());
}

/// A lab under a name that no other test and no other run uses.
pub(crate) fn unique(spec: LabSpec, tag: &str) -> LabSpec {
    spec.named(&format!("t{}_{tag}", std::process::id())).unwrap()
}

/// Parses a lab file's text.
pub(crate) fn spec(text: &str) -> LabSpec {
    LabSpec::parse(text, "test.toml".as_ref()).unwrap()
}

fn ends(lab: &Lab, from: &str, to: &str, at: Ipv4Addr) -> (UdpSocket, UdpSocket) {
    let receiver = lab.inside(to, || UdpSocket::bind((at, 0)).unwrap()).unwrap();
    let sender = lab.inside(from, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    (sender, receiver)
}

/// Sends datagrams until one arrives or the time is over.
fn arrives(lab: &Lab, from: &str, to: &str, at: Ipv4Addr, within: Duration) -> bool {
    let (sender, receiver) = ends(lab, from, to, at);
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        // The kernel reports an unanswered ARP request as an error of the socket: that too is silence.
        let _ = sender.send(b"light");
        if receiver.recv(&mut [0; 16]).is_ok() {
            return true;
        }
    }
    false
}

/// Datagrams from one member reach an address of another.
pub(crate) fn carries(lab: &Lab, from: &str, to: &str, at: Ipv4Addr) -> bool {
    arrives(lab, from, to, at, PATIENCE)
}

/// Nothing that one member sends reaches an address of another.
pub(crate) fn is_dark(lab: &Lab, from: &str, to: &str, at: Ipv4Addr) -> bool {
    !arrives(lab, from, to, at, SILENCE)
}

/// Bits per second that arrive when a member sends as fast as it can.
pub(crate) fn flood_rate(lab: &Lab, from: &str, to: &str, at: Ipv4Addr) -> f64 {
    assert!(carries(lab, from, to, at));
    let (sender, receiver) = ends(lab, from, to, at);
    let end = Instant::now() + Duration::from_millis(1500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                let _ = sender.send(&[0; 1400]);
            }
        });
        let mut buffer = [0; 2048];
        let (mut bytes, mut begun, mut last) = (0, None, Instant::now());
        while Instant::now() < end {
            if let Ok(length) = receiver.recv(&mut buffer) {
                last = Instant::now();
                begun.get_or_insert(last);
                bytes += length;
            }
        }
        bytes as f64 * 8.0 / (last - begun.expect("something arrived")).as_secs_f64()
    })
}

/// Waits, within bounds, until something holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
