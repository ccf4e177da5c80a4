//! Frames through a way that notes what it is handed, with and without offload.

use proptest::prelude::*;
use vreserve_abi::Offload;
use vreserve_core::counters::Weight;
use vreserve_core::forward::{Forwarder, ForwarderConfig};
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId};
use vreserve_core::rules::{RuleSetBuilder, StarRole};
use vreserve_offload::Integrity;
use vreserve_offload::checksum::verify;

use super::super::pool::{BATCH, POOL_SLOTS};
use super::*;

/// Takes `room` frames, refuses those longer than `limit`, and says so.
struct Noting {
    offload: bool,
    room: usize,
    limit: usize,
    fails: bool,
    calls: usize,
    left: Vec<Vec<u8>>,
    counted: u64,
}

impl Noting {
    fn new(offload: bool) -> Self {
        let (room, limit, fails) = (usize::MAX, usize::MAX, false);
        Noting { offload, room, limit, fails, calls: 0, left: Vec::new(), counted: 0 }
    }
}

/// The frame's bytes as a plugin sees them.
#[allow(unsafe_code, reason = "a way is handed slots without the pool, as a plugin is")]
fn bytes(slot: &Slot) -> Vec<u8> {
    // SAFETY: the slots of this test are those of a pool that outlives the call.
    unsafe { std::slice::from_raw_parts(slot.base.add(slot.offset as usize), slot.len as usize) }.to_vec()
}

impl Way for Noting {
    fn takes_offload(&self) -> bool {
        self.offload
    }

    fn largest_frame(&self) -> u32 {
        1464
    }

    fn busy(&mut self) -> DropReason {
        DropReason::LinkBusy
    }

    fn send(&mut self, frames: &mut [Slot], _: Timestamp) -> Result<usize, PortChange> {
        self.calls += 1;
        if self.fails {
            return Err(PortChange::Failed("told to".into(), std::time::Duration::ZERO));
        }
        let taken = frames.len().min(self.room);
        self.room -= taken;
        for slot in &mut frames[..taken] {
            assert!(self.offload || slot.offload.kind == 0 && slot.offload.flags & 1 == 0, "{slot:?}");
            if slot.len as usize > self.limit {
                slot.refusal = 1;
            } else {
                self.left.push(bytes(slot));
            }
        }
        Ok(taken)
    }

    fn count(&mut self, frame: &Slot) {
        self.counted += weight_of(frame).frames;
    }
}

struct World {
    pool: SlotPool,
    forwarder: Forwarder,
    drops: DropCounters,
    dispatch: Dispatch,
    frames: Vec<Slot>,
}

impl World {
    fn new() -> Self {
        World {
            pool: SlotPool::new(POOL_SLOTS).unwrap(),
            forwarder: Forwarder::new(ForwarderConfig::default()),
            drops: DropCounters::default(),
            dispatch: Dispatch::new(),
            frames: Vec::new(),
        }
    }

    fn put(&mut self, frame: &[u8], offload: Offload) {
        let index = self.frames.len();
        assert!(index < BATCH);
        let slot = self.pool.fill(index, frame, offload);
        self.frames.push(Slot { far: 7, ..slot });
    }

    fn send(&mut self, way: &mut Noting) -> (usize, Option<PortChange>) {
        let World { pool, forwarder, drops, dispatch, frames } = self;
        let mut stock = Stock { pool, guests: forwarder.guests(), drops };
        dispatch.send(frames, way, &mut stock, Timestamp::from_millis(1))
    }

    /// Has the worker learn the sender of `frame` behind interface 3.
    fn learn(&mut self, frame: &[u8]) {
        let mut rules = RuleSetBuilder::new(1, StarRole::Leaf);
        rules.interface(InterfaceId(3)).link(LinkId(1), LinkClass::Star);
        self.forwarder.install(std::sync::Arc::new(rules.build().unwrap()));
        let ingress = Ingress::Interface(InterfaceId(3));
        self.forwarder.forward(ingress, frame, Weight::frame(60), Timestamp::from_millis(1));
    }

    fn dropped(&self) -> u64 {
        self.drops.iter().map(|(_, count)| count).sum()
    }
}

/// A TCP super-frame over IPv4 whose payload counts up from `first`, with a partial checksum.
fn super_frame(first: u8, payload: usize, segment_size: u16) -> (Vec<u8>, Offload) {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let total = u16::try_from(40 + payload).unwrap().to_be_bytes();
    frame.extend([0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = vreserve_offload::Sum::of(&frame[14..]).checksum();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend((0..payload).map(|index| first.wrapping_add(index as u8)));
    let tcp_len = u16::try_from(20 + payload).unwrap();
    let pseudo = vreserve_offload::checksum::pseudo_ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, tcp_len).partial();
    frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let (header_len, checksum_start, checksum_offset) = (54, 34, 16);
    let offload =
        Offload { kind: 1, flags: 1, header_len, segment_size, checksum_start, checksum_offset, reserved: 0 };
    (frame, offload)
}

fn payload_of(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame[54..].to_vec()).collect()
}

