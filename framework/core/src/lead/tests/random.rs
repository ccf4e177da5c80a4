//! Any interleaving of events, right answers and wrong ones: the invariants hold throughout (the world
//! checks every part it is sent), and when it grows quiet nothing is left held.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use vreserve_model::{Capabilities, Failure, RequestKey, ReservationState};

use super::world::*;
use crate::lead::*;

const NODES: u8 = 4;

/// The lead's world, and what the provider really holds.
struct Chaos {
    world: World,
    held: BTreeSet<RequestKey>,
}

fn failure(kind: u8) -> Failure {
    match kind % 5 {
        0 => Failure::refused("no room"),
        1 => Failure::retry(Duration::from_secs(3), "busy"),
        2 => Failure::unavailable("no server"),
        3 => Failure::unknown_outcome("cut off"),
        _ => Failure::internal("panicked"),
    }
}

impl Chaos {
    fn new(capabilities: Capabilities) -> Self {
        let mut world = World::new(NODES);
        world.lead.handle_backend_up(world.now, NET, capabilities);
        world.auto = Auto { submit: false, cancel: false, apply: false, probe: false, switch: false };
        world.run();
        Chaos { world, held: BTreeSet::new() }
    }

    fn step(&mut self, what: u8, which: u8, how: u8) {
        match what % 16 {
            0 => self.world.pass(Duration::from_millis(u64::from(how) * 40)),
            1 | 2 => self.want(which, how),
            3 | 4 => self.submit(how),
            5 => self.cancel(how),
            6 => self.find(how),
            7..=9 => self.apply(how),
            10 => self.probe(how),
            11 | 12 => self.switch(which, how),
            13 => self.membership(which, how),
            14 => self.link_down(which, how),
            _ => self.nonsense(which, how),
        }
        self.world.run();
        self.check();
    }

    fn want(&mut self, which: u8, how: u8) {
        let all = [(1, 2), (1, 3), (2, 3), (3, 4), (1, 4), (2, 4)];
        let first = usize::from(which) % all.len();
        let links: Vec<_> = (0..usize::from(how % 4)).map(|n| all[(first + n) % all.len()]).collect();
        self.world.want(&links);
    }

    fn submit(&mut self, how: u8) {
        let Some((_, _, request)) = self.world.submits.first() else { return };
        let key = request.key.clone();
        if how < 160 {
            self.held.insert(key);
            self.world.answer_submit(ReservationState::Active);
        } else {
            let failure = failure(how);
            if matches!(how % 5, 3 | 4) && how.is_multiple_of(2) {
                self.held.insert(key);
            }
            self.world.refuse_submit(failure);
        }
    }

    fn cancel(&mut self, how: u8) {
        let Some((_, _, key, _)) = self.world.cancels.first() else { return };
        if how < 200 || how.is_multiple_of(2) {
            self.held.remove(&key.clone());
        }
        let answer = if how < 200 { Ok(()) } else { Err(failure(how)) };
        self.world.answer_cancel(answer);
    }

    fn find(&mut self, how: u8) {
        let Some((_, _, key)) = self.world.finds.first() else { return };
        let truth = self.held.contains(key).then_some(ReservationState::Active);
        self.world.answer_find(if how < 200 { Ok(truth) } else { Err(failure(how)) });
    }

    fn apply(&mut self, how: u8) {
        if self.world.configures.is_empty() {
        } else if how < 240 {
            self.world.apply_next();
        } else {
            let (node, overlay) = self.world.configures.remove(0);
            self.world.lead.handle_applied(self.world.now, &node, overlay.revision, Err("no memory".into()));
        }
    }

    fn probe(&mut self, how: u8) {
        if !self.world.probes.is_empty() {
            self.world.answer_probe(how < 200);
        }
    }

    fn switch(&mut self, which: u8, how: u8) {
        if !self.world.switches.is_empty() {
            let first = usize::from(which) % self.world.switches.len();
            self.world.switches.rotate_left(first);
            self.world.answer_switch((how >= 200).then_some("overflow"));
        }
    }

