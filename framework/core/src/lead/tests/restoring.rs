//! A lead that takes over: what was on record is found again, and what works goes on untouched.

use std::time::Duration;

use vreserve_model::{Failure, ReservationState};

use super::world::*;
use crate::ids::LinkClass;
use crate::lead::*;

const SECOND: Duration = Duration::from_secs(1);

fn come_back(world: &mut World) {
    world.come_back("hub", NodeRole::Proxy, 100);
    world.come_back("n1", NodeRole::Spoke, 1);
    world.come_back("n2", NodeRole::Spoke, 2);
    world.lead.handle_backend_up(world.now, NET, odin());
    world.run();
}

#[test]
fn a_circuit_in_use_is_adopted_and_nothing_moves() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let before = (world.applied["n1"].clone(), world.applied["n2"].clone());
    let (circuit, keys) = (world.only(), world.keys.len());
    world.crash();
    come_back(&mut world);
    assert_eq!(world.finds.len(), 1, "looked up before anything else");
    world.answer_find(Ok(Some(ReservationState::Active)));
    world.pass(SECOND);
    world.want(&[(1, 2)]);
    world.pass(60 * SECOND);
    assert!(world.switches.is_empty());
    for (node, before) in [("n1", &before.0), ("n2", &before.1)] {
        let after = &world.applied[node];
        assert_eq!((&after.links, &after.pairs), (&before.links, &before.pairs), "{node} is untouched");
    }
    assert_eq!((world.only().circuit, world.only().phase), (circuit.circuit, Phase::Carrying));
    assert_eq!(world.keys.len(), keys, "nothing was asked for again");
}

#[test]
fn what_nobody_wants_after_the_grace_goes_in_good_order() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.crash();
    come_back(&mut world);
    world.answer_find(Ok(Some(ReservationState::Active)));
    world.want(&[]);
    world.pass(14 * SECOND);
    assert_eq!(world.phases(), [Phase::Carrying], "planners need a while");
    world.auto.switch = false;
    world.pass(2 * SECOND);
    assert_eq!(world.switches.len(), 2, "behind a barrier, while the link is still there");
    assert_eq!(world.circuit_links_at("n1"), 1);
    world.auto.switch = true;
    world.answer_switch(None);
    world.answer_switch(None);
    assert_eq!(world.phases(), []);
    assert!(world.disk.is_empty());
}

#[test]
fn a_circuit_that_the_provider_lost_meanwhile_is_believed_lost() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.crash();
    come_back(&mut world);
    world.answer_find(Ok(None));
    assert!(world.pairs_at("n1").is_empty());
    assert_eq!(world.circuit_links_at("n1"), 0);
    assert!(world.disk.is_empty());
}

#[test]
fn what_was_asked_for_and_never_answered_is_looked_up_and_not_asked_for_again() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    assert_eq!(world.submits.len(), 1);
    world.crash();
    come_back(&mut world);
    world.want(&[(1, 2)]);
    assert!(world.submits.is_empty());
    world.answer_find(Ok(Some(ReservationState::Active)));
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_eq!(world.keys.len(), 1);
}

#[test]
fn what_cannot_be_looked_up_stays_and_counts_against_the_budget() {
    let mut world = World::new(3);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.crash();
    let budget = Budget { circuits: Some(1), rate: None };
    let mut config = World::config(9);
    config.budgets.insert(NET.into(), budget);
    world.lead = Lead::new(config);
    world.lead.restore(world.now, world.disk.values().cloned().collect());
    come_back(&mut world);
    world.come_back("n3", NodeRole::Spoke, 3);
    world.answer_find(Err(Failure::unsupported("no look-up")));
    world.want(&[(1, 3)]);
    world.pass(30 * SECOND);
    assert!(world.submits.is_empty());
    let waiting: Vec<_> = world.lead.circuits().filter_map(|circuit| circuit.waits_for).collect();
    assert_eq!(waiting, ["waits until the budget of its network has room for it"]);
    assert!(world.lead.circuits().any(|circuit| circuit.state == ReservationState::Unknown));
}

