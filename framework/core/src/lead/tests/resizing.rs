//! More or less capacity for a link that stays.

use std::time::Duration;

use vreserve_model::{BitsPerSecond, Capabilities, Failure, ReservationState, Wanted};

use super::world::*;
use crate::lead::*;

const SECOND: Duration = Duration::from_secs(1);

fn want_rate(mbps: u64) -> Wanted {
    let mut wanted = want(&[(1, 2)]);
    wanted.links[0].rate = BitsPerSecond(mbps * 1_000_000);
    wanted
}

fn carrying(capabilities: Capabilities) -> World {
    let mut world = World::with(2, capabilities);
    world.lead.handle_wanted(world.now, &want_rate(100));
    world.run();
    world.pass(SECOND);
    if !world.steps.is_empty() {
        world.answer_step(Ok(ReservationState::Active));
    }
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.pass(15 * SECOND);
    world.story();
    world
}

fn ask(world: &mut World, mbps: u64) {
    world.lead.handle_wanted(world.now, &want_rate(mbps));
    world.run();
}

#[test]
fn where_the_system_can_a_circuit_is_resized_in_place_both_ways() {
    let mut world = carrying(gara());
    for mbps in [200, 50] {
        ask(&mut world, mbps);
        assert_eq!(world.open_steps(), ["modify"]);
        let key = world.only().key.unwrap();
        assert_eq!(world.on_record(&key).modifying, Some(BitsPerSecond(mbps * 1_000_000)));
        world.answer_step(Ok(ReservationState::Active));
        assert_eq!(world.only().granted, Some(BitsPerSecond(mbps * 1_000_000)));
        assert_eq!(world.on_record(&key).request.rate, BitsPerSecond(mbps * 1_000_000));
        world.pass(15 * SECOND);
    }
    assert_eq!(world.keys.len(), 1);
    assert_eq!(world.story(), ["resized", "resized"], "no pair moved");
}

#[test]
fn small_changes_are_no_reason() {
    let mut world = carrying(gara());
    for mbps in [120, 85, 125] {
        ask(&mut world, mbps);
        assert!(world.steps.is_empty(), "{mbps}");
    }
}

#[test]
fn what_is_refused_stays_as_it_was_and_is_tried_again_later() {
    let mut world = carrying(gara());
    ask(&mut world, 200);
    world.answer_step(Err(Failure::refused("no room")));
    assert_eq!(world.only().phase, Phase::Carrying);
    ask(&mut world, 200);
    assert!(world.steps.is_empty());
    world.pass(SECOND);
    assert_eq!(world.open_steps(), ["modify"]);
}

#[test]
fn a_change_cut_off_is_looked_up() {
    let mut world = carrying(gara());
    ask(&mut world, 200);
    world.answer_step(Err(Failure::unknown_outcome("cut off")));
    assert_eq!(world.finds.len(), 1);
    world.answer_find(Ok(Some(ReservationState::Active)));
    assert_eq!(world.only().phase, Phase::Carrying);
}

#[test]
fn elsewhere_a_successor_takes_the_link_over_and_no_pair_moves() {
    let mut world = carrying(Capabilities { serial: false, ..odin() });
    let (before, pairs) = (world.only(), world.pairs_at("n1"));
    world.auto.submit = false;
    world.auto.cancel = false;
    ask(&mut world, 300);
    assert_eq!(world.submits[0].2.rate, BitsPerSecond(300_000_000));
    assert!(world.cancels.is_empty(), "made before it is broken");
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.cancels.len(), 1);
    assert_eq!(world.cancels[0].0, before.circuit);
    world.answer_cancel(Ok(()));
    let after = world.only();
    assert_ne!(after.circuit, before.circuit);
    assert_eq!((after.link_id, after.phase), (before.link_id, Phase::Carrying));
    assert_eq!(world.pairs_at("n1"), pairs);
    assert!(!world.story().contains(&"pair_switched".to_owned()));
    world.link_down("n1", after.link_id);
    assert!(world.pairs_at("n1").is_empty(), "the link is watched as the successor's");
}

