//! `lookup [rounds]`: what the forwarding cache costs, as JSON on standard output. Each round measures everything
//! once, in turn, every other round in the other order, so that what disturbs the machine disturbs all alike;
//! whoever reads (`cargo xtask bench lookup`) takes medians over rounds.

mod allocations;
mod frames;
mod scan;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use vreserve_core::counters::Weight;
use vreserve_core::forward::{Forwarder, ForwarderConfig};
use vreserve_core::frame::EthernetHeader;
use vreserve_core::rules::RuleSet;
use vreserve_model::Timestamp;

use frames::{BATCH, BURST, Batch, Frame, Random, TAP, frame, rules};

const SIZES: [u32; 4] = [10, 1_000, 100_000, 1_000_000];
const NOW: Timestamp = Timestamp(0);

/// How many batches are timed.
const BATCHES: usize = 2_000;
/// At least so many misses make a figure.
const MISSES: usize = 1_000;

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let rules = SIZES.map(|size| (size, Arc::new(rules(size))));
    let rounds: Vec<Value> = (0..rounds).map(|round| measure(&rules, round)).collect();
    println!("{:#}", json!({ "rounds": rounds }));
}

fn measure(rules: &[(u32, Arc<RuleSet>)], round: u64) -> Value {
    let mut random = Random::new(round);
    let mut sizes: Vec<(u32, Option<Value>)> = rules.iter().map(|(size, _)| (*size, None)).collect();
    let order: Vec<usize> = match round % 2 {
        0 => (0..rules.len()).collect(),
        _ => (0..rules.len()).rev().collect(),
    };
    for at in order {
        let (size, rules) = &rules[at];
        sizes[at].1 = Some(at_size(*size, rules, &mut random));
    }
    let sizes: Vec<_> = sizes.into_iter().map(|(_, value)| value).collect();
    let (size, largest) = rules.last().expect("several sizes");
    json!({
        "sizes": sizes,
        "default_cache": crowded(*size, largest, &mut random),
        "scan": scan::scan(&rules[1].1, &mut random),
    })
}

/// A forwarder whose cache has the default room, or twice as much as `pairs` pairs need if that is too little.
fn forwarder_for(pairs: u32, rules: &Arc<RuleSet>) -> Forwarder {
    let usual = ForwarderConfig::default();
    let pairs = pairs as usize;
    let cache_capacity = if pairs <= usual.cache_capacity { usual.cache_capacity } else { 2 * pairs };
    let mut forwarder = Forwarder::new(ForwarderConfig { cache_capacity, ..usual });
    forwarder.install(Arc::clone(rules));
    forwarder
}

/// Nanoseconds with `size` rules and as many known pairs.
fn at_size(size: u32, rules: &Arc<RuleSet>, random: &mut Random) -> Value {
    let mut forwarder = forwarder_for(size, rules);
    let frames: Vec<Frame> = (0..size).map(frame).collect();
    let install = install(&mut forwarder, rules, &frames[0]);
    let miss = misses(&mut forwarder, rules, &frames, random);
    // The first frame of a sender is learned and so are, in the second walk, all pairs.
    frames.iter().for_each(|frame| forward(&mut forwarder, frame));
    let before = allocations::count();
    let bursty = hits(&mut forwarder, &frames, random, BURST);
    let scattered = hits(&mut forwarder, &frames, random, 1..2);
    let allocations = allocations::count() - before;
    json!({
        "rules": size,
        "hit_bursty_ns": bursty,
        "hit_random_ns": scattered,
        "miss_ns": miss,
        "install_ns": install,
        "linear_scan_ns": linear_scan(rules, &frames, random),
        "allocations": allocations,
    })
}

/// Nanoseconds per frame of `size` pairs, in bursts, where the cache has its default size and is too small.
fn crowded(size: u32, rules: &Arc<RuleSet>, random: &mut Random) -> Value {
    let mut forwarder = Forwarder::new(ForwarderConfig::default());
    forwarder.install(Arc::clone(rules));
    let frames: Vec<Frame> = (0..size).map(frame).collect();
    frames.iter().for_each(|frame| forward(&mut forwarder, frame));
    json!({ "rules": size, "bursty_ns": hits(&mut forwarder, &frames, random, BURST) })
}

/// Nanoseconds of putting rules in force in the place of others, in the median.
fn install(forwarder: &mut Forwarder, rules: &Arc<RuleSet>, frame: &Frame) -> u64 {
    let mut times = [0; 101];
    for time in &mut times {
        forward(forwarder, frame);
        let rules = Arc::clone(rules);
        let begun = Instant::now();
        forwarder.install(rules);
        *time = begun.elapsed().as_nanos() as u64;
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Nanoseconds per frame whose pair has to be resolved by the rules: the first since they were put in force.
fn misses(forwarder: &mut Forwarder, rules: &Arc<RuleSet>, frames: &[Frame], random: &mut Random) -> f64 {
    let mut nanoseconds = 0;
    let mut counted = 0;
    while counted < MISSES as u64 {
        let start = random.below(frames.len() as u64) as usize;
        // A stride that is prime to every size, so that no two follow each other in memory.
        let picked: Vec<Frame> =
            (0..frames.len().min(MISSES)).map(|at| frames[(start + at * 7_919) % frames.len()]).collect();
        forwarder.install(Arc::clone(rules));
        // Looks up the place of entry, once for all.
        forward(forwarder, &picked[0]);
        let before = forwarder.stats().misses;
        let begun = Instant::now();
        forwarder.anticipate(picked.iter().map(|frame| (TAP, &frame[..])));
        picked[1..].iter().for_each(|frame| forward(forwarder, frame));
        nanoseconds += begun.elapsed().as_nanos();
        counted += forwarder.stats().misses - before;
    }
    nanoseconds as f64 / counted as f64
}

/// Nanoseconds per frame in the median batch.
fn hits(
    forwarder: &mut Forwarder,
    frames: &[Frame],
    random: &mut Random,
    burst: std::ops::Range<u64>,
) -> f64 {
    let mut batch = Batch::new();
    let mut times = [0; BATCHES];
    for time in &mut times {
        batch.fill(frames, random, &burst);
        *time = batch.time(forwarder);
    }
    times.sort_unstable();
    times[BATCHES / 2] as f64 / BATCH as f64
}

/// Nanoseconds to find a frame's rule by walking over all of them.
fn linear_scan(rules: &RuleSet, frames: &[Frame], random: &mut Random) -> f64 {
    let frames: Vec<_> = (0..20).map(|_| &frames[random.below(frames.len() as u64) as usize]).collect();
    let begun = Instant::now();
    for frame in &frames {
        let header = EthernetHeader::parse(black_box(&frame[..])).expect("a frame with a header");
        black_box(rules.rules().filter(|rule| rule.matches(TAP, &header)).count());
    }
    begun.elapsed().as_nanos() as f64 / frames.len() as f64
}

#[inline]
fn forward(forwarder: &mut Forwarder, frame: &Frame) {
    let _ = black_box(forwarder.forward(TAP, black_box(frame), Weight::frame(60), NOW));
}
