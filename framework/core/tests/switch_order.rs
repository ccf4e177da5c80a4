//! Planned cut-overs over a model network: whatever is lost or late among the signals, and however small
//! the hold, the receiver sees every frame of the pair exactly once and in order; all but those that were
//! refused because the hold was full and the path took nothing.
//!
//! ```text
//!              ┌── star: first in first out, own delay ──┐
//!   ingress ───┤   (barriers may be lost)                ├──▶ egress
//!      ▲       └── circuit: first in first out, faster ──┘       │
//!      └────────── acknowledgements, may be lost or late ────────┘
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use vreserve_core::ids::{LinkId, SwitchId};
use vreserve_core::signal::Signal;
use vreserve_core::switch::{
    Admission, Path, Phase, Switch, SwitchEnd, SwitchLimits, SwitchOutcome, SwitchSpec,
};
use vreserve_model::{MacAddr, Timestamp};

const CIRCUIT: LinkId = LinkId(1);
/// More ticks of a millisecond than any switch and any path needs to settle.
const SETTLING: u64 = 400;

/// What happens within one millisecond.
#[derive(Clone, Debug)]
struct Tick {
    /// Lengths of the frames that the guest sends.
    arrivals: Vec<usize>,
    /// So many held frames does the path take.
    path_takes: usize,
    /// The path takes no more even if the hold is full.
    is_blocked: bool,
    /// The ingress node comes round to looking at its timers.
    polls: bool,
    loses_barrier: bool,
    loses_ack: bool,
    /// Milliseconds by which what is sent now is late beyond its path's delay.
    lateness: u64,
    /// The new path is given up, if nothing has left on it.
    new_path_dies: bool,
    /// A new switch begins if none is under way.
    begins_switch: bool,
}

#[derive(Clone, Debug)]
struct Scenario {
    star_delay: u64,
    circuit_delay: u64,
    ack_delay: u64,
    hold_bytes: usize,
    ticks: Vec<Tick>,
}

#[derive(Clone, Debug)]
enum Sent {
    Frame(u32),
    Barrier(Signal),
}

/// A path that keeps order, whatever the lateness of single frames.
#[derive(Default)]
struct FifoPath {
    under_way: VecDeque<(u64, Sent)>,
}

impl FifoPath {
    fn send(&mut self, due: u64, sent: Sent) {
        let last_due = self.under_way.back().map_or(0, |(due, _)| *due);
        self.under_way.push_back((due.max(last_due), sent));
    }

    fn arrived(&mut self, tick: u64) -> Vec<Sent> {
        let arrived = self.under_way.partition_point(|(due, _)| *due <= tick);
        self.under_way.drain(..arrived).map(|(_, sent)| sent).collect()
    }
}

struct Network {
    scenario: Scenario,
    tick: u64,
    lateness: u64,
    star: FifoPath,
    circuit: FifoPath,
    /// Acknowledgements under way, in any order: when due, and the nonce.
    acks: Vec<(u64, u64)>,
    /// Where the pair's frames go while no switch is under way.
    path: Path,
    switch: Option<Switch<u32>>,
    next_frame: u32,
    next_nonce: u64,
    /// Frames refused for want of room.
    refused: Vec<u32>,
    received: Vec<u32>,
    outcomes: Vec<SwitchOutcome>,
}