    fn membership(&mut self, which: u8, how: u8) {
        let last = which % NODES + 1;
        let name = format!("n{last}");
        match how % 8 {
            0 => self.world.leave(&name),
            1 => self.world.leave("hub"),
            2 => self.world.join("hub", NodeRole::Proxy, 100),
            3 => self.world.lead.handle_guests(self.world.now, &name, &[mac(last), mac(how % NODES + 1)]),
            4 => self.world.lead.handle_backend_down(self.world.now, NET, "gone"),
            5 => self.world.lead.handle_backend_up(self.world.now, NET, odin()),
            6 => {
                let successor = (how < 200).then(odin);
                self.world.lead.handle_backend_replaced(self.world.now, NET, successor);
            }
            _ => self.rejoin(last),
        }
    }

    fn rejoin(&mut self, last: u8) {
        self.world.join(&format!("n{last}"), NodeRole::Spoke, last);
        self.world.lead.handle_guests(self.world.now, &format!("n{last}"), &[mac(last)]);
    }

    fn link_down(&mut self, which: u8, how: u8) {
        let circuits: Vec<_> = self.world.lead.circuits().collect();
        if let Some(circuit) = circuits.get(usize::from(which) % circuits.len().max(1)) {
            let node = if how.is_multiple_of(2) { &circuit.link.a } else { &circuit.link.z };
            self.world.link_down(node, circuit.circuit.link());
        }
    }

    /// Answers without a question, and late ones.
    fn nonsense(&mut self, which: u8, how: u8) {
        let id = CircuitId((7 << 32) + u64::from(which % 40));
        let (now, lead) = (self.world.now, &mut self.world.lead);
        match how % 4 {
            0 => lead.handle_probed(
                now,
                CircuitId(u64::from(which)),
                ProbeOutcome { passed: true, rtt: None, loss: 0.0, reason: String::new() },
            ),
            1 => lead.handle_applied(now, "n1", u64::MAX, Ok(())),
            2 => lead.handle_switched(now, "n2", u64::from(how), &[]),
            _ => lead.handle_link_state(now, "hub", id.link(), true),
        }
    }

    fn check(&self) {
        let network = |circuit: &CircuitStatus| circuit.phase == Phase::Reserving;
        let reserving = self.world.lead.circuits().filter(network).count();
        assert!(
            self.world.submits.len() <= reserving.max(1),
            "a serial backend is asked one thing at a time"
        );
        let standing = |circuit: &CircuitStatus| circuit.phase != Phase::Releasing;
        let ends: Vec<_> = self.world.lead.circuits().filter(standing).map(|circuit| circuit.link).collect();
        assert_eq!(ends.iter().collect::<BTreeSet<_>>().len(), ends.len(), "one circuit for the same ends");
        for key in &self.held {
            let known = self.world.lead.circuits().any(|circuit| circuit.key.as_ref() == Some(key));
            assert!(known, "{key} is held and forgotten");
        }
    }

    /// Everybody is there, answers well and wants nothing.
    fn grow_quiet(&mut self) {
        self.world.join("hub", NodeRole::Proxy, 100);
        (1..=NODES).for_each(|last| self.rejoin(last));
        self.world.lead.handle_backend_up(self.world.now, NET, odin());
        self.world.want(&[]);
        for _ in 0..60 {
            while !self.world.configures.is_empty() {
                self.apply(0);
            }
            for _ in 0..self.world.switches.len() {
                self.switch(0, 0);
            }
            self.submit(0);
            self.cancel(0);
            self.find(0);
            self.probe(0);
            self.world.pass(Duration::from_secs(1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks_whatever_happens(
        steps in prop::collection::vec(any::<(u8, u8, u8)>(), 0..250),
        room in prop::option::of(1..4u32),
    ) {
        let mut chaos = Chaos::new(Capabilities { max_concurrent: room, ..odin() });
        for (what, which, how) in steps {
            chaos.step(what, which, how);
        }
        chaos.grow_quiet();
        prop_assert_eq!(chaos.world.lead.circuits().count(), 0, "{:#?}", chaos.world.lead);
        prop_assert!(chaos.held.is_empty());
        for node in (1..=NODES).map(|last| format!("n{last}")) {
            prop_assert!(chaos.world.pairs_at(&node).is_empty());
            prop_assert_eq!(chaos.world.circuit_links_at(&node), 0);
            prop_assert_eq!(chaos.world.applied[&node].links.len(), 1);
        }
        prop_assert_eq!(chaos.world.lead.poll_timeout(), None);
    }
}
