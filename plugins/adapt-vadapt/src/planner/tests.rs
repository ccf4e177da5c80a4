//! The planner against a small world on a virtual clock: a host that sets circuits up, and demand.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use vreserve_sdk::model::{
    BackendView, BitsPerSecond, Capabilities, CircuitView, Demand, Guest, MacAddr, NodeView, Pattern,
    TopologyReport, WantedLink,
};

use super::*;

mod budgets;
mod explained;
mod sizes;

const SETUP: Duration = Duration::from_secs(2);

/// Guest `g` is behind node `g % 6`; all nodes but `n5` are on the optical network.
fn guest(g: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, g])
}

fn backend(network: &str) -> BackendView {
    let capabilities = Capabilities { setup_time: SETUP, ..Capabilities::default() };
    BackendView { network: network.to_owned(), capabilities, max_circuits: None, max_rate: None }
}

fn demand((from, to, mbps): (u8, u8, u64)) -> Demand {
    Demand {
        source: guest(from),
        destination: guest(to),
        rate: BitsPerSecond(mbps * 1_000_000),
        frames_per_second: 0.0,
        confidence: 1.0,
    }
}

fn snapshot(millis: u64, mbps: &[(u8, u8, u64)]) -> Snapshot {
    let address = |node: u8| ("optical".to_owned(), format!("10.0.0.{node}"));
    let networks = |node: u8| (node != 5).then(|| address(node)).into_iter().collect();
    Snapshot {
        now: Timestamp::from_millis(millis),
        nodes: (0..6).map(|n| NodeView { name: format!("n{n}"), networks: networks(n) }).collect(),
        guests: (0..12).map(|g| Guest { mac: guest(g), node: format!("n{}", g % 6) }).collect(),
        topology: TopologyReport {
            pattern: Pattern::Irregular,
            demands: mbps.iter().copied().map(demand).collect(),
            ..TopologyReport::silent()
        },
        backends: vec![backend("optical")],
        circuits: Vec::new(),
        max_hops: 1,
        question: None,
    }
}

fn names(wanted: &Wanted) -> Vec<String> {
    wanted.links.iter().map(|link| format!("{}-{}", link.a, link.z)).collect()
}

fn config(max_links: usize) -> Config {
    Config { max_links, ..Config::default() }
}

/// A planner with a host that does what it wants.
struct World {
    planner: Planner,
    circuits: Vec<CircuitView>,
    /// Pairs that the backend refuses.
    refused: BTreeSet<String>,
    /// Circuits asked for and given back so far, with the time.
    asked: Vec<(String, u64)>,
    gone: Vec<(String, u64)>,
}

impl World {
    fn new(config: Config) -> Self {
        let planner = Planner::new(config);
        World { planner, circuits: vec![], refused: BTreeSet::new(), asked: vec![], gone: vec![] }
    }

    fn step(&mut self, mut snapshot: Snapshot) -> Wanted {
        let (now, millis) = (snapshot.now, snapshot.now.0 / 1_000_000);
        snapshot.circuits = self.circuits.clone();
        let wanted = self.planner.step(&snapshot).0;
        let again = self.planner.step(&snapshot).0;
        assert_eq!(again, wanted, "the same snapshot gives the same answer");
        let before = std::mem::take(&mut self.circuits);
        self.circuits = wanted.links.iter().map(|link| self.carry_on(&before, link, now)).collect();
        let pairs = |circuits: &[CircuitView]| -> BTreeSet<_> {
            circuits.iter().map(|circuit| format!("{}-{}", circuit.a, circuit.z)).collect()
        };
        let (before, after) = (pairs(&before), pairs(&self.circuits));
        self.asked.extend(after.difference(&before).map(|pair| (pair.clone(), millis)));
        self.gone.extend(before.difference(&after).map(|pair| (pair.clone(), millis)));
        wanted
    }

    fn carry_on(&self, before: &[CircuitView], link: &WantedLink, now: Timestamp) -> CircuitView {
        let old = before.iter().find(|circuit| (&circuit.a, &circuit.z) == (&link.a, &link.z));
        let wanted_since = old.map_or(now, |circuit| circuit.wanted_since);
        let backing_off = self.refused.contains(&format!("{}-{}", link.a, link.z));
        CircuitView {
            a: link.a.clone(),
            z: link.z.clone(),
            network: link.network.clone(),
            rate: link.rate,
            wanted_since,
            carries_traffic: now.since(wanted_since) >= SETUP && !backing_off,
            backing_off,
        }
    }
}

