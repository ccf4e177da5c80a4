//! tcpdump at one interface: what passed, and when.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vreserve_model::MacAddr;

use crate::world::World;

/// Octets of each frame that are kept: headers only.
const SNAP: &str = "128";
/// Kernel buffer in KiB, so that nothing is missed while the machine is busy.
const BUFFER: &str = "16384";
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const MAGIC: u32 = 0xa1b2_c3d4;

/// A running tcpdump.
#[derive(Debug)]
pub struct Sniff {
    child: Child,
    file: PathBuf,
}

impl Sniff {
    /// Starts tcpdump at `interface` of a member, and waits until it listens.
    #[track_caller]
    pub fn start(world: &World, member: &str, interface: &str, filter: &str) -> Self {
        let file = world.dir().join(format!("{member}-{interface}.pcap"));
        let mut command = Command::new("tcpdump");
        command.args(["-n", "-p", "-U", "--immediate-mode", "-s", SNAP, "-B", BUFFER, "-i", interface, "-w"]);
        command.arg(&file).args(["-Z", "root"]).arg(filter);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = world.lab().spawn(member, &mut command).expect("tcpdump starts");
        let said = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let mut lines = said.lines().map_while(Result::ok);
        let heard = lines.by_ref().find(|line| line.contains("listening on"));
        assert!(heard.is_some(), "tcpdump does not listen at {interface} of {member} for {filter}");
        // The pipe is drained so that tcpdump never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, file }
    }

    /// Ends it and returns when each frame passed, in microseconds since the Unix epoch.
    pub fn finish(self) -> Vec<u64> {
        self.records().into_iter().map(|(time, _)| time).collect()
    }

    /// Ends it and returns the first 128 octets of each frame.
    pub fn finish_frames(self) -> Vec<Vec<u8>> {
        self.records().into_iter().map(|(_, frame)| frame).collect()
    }

    fn records(mut self) -> Vec<(u64, Vec<u8>)> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // tcpdump flushes on SIGINT.
        let _ = kill(pid, Signal::SIGINT);
        let _ = self.child.wait();
        records(&fs::read(&self.file).expect("tcpdump has written its file"))
    }
}

impl Drop for Sniff {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The filter for frames between two guests inside VXLAN datagrams, in either direction.
pub fn pair_filter(one: MacAddr, other: MacAddr) -> String {
    let way = |destination: MacAddr, source: MacAddr| {
        format!("({} and {})", mac_at(16, destination), mac_at(22, source))
    };
    format!("udp dst port 4789 and ({} or {})", way(one, other), way(other, one))
}

/// Matches an address at an offset from the start of the UDP header: 8 of UDP and 8 of VXLAN come before the
/// inner frame.
fn mac_at(offset: usize, MacAddr([a, b, c, d, e, f]): MacAddr) -> String {
    let (head, tail) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
    format!("udp[{offset}:4] = 0x{head:08x} and udp[{}:2] = 0x{tail:04x}", offset + 4)
}

/// The records of a capture file: times and frames.
fn records(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    assert_eq!(word(0), Some(MAGIC), "not a capture file of this machine");
    let mut records = Vec::new();
    let mut at = FILE_HEADER;
    while let (Some(seconds), Some(micros), Some(kept)) = (word(at), word(at + 4), word(at + 8)) {
        let frame = &bytes[at + RECORD_HEADER..][..kept as usize];
        records.push((u64::from(seconds) * 1_000_000 + u64::from(micros), frame.to_vec()));
        at += RECORD_HEADER + kept as usize;
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_file_gives_its_frames_and_times() {
        let mut file = Vec::new();
        let mut put = |words: &[u32]| words.iter().for_each(|word| file.extend(word.to_ne_bytes()));
        put(&[MAGIC, 0, 0, 0, 128, 1]);
        put(&[3, 7, 4, 60, 0xdead]);
        put(&[4, 0, 0, 60]);
        assert_eq!(records(&file), [(3_000_007, 0xdead_u32.to_ne_bytes().to_vec()), (4_000_000, vec![])]);
    }
}
