//! That a run can be had again, that it shows what it is for, and that what is broken is seen.

use super::*;
use std::sync::Arc;
use std::time::Duration;

use vreserve_core::counters::Weight;
use vreserve_core::ids::{LinkClass, LinkId};
use vreserve_core::lead::{Action as LeadAction, Budget, CircuitId};
use vreserve_core::rules::{Action, Rule, RuleSet, RuleSetBuilder, StarRole};
use vreserve_model::{BitsPerSecond, Capabilities, MacAddr, Request, RequestKey, Timestamp};

use crate::topology::{COMMODITY, NetId};
use crate::worker::Outbox;
use crate::world::{HUB, interface};

fn drawn() -> Ground {
    Ground::new(None, None).unwrap()
}

#[test]
fn the_same_seed_is_the_same_run_to_the_last_step() {
    for seed in [1, 2, 3] {
        let (one, other) = (run(seed, &drawn(), false), run(seed, &drawn(), false));
        assert_eq!((one.digest, one.steps), (other.digest, other.steps), "seed {seed}");
        assert_eq!(one.counts, other.counts, "seed {seed}");
    }
    assert_ne!(run(1, &drawn(), false).digest, run(2, &drawn(), false).digest);
}

#[test]
fn a_handful_of_seeds_keeps_every_invariant_and_shows_every_part_of_a_circuits_life() {
    let outcomes = run_all(1, 48, &drawn(), 2, |_| {});
    let summary = Summary::of(&outcomes, Duration::ZERO);
    assert!(summary.broken.is_empty(), "{:#?}", summary.broken);
    let Counts { carried, released, switched, relayed, takeovers, failed, .. } = summary.counts;
    let all = [carried, released, switched, relayed, takeovers, failed];
    assert!(all.iter().all(|count| *count > 0), "{:?}", summary.counts);
    assert_eq!(outcomes.iter().map(|outcome| outcome.seed).collect::<Vec<_>>(), (1..=48).collect::<Vec<_>>());
}

#[test]
fn a_labs_file_describes_the_topology() {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/labs");
    let ground = Ground::new(Some(&labs.join("demo.toml")), None).unwrap();
    let outcomes = run_all(1, 4, &ground, 1, |_| {});
    assert!(outcomes.iter().all(|outcome| outcome.broken.is_none()), "{outcomes:#?}");
    assert!(outcomes.iter().any(|outcome| outcome.counts.carried > 0));
}

/// The demo's lab after six quiet seconds, then with something wrong in it: the invariant that is broken.
fn broken_by(harm: impl Fn(&mut World)) -> &'static str {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/labs");
    let ground = Ground::new(Some(&labs.join("demo.toml")), None).unwrap();
    let mut scenario = Scenario::draw(7, &ground);
    scenario.blows.clear();
    (scenario.settings.loss, scenario.settings.doubled) = (0.0, 0.0);
    scenario.settings.budgets.clear();
    let odin = Capabilities { fused_activation: true, find: true, list: true, ..Capabilities::default() };
    scenario.settings.providers[0].capabilities = odin;
    // Nothing is reserved but what the test does.
    scenario.settings.adapt.max_links = 0;
    let mut world = World::new(7, scenario, false);
    while world.now < Timestamp::from_millis(6_000) {
        assert!(world.step().expect("nothing is wrong yet"));
    }
    harm(&mut world);
    world.is_changed = true;
    world.run().expect_err("it is wrong").invariant
}

fn request(world: &World, key: &str) -> Request {
    let name = |node: usize| {
        let networks = &world.scenario.topology.nodes[node].description.networks;
        networks.values().next().expect("it is on the network").bare_address()
    };
    Request {
        key: RequestKey(key.into()),
        owner: "sim/1".into(),
        a: name(1),
        z: name(2),
        rate: BitsPerSecond(1_000_000),
        flow: None,
        max_latency: None,
        start_ms: None,
        end_ms: None,
    }
}