/// What must hold of any answer to any snapshot.
fn check(snapshot: &Snapshot, wanted: &Wanted, limit: usize) {
    let waits = |link: &WantedLink| {
        snapshot
            .circuits
            .iter()
            .any(|circuit| circuit.backing_off && (&circuit.a, &circuit.z) == (&link.a, &link.z))
    };
    assert!(wanted.links.iter().filter(|link| !waits(link)).count() <= limit, "{:?}", wanted.links);
    assert!(wanted.links.iter().all(|link| link.a < link.z));
    let pairs: BTreeSet<_> = wanted.links.iter().map(|link| (&link.a, &link.z)).collect();
    assert_eq!(pairs.len(), wanted.links.len(), "one link per pair");
    let placed = Placement::new(snapshot);
    for rule in &wanted.rules {
        let (a, z) = vreserve_sdk::model::link_key(&rule.node, &rule.next);
        let link = wanted.links.iter().find(|link| (link.a.as_str(), link.z.as_str()) == (a, z));
        assert_eq!(link.map(|link| &link.network), Some(&rule.network), "{rule:?}");
        assert_eq!(placed.node(rule.source), Some(rule.node.as_str()));
        assert_eq!(placed.node(rule.destination), Some(rule.next.as_str()));
    }
}

#[test]
fn the_highest_pairs_come_by_worth_then_by_name_and_the_rest_is_counted() {
    let snapshot = snapshot(0, &[(0, 1, 20), (3, 2, 30), (1, 2, 20), (0, 3, 9), (4, 0, 40)]);
    let placed = Placement::new(&snapshot);
    let (high, more) = Demands::new(&snapshot, &placed).highest(&config(1), 3);
    let names: Vec<_> = high.iter().map(|(pair, _)| pair.to_string()).collect();
    assert_eq!(names, ["n0-n4", "n2-n3", "n0-n1"]);
    assert_eq!(more, 1, "one of the two with 20; 9 is under the watermark");
}

#[test]
fn the_largest_demands_get_the_circuits_whatever_their_direction_and_sum() {
    type Case<'a> = (&'a str, &'a [(u8, u8, u64)], &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        ("nothing", &[], &[]),
        ("too little", &[(0, 1, 9)], &[]),
        ("the larger direction counts", &[(1, 0, 60), (0, 1, 2), (2, 3, 40)], &["n0-n1", "n2-n3"]),
        ("guests of two nodes add up", &[(0, 1, 7), (6, 1, 7), (0, 7, 7)], &["n0-n1"]),
        ("top two of three", &[(0, 1, 20), (2, 3, 30), (1, 4, 40)], &["n1-n4", "n2-n3"]),
        ("equals go by name", &[(3, 4, 20), (0, 2, 20), (0, 1, 20)], &["n0-n1", "n0-n2"]),
    ];
    for (case, mbps, expected) in cases {
        let snapshot = snapshot(0, mbps);
        let wanted = World::new(config(2)).step(snapshot.clone());
        check(&snapshot, &wanted, 2);
        assert_eq!(names(&wanted), expected, "{case}");
    }
}

#[test]
fn both_directions_of_every_talking_guest_pair_get_a_rule_at_the_senders_node() {
    let wanted = World::new(config(1)).step(snapshot(0, &[(0, 1, 50), (1, 0, 1), (6, 7, 3), (0, 2, 5)]));
    let rules: Vec<_> =
        wanted.rules.iter().map(|r| (r.node.as_str(), r.source.0[5], r.destination.0[5])).collect();
    assert_eq!(rules, [("n0", 0, 1), ("n1", 1, 0), ("n0", 6, 7), ("n1", 7, 6)]);
    assert_eq!(wanted.links[0].rate, BitsPerSecond(63_600_000), "53 mbit with headroom");
    assert!(wanted.links[0].reason.contains("demand 53mbit between 2 guest pairs"), "{:?}", wanted.links);
}

#[test]
fn what_cannot_have_a_circuit_is_noted() {
    let mut snapshot = snapshot(0, &[(0, 99, 50), (0, 6, 50), (0, 5, 50), (1, 2, 50)]);
    let wanted = World::new(config(4)).step(snapshot.clone());
    assert_eq!(names(&wanted), ["n1-n2"]);
    for note in ["behind no known node", "behind the same node", "n0-n5: 50mbit, but no common reservable"] {
        assert!(wanted.notes.iter().any(|line| line.contains(note)), "{note}: {:?}", wanted.notes);
    }
    snapshot.backends[0].capabilities.setup_time = Duration::from_secs(250);
    let wanted = World::new(config(4)).step(snapshot.clone());
    assert!(wanted.links.is_empty());
    assert!(wanted.notes.iter().any(|line| line.contains("only 17 % of its time")), "{:?}", wanted.notes);
    let wanted = World::new(Config { break_even: false, ..config(4) }).step(snapshot);
    assert_eq!(names(&wanted), ["n1-n2"]);
}