impl Network {
    fn new(scenario: Scenario) -> Network {
        Network {
            scenario,
            tick: 0,
            lateness: 0,
            star: FifoPath::default(),
            circuit: FifoPath::default(),
            acks: Vec::new(),
            path: Path::Star,
            switch: None,
            next_frame: 0,
            next_nonce: 0,
            refused: Vec::new(),
            received: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    fn run(mut self) -> Network {
        for tick in self.scenario.ticks.clone() {
            self.step(&tick);
        }
        let quiet = Tick {
            arrivals: vec![],
            path_takes: 1,
            is_blocked: false,
            polls: true,
            loses_barrier: false,
            loses_ack: false,
            lateness: 0,
            new_path_dies: false,
            begins_switch: false,
        };
        for _ in 0..SETTLING {
            self.step(&quiet);
        }
        self
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.tick)
    }

    fn step(&mut self, tick: &Tick) {
        self.tick += 1;
        self.lateness = tick.lateness;
        if tick.begins_switch && self.switch.is_none() {
            self.begin_switch();
        }
        self.take_acks();
        tick.arrivals.iter().for_each(|length| self.offer(*length, tick.is_blocked));
        self.send_waiting(tick.path_takes);
        if tick.polls {
            self.poll(tick);
        }
        self.receive(tick.loses_ack);
        self.end_switch();
    }

    fn begin_switch(&mut self) {
        let (old, new) = match self.path {
            Path::Star => (Path::Star, Path::Link(CIRCUIT)),
            circuit @ Path::Link(_) => (circuit, Path::Star),
        };
        let (source, destination) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let spec = SwitchSpec { id: SwitchId(0), source, destination, circuit: Some(CIRCUIT), old, new };
        let limits = SwitchLimits {
            hold_bytes: self.scenario.hold_bytes,
            resend_after: Duration::from_millis(10),
            give_up_after: Duration::from_millis(100),
            restarts: 2,
        };
        self.switch = Some(Switch::begin(spec, limits, self.now()));
    }

    fn take_acks(&mut self) {
        let (tick, now) = (self.tick, self.now());
        for (_, nonce) in self.acks.extract_if(.., |ack| ack.0 <= tick) {
            self.switch.as_mut().map(|switch| switch.handle_ack(nonce, now));
        }
    }

    /// The guest's next frame: its number, repeated as its octets.
    fn offer(&mut self, length: usize, is_blocked: bool) {
        let number = self.next_frame;
        self.next_frame += 1;
        let (frame, now) = (vec![number as u8; length], self.now());
        let Some(switch) = &mut self.switch else { return self.send(self.path, Sent::Frame(number)) };
        let mut admission = switch.admit(&frame, number, now);
        if admission == Admission::Full {
            self.send_waiting(if is_blocked { 1 } else { usize::MAX });
            let switch = self.switch.as_mut().expect("sending does not end a switch");
            admission = switch.admit(&frame, number, now);
        }
        let switch = self.switch.as_mut().expect("offering does not end a switch");
        match admission {
            Admission::Held => {}
            Admission::Pass(path) => self.send(path, Sent::Frame(number)),
            Admission::Full => {
                assert!(is_blocked, "there is room once everything held has left");
                switch.count_dropped(1);
                self.refused.push(number);
            }
        }
    }

    fn send_waiting(&mut self, frames: usize) {
        let now = self.now();
        let Some(switch) = &mut self.switch else { return };
        let leaving: Vec<_> =
            switch.waiting().take(frames).map(|held| (held.path, held.frame.to_vec(), held.meta)).collect();
        switch.pop(leaving.len(), now);
        for (path, frame, number) in leaving {
            assert!(frame.iter().all(|octet| *octet == number as u8), "octets and metadata belong together");
            self.send(path, Sent::Frame(number));
        }
    }

    fn send(&mut self, path: Path, sent: Sent) {
        let (path, delay) = match path {
            Path::Star => (&mut self.star, self.scenario.star_delay),
            Path::Link(_) => (&mut self.circuit, self.scenario.circuit_delay),
        };
        path.send(self.tick + delay + self.lateness, sent);
    }

    fn poll(&mut self, tick: &Tick) {
        let now = self.now();
        let Some(switch) = &mut self.switch else { return };
        let nothing_left = matches!(switch.phase(), Phase::Holding { .. } | Phase::Flushing { .. });
        if tick.new_path_dies && nothing_left {
            switch.abandon(now);
        }
        self.next_nonce += 1;
        let (old, nonce) = (switch.spec().old, self.next_nonce);
        if let Some(barrier) = switch.poll(now, || nonce).filter(|_| !tick.loses_barrier) {
            self.send(old, Sent::Barrier(barrier));
        }
    }

    fn receive(&mut self, loses_ack: bool) {
        let mut arrived = self.circuit.arrived(self.tick);
        arrived.extend(self.star.arrived(self.tick));
        for sent in arrived {
            match sent {
                Sent::Frame(number) => self.received.push(number),
                Sent::Barrier(barrier) if !loses_ack => {
                    let due = self.tick + self.scenario.ack_delay + self.lateness;
                    self.acks.push((due, barrier.nonce));
                }
                Sent::Barrier(_) => {}
            }
        }
    }

    fn end_switch(&mut self) {
        if let Some(outcome) = self.switch.as_ref().and_then(Switch::outcome) {
            let spec = *self.switch.take().expect("it has an outcome").spec();
            self.path = if outcome.end == SwitchEnd::Completed { spec.new } else { spec.old };
            self.outcomes.push(outcome);
        }
    }
}

fn ticks() -> impl Strategy<Value = Tick> {
    let arrivals = proptest::collection::vec(prop_oneof![20 => 14..150_usize, 1 => 150..3000_usize], 0..3);
    let chance = |percent: u32| prop::bool::weighted(f64::from(percent) / 100.0);
    let path = (0..4_usize, chance(20), 0..8_u64);
    let losses = (chance(25), chance(25));
    let events = (chance(30), chance(1), chance(20));
    (arrivals, path, losses, events).prop_map(|(arrivals, path, losses, events)| {
        let (path_takes, is_blocked, lateness) = path;
        let (loses_barrier, loses_ack) = losses;
        let (polls, new_path_dies, begins_switch) = events;
        Tick {
            arrivals,
            path_takes,
            is_blocked,
            polls,
            loses_barrier,
            loses_ack,
            lateness,
            new_path_dies,
            begins_switch,
        }
    })
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let hold_bytes = prop_oneof![0..2000_usize, Just(1 << 20)];
    let delay = || prop_oneof![0..8_u64, 0..60_u64];
    (delay(), delay(), delay(), hold_bytes, proptest::collection::vec(ticks(), 50..300)).prop_map(
        |(star_delay, circuit_delay, ack_delay, hold_bytes, ticks)| Scenario {
            star_delay,
            circuit_delay,
            ack_delay,
            hold_bytes,
            ticks,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_frame_arrives_exactly_once_and_in_order(scenario in scenarios()) {
        let network = Network::new(scenario).run();
        prop_assert!(network.switch.is_none(), "every switch ends");
        let dropped: u64 = network.outcomes.iter().map(|outcome| outcome.dropped).sum();
        prop_assert_eq!(dropped, network.refused.len() as u64);
        let refused = BTreeSet::from_iter(network.refused);
        let expected = Vec::from_iter((0..network.next_frame).filter(|frame| !refused.contains(frame)));
        prop_assert_eq!(network.received, expected);
    }
}

/// The property above would be empty if no scenario went through restarts and every end.
#[test]
fn the_scenarios_reach_every_end_of_a_planned_switch() {
    let mut runner = TestRunner::deterministic();
    let mut ends = BTreeSet::new();
    let mut had_held_frames = false;
    for _ in 0..200 {
        let scenario = scenarios().new_tree(&mut runner).expect("nothing is filtered").current();
        for outcome in Network::new(scenario).run().outcomes {
            had_held_frames |= outcome.held_frames > 20 && outcome.end == SwitchEnd::Completed;
            ends.insert(format!("{:?}", outcome.end));
        }
    }
    let expected = ["Aborted(HoldFull)", "Aborted(NewPathDown)", "Aborted(NoAcknowledgement)", "Completed"];
    assert_eq!(Vec::from_iter(ends), expected);
    assert!(had_held_frames);
}
