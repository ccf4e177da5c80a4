//! Ten million random addresses between the frames of running pairs: what those cost with it and without it, in
//! one loop that only differs in what stands between two timed batches, and what memory it takes.

use std::sync::Arc;

use serde_json::{Value, json};
use vreserve_core::forward::{Forwarder, ForwarderConfig};
use vreserve_core::rules::RuleSet;
use vreserve_model::MacAddr;

use super::allocations;
use super::frames::{BATCH, BURST, Batch, Frame, Random, frame, frame_between, to_nobody};

const ADDRESSES: usize = 10_000_000;
/// Pairs that go on while the scan runs.
const PAIRS: u32 = 100;
/// Timed batches in a row with the scan, or without it.
const STRETCH: usize = 64;

/// Batches of running pairs are timed; before each comes one of scanned addresses, or one of running pairs that is
/// not timed. Stretches of the two follow one another as ABBA.
pub(crate) fn scan(rules: &Arc<RuleSet>, random: &mut Random) -> Value {
    let held = allocations::held();
    let mut forwarder = Forwarder::new(ForwarderConfig::default());
    forwarder.install(Arc::clone(rules));
    let frames: Vec<Frame> = (0..PAIRS).map(frame).collect();
    let (mut timed, mut between) = (Batch::new(), Batch::new());
    let stretches = ADDRESSES / BATCH / STRETCH + 1;
    let times = || Vec::<u64>::with_capacity(stretches * STRETCH);
    let before_times = allocations::held();
    let (mut with, mut without, mut scanned) = (times(), times(), times());
    let own = allocations::held() - before_times;
    let mut settled = 0;
    for stretch in 0..stretches {
        if stretch == stretches / 2 {
            // By then as many senders were learned as may be.
            settled = allocations::count();
        }
        let order = if stretch.is_multiple_of(2) { [true, false] } else { [false, true] };
        for is_scanned in order {
            for _ in 0..STRETCH {
                if is_scanned {
                    between.fill_with(|at| any_frame(at, random));
                    scanned.push(between.time(&mut forwarder));
                } else {
                    between.fill(&frames, random, &BURST);
                    between.time(&mut forwarder);
                }
                timed.fill(&frames, random, &BURST);
                let times = if is_scanned { &mut with } else { &mut without };
                times.push(timed.time(&mut forwarder));
            }
        }
    }
    let allocations = allocations::count() - settled;
    let held = allocations::held() - held - own;
    json!({
        "addresses": scanned.len() * BATCH,
        "others_without_ns": median(&mut without),
        "others_with_ns": median(&mut with),
        "scanned_ns": median(&mut scanned),
        "cached": forwarder.stats().cached,
        "held_bytes": held,
        "allocations": allocations,
    })
}

/// A frame to an address that nobody has, every other one also from such an address.
fn any_frame(at: usize, random: &mut Random) -> Frame {
    let mut any = || {
        let [a, b, c, d, e, ..] = random.next().to_le_bytes();
        MacAddr([6, a, b, c, d, e])
    };
    let to = any();
    if at.is_multiple_of(2) { frame_between(any(), to) } else { to_nobody(to) }
}

/// Nanoseconds per frame in the median batch.
fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64 / BATCH as f64
}