#[test]
fn a_circuit_is_held_and_then_released_once_demand_has_ended() {
    let mut world = World::new(config(4));
    for millis in (0..60_000).step_by(500) {
        world.step(snapshot(millis, if millis < 20_000 { &[(0, 1, 50)] } else { &[] }));
    }
    assert_eq!(world.asked, [("n0-n1".to_owned(), 0)]);
    assert_eq!(world.gone, [("n0-n1".to_owned(), 23_000)], "release_after past the end of demand");
    let mut world = World::new(config(4));
    for millis in (0..60_000).step_by(500) {
        world.step(snapshot(millis, if millis < 1_000 { &[(0, 1, 50)] } else { &[] }));
    }
    assert_eq!(world.gone, [("n0-n1".to_owned(), 12_500)], "min_hold past the start of carrying");
}

#[test]
fn rules_stay_while_guests_pause_and_go_when_a_guest_moves() {
    let mut world = World::new(config(4));
    world.step(snapshot(0, &[(0, 1, 50), (6, 1, 1)]));
    assert_eq!(world.step(snapshot(500, &[(0, 1, 50)])).rules.len(), 4);
    let mut moved = snapshot(1_000, &[(0, 1, 50)]);
    moved.guests[6].node = "n3".to_owned();
    let wanted = world.step(moved.clone());
    check(&moved, &wanted, 4);
    assert_eq!(wanted.rules.len(), 2);
}

#[test]
fn a_refused_pair_stays_wanted_and_the_next_uses_its_slot() {
    let mut world = World::new(config(1));
    world.refused.insert("n0-n1".to_owned());
    let mbps = [(0, 1, 90), (2, 3, 50), (1, 4, 20)];
    assert_eq!(names(&world.step(snapshot(0, &mbps))), ["n0-n1"]);
    assert_eq!(names(&world.step(snapshot(500, &mbps))), ["n0-n1", "n2-n3"]);
    assert_eq!(names(&world.step(snapshot(5_000, &mbps))), ["n0-n1", "n2-n3"]);
    world.refused.clear();
    world.circuits[0].backing_off = false;
    assert_eq!(names(&world.step(snapshot(5_500, &mbps))), ["n2-n3"], "one that carries keeps the slot");
}

#[test]
fn a_network_without_room_for_a_second_circuit_is_not_asked_for_one() {
    let mut snapshot = snapshot(0, &[(0, 1, 90), (2, 3, 50)]);
    snapshot.backends[0].capabilities.max_concurrent = Some(1);
    assert_eq!(names(&World::new(config(4)).step(snapshot)), ["n0-n1"]);
}

#[test]
fn only_a_lasting_and_clear_lead_takes_a_circuit_over() {
    let start = |second: u64| {
        let mut world = World::new(config(1));
        for millis in (0..15_000).step_by(500) {
            world.step(snapshot(millis, &[(0, 1, 50)]));
        }
        let mut taken = None;
        for millis in (15_000..40_000).step_by(500) {
            let wanted = world.step(snapshot(millis, &[(0, 1, 50), (2, 3, second)]));
            taken = taken.or((names(&wanted) == ["n2-n3"]).then_some(millis));
        }
        taken
    };
    assert_eq!(start(70), None);
    assert_eq!(start(80), Some(18_000));
}

#[test]
fn an_unknown_is_not_a_zero() {
    let mut world = World::new(config(4));
    world.step(snapshot(0, &[(0, 1, 50)]));
    for millis in (500..60_000).step_by(500) {
        let mut silent = snapshot(millis, &[]);
        silent.topology.silent_nodes.push("n1".to_owned());
        silent.backends.clear();
        assert_eq!(
            names(&world.step(silent)),
            ["n0-n1"],
            "neither silence nor a backend that is down releases"
        );
    }
    let mut left = snapshot(60_000, &[(0, 1, 50)]);
    left.nodes.remove(1);
    assert!(names(&world.step(left)).is_empty());
}

#[test]
fn a_new_planner_adopts_the_circuits_it_finds() {
    let mut world = World::new(config(4));
    for millis in (0..5_000).step_by(500) {
        world.step(snapshot(millis, &[(0, 1, 50)]));
    }
    world.planner = Planner::new(config(4));
    let refused = CircuitView {
        network: "radio".to_owned(),
        backing_off: true,
        carries_traffic: false,
        ..world.circuits[0].clone()
    };
    world.circuits.push(refused);
    let wanted = world.step(snapshot(5_000, &[(0, 1, 20)]));
    assert_eq!(names(&wanted), ["n0-n1"]);
    assert_eq!(
        (wanted.links[0].rate, wanted.links[0].network.as_str()),
        (BitsPerSecond(60_000_000), "optical")
    );
}