#[test]
fn where_no_second_circuit_can_exist_the_first_is_kept() {
    let mut world = carrying(Capabilities { serial: false, ..odin() });
    let before = world.only().circuit;
    world.auto.submit = false;
    ask(&mut world, 300);
    world.refuse_submit(Failure::refused("the ports are in use"));
    assert_eq!((world.only().circuit, world.only().phase), (before, Phase::Carrying));
    world.pass(SECOND);
    assert_eq!(world.submits.len(), 1, "tried again later");
    world.refuse_submit(Failure::unsupported("never two between the same ports"));
    world.pass(3600 * SECOND);
    assert!(world.submits.is_empty());
    assert_eq!(world.only().circuit, before);
}

#[test]
fn a_successor_outlives_the_circuit_it_was_to_replace() {
    let mut world = carrying(Capabilities { serial: false, ..odin() });
    let before = world.only();
    world.auto.submit = false;
    ask(&mut world, 300);
    world.link_down("n2", before.link_id);
    world.answer_submit(ReservationState::Active);
    world.pass(SECOND);
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert!(world.submits.is_empty(), "one is enough");
}

#[test]
fn a_rate_that_is_fixed_is_none_to_resize() {
    let fixed = Capabilities { fixed_rate: Some(BitsPerSecond(100_000_000)), modify: true, ..odin() };
    let mut world = carrying(fixed);
    ask(&mut world, 900);
    world.pass(60 * SECOND);
    assert!(world.steps.is_empty() && world.submits.is_empty());
}

#[test]
fn a_budget_limits_growth_too() {
    let mut config = World::config(7);
    let budget = Budget { circuits: None, rate: Some(BitsPerSecond(150_000_000)) };
    config.budgets.insert(NET.into(), budget);
    let mut world = World::empty();
    world.lead = Lead::new(config);
    world.join("hub", NodeRole::Proxy, 100);
    for last in 1..=3 {
        world.join(&format!("n{last}"), NodeRole::Spoke, last);
        world.lead.handle_guests(world.now, &format!("n{last}"), &[mac(last)]);
    }
    world.lead.handle_backend_up(world.now, NET, Capabilities { modify: true, ..odin() });
    ask(&mut world, 100);
    world.pass(15 * SECOND);
    ask(&mut world, 200);
    assert!(world.steps.is_empty(), "beyond the budget");
    let mut wanted = want_rate(100);
    wanted.links.push(wanted_link("n1", "n3"));
    world.lead.handle_wanted(world.now, &wanted);
    world.run();
    let waiting: Vec<_> = world.lead.circuits().filter_map(|circuit| circuit.waits_for).collect();
    assert_eq!(waiting, ["waits until the budget of its network has room for it"]);
}

#[test]
fn two_that_grow_at_a_time_stay_within_the_budget_together() {
    let mut world = World::with(3, gara());
    let budget = Budget { circuits: None, rate: Some(BitsPerSecond(350_000_000)) };
    world.lead.handle_budget(world.now, NET, budget);
    let ask = |world: &mut World, mbps: u64| {
        let mut wanted = want(&[(1, 2), (2, 3)]);
        wanted.links.iter_mut().for_each(|link| link.rate = BitsPerSecond(mbps * 1_000_000));
        world.lead.handle_wanted(world.now, &wanted);
        world.run();
    };
    ask(&mut world, 100);
    while !world.steps.is_empty() {
        world.answer_step(Ok(ReservationState::Active));
    }
    world.pass(15 * SECOND);
    ask(&mut world, 200);
    assert_eq!(world.open_steps(), ["modify"], "300 of 350; another 100 would be too much");
    // Whether it came about is not known: it counts until somebody says so.
    world.answer_step(Err(Failure::unknown_outcome("cut off")));
    world.pass(60 * SECOND);
    assert_eq!(world.open_steps(), Vec::<&str>::new());
}
