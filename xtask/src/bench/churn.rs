//! Rules that change a thousand times a second: guests that move between two interfaces of a node, as live
//! migration and a hostile guest both do, are learned, announced to the lead and become new rules on both nodes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::contest::Outcome;
use super::ground::{Ground, Subject};
use super::load::Load;
use super::metric::Metric;
use super::raw::FrameSocket;
use super::record::Sample;
use crate::interrupt;

/// Moves a second.
const RATE: u64 = 1000;
/// How many guests move; each may move once a second at most, so each does so every other second.
const MOVERS: u64 = 2000;
/// The interfaces between which they move.
const PLACES: [&str; 2] = ["eth6", "eth7"];
/// Frames sent at a time.
const BURST: u64 = 10;
/// Time for the first rules to change before measuring begins.
const WARM_UP: Duration = Duration::from_secs(1);

/// One round: still, changing, still; the ratio is of changing to the mean of both.
///
/// # Errors
/// If frames cannot be sent or the load fails, or a signal came.
pub(super) fn round(
    ground: &Ground,
    subject: &Subject,
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
    let sockets = ground.lab().inside(&subject.from, || PLACES.map(FrameSocket::open))?;
    let sockets = sockets.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let (is_over, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    let (changing, per_second) = std::thread::scope(|scope| {
        let moving = scope.spawn(|| move_about(&sockets, &is_over, &moved));
        std::thread::sleep(WARM_UP);
        let (begin, first) = (Instant::now(), moved.load(Ordering::Relaxed));
        let changing = measure();
        let per_second = (moved.load(Ordering::Relaxed) - first) as f64 / begin.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        moving.join().expect("moving does not panic")?;
        anyhow::Ok((changing?, per_second))
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
    println!("{round}  rules change at {per_second:.0}/s: ×{:.2}", changing / f64::midpoint(before, after));
    Ok(())
}

fn move_about(sockets: &[FrameSocket], is_over: &AtomicBool, moved: &AtomicU64) -> anyhow::Result<()> {
    let begin = Instant::now();
    for number in 0.. {
        if number % BURST == 0 {
            let due = begin + Duration::from_secs(1) / RATE as u32 * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        // All of them once at the one place, then all of them once at the other.
        let place = &sockets[(number / MOVERS % 2) as usize];
        place.send(&frame((number % MOVERS) as u16)).context("send the frame of a guest that moves")?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A broadcast with nothing in it, of the experimental ethertype (IEEE 802).
fn frame(mover: u16) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6..10].copy_from_slice(&[0x02, 0xcc, 0, 0]);
    frame[10..12].copy_from_slice(&mover.to_be_bytes());
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}