#[test]
fn a_rate_grows_only_where_the_backend_can_change_it() {
    for (modify, rate) in [(false, 60_000_000), (true, 120_000_000)] {
        let mut world = World::new(config(4));
        world.step(snapshot(0, &[(0, 1, 50)]));
        let mut more = snapshot(500, &[(0, 1, 100)]);
        more.backends[0].capabilities.modify = modify;
        assert_eq!(world.step(more).links[0].rate, BitsPerSecond(rate));
    }
}

/// On a congested network, where a pair beside its circuit trickles.
fn congested() -> Config {
    let mbit = |n: u64| BitsPerSecond(n * 1_000_000);
    let rates = [("optical".to_owned(), crate::Rates { least: mbit(40), most: Some(mbit(50)) })];
    Config { min_rate: mbit(4), release_below: Some(mbit(3)), rates: rates.into(), ..config(4) }
}

#[test]
fn what_a_congested_pair_is_let_send_neither_sizes_its_circuit_nor_costs_it_its_turn() {
    let mut world = World::new(congested());
    let asked = world.step(snapshot(0, &[(0, 1, 5)]));
    assert_eq!(asked.links[0].rate, BitsPerSecond(40_000_000));
    world.refused.insert("n0-n1".to_owned());
    for millis in (500..60_000).step_by(500) {
        let wanted = world.step(snapshot(millis, &[(0, 1, 1)]));
        assert_eq!(names(&wanted), ["n0-n1"], "at {millis} ms");
    }
    // On its circuit it sends what it wants, and that counts.
    world.refused.clear();
    let mut full = snapshot(60_000, &[(0, 1, 45)]);
    full.backends[0].capabilities.modify = true;
    assert_eq!(world.step(full).links[0].rate, BitsPerSecond(50_000_000), "no more than `most`");
    for millis in (60_500..80_000).step_by(500) {
        world.step(snapshot(millis, &[(0, 1, 1)]));
    }
    assert_eq!(world.gone.iter().map(|(pair, _)| pair.as_str()).collect::<Vec<_>>(), ["n0-n1"]);
}

#[test]
fn a_congested_pair_that_falls_silent_gives_its_turn_up() {
    let mut world = World::new(congested());
    world.refused.insert("n0-n1".to_owned());
    world.step(snapshot(0, &[(0, 1, 5)]));
    for millis in (500..20_000).step_by(500) {
        world.step(snapshot(millis, &[]));
    }
    assert_eq!(world.gone.len(), 1);
}

/// Demand that is there in the first part of each period only.
fn is_on(millis: u64, period: u64, on: u64) -> bool {
    millis % period < on
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_demand_keeps_the_budget_and_valid_rules(
        steps in proptest::collection::vec(
            (0_u64..4_000, proptest::collection::vec((0_u8..14, 0_u8..14, 0_u64..200), 0..20), any::<bool>()), 1..60),
        limit in 0_usize..5,
    ) {
        let mut world = World::new(config(limit));
        let mut millis = 0;
        for (gap, mbps, refuses) in steps {
            millis += gap;
            if refuses {
                world.refused.extend(world.circuits.first().map(|circuit| format!("{}-{}", circuit.a, circuit.z)));
            } else {
                world.refused.clear();
            }
            let mut snapshot = snapshot(millis, &mbps);
            snapshot.circuits = world.circuits.clone();
            let wanted = world.step(snapshot.clone());
            check(&snapshot, &wanted, limit);
        }
    }

    #[test]
    fn demand_that_pauses_for_less_than_release_after_causes_no_churn(period in 200_u64..6_000, phase in 0_u64..6_000) {
        let mut world = World::new(config(1));
        for millis in (0..120_000).step_by(100) {
            let first = is_on(millis + phase, period, period / 2);
            world.step(snapshot(millis, if first { &[(0, 1, 50)] } else { &[(2, 3, 60)] }));
        }
        prop_assert_eq!(world.asked.len(), 1, "taking turns: {:?}", world.asked);
        prop_assert!(world.gone.is_empty());
    }

    #[test]
    fn a_square_wave_of_any_period_reserves_at_most_once_per_hold(period in 200_u64..60_000, share in 5_u64..95) {
        let mut world = World::new(config(4));
        for millis in (0..300_000).step_by(250) {
            world.step(snapshot(millis, if is_on(millis, period, period * share / 100) { &[(0, 1, 50)] } else { &[] }));
        }
        for events in [&world.asked, &world.gone] {
            prop_assert!(events.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 10_000), "{:?}", events);
        }
    }
}
