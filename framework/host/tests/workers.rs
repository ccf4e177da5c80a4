//! Several workers that look like one: guests, cut-overs and counts; and one that a plugin does not give back.
//!
//! ```text
//!  guests 0 ─ worker 0 ─ nodes 0        each worker has a queue of the interface and of the endpoint;
//!  guests 1 ─ worker 1 ─ nodes 1        the test plays guests and far nodes
//! ```
#![allow(clippy::unwrap_used, reason = "a test")]

mod plane;

use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use plane::{CIRCUIT, GUESTS, Plane, Queue, STAR, frame, number_of};
use vreserve::dataplane::ports::{Endpoint, Instance, PortFacts};
use vreserve::dataplane::{CutoverSpec, Event};
use vreserve::plugin::InstanceError;
use vreserve_abi::Slot;
use vreserve_core::ids::{Ingress, LinkClass, SwitchId};
use vreserve_core::learn::LearnEvent;
use vreserve_core::liveness::LinkHealth;
use vreserve_core::rules::{Action, IngressMatch, Rule, RuleSet, RuleSetBuilder, StarRole};
use vreserve_core::signal::{SIGNAL_LENGTH, Signal, SignalKind};
use vreserve_core::switch::{Path, SwitchEnd, SwitchSpec};
use vreserve_model::{Failure, MacAddr, Timestamp};
use vreserve_sdk::EndpointInfo;

const HERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const SWITCH: SwitchId = SwitchId(1);
/// Far numbers in the order of adding.
const STAR_FAR: u32 = 0;
const CIRCUIT_FAR: u32 = 1;

/// The star to everywhere, and what happens to the pair.
fn rules(generation: u64, pair: Option<Action>) -> Arc<RuleSet> {
    let mut builder = RuleSetBuilder::new(generation, StarRole::Leaf);
    builder.interface(GUESTS);
    builder.link(STAR, LinkClass::Star);
    builder.link(CIRCUIT, LinkClass::Circuit);
    builder.rule(Rule::to(THERE, Action::Send(STAR)));
    if let Some(action) = pair {
        builder.rule(Rule::pair(HERE, THERE, action).from_ingress(IngressMatch::AnyInterface));
    }
    Arc::new(builder.build().unwrap())
}

async fn world() -> Plane {
    let plane = Plane::start(2);
    plane.add_link(STAR, LinkClass::Star).await;
    plane.add_link(CIRCUIT, LinkClass::Circuit).await;
    plane.plane.workers().install(&rules(1, None), &[], &[]);
    plane
}

/// The guest that is here has sent a frame, and every worker has heard of it.
async fn world_that_knows_the_guest() -> Plane {
    let mut world = world().await;
    world.guests[0].put(0, &frame(HERE, THERE, 1));
    next(&mut world, |event| matches!(event, Event::Guest(_))).await;
    // Collecting passes every mailbox behind what was told before.
    world.plane.workers().collect().await.unwrap();
    world
}

fn signal_of(frame: &[u8], kind: SignalKind) -> Option<Signal> {
    Signal::decode(frame).ok().filter(|signal| signal.kind == kind)
}

fn encoded(signal: &Signal) -> Vec<u8> {
    let mut frame = vec![0; SIGNAL_LENGTH];
    signal.encode(SIGNAL_LENGTH, &mut frame).unwrap();
    frame
}

async fn next(plane: &mut Plane, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = plane.events.recv().await.expect("the workers run");
        if wanted(&event) {
            return event;
        }
    }
}

#[tokio::test]
async fn a_guest_that_one_worker_sees_is_known_to_all_and_told_once() {
    let mut world = world().await;
    world.guests[0].put(0, &frame(HERE, THERE, 1));
    let at = Ingress::Interface(GUESTS);
    let learned = next(&mut world, |event| matches!(event, Event::Guest(_))).await;
    assert!(matches!(learned, Event::Guest(LearnEvent::Learned { guest: HERE, at: there }) if there == at));
    // Collecting passes every mailbox behind what was told before.
    world.plane.workers().collect().await.unwrap();
    world.nodes[1].put(STAR_FAR, &frame(THERE, HERE, 2));
    let (_, delivered) = world.guests[1].take("frame", |frame| number_of(frame) == Some(2));
    assert_eq!(delivered[6..12], THERE.0);

    // Frames of the same guest at the other worker are no news; its end is, once.
    world.guests[1].put(0, &frame(HERE, THERE, 3));
    world.nodes[1].take("frame", |frame| number_of(frame) == Some(3));
    let collected = world.plane.workers().collect().await.unwrap();
    assert_eq!(collected.guests, [(HERE, Some(GUESTS))]);
    let frames: u64 = collected.cells.iter().map(|cell| cell.frames).sum();
    assert!(frames >= 1, "the second worker's frame is counted");
    world.plane.workers().forget_guest(HERE);
    let guest = next(&mut world, |event| matches!(event, Event::Guest(_))).await;
    assert!(matches!(guest, Event::Guest(LearnEvent::Expired { guest: HERE, .. })), "{guest:?}");
}

