//! Numbered datagrams of many sizes: one by one, and many from one large send that the guest's kernel leaves to be
//! cut (`UDP_SEGMENT`).

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;

use super::super::track::{Tally, Track, fill};
use super::{Talk, Way};

const FIRST_PORT: u16 = 5301;
/// Payloads, one after the other; odd ones too, whose checksums end in half a word.
const SIZES: [usize; 9] = [64, 65, 100, 256, 512, 777, 1024, 1280, 1400];
/// Of each datagram that is cut from a larger one, and how many there are; the last one is shorter.
const SEGMENT: usize = 1200;
const SEGMENTS: usize = 10;
const LAST: usize = 333;
/// What is sent at once, and the pause after it: about 2000 datagrams per second and flow.
const TRAIN: usize = 8;
const PAUSE: Duration = Duration::from_millis(4);
/// Of the receiver's socket.
const BUFFER: usize = 16 << 20;
/// What is still under way when the sender stops arrives within this.
const STRAGGLERS: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How datagrams leave the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each by a send of its own.
    Single,
    /// Ten by one send.
    Cut,
}

/// One flow, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flow {
    pub(crate) way: &'static str,
    pub(crate) kind: &'static str,
    /// Datagrams of one send.
    pub(crate) per_send: u64,
    #[serde(flatten)]
    pub(crate) tally: Tally,
}

impl Flow {
    /// The fewest drops that explain what is lost: a kernel that drops a super-frame counts one.
    pub(crate) fn least_drops(&self) -> u64 {
        self.tally.lost.div_ceil(self.per_send)
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Single, Self::Cut];

    fn name(self) -> &'static str {
        match self {
            Self::Single => "64 to 1400 octets",
            Self::Cut => "10 per send, UDP_SEGMENT",
        }
    }

    fn per_send(self) -> u64 {
        match self {
            Self::Single => 1,
            Self::Cut => SEGMENTS as u64,
        }
    }

    fn port(self, way: Way) -> u16 {
        way.port(FIRST_PORT) + if self == Self::Cut { 2 } else { 0 }
    }
}

/// Sends and receives for as long as there is time.
///
/// # Errors
/// If a socket cannot be made or used.
pub(crate) fn run(talk: &Talk, way: Way, kind: Kind) -> anyhow::Result<Flow> {
    let (from, to) = talk.ends(way);
    let port = kind.port(way);
    let receiver = talk.lab.inside(&to.guest, || receiver(port))??;
    let sender = talk.lab.inside(&from.guest, || sender(SocketAddr::new(to.v4.into(), port), kind))??;
    let sent = AtomicU64::new(0);
    let (track, outcome) = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver, talk));
        let outcome = send(&sender, talk, kind, &sent);
        (receiving.join().expect("receiving does not panic"), outcome)
    });
    outcome?;
    let tally = track?.tally(sent.into_inner());
    Ok(Flow { way: way.name(), kind: kind.name(), per_send: kind.per_send(), tally })
}

fn receiver(port: u16) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", port)).context("bind the receiver of numbered datagrams")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("enlarge a receiver's buffer")?;
    socket.set_read_timeout(Some(LOOK_EVERY)).context("bound a receiver's wait")?;
    Ok(socket)
}

fn sender(to: SocketAddr, kind: Kind) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind the sender of numbered datagrams")?;
    socket.connect(to).context("connect the sender of numbered datagrams")?;
    if kind == Kind::Cut {
        let segment = i32::try_from(SEGMENT).expect("a segment is small");
        setsockopt(&socket, sockopt::UdpGsoSegment, &segment).context("have datagrams cut")?;
    }
    Ok(socket)
}

fn receive(socket: &UdpSocket, talk: &Talk) -> anyhow::Result<Track> {
    let mut track = Track::new();
    let mut buffer = [0; 2048];
    let mut last = Instant::now();
    while talk.goes_on() || last.elapsed() < STRAGGLERS {
        match socket.recv(&mut buffer) {
            Ok(length) => track.handle_payload(&buffer[..length]),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error).context("receive numbered datagrams"),
        }
        if talk.goes_on() {
            last = Instant::now();
        }
    }
    Ok(track)
}

fn send(socket: &UdpSocket, talk: &Talk, kind: Kind, sent: &AtomicU64) -> anyhow::Result<()> {
    let mut buffer = [0; SEGMENT * SEGMENTS];
    let mut number = 0;
    let mut tries = 0;
    while talk.goes_on() {
        for _ in 0..if kind == Kind::Cut { 1 } else { TRAIN } {
            let (length, count) = write_payload(&mut buffer, number, SIZES[tries % SIZES.len()], kind);
            tries += 1;
            match socket.send(&buffer[..length]) {
                Ok(_) => number += count,
                // The same numbers are sent again, in another size: none of them has left.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error).context("send numbered datagrams"),
            }
        }
        std::thread::sleep(PAUSE);
    }
    sent.store(number, Ordering::Relaxed);
    Ok(())
}

/// Octets of what is sent at once from `number` on, and how many datagrams they are; a single one has `size`.
fn write_payload(buffer: &mut [u8], number: u64, size: usize, kind: Kind) -> (usize, u64) {
    match kind {
        Kind::Single => {
            fill(&mut buffer[..size], number);
            (size, 1)
        }
        Kind::Cut => {
            let length = SEGMENT * (SEGMENTS - 1) + LAST;
            for (segment, number) in buffer[..length].chunks_mut(SEGMENT).zip(number..) {
                fill(segment, number);
            }
            (length, SEGMENTS as u64)
        }
    }
}

/// No datagram yet, no room, the word of one that nobody was there to take or that was too large for its way.
fn is_passing(error: &std::io::Error) -> bool {
    let kinds =
        [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted, ErrorKind::ConnectionRefused];
    let passing = [Errno::ENOBUFS as i32, Errno::EMSGSIZE as i32];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_send_holds_numbers_in_a_row_and_its_last_datagram_is_short() {
        let mut buffer = [0; SEGMENT * SEGMENTS];
        let (length, count) = write_payload(&mut buffer, 70, 0, Kind::Cut);
        assert_eq!(count, 10);
        let mut track = Track::new();
        for number in 0..70 {
            let mut single = [0; 1400];
            let (length, _) =
                write_payload(&mut single, number, SIZES[number as usize % SIZES.len()], Kind::Single);
            track.handle_payload(&single[..length]);
        }
        buffer[..length].chunks(SEGMENT).for_each(|datagram| track.handle_payload(datagram));
        assert_eq!(track.tally(80), Tally { sent: 80, ..Tally::default() });
        assert_eq!(length % SEGMENT, LAST);
    }
}
