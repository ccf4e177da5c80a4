//! `vreserve-instructions <case> [times]`: does one piece of work again and again, for `cargo xtask instructions` to
//! have callgrind count it; without a case it prints what there is, a line each: how to count it, how often the work
//! is done, its name.
//!
//! `marked`: all of it is done between the two ends of [`measured`], the only part to count; what is prepared before
//! costs nothing. `whole`: on threads of its own, as often as the second argument says, so that what one time costs
//! is the difference of two runs.

mod worker;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use vreserve_core::counters::Weight;
use vreserve_core::forward::{Forwarder, ForwarderConfig};
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId};
use vreserve_core::rules::{Action, Rule, RuleSet, RuleSetBuilder, StarRole};
use vreserve_model::{MacAddr, Timestamp};
use vreserve_offload::{ChecksumPolicy, Merge, Offload, OffloadKind, Segments, Sum};

/// How often each case does its work; the sum is divided by it.
const TIMES: u32 = 1_000;

const RULES: u32 = 1_000;
const TAP: InterfaceId = InterfaceId(1);
const LINK: LinkId = LinkId(1);
const NOW: Timestamp = Timestamp(0);

/// Payload of a wire frame, and how many make a super-frame.
const SEGMENT: usize = 1_448;
const SEGMENTS: usize = 41;

const CASES: [(&str, fn()); 8] = [
    ("forward a frame of the same pair", forward_same),
    ("forward a frame of another known pair", forward_known),
    ("forward a frame of an unknown pair", forward_unknown),
    ("sum 1 KiB", sum_kibibyte),
    ("cut a super-frame, per segment", cut),
    ("join a trusted frame", join_trusted),
    ("join a verified frame", join_verified),
    ("begin a super-frame", begin),
];

const WORKER: &str = "take a frame from an interface to a link";
/// How often the work of [`WORKER`] is done at least.
const FRAMES: u32 = 20_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(wanted) = arguments.next() else {
        CASES.iter().for_each(|(name, _)| println!("marked {TIMES} {name}"));
        println!("whole {FRAMES} {WORKER}");
        return ExitCode::SUCCESS;
    };
    if wanted == WORKER {
        worker::run(arguments.next().and_then(|times| times.parse().ok()).unwrap_or(FRAMES));
        return ExitCode::SUCCESS;
    }
    match CASES.iter().find(|(name, _)| *name == wanted) {
        Some((_, case)) => case(),
        None => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Does `work` [`TIMES`] times; callgrind counts from where this is entered to where it is left.
#[inline(never)]
fn measured(mut work: impl FnMut(u32)) {
    (0..TIMES).for_each(&mut work);
}

fn guest(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 9, a, b, c, d])
}

fn frame(destination: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&guest(destination).0);
    frame[6..12].copy_from_slice(&guest(u32::MAX).0);
    frame[12] = 8;
    frame
}

fn rules() -> RuleSet {
    let mut builder = RuleSetBuilder::new(1, StarRole::Leaf);
    builder.interface(TAP).link(LINK, LinkClass::Star);
    (0..RULES).for_each(|number| {
        builder.rule(Rule::pair(guest(u32::MAX), guest(number), Action::Send(LINK)));
    });
    builder.build().expect("the rules name what the node has")
}

/// A forwarder that knows the first `known` pairs.
fn forwarder(known: u32) -> Forwarder {
    let mut forwarder =
        Forwarder::new(ForwarderConfig { cache_capacity: 4_096, ..ForwarderConfig::default() });
    forwarder.install(Arc::new(rules()));
    (0..known).for_each(|number| forward(&mut forwarder, &frame(number)));
    forwarder
}

#[inline(always)]
fn forward(forwarder: &mut Forwarder, frame: &[u8; 60]) {
    let verdict = forwarder.forward(Ingress::Interface(TAP), black_box(frame), Weight::frame(60), NOW);
    let _ = black_box(verdict);
}

fn forward_same() {
    let (mut forwarder, frame) = (forwarder(RULES), frame(7));
    forward(&mut forwarder, &frame);
    measured(|_| forward(&mut forwarder, &frame));
}

fn forward_known() {
    let mut forwarder = forwarder(RULES);
    let frames: Vec<_> = (0..RULES).map(frame).collect();
    // Every pair comes once in an order of its own, so that none follows itself.
    measured(|index| forward(&mut forwarder, &frames[(index * 7 % RULES) as usize]));
}

fn forward_unknown() {
    let mut forwarder = forwarder(1);
    let frames: Vec<_> = (1..=TIMES).map(|number| frame(number * 3)).collect();
    measured(|index| forward(&mut forwarder, &frames[index as usize]));
}

fn sum_kibibyte() {
    let bytes = [0x5a; 1_024];
    measured(|_| _ = black_box(Sum::of(black_box(&bytes))));
}

/// A TCP super-frame over IPv4 with time stamps.
fn super_frame() -> (Vec<u8>, Offload) {
    let payload = SEGMENT * SEGMENTS;
    let [high, low] = ((20 + 32 + payload) as u16).to_be_bytes();
    let mut frame = [&guest(1).0[..], &guest(2).0, &[8, 0]].concat();
    frame.extend([0x45, 0, high, low, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x14, 0x51, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    let header_len = frame.len();
    frame.resize(header_len + payload, 0x5a);
    let offload = Offload {
        kind: OffloadKind::Tcp4,
        needs_checksum: true,
        header_len: header_len as u16,
        segment_size: SEGMENT as u16,
        checksum_start: 34,
        checksum_offset: 16,
        ..Offload::default()
    };
    (frame, offload)
}

fn cut() {
    let (frame, offload) = super_frame();
    let mut header = [0; 128];
    let plan = || Segments::plan(black_box(&frame), &offload).expect("a super-frame");
    let mut segments = plan();
    measured(|_| {
        let segment = segments.next().unwrap_or_else(|| {
            segments = plan();
            segments.next().expect("at least one segment")
        });
        let _ = black_box(segment.write_header(&mut header));
        black_box(&header);
    });
}

fn wire_frames() -> Vec<Vec<u8>> {
    let (frame, offload) = super_frame();
    let wire = |segment: vreserve_offload::Segment| {
        let mut wire = vec![0; segment.wire_len()];
        segment.write(&mut wire).expect("there is room for all of it");
        wire
    };
    Segments::plan(&frame, &offload).expect("a super-frame").map(wire).collect()
}

fn join(policy: ChecksumPolicy) {
    let frames = wire_frames();
    let start = |frame: &[u8]| Merge::start(frame, policy).expect("a frame that may be joined");
    let mut merge = start(&frames[0]);
    let header_len = merge.header_len();
    measured(|index| {
        let at = 1 + index as usize % (SEGMENTS - 1);
        if at == 1 {
            merge = start(&frames[0]);
        }
        let (header, payload) = frames[at].split_at(header_len);
        merge.push(black_box(header), black_box(payload)).expect("the frames follow on");
    });
}

fn join_trusted() {
    join(ChecksumPolicy::Trust);
}

fn join_verified() {
    join(ChecksumPolicy::Verify);
}

fn begin() {
    let frames = wire_frames();
    measured(|_| _ = black_box(Merge::start(black_box(&frames[0]), ChecksumPolicy::Trust)));
}