#[tokio::test]
async fn a_cut_over_keeps_the_order_of_every_worker_and_ends_when_all_have() {
    let mut world = world().await;
    for worker in 0..2 {
        (0..100).for_each(|number| world.guests[worker].put(0, &frame(HERE, THERE, number)));
        world.nodes[worker].take("last frame", |frame| number_of(frame) == Some(99));
    }
    let spec = SwitchSpec {
        id: SWITCH,
        source: HERE,
        destination: THERE,
        circuit: Some(CIRCUIT),
        old: Path::Star,
        new: Path::Link(CIRCUIT),
    };
    let cutover = CutoverSpec { switch: spec, star: STAR };
    world.plane.workers().install(&rules(2, Some(Action::Hold(SWITCH))), &[cutover], &[]);
    let mut acknowledgements = Vec::new();
    for worker in 0..2 {
        let is_barrier = |frame: &[u8]| signal_of(frame, SignalKind::Barrier).is_some();
        let (far, barrier) = world.nodes[worker].take("barrier", is_barrier);
        assert_eq!(far, STAR_FAR, "behind the frames on the old path");
        acknowledgements.push(encoded(&Signal::decode(&barrier).unwrap().answer().unwrap()));
        (100..200).for_each(|number| world.guests[worker].put(0, &frame(HERE, THERE, number)));
    }
    // The far node's workers answer on lanes of their own: here each on the other one's.
    world.nodes[1].put(CIRCUIT_FAR, &acknowledgements[0]);
    let came: Vec<u32> = (100..200)
        .map(|_| {
            let (far, frame) = world.nodes[0].take("held frame", |frame| number_of(frame).is_some());
            assert_eq!(far, CIRCUIT_FAR);
            number_of(&frame).unwrap()
        })
        .collect();
    assert!(came.is_sorted() && came[0] == 100, "{came:?}");
    let early = world.nodes[1].drain();
    assert!(early.iter().all(|(_, frame)| number_of(frame).is_none()), "the other worker still holds");

    world.nodes[0].put(CIRCUIT_FAR, &acknowledgements[1]);
    let ended = next(&mut world, |event| matches!(event, Event::CutoverEnded(..))).await;
    let Event::CutoverEnded(SWITCH, outcome) = ended else { panic!("{ended:?}") };
    assert_eq!(outcome.end, SwitchEnd::Completed);
    assert!(outcome.held_frames > 0 && outcome.dropped == 0, "{outcome:?}");
    world.nodes[1].take("last frame", |frame| number_of(frame) == Some(199));
    assert_eq!(world.plane.workers().collect().await.unwrap().drops.iter().map(|(_, n)| n).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_barrier_without_a_circuit_is_answered_back_the_way_it_came() {
    let world = world_that_knows_the_guest().await;
    let barrier = Signal::barrier(None, THERE, HERE, 7, Timestamp(1));
    world.nodes[0].put(STAR_FAR, &encoded(&barrier));
    let is_answer = |frame: &[u8]| signal_of(frame, SignalKind::BarrierAck).is_some();
    let (far, answer) = world.nodes[0].take("answer", is_answer);
    assert_eq!(far, STAR_FAR);
    assert_eq!((&answer[..6], &answer[6..12]), (&THERE.0[..], &HERE.0[..]), "as the one guest to the other");
}

#[tokio::test]
async fn a_cut_over_onto_a_relayed_way_ends_when_answers_for_its_guest_come_in() {
    let mut world = world_that_knows_the_guest().await;
    let (old, new) = (Path::Star, Path::Link(CIRCUIT));
    let switch = SwitchSpec { id: SWITCH, source: HERE, destination: THERE, circuit: None, old, new };
    let cutover = CutoverSpec { switch, star: STAR };
    world.plane.workers().install(&rules(2, Some(Action::Hold(SWITCH))), &[cutover], &[]);
    for worker in 0..2 {
        let is_barrier = |frame: &[u8]| signal_of(frame, SignalKind::Barrier).is_some();
        let (_, barrier) = world.nodes[worker].take("barrier", is_barrier);
        let answer = Signal::decode(&barrier).unwrap().answer().unwrap();
        world.nodes[1 - worker].put(STAR_FAR, &encoded(&answer));
    }
    let ended = next(&mut world, |event| matches!(event, Event::CutoverEnded(..))).await;
    let Event::CutoverEnded(SWITCH, outcome) = ended else { panic!("{ended:?}") };
    assert_eq!(outcome.end, SwitchEnd::Completed);
    world.guests[0].put(0, &frame(HERE, THERE, 2));
    let (far, _) = world.nodes[0].take("frame", |frame| number_of(frame) == Some(2));
    assert_eq!(far, CIRCUIT_FAR);
}

#[tokio::test]
async fn links_are_watched_by_one_worker_wherever_the_answers_come_in() {
    let mut world = world().await;
    let is_probe = |frame: &[u8]| signal_of(frame, SignalKind::Probe).is_some_and(|probe| probe.link == STAR);
    let (far, probe) = world.nodes[0].take("probe", is_probe);
    let reply = encoded(&Signal::decode(&probe).unwrap().answer().unwrap());
    world.nodes[1].put(far, &reply);
    let health = next(&mut world, |event| matches!(event, Event::Health(..))).await;
    assert!(matches!(health, Event::Health(STAR, LinkHealth::Up)), "{health:?}");
    let probes = world.nodes[1].drain().iter().filter(|(_, frame)| is_probe(frame)).count();
    assert_eq!(probes, 0);
    let collected = world.plane.workers().collect().await.unwrap();
    assert_eq!(collected.links.len(), 2, "each link once");
    assert_eq!(collected.ports.len(), 2, "each instance once");
    // A nonce that names no worker is nobody's.
    let stray = Signal { nonce: 63, ..Signal::decode(&reply).unwrap() };
    world.nodes[0].put(far, &encoded(&stray));
    next(&mut world, |event| matches!(event, Event::FirstDrop(_))).await;
}

/// An endpoint whose plugin waits for what never comes.
struct Waiting {
    near: UnixStream,
    _far: UnixStream,
}

impl Instance for Waiting {
    fn recv(&mut self, _: &mut [Slot]) -> Result<usize, InstanceError> {
        Ok(self.near.read(&mut [0])?)
    }

    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        Ok(slots.len())
    }

    fn ready_fd(&mut self) -> Option<RawFd> {
        None
    }

    fn violations(&self) -> u64 {
        0
    }

    fn facts(&self) -> PortFacts {
        PortFacts { offload: false, largest_frame: 1514 }
    }
}

impl Endpoint for Waiting {
    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: "nowhere".into(), mtu: 1514, offload: false, queues: 1 }
    }

    fn add_far(&mut self, _: u32, _: &str, _: Option<&[u8; 32]>) -> Result<(), Failure> {
        Ok(())
    }

    fn remove_far(&mut self, _: u32) {}
}

#[tokio::test]
async fn an_instance_that_does_not_return_is_interrupted_and_its_worker_goes_on() {
    let (near, far) = UnixStream::pair().unwrap();
    let guests = Queue::default();
    let waiting: Box<dyn Endpoint> = Box::new(Waiting { near, _far: far });
    let (plane, mut events) = plane::start(vec![(guests.interface(), waiting)]);
    let failed = loop {
        match events.recv().await.expect("the worker runs") {
            Event::PortFailed { name, reason, .. } => break (name, reason),
            _ => continue,
        }
    };
    assert_eq!(failed.0, "link.internet");
    assert!(failed.1.contains("waited where it must not"), "{}", failed.1);
    guests.put(0, &frame(HERE, THERE, 1));
    let received = loop {
        let ports = plane.workers().collect().await.unwrap().ports;
        let interface = ports.iter().find(|port| port.name == "capture.guests").unwrap();
        if interface.received.frames > 0 {
            break interface.received.frames;
        }
    };
    assert_eq!(received, 1);
    plane.stop();
}
