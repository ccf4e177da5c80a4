//! A TAP device in a network namespace of this thread's own, which is gone with the thread.
#![allow(unsafe_code, reason = "no safe crate makes a TAP device that passes virtio-net headers")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use vreserve_offload::{Offload, VnetHeader};

const DEVICE: &str = "/dev/net/tun";
/// How long the kernel may take to answer: long enough for any machine, and only a failed test waits it out.
const PATIENCE_MS: u16 = 20_000;

/// What the kernel at the other end is called.
pub(crate) const MAC: &str = "02:00:00:00:00:01";

/// The device; what is written to it arrives in the kernel of the namespace.
pub(crate) struct Tap(File);

impl Tap {
    /// Moves this thread into a new namespace and makes the device there, or says on standard output, past the
    /// capture of the test runner, why the test is left out.
    pub(crate) fn open(test: &str) -> Option<Tap> {
        if !geteuid().is_root() || !Path::new(DEVICE).exists() {
            let _ = writeln!(std::io::stdout(), "SKIPPED: {test}: needs root and {DEVICE}");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let file = File::options().read(true).write(true).open(DEVICE).unwrap();
        attach(&file);
        for line in [
            &format!("link set tap0 address {MAC}"),
            "link set lo up",
            "link set tap0 up",
            "address add 10.0.0.2/24 dev tap0",
            "address add fd00::2/64 dev tap0 nodad",
            "neighbour add 10.0.0.1 lladdr 02:00:00:00:00:02 dev tap0",
            "neighbour add fd00::1 lladdr 02:00:00:00:00:02 dev tap0",
        ] {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
        }
        Some(Tap(file))
    }

    /// Hands a frame to the kernel in one write.
    pub(crate) fn write(&mut self, frame: &[u8], offload: &Offload) {
        let bytes = [&VnetHeader::encode(offload).0, frame].concat();
        assert_eq!(self.0.write(&bytes).unwrap(), bytes.len());
    }

    /// The next frame that the kernel sends and `is_wanted`.
    pub(crate) fn read(&mut self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut bytes = [0; 70_000];
        loop {
            let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            assert_ne!(
                poll(&mut waiting, PollTimeout::from(PATIENCE_MS)).unwrap(),
                0,
                "the kernel is silent"
            );
            let len = self.0.read(&mut bytes).unwrap();
            let frame = &bytes[VnetHeader::LEN..len];
            if is_wanted(frame) {
                return frame.to_vec();
            }
        }
    }
}

/// Makes the device that `file` stands for: `tap0` with virtio-net headers and nothing else before a frame.
fn attach(file: &File) {
    // SAFETY: every field of an `ifreq` may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (target, byte) in request.ifr_name.iter_mut().zip(b"tap0") {
        *target = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is open and the request is an initialised `ifreq`, as TUNSETIFF wants it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
}

/// Checksum and header errors that the kernel of this thread's namespace has counted, by name.
pub(crate) fn errors() -> Vec<(String, u64)> {
    let read = |file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let is_error = |name: &str| name.ends_with("InCsumErrors") || name.ends_with("InHdrErrors");
    let mut errors = Vec::new();
    let text = read("snmp");
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let protocol = pair[0].split(' ').next().unwrap();
        let counters = pair[0].split(' ').zip(pair[1].split(' ')).skip(1);
        errors.extend(
            counters
                .filter(|(name, _)| is_error(name))
                .map(|(name, count)| (format!("{protocol}{name}"), count.parse().unwrap())),
        );
    }
    for line in read("snmp6").lines() {
        let (name, count) = line.split_once(char::is_whitespace).unwrap();
        if is_error(name) {
            errors.push((name.to_owned(), count.trim().parse().unwrap()));
        }
    }
    errors
}