#[test]
fn a_port_with_offload_gets_super_frames_whole_and_in_one_call() {
    let mut world = World::new();
    let (frame, offload) = super_frame(0, 3000, 1000);
    world.put(&frame, offload);
    world.put(&frame, offload);
    let mut way = Noting::new(true);
    assert_eq!(world.send(&mut way), (2, None));
    assert_eq!((way.calls, way.counted), (1, 6));
    assert_eq!(way.left, [frame.clone(), frame]);
}

#[test]
fn a_batch_that_needs_nothing_goes_out_in_one_call() {
    let mut world = World::new();
    (0..BATCH).for_each(|n| world.put(&[n as u8; 60], Offload::default()));
    let mut way = Noting::new(false);
    assert_eq!(world.send(&mut way), (BATCH, None));
    assert_eq!((way.calls, way.counted), (1, BATCH as u64));
}

#[test]
fn what_is_not_what_its_metadata_say_is_dropped_alone() {
    let mut world = World::new();
    let (frame, offload) = super_frame(0, 3000, 1000);
    world.put(&frame, Offload { kind: 4, ..offload });
    world.put(&frame, offload);
    world.put(&frame, Offload { segment_size: 1, ..offload });
    world.put(&[1; 60], Offload::default());
    let mut way = Noting::new(false);
    assert_eq!(world.send(&mut way), (4, None));
    assert_eq!(way.left.len(), 4);
    assert_eq!(world.drops.of(DropReason::Malformed), 3 + 3000);
}

#[test]
fn a_super_frame_that_leaves_in_part_is_not_sent_again() {
    let mut world = World::new();
    for first in [0, 100, 200] {
        let (frame, offload) = super_frame(first, 3000, 1000);
        world.put(&frame, offload);
    }
    let mut way = Noting { room: 4, ..Noting::new(false) };
    assert_eq!(world.send(&mut way), (2, None), "the second left in part, the third not at all");
    assert_eq!((way.counted, world.drops.of(DropReason::LinkBusy)), (4, 2));
    world.frames.drain(..2);
    let mut way = Noting { room: 0, ..Noting::new(false) };
    assert_eq!(world.send(&mut way), (0, None));
    assert_eq!(world.dropped(), 2, "what did not leave at all is the caller's");
}

#[test]
fn a_port_that_fails_has_taken_nothing() {
    let mut world = World::new();
    let (frame, offload) = super_frame(0, 3000, 1000);
    world.put(&frame, offload);
    let mut way = Noting { fails: true, ..Noting::new(false) };
    let (done, change) = world.send(&mut way);
    assert_eq!((done, world.dropped()), (0, 0));
    assert!(change.is_some());
}

#[test]
fn a_local_guest_is_told_once_what_fits_and_others_are_told_nothing() {
    for (offload, frames) in [(true, 1), (false, 2)] {
        let mut world = World::new();
        let (frame, metadata) = super_frame(0, 6000, 1500);
        world.put(&frame, metadata);
        let mut way = Noting { limit: 1464, ..Noting::new(offload) };
        world.send(&mut way);
        assert!(!world.dispatch.too_big.is_pending(), "the sender is not behind an interface of this node");

        world.learn(&frame);
        (0..2).for_each(|_| drop(world.send(&mut way)));
        assert_eq!(world.drops.of(DropReason::Oversized), 3 * 4);
        let answer = world.dispatch.too_big.poll().expect("the guest is told");
        assert_eq!(answer.interface, InterfaceId(3));
        assert_eq!(answer.frame()[..6], frame[6..12], "to the sender");
        assert_eq!(answer.frame()[34..36], [3, 4]);
        assert_eq!(
            answer.frame()[40..42],
            1450u16.to_be_bytes(),
            "the way's own limit: the plugin named none"
        );
        assert!(world.dispatch.too_big.poll().is_none(), "once while the queues are sent");
        let counts = world.dispatch.too_big.counts();
        assert_eq!(counts.answered, 1);
        assert!(counts.withheld >= frames - 1);
    }
}

proptest! {
    #[test]
    fn wire_frames_leave_complete_in_order_and_counted(
        frames in proptest::collection::vec((0usize..20_000, 400u16..9000, any::<bool>()), 1..20),
        room in prop_oneof![Just(usize::MAX), 0usize..200],
    ) {
        let mut world = World::new();
        let (mut sent, mut weight) = (Vec::new(), 0);
        for (index, (payload, segment_size, is_super)) in frames.into_iter().enumerate() {
            let (frame, offload) = super_frame(index as u8, payload, segment_size);
            let offload = match is_super {
                true => offload,
                false => Offload { kind: 0, segment_size: 0, ..offload },
            };
            world.put(&frame, offload);
            weight += weight_of(world.frames.last().unwrap()).frames;
            sent.extend_from_slice(&frame[54..]);
        }
        let mut way = Noting { room, ..Noting::new(false) };
        let (done, _) = world.send(&mut way);
        let undone: u64 = world.frames[done..].iter().map(|slot| weight_of(slot).frames).sum();
        prop_assert_eq!(way.counted + world.dropped() + undone, weight, "no frame is lost or counted twice");
        let payload = payload_of(&way.left);
        prop_assert!(sent.starts_with(&payload), "in order and without a gap");
        prop_assert!(room < usize::MAX || payload.len() == sent.len());
        for frame in &way.left {
            prop_assert_eq!(verify(frame), Ok(Integrity::Valid));
        }
    }
}
