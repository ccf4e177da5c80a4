//! A small datagram there and back again: how long most of them take, and how long the slowest.
//!
//! The two ends are kept on different processors, as guests on different machines are. Left to the scheduler they
//! now and then share one, where no processor has to be woken, and the same way takes a fifth of the time.

use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use vreserve_testbed::Lab;

use super::super::ground::Subject;
use super::super::metric::Metric;
use super::super::spread::quantile;

/// Payload of a datagram.
const BYTES: usize = 32;
const PORT: u16 = 5401;
/// The first do not count: caches are cold.
const WARM_UP: u64 = 100;
/// An answer that takes longer is lost; nothing here takes so long.
const ANSWER: Duration = Duration::from_millis(500);
/// So many lost, and there is nobody.
const MOST_LOST: usize = 4;
/// How often the echoing end looks whether it is still needed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When the next datagram is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As soon as the last one is back.
    Continuous,
    /// After a pause in which everything on the way goes to sleep.
    Paced(Duration),
}

/// Sends and waits, again and again, for so long.
///
/// # Errors
/// If answers do not come.
pub(crate) fn run(
    lab: &Lab,
    subject: &Subject,
    length: Duration,
    pace: Pace,
) -> anyhow::Result<Vec<(Metric, f64)>> {
    let far = lab.inside(&subject.to, far_end)??;
    let near = lab.inside(&subject.from, || near_end(SocketAddrV4::new(subject.at, PORT)))??;
    let is_over = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let echoing = scope.spawn(|| keep_on(1).and_then(|()| echo(&far, &is_over)));
        let asking = scope.spawn(|| keep_on(0).and_then(|()| ask(&near, length, pace)));
        let times = asking.join().expect("asking does not panic");
        is_over.store(true, Ordering::Relaxed);
        echoing.join().expect("echoing does not panic")?;
        times
    })?;
    figures(times)
}

fn figures(mut times: Vec<f64>) -> anyhow::Result<Vec<(Metric, f64)>> {
    times.sort_by(f64::total_cmp);
    let wanted = [(Metric::RoundTripP50, 0.5), (Metric::RoundTripP99, 0.99), (Metric::RoundTripP999, 0.999)];
    let figures = wanted.iter().map(|&(metric, share)| Some((metric, quantile(&times, share)?)));
    figures.collect::<Option<_>>().context("no answer came")
}

/// Keeps the calling thread on one processor; on a machine that has only one, that one.
fn keep_on(processor: usize) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(processor % processors).context("name a processor")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("keep an end on its processor")
}

fn far_end() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", PORT)).context("bind the far end")?;
    socket.set_read_timeout(Some(LOOK_EVERY)).context("bound the far end's wait")?;
    Ok(socket)
}

fn near_end(to: SocketAddrV4) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).context("bind the near end")?;
    socket.connect(to).context("connect the near end")?;
    socket.set_read_timeout(Some(ANSWER)).context("bound the near end's wait")?;
    Ok(socket)
}

fn echo(socket: &UdpSocket, is_over: &AtomicBool) -> anyhow::Result<()> {
    let mut buffer = [0; BYTES];
    while !is_over.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                socket.send_to(&buffer[..length], from).context("send a datagram back")?;
            }
            Err(error) if is_nothing_yet(&error) => {}
            Err(error) => return Err(error).context("receive at the far end"),
        }
    }
    Ok(())
}

/// Each round trip in µs.
fn ask(socket: &UdpSocket, length: Duration, pace: Pace) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    let mut lost = 0;
    let mut number = 0_u64;
    let until = Instant::now() + length;
    while Instant::now() < until {
        if let Pace::Paced(pause) = pace {
            std::thread::sleep(pause);
        }
        number += 1;
        match round_trip(socket, number)? {
            Some(time) if number > WARM_UP => times.push(time.as_secs_f64() * 1e6),
            Some(_) => {}
            None => lost += 1,
        }
        if lost > MOST_LOST {
            bail!("{lost} of {number} answers did not come");
        }
    }
    Ok(times)
}

/// Nothing if the answer did not come. One that comes too late is passed over by its number.
fn round_trip(socket: &UdpSocket, number: u64) -> anyhow::Result<Option<Duration>> {
    let mut buffer = [0; BYTES];
    buffer[..8].copy_from_slice(&number.to_be_bytes());
    let begin = Instant::now();
    socket.send(&buffer).context("send a datagram")?;
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) if buffer[..8] == number.to_be_bytes() => return Ok(Some(begin.elapsed())),
            Ok(_) => {}
            Err(error) if is_nothing_yet(&error) => return Ok(None),
            Err(error) => return Err(error).context("receive an answer"),
        }
    }
}

fn is_nothing_yet(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_are_told_from_most() {
        let times = (0..=1000).rev().map(f64::from).collect();
        let figures = figures(times).unwrap();
        assert_eq!(figures.map_values(), [500.0, 990.0, 999.0]);
        assert!(super::figures(Vec::new()).is_err());
    }

    trait MapValues {
        fn map_values(&self) -> Vec<f64>;
    }

    impl MapValues for Vec<(Metric, f64)> {
        fn map_values(&self) -> Vec<f64> {
            self.iter().map(|(_, value)| *value).collect()
        }
    }
}