#[test]
fn a_tombstone_is_cancelled_until_it_is_gone() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let key = world.only().key.unwrap();
    world.auto.cancel = false;
    world.want(&[]);
    assert_eq!(world.on_record(&key).stage, Stage::Releasing);
    world.crash();
    come_back(&mut world);
    world.answer_find(Ok(Some(ReservationState::Active)));
    assert_eq!(world.cancels.len(), 1);
    world.answer_cancel(Ok(()));
    assert!(world.disk.is_empty());
}

#[test]
fn the_star_keeps_its_identity() {
    let mut world = World::new(2);
    let stars = |world: &World, node: &str| -> Vec<_> {
        let links = world.applied[node].links.iter().filter(|link| link.class == LinkClass::Star);
        links.map(|link| link.id).collect()
    };
    let before = [stars(&world, "hub"), stars(&world, "n1"), stars(&world, "n2")];
    world.crash();
    come_back(&mut world);
    assert_eq!([stars(&world, "hub"), stars(&world, "n1"), stars(&world, "n2")], before);
    world.crash();
    world.applied.remove("hub");
    come_back(&mut world);
    assert_eq!(
        [stars(&world, "hub"), stars(&world, "n1"), stars(&world, "n2")],
        before,
        "spokes know it too"
    );
}

#[test]
fn a_node_that_comes_back_empty_makes_the_link_anew_and_it_is_probed_again() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.crash();
    world.applied.remove("n1");
    world.auto.probe = false;
    come_back(&mut world);
    world.answer_find(Ok(Some(ReservationState::Active)));
    world.want(&[(1, 2)]);
    assert_eq!(world.phases(), [Phase::Probing]);
    assert!(world.pairs_at("n1").is_empty());
    world.answer_probe(true);
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_eq!(world.pairs_at("n1").len(), 1);
}

#[test]
fn an_end_that_does_not_come_back_gives_the_circuit_up_after_the_grace() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.crash();
    world.come_back("hub", NodeRole::Proxy, 100);
    world.come_back("n1", NodeRole::Spoke, 1);
    world.lead.handle_backend_up(world.now, NET, odin());
    world.run();
    world.answer_find(Ok(Some(ReservationState::Active)));
    world.pass(16 * SECOND);
    assert_eq!(world.phases(), []);
    assert!(world.pairs_at("n1").is_empty());
}

#[test]
fn a_hold_found_again_is_committed_only_while_it_is_young_by_the_wall_clock() {
    for (away, step) in [(10, "commit"), (90, "abort")] {
        let mut world = World::with(2, nsi());
        world.lead.handle_clock(world.now, world.wall());
        world.auto.submit = false;
        world.want(&[(1, 2)]);
        world.answer_submit(ReservationState::Held);
        world.now = world.now + away * SECOND;
        world.crash();
        come_back(&mut world);
        world.lead.handle_backend_up(world.now, NET, nsi());
        world.want(&[(1, 2)]);
        world.answer_find(Ok(Some(ReservationState::Held)));
        assert_eq!(world.open_steps(), [step], "after {away} s");
    }
}

#[test]
fn a_hold_whose_age_nobody_knows_is_dropped() {
    let mut world = World::with(2, nsi());
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.answer_submit(ReservationState::Held);
    world.crash();
    come_back(&mut world);
    world.lead.handle_backend_up(world.now, NET, nsi());
    world.want(&[(1, 2)]);
    world.answer_find(Ok(Some(ReservationState::Held)));
    assert_eq!(world.open_steps(), ["abort"], "the first lead had no wall clock");
}

#[test]
fn records_are_plain_documents_and_those_of_a_later_version_are_left_alone() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let record = world.disk.values().next().unwrap().clone();
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    let later = Record { version: Record::VERSION + 1, ..record };
    let mut lead = Lead::new(World::config(9));
    assert_eq!(lead.restore(world.now, vec![later.clone()]), [later]);
    assert_eq!(lead.circuits().count(), 0);
}
