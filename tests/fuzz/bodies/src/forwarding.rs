//! Frames through the core: the forwarder and its cache, and signals between nodes.

use std::sync::Arc;
use std::time::Duration;

use vreserve_core::counters::Weight;
use vreserve_core::forward::{Forwarder, ForwarderConfig, Verdict};
use vreserve_core::frame::EthernetHeader;
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId};
use vreserve_core::learn::LearnLimits;
use vreserve_core::rules::{Action, Rule, RuleSet, RuleSetBuilder, StarRole, Target};
use vreserve_core::signal::{self, Signal};
use vreserve_model::{MacAddr, Timestamp};

use crate::input::Input;

const INTERFACES: [InterfaceId; 2] = [InterfaceId(1), InterfaceId(2)];
const LINKS: [(LinkId, LinkClass); 3] =
    [(LinkId(1), LinkClass::Star), (LinkId(2), LinkClass::Circuit), (LinkId(3), LinkClass::Static)];
const NOW: Timestamp = Timestamp(0);

/// Operations, each a byte with what follows: no frame, rule change or eviction makes the forwarding cache show;
/// two sizes of it give the same verdicts and count the same.
pub fn core_forward(data: &[u8]) {
    let mut input = Input(data);
    let mut pair = [2, 1_000].map(forwarder);
    let mut generation = 1;
    while !input.is_empty() {
        let operation = input.byte();
        match operation >> 6 {
            0 => {
                generation += 1;
                let rules = Arc::new(rules(generation, &mut input));
                pair.iter_mut().for_each(|forwarder| forwarder.install(Arc::clone(&rules)));
            }
            1 => {
                let guest = guest(input.byte());
                pair.iter_mut().for_each(|forwarder| forwarder.forget_guest(guest));
            }
            _ => {
                let frame = frame(&mut input);
                let ingress = ingress(operation);
                let fates = pair.each_mut().map(|forwarder| fate(forwarder, ingress, &frame));
                assert_eq!(fates[0], fates[1], "{frame:02x?} from {ingress:?}");
                assert!(!fates[0].1.contains(&ingress.into()), "a frame left where it came in");
            }
        }
    }
    let counted = pair.each_mut().map(|forwarder| {
        let mut cells = Vec::new();
        let mut sum = forwarder.poll_counters(NOW, &mut cells);
        cells.iter().for_each(|cell| sum += cell.weight());
        sum
    });
    assert_eq!(counted[0], counted[1]);
}

fn forwarder(cache_capacity: usize) -> Forwarder {
    let learning = LearnLimits { move_hold: Duration::ZERO, ..LearnLimits::default() };
    let config = ForwarderConfig { cache_capacity, learning, ..ForwarderConfig::default() };
    let mut forwarder = Forwarder::new(config);
    forwarder.install(Arc::new(rules(1, &mut Input(&[]))));
    forwarder
}

/// Up to seven rules between a few guests.
fn rules(generation: u64, input: &mut Input) -> RuleSet {
    let shape = input.byte();
    let role = if shape & 1 == 0 { StarRole::Leaf } else { StarRole::Hub };
    let mut builder = RuleSetBuilder::new(generation, role);
    INTERFACES.iter().for_each(|id| _ = builder.interface(*id));
    LINKS.iter().for_each(|(id, class)| _ = builder.link(*id, *class));
    for _ in 0..(shape >> 1) % 8 {
        let (destination, source, action) = (guest(input.byte()), guest(input.byte()), input.byte());
        let action = match action % 5 {
            0 => Action::Deliver(INTERFACES[usize::from(action >> 4) % 2]),
            1 => Action::Send(LINKS[usize::from(action >> 4) % 3].0),
            2 => Action::Flood,
            _ => Action::Drop,
        };
        let is_pair = source != destination;
        builder.rule(if is_pair {
            Rule::pair(source, destination, action)
        } else {
            Rule::to(destination, action)
        });
    }
    builder.build().expect("the rules name what the node has")
}

fn guest(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number % 8])
}

fn ingress(operation: u8) -> Ingress {
    match operation % 6 {
        at @ 0..2 => Ingress::Interface(INTERFACES[usize::from(at)]),
        at @ 2..5 => Ingress::Link(LINKS[usize::from(at) - 2].0),
        _ => Ingress::Link(LinkId(99)),
    }
}

/// Either a frame between guests that meet again, or any bytes.
fn frame(input: &mut Input) -> Vec<u8> {
    let shape = input.byte();
    if shape & 0x80 != 0 {
        return input.bytes(usize::from(shape & 0x1f)).to_vec();
    }
    let destination = if shape & 0x40 != 0 { MacAddr::BROADCAST } else { guest(shape >> 3) };
    let mut frame = [&destination.0[..], &guest(shape).0].concat();
    frame.extend(if shape & 0x20 != 0 { &[0x81, 0, 0, 7, 8, 0][..] } else { &[8, 0] });
    frame
}

/// What a verdict comes to: its targets, and itself if it has none.
fn fate(forwarder: &mut Forwarder, ingress: Ingress, frame: &[u8]) -> (Option<Verdict>, Vec<Target>) {
    let verdict = forwarder.forward(ingress, frame, Weight::frame(frame.len() as u64), NOW);
    match verdict {
        Verdict::Deliver(id) => (None, vec![Target::Interface(id)]),
        Verdict::Send(id) => (None, vec![Target::Link(id)]),
        Verdict::Flood(fan_out) => {
            let targets = forwarder.targets(fan_out).to_vec();
            assert!(targets.len() > 1);
            (None, targets)
        }
        Verdict::Hold(_) | Verdict::Drop(_) => {
            assert!(EthernetHeader::parse(frame).is_ok() || matches!(verdict, Verdict::Drop(_)));
            (Some(verdict), Vec::new())
        }
    }
}

/// A frame: a signal that can be read is written again as it was.
pub fn core_signal(data: &[u8]) {
    let Ok(signal) = Signal::decode(data) else { return };
    assert!(signal::is_signal(data));
    let mut again = [0; 128];
    let len = signal.encode(0, &mut again).expect("the buffer holds the shortest");
    assert_eq!(Signal::decode(&again[..len]), Ok(signal));
    if let Some(answer) = signal.answer() {
        assert_eq!(answer.answer(), None, "nobody answers an answer");
    }
}
