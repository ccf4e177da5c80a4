//! Somebody types: one octet every 50 ms over TCP, each echoed by the far end as a shell does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::{Talk, Way};
use crate::bench::spread::quantile;

const FIRST_PORT: u16 = 5601;
const EVERY: Duration = Duration::from_millis(50);
/// An echo that takes longer is a stall that anybody would complain about.
const STALL: Duration = Duration::from_secs(2);
/// Beyond this the stream is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// How typing felt.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Typing {
    pub(crate) way: &'static str,
    pub(crate) echoes: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) longest_ms: f64,
    /// Echoes that took two seconds or more.
    pub(crate) stalls: usize,
    /// Echoes of another octet than the one typed.
    pub(crate) wrong: usize,
}

/// Types for as long as there is time.
///
/// # Errors
/// If the stream breaks.
pub(crate) fn run(talk: &Talk, way: Way) -> anyhow::Result<Typing> {
    let (from, to) = talk.ends(way);
    let at = SocketAddr::new(to.v4.into(), way.port(FIRST_PORT));
    let listener = talk.lab.inside(&to.guest, || TcpListener::bind(("0.0.0.0", at.port())))?;
    let listener = listener.context("listen for somebody who types")?;
    let near = talk.lab.inside(&from.guest, || TcpStream::connect_timeout(&at, PATIENCE))?;
    let near = near.context("connect to type")?;
    let (far, _) = listener.accept().context("accept somebody who types")?;
    for stream in [&near, &far] {
        stream.set_nodelay(true).context("send octets at once")?;
        stream.set_read_timeout(Some(PATIENCE)).context("bound the wait for an echo")?;
    }
    std::thread::scope(|scope| {
        // Ends when the near end is closed.
        let echoing = scope.spawn(move || echo(far));
        let typed = type_on(near, talk);
        echoing.join().expect("echoing does not panic")?;
        let (times, wrong) = typed?;
        Ok(figures(way, times, wrong))
    })
}

fn echo(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut octets = [0; 16];
    loop {
        match stream.read(&mut octets) {
            Ok(0) => return Ok(()),
            Ok(count) => stream.write_all(&octets[..count]).context("echo an octet")?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("wait for an octet"),
        }
    }
}

/// Times of echoes in ms, and how many were wrong.
fn type_on(mut stream: TcpStream, talk: &Talk) -> anyhow::Result<(Vec<f64>, usize)> {
    let mut times = Vec::new();
    let mut wrong = 0;
    while talk.goes_on() {
        let octet = times.len() as u8;
        let begin = Instant::now();
        stream.write_all(&[octet]).context("type an octet")?;
        let mut echoed = [0];
        stream.read_exact(&mut echoed).context("wait for an echo")?;
        let took = begin.elapsed();
        times.push(took.as_secs_f64() * 1e3);
        wrong += usize::from(echoed != [octet]);
        std::thread::sleep(EVERY.saturating_sub(took));
    }
    Ok((times, wrong))
}

fn figures(way: Way, mut times: Vec<f64>, wrong: usize) -> Typing {
    times.sort_by(f64::total_cmp);
    let at = |share| quantile(&times, share).unwrap_or(0.0);
    Typing {
        way: way.name(),
        echoes: times.len(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        longest_ms: at(1.0),
        stalls: times.iter().filter(|&&time| time >= STALL.as_secs_f64() * 1e3).count(),
        wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_from_a_slow_echo() {
        let typing = figures(Way::AToB, vec![2000.0, 1.0, 1999.0], 0);
        assert_eq!((typing.stalls, typing.p50_ms, typing.longest_ms), (1, 1999.0, 2000.0));
    }
}