/// Somebody asks the provider in the lead's name.
fn reserve(world: &World) {
    let request = request(world, "sim-1-99");
    let network = world.scenario.topology.networks[0].name.clone();
    let submit = LeadAction::Submit { circuit: CircuitId(99), network, request };
    assert!(calls::make(&world.lines[0].provider, submit).is_some());
}

fn rules(world: &World, node: usize, role: StarRole, rule: Option<Rule>) -> Arc<RuleSet> {
    let mut builder = RuleSetBuilder::new(u64::MAX, role);
    for guest in 0..world.scenario.topology.nodes[node].guests.len() {
        builder.interface(interface(guest));
    }
    for (id, link) in world.nodes[node].worker.links() {
        builder.link(id, link.class);
    }
    if let Some(rule) = rule {
        builder.rule(rule);
    }
    Arc::new(builder.build().expect("the node has what it names"))
}

#[test]
fn a_byte_that_is_not_in_the_matrix_is_missed() {
    let broken = broken_by(|world| world.nodes[1].worker.counted += Weight::frame(1));
    assert_eq!(broken, "the matrix conserves bytes");
}

#[test]
fn what_is_held_and_unknown_to_the_lead_or_over_budget_is_seen() {
    assert_eq!(broken_by(|world| reserve(world)), "nothing that is held is forgotten");
    let broken = broken_by(|world| {
        reserve(world);
        let name = world.scenario.topology.networks[0].name.clone();
        world.scenario.settings.budgets.insert(name, Budget { circuits: Some(0), rate: None });
    });
    assert_eq!(broken, "budgets are kept");
}

#[test]
fn a_request_that_is_on_no_record_or_made_twice_is_seen() {
    let key = RequestKey("sim-1-98".into());
    let broken = broken_by(|world| world.check_submit(&key));
    assert_eq!(broken, "nothing is asked for before it is on record");
    let broken = broken_by(|world| {
        world.checks.note_submitted(key.clone());
        world.check_submit(&key);
    });
    assert_eq!(broken, "one intent has at most one circuit");
}

#[test]
fn a_hub_that_repeats_no_flood_is_seen() {
    let broken = broken_by(|world| {
        let leaf = rules(world, HUB, StarRole::Leaf, None);
        world.nodes[HUB].worker.forwarder.install(leaf);
    });
    // Which of both is looked at first depends on who sends.
    let (flood, path) = ("a flood reaches every node of the star once", INVARIANTS[0]);
    assert!([flood, path].contains(&broken), "{broken}");
}

/// What must be delivered at node 2 goes on over the star, from there back to node 1, and over a circuit to node 2.
#[test]
fn a_loop_through_a_circuit_is_seen() {
    let broken = broken_by(|world| {
        reserve(world);
        let (now, guest) = (world.now, world.scenario.topology.nodes[2].guests[0]);
        let mut out = Outbox::default();
        for (node, far) in [(1, 2), (2, 1)] {
            let far_end = (NetId(1), far);
            let worker = &mut world.nodes[node].worker;
            worker.add_link(LinkId(7), LinkClass::Circuit, far_end, now, &mut out).expect("it is free");
        }
        let star = |world: &World, node: usize, far| world.nodes[node].worker.link_over(COMMODITY, far);
        let to = |guest: MacAddr, link: LinkId| Some(Rule::to(guest, Action::Send(link)));
        let ways = [
            (1, LinkId(7)),
            (2, star(world, 2, HUB).expect("it has joined")),
            (HUB, star(world, HUB, 1).expect("it has joined")),
        ];
        for (node, link) in ways {
            let role = if node == HUB { StarRole::Hub } else { StarRole::Leaf };
            let rules = rules(world, node, role, to(guest, link));
            world.nodes[node].worker.forwarder.install(rules);
        }
        let source = world.scenario.topology.nodes[1].guests[0];
        let path = world.path(1, source, 2, guest);
        assert!(matches!(path, path::Path::Loop(_)), "{path:?}");
    });
    // The reservation is seen as well.
    assert!(INVARIANTS.contains(&broken));
}
