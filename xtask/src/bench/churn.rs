//! Rules that change a thousand times a second: guests that move from node to node, as in live migration, are
//! learned there, announced to the lead and become new rules on both nodes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::contest::Outcome;
use super::crowd;
use super::ground::{A, Ground, Subject};
use super::load::Load;
use super::metric::Metric;
use super::raw::FrameSocket;
use super::record::Sample;
use crate::interrupt;

/// Moves a second.
const RATE: u64 = 1000;
/// How many guests move; each may move once a second at most, so each does so every other second.
const MOVERS: u64 = 2000;
/// The interfaces of each node between which they move; two, so that none holds more than are learned at one.
const PLACES: [&str; 2] = ["eth6", "eth7"];
/// Frames sent at a time.
const BURST: u64 = 10;
/// Time for the first rules to change before measuring begins.
const WARM_UP: Duration = Duration::from_secs(1);
/// For a daemon to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Where guests move to: an interface, and a guest of the same node that they greet.
struct Place {
    socket: FrameSocket,
    neighbour: [u8; 6],
}

/// One round: still, changing, still; the ratio is of changing to the mean of both.
///
/// # Errors
/// If frames cannot be sent or the load fails, or a signal came.
pub(super) fn round(
    ground: &Ground,
    (subject, set): (&Subject, u8),
    round: usize,
    length: Duration,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let measure = || -> anyhow::Result<f64> {
        let figures = Load::SpreadTcp.run(ground, subject, length)?;
        Ok(figures[0].1)
    };
    interrupt::check()?;
    let before = measure()?;
    let mut places = Vec::new();
    for interface in PLACES {
        for (is_at_a, member) in [(true, &subject.from), (false, &subject.to)] {
            let socket = ground.lab().inside(member, || FrameSocket::open(interface))??;
            places.push(Place { socket, neighbour: crowd::first_guest(is_at_a, set) });
        }
    }
    let (is_over, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    let socket = ground.lab().runtime_directory().join(format!("{}-{A}.sock", subject.name));
    let (changing, per_second, revisions) = std::thread::scope(|scope| {
        let moving = scope.spawn(|| move_about(&places, &is_over, &moved));
        std::thread::sleep(WARM_UP);
        let (begin, first) = (Instant::now(), (moved.load(Ordering::Relaxed), revision(&socket)?));
        let changing = measure();
        let last = (moved.load(Ordering::Relaxed), revision(&socket)?);
        let took = begin.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        moving.join().expect("moving does not panic")?;
        anyhow::Ok((changing?, (last.0 - first.0) as f64 / took, (last.1 - first.1) as f64 / took))
    })?;
    let after = measure()?;
    let mut keep = |metric, value, baseline| {
        outcome.samples.push(Sample {
            round,
            setting: "rules change".to_owned(),
            subject: subject.name.clone(),
            metric,
            value,
            baseline,
        });
    };
    keep(Metric::SpreadTcp, changing, Some(f64::midpoint(before, after)));
    keep(Metric::Moves, per_second, None);
    keep(Metric::Revisions, revisions, None);
    println!(
        "{round}  {per_second:.0} moves/s, {revisions:.1} rule sets/s: ×{:.2}",
        changing / f64::midpoint(before, after)
    );
    Ok(())
}

/// The number of the overlay that is in force at a node; each new one replaces its rules.
fn revision(socket: &Path) -> anyhow::Result<u64> {
    let mut stream = UnixStream::connect(socket).context("ask a daemon")?;
    stream.set_read_timeout(Some(ANSWER)).context("bound the wait for an answer")?;
    stream.write_all(b"{\"query\":\"status\"}\n").context("ask a daemon")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("hear a daemon")?;
    let answer: Value = serde_json::from_str(&answer).context("understand a daemon")?;
    answer["ok"]["revision"].as_u64().context("a daemon's status has no revision")
}

fn move_about(places: &[Place], is_over: &AtomicBool, moved: &AtomicU64) -> anyhow::Result<()> {
    let begin = Instant::now();
    for number in 0.. {
        if number % BURST == 0 {
            let due = begin + Duration::from_secs(1) / RATE as u32 * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let (turn, mover) = (number / MOVERS, number % MOVERS);
        let place = &places[((turn + mover) % places.len() as u64) as usize];
        place
            .socket
            .send(&frame(mover as u16, place.neighbour))
            .context("send the frame of a guest that moves")?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A frame with nothing in it, of the second experimental ethertype (IEEE 802; the first is our own signals'), to a guest on the same node: whatever it
/// costs is learning and its consequences, not the way of the frame.
fn frame(mover: u16, to: [u8; 6]) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&to);
    frame[6..10].copy_from_slice(&[0x02, 0xcc, 0, 0]);
    frame[10..12].copy_from_slice(&mover.to_be_bytes());
    frame[12..14].copy_from_slice(&[0x88, 0xb6]);
    frame
}
