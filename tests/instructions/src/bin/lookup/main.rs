//! `lookup [rounds]`: what the forwarding cache costs, as JSON on standard output. Each round measures everything
//! once, in turn, so that what disturbs the machine disturbs all alike; whoever reads takes medians over rounds.

mod allocations;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use vreserve_core::counters::Weight;
use vreserve_core::forward::{Forwarder, ForwarderConfig};
use vreserve_core::frame::EthernetHeader;
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId};
use vreserve_core::rules::{Action, Rule, RuleSet, RuleSetBuilder, StarRole};
use vreserve_model::{MacAddr, Timestamp};

const SIZES: [u32; 4] = [10, 1_000, 100_000, 1_000_000];
const TAP: Ingress = Ingress::Interface(InterfaceId(1));
const LINK: LinkId = LinkId(1);
const NOW: Timestamp = Timestamp(0);
/// The one sender of all pairs.
const SENDER: u32 = u32::MAX;

/// Frames between two looks at the clock, in buffers that a worker would have in its cache.
const BATCH: usize = 256;
const BATCHES: usize = 2_000;
/// Frames of one pair in a row: from 8 to 55.
const BURST: std::ops::Range<u64> = 8..56;
const SCANNED: u32 = 10_000_000;

type Frame = [u8; 64];

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let rules = SIZES.map(|size| (size, Arc::new(rules(size))));
    let rounds: Vec<Value> = (0..rounds).map(|round| measure(&rules, round)).collect();
    println!("{:#}", json!({ "rounds": rounds }));
}

fn measure(rules: &[(u32, Arc<RuleSet>)], round: u64) -> Value {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ round);
    let sizes: Vec<Value> = rules.iter().map(|(size, rules)| at_size(*size, rules, &mut random)).collect();
    json!({ "sizes": sizes, "scan": scan(&rules[1].1, &mut random) })
}

/// Nanoseconds with `size` rules and as many known pairs.
fn at_size(size: u32, rules: &Arc<RuleSet>, random: &mut Random) -> Value {
    let capacity = ForwarderConfig::default().cache_capacity.max(size as usize);
    let mut forwarder =
        Forwarder::new(ForwarderConfig { cache_capacity: capacity, ..ForwarderConfig::default() });
    let begun = Instant::now();
    forwarder.install(Arc::clone(rules));
    let install = begun.elapsed();
    let frames: Vec<Frame> = (0..size).map(frame).collect();
    forward(&mut forwarder, &frame(0));
    let begun = Instant::now();
    frames[1..].iter().for_each(|frame| forward(&mut forwarder, frame));
    let miss = begun.elapsed().as_nanos() as f64 / f64::from(size - 1);
    let before = allocations::count();
    let bursty = hits(&mut forwarder, &frames, random, BURST);
    let scattered = hits(&mut forwarder, &frames, random, 1..2);
    let allocations = allocations::count() - before;
    json!({
        "rules": size,
        "hit_bursty_ns": bursty,
        "hit_random_ns": scattered,
        "miss_ns": miss,
        "install_ns": install.as_nanos() as u64,
        "linear_scan_ns": linear_scan(rules, &frames, random),
        "allocations": allocations,
    })
}

/// Nanoseconds per frame that the cache knows, in the median batch.
fn hits(
    forwarder: &mut Forwarder,
    frames: &[Frame],
    random: &mut Random,
    burst: std::ops::Range<u64>,
) -> f64 {
    let mut batch = [[0; 64]; BATCH];
    let mut times = [0; BATCHES];
    let mut left = 0;
    let mut frame = &frames[0];
    for time in &mut times {
        for slot in &mut batch {
            if left == 0 {
                frame = &frames[random.below(frames.len() as u64) as usize];
                left = burst.start + random.below(burst.end - burst.start);
            }
            left -= 1;
            *slot = *frame;
        }
        let begun = Instant::now();
        batch.iter().for_each(|frame| forward(forwarder, frame));
        *time = begun.elapsed().as_nanos() as u64;
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

/// Ten million addresses that nobody has, a few between the bursts of running pairs: what those cost with and
/// without, and what memory it takes.
fn scan(rules: &Arc<RuleSet>, random: &mut Random) -> Value {
    let mut forwarder = Forwarder::new(ForwarderConfig::default());
    forwarder.install(Arc::clone(rules));
    let frames: Vec<Frame> = (0..100).map(frame).collect();
    frames.iter().for_each(|frame| forward(&mut forwarder, frame));
    let without = hits(&mut forwarder, &frames, random, BURST);
    let resident = resident_kib();
    let mut with = Vec::new();
    for part in 0..SCANNED / 5_000 {
        (0..5_000).for_each(|at| forward(&mut forwarder, &frame(0x4000_0000 + part * 5_000 + at)));
        let begun = Instant::now();
        for frame in &frames {
            (0..BURST.end / 2).for_each(|_| forward(&mut forwarder, frame));
        }
        with.push(begun.elapsed().as_nanos() as u64);
    }
    with.sort_unstable();
    let with = with[with.len() / 2] as f64 / (frames.len() as u64 * (BURST.end / 2)) as f64;
    json!({
        "addresses": SCANNED,
        "others_without_ns": without,
        "others_with_ns": with,
        "cached": forwarder.stats().cached,
        "grown_kib": resident_kib().saturating_sub(resident),
    })
}

fn forward(forwarder: &mut Forwarder, frame: &Frame) {
    let _ = black_box(forwarder.forward(TAP, black_box(frame), Weight::frame(60), NOW));
}

fn rules(count: u32) -> RuleSet {
    let mut builder = RuleSetBuilder::new(1, StarRole::Leaf);
    builder.interface(InterfaceId(1)).link(LINK, LinkClass::Star);
    (0..count).for_each(|number| {
        builder.rule(Rule::pair(guest(SENDER), guest(number), Action::Send(LINK)));
    });
    builder.build().expect("the rules name what the node has")
}

fn guest(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 9, a, b, c, d])
}

fn frame(destination: u32) -> Frame {
    let mut frame = [0; 64];
    frame[..6].copy_from_slice(&guest(destination).0);
    frame[6..12].copy_from_slice(&guest(SENDER).0);
    frame[12] = 8;
    frame
}

/// Memory of this process that is in use.
fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Xorshift: the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
