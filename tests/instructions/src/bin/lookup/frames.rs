//! Frames in batches as a worker gets them, the rules for them, and chance that is the same on every machine.

use std::ops::Range;
use std::time::Instant;

use vreserve_core::forward::Forwarder;
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId};
use vreserve_core::rules::{Action, Rule, RuleSet, RuleSetBuilder, StarRole};
use vreserve_model::MacAddr;

pub(crate) const TAP: Ingress = Ingress::Interface(InterfaceId(1));
const LINK: LinkId = LinkId(1);
/// The one sender of all pairs.
const SENDER: u32 = u32::MAX;

/// Frames between two looks at the clock, in buffers that a worker would have in its cache.
pub(crate) const BATCH: usize = 256;
/// Frames that a worker takes from a port at once, and can look ahead over.
const IN_HAND: usize = 64;
/// Frames of one pair in a row: from 8 to 55.
pub(crate) const BURST: Range<u64> = 8..56;

pub(crate) type Frame = [u8; 64];

/// Frames as one call of a plugin brings them.
pub(crate) struct Batch {
    slots: [Frame; BATCH],
    frame: Frame,
    /// Of the burst that is under way.
    left: u64,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Batch { slots: [[0; 64]; BATCH], frame: [0; 64], left: 0 }
    }

    /// Goes on with bursts of random ones of `frames`.
    pub(crate) fn fill(&mut self, frames: &[Frame], random: &mut Random, burst: &Range<u64>) {
        for slot in &mut self.slots {
            if self.left == 0 {
                self.frame = frames[random.below(frames.len() as u64) as usize];
                self.left = burst.start + random.below(burst.end - burst.start);
            }
            self.left -= 1;
            *slot = self.frame;
        }
    }

    /// Fills every slot by its number.
    pub(crate) fn fill_with(&mut self, frame: impl FnMut(usize) -> Frame) {
        self.slots = std::array::from_fn(frame);
    }

    /// Forwards all of it; returns the nanoseconds that took.
    pub(crate) fn time(&self, forwarder: &mut Forwarder) -> u64 {
        let begun = Instant::now();
        for in_hand in self.slots.chunks(IN_HAND) {
            forwarder.anticipate(in_hand.iter().map(|frame| (TAP, &frame[..])));
            in_hand.iter().for_each(|frame| super::forward(forwarder, frame));
        }
        begun.elapsed().as_nanos() as u64
    }
}

pub(crate) fn rules(count: u32) -> RuleSet {
    let mut builder = RuleSetBuilder::new(1, StarRole::Leaf);
    builder.interface(InterfaceId(1)).link(LINK, LinkClass::Star);
    (0..count).for_each(|number| {
        builder.rule(Rule::pair(guest(SENDER), guest(number), Action::Send(LINK)));
    });
    builder.build().expect("the rules name what the node has")
}

pub(crate) fn guest(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 9, a, b, c, d])
}

/// A frame of the sender that rules know.
pub(crate) fn frame(destination: u32) -> Frame {
    frame_between(guest(SENDER), guest(destination))
}

/// A frame of the same sender to an address of no rule.
pub(crate) fn to_nobody(destination: MacAddr) -> Frame {
    frame_between(guest(SENDER), destination)
}

pub(crate) fn frame_between(source: MacAddr, destination: MacAddr) -> Frame {
    let mut frame = [0; 64];
    frame[..6].copy_from_slice(&destination.0);
    frame[6..12].copy_from_slice(&source.0);
    frame[12] = 8;
    frame
}

/// Xorshift: the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(round: u64) -> Self {
        Random(0x9e37_79b9_7f4a_7c15 ^ round)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
