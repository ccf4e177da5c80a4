//! Any interleaving of events, right answers and wrong ones, and crashes of the lead: the invariants hold
//! throughout (the world checks every part it is sent, and that nothing is asked for before it is on record),
//! and when it grows quiet nothing is left held.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use vreserve_model::{
    BitsPerSecond, Capabilities, Changes, Failure, RequestKey, ReservationState, Timestamp, Wanted,
};

use super::world::*;
use crate::lead::*;
use crate::plan::LinkKey;
use crate::reservation::Flow;

const NODES: u8 = 4;

/// The lead's world, and what the provider really holds.
struct Chaos {
    world: World,
    capabilities: Capabilities,
    held: BTreeMap<RequestKey, ReservationState>,
    /// Since when the provider has held what was not committed.
    holds: BTreeMap<RequestKey, Timestamp>,
    /// Requests of a dead lead that may yet take effect.
    adrift: BTreeSet<RequestKey>,
    /// What took effect when nobody waited for it any more: only a list shows it.
    late: BTreeSet<RequestKey>,
}

/// Guests of nodes that two links join are relayed by the node between, unless they have a link of their own.
fn relay_where_possible(wanted: &mut Wanted, links: &[(u8, u8)]) {
    for (index, (a, b)) in links.iter().enumerate() {
        for (c, d) in &links[index + 1..] {
            let ways = [(a, b, c, d), (b, a, c, d), (a, b, d, c), (b, a, d, c)];
            let Some((one, between, _, other)) = ways.into_iter().find(|(_, b, c, _)| b == c) else {
                continue;
            };
            let has_own = |link: &(u8, u8)| [(*one, *other), (*other, *one)].contains(link);
            if !links.iter().any(has_own) {
                relay(wanted, [*one, *between, *other]);
            }
        }
    }
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
        let mut world = World::with(NODES, capabilities.clone());
        world.lead.handle_clock(world.now, world.wall());
        world.auto = Auto { submit: false, cancel: false, apply: false, probe: false, switch: false };
        world.run();
        let (held, holds) = (BTreeMap::new(), BTreeMap::new());
        Chaos { world, capabilities, held, holds, adrift: BTreeSet::new(), late: BTreeSet::new() }
    }

    fn step(&mut self, what: u8, which: u8, how: u8) {
        self.show_list();
        match what % 22 {
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
            15..=17 => self.take_step(how),
            18 => self.crash(which, how),
            19 => self.book(which, how),
            20 => self.disk(how),
            _ => self.nonsense(which, how),
        }
        self.show_list();
        self.world.run();
        self.check();
    }

    /// A provider drops holds when their time is over; what a list shows is what is held.
    fn show_list(&mut self) {
        let now = self.world.now;
        for key in self.held.iter().filter(|(_, s)| **s == ReservationState::Held).map(|(key, _)| key) {
            self.holds.entry(key.clone()).or_insert(now);
        }
        let holds = &self.holds;
        self.held.retain(|key, state| {
            *state != ReservationState::Held || now.since(holds[key]) < Duration::from_secs(9)
        });
        let held = self.held.iter().map(|(key, state)| observed(key, *state));
        self.world.listed = Some(held.collect());
    }

    fn want(&mut self, which: u8, how: u8) {
        let all = [(1, 2), (1, 3), (2, 3), (3, 4), (1, 4), (2, 4)];
        let first = usize::from(which) % all.len();
        let links: Vec<_> = (0..usize::from(how % 4)).map(|n| all[(first + n) % all.len()]).collect();
        let mut wanted = want(&links);
        for link in &mut wanted.links {
            link.rate = BitsPerSecond(1_000_000 << (how / 64));
        }
        if how & 16 != 0 {
            relay_where_possible(&mut wanted, &links);
        }
        self.world.lead.handle_wanted(self.world.now, &wanted);
    }

    /// What the provider's yes means.
    fn granted(&self) -> ReservationState {
        match Flow::from(&self.capabilities) {
            Flow::Fused => ReservationState::Active,
            Flow::TwoPhase => ReservationState::Held,
            Flow::Stepwise => ReservationState::Booked,
        }
    }

    fn submit(&mut self, how: u8) {
        let Some((_, _, request)) = self.world.submits.first() else { return };
        let key = request.key.clone();
        if how < 160 {
            self.held.insert(key, self.granted());
            self.world.answer_submit(self.granted());
        } else {
            let failure = failure(how);
            if matches!(how % 5, 3 | 4) && how.is_multiple_of(2) {
                self.held.insert(key, self.granted());
            }
            self.world.refuse_submit(failure);
        }
    }

    fn cancel(&mut self, how: u8) {
        if let Some((key, _)) = self.world.orphan_cancels.pop() {
            let answer = if how < 200 { Ok(()) } else { Err(failure(how)) };
            if answer.is_ok() {
                self.held.remove(&key);
                self.late.remove(&key);
            }
            let now = self.world.now;
            self.world.lead.handle_orphan_cancelled(now, NET, &key, answer);
        }
        let Some((_, _, key, _)) = self.world.cancels.first() else { return };
        if how < 200 || how.is_multiple_of(2) {
            self.held.remove(&key.clone());
        }
        let answer = if how < 200 { Ok(()) } else { Err(failure(how)) };
        self.world.answer_cancel(answer);
    }

    fn find(&mut self, how: u8) {
        let Some((_, _, key)) = self.world.finds.first() else { return };
        let truth = self.held.get(key).copied();
        // What is looked up and not there never comes.
        if truth.is_none() && self.adrift.remove(key) && how.is_multiple_of(2) {
            self.late.insert(key.clone());
            let (key, state) = (key.clone(), self.granted());
            self.world.answer_find(Ok(None));
            self.held.insert(key, state);
            return;
        }
        self.world.answer_find(if how < 200 { Ok(truth) } else { Err(failure(how)) });
    }

    /// A commit, an activation and so on: taken, refused, or taken and not answered.
    fn take_step(&mut self, how: u8) {
        let Some(action) = self.world.steps.first() else { return };
        use ReservationState::{Active, Booked};
        let after_commit = if self.capabilities.fused_activation { Active } else { Booked };
        let (key, after) = match action {
            Action::Commit(call) => (call.key.clone(), Some(after_commit)),
            Action::Abort(call) => (call.key.clone(), None),
            Action::Deactivate(call) => (call.key.clone(), Some(Booked)),
            Action::Activate { call, .. } | Action::Modify { call, .. } => (call.key.clone(), Some(Active)),
            other => panic!("{other:?}"),
        };
        let is_abort = after.is_none();
        let is_there = self.held.contains_key(&key);
        let takes_effect = how < 160 || matches!(how % 5, 3 | 4) && how.is_multiple_of(2);
        if takes_effect {
            match after {
                Some(state) if is_there => drop(self.held.insert(key, state)),
                Some(_) => {}
                None => drop(self.held.remove(&key)),
            }
        }
        let answer = match after {
            _ if how >= 160 => Err(failure(how)),
            None => Ok(ReservationState::Released),
            Some(_) if !is_there && !is_abort => Err(Failure::refused("no such reservation")),
            Some(state) => Ok(state),
        };
        self.world.answer_step(answer);
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
            5 => self.world.lead.handle_backend_up(self.world.now, NET, self.capabilities.clone()),
            6 => {
                let successor = (how < 200).then(|| self.capabilities.clone());
                self.world.lead.handle_backend_replaced(self.world.now, NET, successor);
            }
            _ => self.rejoin(last),
        }
    }

    fn rejoin(&mut self, last: u8) {
        self.world.join(&format!("n{last}"), NodeRole::Spoke, last);
        self.world.lead.handle_guests(self.world.now, &format!("n{last}"), &[mac(last)]);
    }

    /// The lead dies in the middle of what it has decided, and its calls may have got through or not, or do
    /// so later. The next one finds some of the nodes.
    fn crash(&mut self, which: u8, how: u8) {
        self.want(which, how);
        for _ in 0..how % 8 {
            let Some(action) = self.world.lead.poll_action() else { break };
            self.world.carry_out(action);
        }
        let submitted: Vec<_> =
            self.world.submits.iter().map(|(_, _, request)| request.key.clone()).collect();
        for (index, key) in submitted.into_iter().enumerate() {
            if (usize::from(how) + index).is_multiple_of(2) {
                self.held.insert(key, self.granted());
            } else {
                self.adrift.insert(key);
            }
        }
        for (_, _, key, _) in self.world.cancels.iter().filter(|_| how.is_multiple_of(3)) {
            self.held.remove(key);
        }
        self.world.is_disk_full = false;
        self.world.crash();
        if !how.is_multiple_of(5) {
            self.come_back(which);
        }
    }

    fn come_back(&mut self, but: u8) {
        let nodes: Vec<_> = (1..=NODES).filter(|last| last % 5 != but % 5).collect();
        self.world.come_back("hub", NodeRole::Proxy, 100);
        for last in nodes {
            self.world.come_back(&format!("n{last}"), NodeRole::Spoke, last);
        }
        self.world.lead.handle_backend_up(self.world.now, NET, self.capabilities.clone());
    }

    fn book(&mut self, which: u8, how: u8) {
        let wall = self.world.wall();
        let wish = BookingWish {
            from: format!("n{}", which % NODES + 1),
            to: format!("n{}", how % NODES + 1),
            network: None,
            rate: BitsPerSecond(1_000_000),
            start_ms: Some(wall + u64::from(which) * 50),
            end_ms: wall + u64::from(which) * 50 + u64::from(how) * 100,
        };
        let booked = self.world.lead.book(self.world.now, wish);
        if let (Ok(id), true) = (booked, how.is_multiple_of(7)) {
            self.world.lead.cancel_booking(self.world.now, id).expect("it is there");
        }
        // The clock steps a little, both ways.
        let wall = self.world.wall() + u64::from(how) * 4;
        self.world.lead.handle_clock(self.world.now, wall - 500);
    }

    fn disk(&mut self, how: u8) {
        self.world.is_disk_full = how >= 128;
        if how < 128 {
            self.world.lead.handle_journal_ok(self.world.now);
        }
    }

    fn link_down(&mut self, which: u8, how: u8) {
        let circuits: Vec<_> = self.world.lead.circuits().collect();
        if let Some(circuit) = circuits.get(usize::from(which) % circuits.len().max(1)) {
            let node = if how.is_multiple_of(2) { &circuit.link.a } else { &circuit.link.z };
            if how < 128 {
                self.world.link_down(node, circuit.link_id);
            } else {
                self.world.lead.handle_link_degraded(self.world.now, node, circuit.link_id, "slow");
            }
        }
    }

    /// Answers without a question, and late ones.
    fn nonsense(&mut self, which: u8, how: u8) {
        let id = CircuitId((7 << 32) + u64::from(which % 40));
        let (now, lead) = (self.world.now, &mut self.world.lead);
        let seen = || Ok(observed(&RequestKey("nobody's".into()), ReservationState::Booked));
        let is_due = |lead: &Lead| lead.circuit(id).is_some();
        match how % 8 {
            0 => lead.handle_probed(
                now,
                CircuitId(u64::from(which)),
                ProbeOutcome { passed: true, rtt: None, loss: 0.0, reason: String::new() },
            ),
            1 => lead.handle_applied(now, "n1", u64::MAX, Ok(())),
            2 => lead.handle_switched(now, "n2", u64::from(how), &[]),
            3 if !is_due(lead) => lead.handle_committed(now, id, seen()),
            4 if !is_due(lead) => lead.handle_modified(now, id, seen()),
            5 => lead.tick(Timestamp::ZERO),
            6 => lead.handle_changes(now, NET, &Changes { next: 1, missed: true, observed: vec![] }),
            _ => lead.handle_link_state(now, "hub", id.link(), true),
        }
    }

    fn check(&self) {
        let of_phase = |phase: Phase| self.world.lead.circuits().filter(move |c| c.phase == phase).count();
        let asking = of_phase(Phase::Reserving) + of_phase(Phase::Releasing);
        if self.capabilities.serial {
            let most = asking.max(1);
            assert!(self.world.submits.len() <= most, "a serial backend is asked one thing at a time");
        }
        let mut links: BTreeMap<LinkKey, usize> = BTreeMap::new();
        let set_up = |c: &CircuitStatus| c.phase >= Phase::Linking && c.phase <= Phase::Unlinking;
        for circuit in self.world.lead.circuits().filter(set_up) {
            *links.entry(circuit.link).or_default() += 1;
        }
        assert!(links.values().all(|count| *count == 1), "one link between the same ends");
        // A hold runs out by itself, and what nobody waited for is found by the list.
        let counts = |(key, state): &(&RequestKey, &ReservationState)| {
            **state != ReservationState::Held && !self.late.contains(*key)
        };
        for (key, _) in self.held.iter().filter(counts) {
            let known = self.world.lead.circuits().any(|circuit| circuit.key.as_ref() == Some(key));
            assert!(known, "{key} is held and forgotten");
        }
    }

    /// Everybody is there, answers well and wants nothing.
    fn grow_quiet(&mut self) {
        self.world.is_disk_full = false;
        self.world.lead.handle_journal_ok(self.world.now);
        self.world.lead.handle_clock(self.world.now, self.world.wall());
        self.world.join("hub", NodeRole::Proxy, 100);
        (1..=NODES).for_each(|last| self.rejoin(last));
        self.world.lead.handle_backend_up(self.world.now, NET, self.capabilities.clone());
        self.world.want(&[]);
        for _ in 0..220 {
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
            self.take_step(0);
            self.show_list();
            self.world.pass(Duration::from_secs(1));
        }
    }
}

