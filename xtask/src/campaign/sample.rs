//! Frames as they pass an interface, every checksum computed: a guest's kernel may believe what the card, here a
//! daemon or a veth, says of a checksum; this looks for itself.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use vreserve_offload::checksum::{self, Integrity};
use vreserve_offload::{Ip, IpVersion, Layout, Transport};
use vreserve_testbed::Lab;

/// How long one sample is taken.
const LENGTH: Duration = Duration::from_secs(2);
/// At most so many frames of each; there are more in two seconds.
const MOST: &str = "4000";
/// Kernel buffer in KiB.
const BUFFER: &str = "16384";
/// Octets in front of the inner frame: Ethernet, IPv4, UDP, VXLAN (RFC 7348).
const OUTER: usize = 14 + 20 + 8 + 8;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const MAGIC: u32 = 0xa1b2_c3d4;

/// Where frames are looked at.
pub(crate) struct Spot {
    pub(crate) name: &'static str,
    pub(crate) member: String,
    pub(crate) interface: &'static str,
    /// Of tcpdump.
    pub(crate) filter: String,
    pub(crate) content: Content,
}

/// What stands in a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The guests' own frames.
    Plain,
    /// VXLAN datagrams around them.
    Vxlan,
}

/// What was found at one spot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sampled {
    pub(crate) frames: u64,
    pub(crate) right: u64,
    /// No checksum to be checked: ARP, fragments, ICMPv6.
    pub(crate) unchecked: u64,
    /// Left to the guest's kernel as a virtual card may: the sum of the pseudo-header alone.
    pub(crate) partial: u64,
    pub(crate) wrong: u64,
    pub(crate) malformed: u64,
}

/// Takes one sample.
///
/// # Errors
/// If tcpdump fails.
pub(crate) fn take(lab: &Lab, spot: &Spot, files: &Path) -> anyhow::Result<Sampled> {
    let file = files.join(format!("sample-{}.pcap", spot.name));
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-p", "-Z", "root", "-s", "0", "-B", BUFFER, "-c", MOST, "-i", spot.interface, "-w"]);
    command.arg(&file).arg(&spot.filter);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = lab.spawn(&spot.member, &mut command)?;
    std::thread::sleep(LENGTH);
    // tcpdump writes what it has on SIGINT; one that has enough has ended by itself.
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT);
    child.wait().context("wait for tcpdump")?;
    let bytes = std::fs::read(&file).context("read a sample")?;
    let mut sampled = Sampled::default();
    for frame in frames(&bytes)? {
        sampled.look_at(frame, spot.content);
    }
    Ok(sampled)
}

impl Sampled {
    /// Adds another sample of the same spot.
    pub(crate) fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.right += other.right;
        self.unchecked += other.unchecked;
        self.partial += other.partial;
        self.wrong += other.wrong;
        self.malformed += other.malformed;
    }

    fn look_at(&mut self, frame: &[u8], content: Content) {
        self.frames += 1;
        let inner = if content == Content::Vxlan { frame.get(OUTER..) } else { Some(frame) };
        let Some(inner) = inner else {
            self.malformed += 1;
            return;
        };
        match checksum::verify(inner) {
            Ok(Integrity::Valid) => self.right += 1,
            Ok(Integrity::Unchecked) => self.unchecked += 1,
            Ok(Integrity::WrongTransport) if is_partial(inner) => self.partial += 1,
            Ok(Integrity::WrongIpv4Header | Integrity::WrongTransport) => self.wrong += 1,
            Err(_) => self.malformed += 1,
        }
    }
}

/// Whether the field holds the sum of the pseudo-header, as of a frame whose checksum is left to others.
fn is_partial(frame: &[u8]) -> bool {
    let Ok(Layout { ip: Some(ip), .. }) = Layout::parse(frame) else { return false };
    let offset = match ip.transport {
        Transport::Tcp { .. } => 16,
        Transport::Udp { .. } => 6,
        Transport::Sctp | Transport::Opaque => return false,
    };
    let field = frame.get(ip.transport_start + offset..).and_then(|rest| rest.first_chunk::<2>());
    field.is_some_and(|field| Some(u16::from_be_bytes(*field)) == pseudo_header(frame, &ip))
}

fn pseudo_header(frame: &[u8], ip: &Ip) -> Option<u16> {
    let length = ip.end.checked_sub(ip.transport_start)?;
    let sum = match ip.version {
        IpVersion::V4 { .. } => {
            let addresses = frame.get(ip.start + 12..)?;
            let (source, rest) = addresses.split_first_chunk::<4>()?;
            let destination = rest.first_chunk::<4>()?;
            checksum::pseudo_ipv4(*source, *destination, ip.protocol, u16::try_from(length).ok()?)
        }
        IpVersion::V6 => {
            let addresses = frame.get(ip.start + 8..)?;
            let (source, rest) = addresses.split_first_chunk::<16>()?;
            let destination = rest.first_chunk::<16>()?;
            checksum::pseudo_ipv6(*source, *destination, ip.protocol, u32::try_from(length).ok()?)
        }
    };
    Some(sum.partial())
}

/// The frames of a capture file.
fn frames(bytes: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    if word(0) != Some(MAGIC) {
        bail!("tcpdump wrote no capture file");
    }
    let mut frames = Vec::new();
    let mut at = FILE_HEADER;
    while let Some(kept) = word(at + 8) {
        let begin = at + RECORD_HEADER;
        // The last one may be cut short by the signal.
        let Some(frame) = bytes.get(begin..begin + kept as usize) else { break };
        frames.push(frame);
        at = begin + kept as usize;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram of one octet from 10.0.0.1 to 10.0.0.2, with this checksum.
    fn frame(checksum: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend([0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = checksum::Sum::of(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend([0, 7, 0, 9, 0, 9]);
        frame.extend(checksum.to_be_bytes());
        frame.push(0x61);
        frame
    }

    fn looked_at(frame: &[u8], content: Content) -> Sampled {
        let mut sampled = Sampled::default();
        sampled.look_at(frame, content);
        sampled
    }

    #[test]
    fn right_partial_and_wrong_checksums_are_told_apart() {
        let partial = checksum::pseudo_ipv4([10, 0, 0, 1], [10, 0, 0, 2], 17, 9).partial();
        let mut right = frame(partial);
        checksum::complete(&mut right, 34, 6).unwrap();
        assert_eq!(looked_at(&right, Content::Plain), Sampled { frames: 1, right: 1, ..Sampled::default() });
        let left = looked_at(&frame(partial), Content::Plain);
        assert_eq!(left, Sampled { frames: 1, partial: 1, ..Sampled::default() });
        let wrong = looked_at(&frame(partial ^ 1), Content::Plain);
        assert_eq!(wrong, Sampled { frames: 1, wrong: 1, ..Sampled::default() });
        let tunnelled = [vec![0; OUTER], right].concat();
        assert_eq!(looked_at(&tunnelled, Content::Vxlan).right, 1);
        assert_eq!(looked_at(&[0; 9], Content::Vxlan).malformed, 1);
    }

    #[test]
    fn frames_of_a_capture_file_are_found_and_half_a_frame_is_not() {
        let mut file = Vec::new();
        for word in [MAGIC, 0, 0, 0, 128, 1, 3, 7, 4, 60, 0xdead, 4, 0, 8, 60] {
            file.extend(word.to_ne_bytes());
        }
        assert_eq!(frames(&file).unwrap(), [&0xdead_u32.to_ne_bytes()[..]]);
        assert!(frames(&[]).is_err());
    }
}