fn backends() -> impl Strategy<Value = Capabilities> {
    let hold_time = Some(Duration::from_secs(9));
    prop_oneof![
        Just(odin()),
        Just(Capabilities { serial: false, ..odin() }),
        Just(Capabilities { hold_time, ..nsi() }),
        Just(Capabilities { hold_time, fused_activation: true, ..nsi() }),
        Just(gara()),
        Just(Capabilities { advance: false, modify: false, ..gara() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks_whatever_happens(
        steps in prop::collection::vec(any::<(u8, u8, u8)>(), 0..250),
        room in prop::option::of(1..4u32),
        backend in backends(),
    ) {
        let mut chaos = Chaos::new(Capabilities { max_concurrent: room, ..backend });
        for (what, which, how) in steps {
            chaos.step(what, which, how);
        }
        chaos.grow_quiet();
        prop_assert_eq!(chaos.world.lead.circuits().count(), 0, "{:#?}", chaos.world.lead);
        prop_assert!(chaos.held.is_empty(), "{:?} is held", chaos.held);
        prop_assert!(chaos.world.disk.is_empty(), "{:?} is on record", chaos.world.disk);
        prop_assert!(chaos.world.lead.calendar().is_empty());
        for node in (1..=NODES).map(|last| format!("n{last}")) {
            prop_assert!(chaos.world.pairs_at(&node).is_empty());
            prop_assert_eq!(chaos.world.circuit_links_at(&node), 0);
            prop_assert_eq!(chaos.world.applied[&node].links.len(), 1);
        }
    }
}
