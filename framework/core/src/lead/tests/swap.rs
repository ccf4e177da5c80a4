//! A backend replaced while it holds circuits: what is its own stays its own, and nothing is asked for twice.

use std::time::Duration;

use vreserve_model::{Failure, FailureKind, ReservationState};

use super::world::*;
use crate::lead::*;

/// A carrying circuit whose backend is then replaced.
fn replaced() -> (World, CircuitStatus) {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let old = world.only();
    assert_eq!(old.phase, Phase::Carrying);
    world.story();
    world.auto.cancel = false;
    world.lead.handle_backend_replaced(world.now, NET, Some(odin()));
    world.run();
    (world, old)
}

#[test]
fn pairs_go_back_in_order_before_the_old_circuit_is_released_and_the_new_one_asked_for() {
    let (mut world, old) = replaced();
    assert_eq!(world.pairs_at("n1"), vec![], "the pairs are on the star");
    assert_eq!(world.circuit_links_at("n1"), 0);
    assert_eq!(world.cancels.len(), 1);
    let story = world.story();
    let place = |name: &str| story.iter().position(|event| event == name);
    assert!(place("backend_replaced") < place("cutting_back"), "{story:?}");
    assert!(place("cutting_back") < place("pair_switched"), "with a barrier: {story:?}");
    assert!(place("pair_switched") < place("unlinking"), "{story:?}");
    assert_eq!(place("reservation_submitted"), None, "the ports are still the former backend's: {story:?}");
    let waiting: Vec<_> = world.lead.circuits().filter_map(|circuit| circuit.waits_for).collect();
    assert_eq!(waiting, ["waits until the former backend has given back its circuit"]);

    world.answer_cancel(Ok(()));
    let new = world.only();
    assert_eq!(new.phase, Phase::Carrying);
    assert_ne!((new.circuit, &new.key), (old.circuit, &old.key));
    assert_eq!(world.pairs_at("n1").len(), 1);
    assert_eq!(world.lead.history().last().unwrap().last_failure, None, "nothing has failed");
}

#[test]
fn a_former_backend_that_does_not_answer_holds_up_nobody_and_is_asked_until_it_does() {
    let (mut world, old) = replaced();
    world.answer_cancel(Err(Failure::unavailable("no server")));
    let phases: Vec<_> = world.lead.circuits().map(|c| (c.circuit == old.circuit, c.phase)).collect();
    assert_eq!(phases, [(true, Phase::Releasing), (false, Phase::Carrying)]);
    world.lead.handle_backend_down(world.now, NET, "the new one is down");
    world.pass(Duration::from_secs(10));
    assert_eq!(world.cancels.len(), 1, "asked again, although the network is down");
    assert_eq!(world.cancels[0].0, old.circuit);
    world.answer_cancel(Ok(()));
    assert_ne!(world.only().circuit, old.circuit);
}

#[test]
fn what_was_on_its_way_is_given_back_when_its_answer_comes() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.lead.handle_backend_replaced(world.now, NET, Some(odin()));
    world.run();
    assert_eq!(world.submits.len(), 1, "nothing is asked for anew while the first answer is out");
    world.auto.submit = true;
    world.answer_submit(ReservationState::Active);
    let circuits: Vec<_> = world.lead.circuits().collect();
    assert_eq!(circuits.len(), 1);
    assert_eq!(circuits[0].phase, Phase::Carrying);
    assert_eq!(world.lead.history().count(), 1);
}

#[test]
fn what_the_former_backend_refused_is_asked_of_the_new_one_at_once() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.refuse_submit(Failure { kind: FailureKind::Unsupported, ..Failure::refused("never") });
    assert!(world.submits.is_empty());
    world.auto.submit = true;
    world.lead.handle_backend_replaced(world.now, NET, Some(odin()));
    world.run();
    assert_eq!(world.only().phase, Phase::Carrying);
}

#[test]
fn without_a_successor_the_network_is_not_planned_with_and_its_circuits_end_with_the_next_plan() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.lead.handle_backend_replaced(world.now, NET, None);
    world.run();
    assert_eq!(world.only().phase, Phase::Carrying, "until the planner has found another way");
    let snapshot = world.lead.snapshot(world.now);
    assert!(snapshot.backends.is_empty() && snapshot.circuits.is_empty());
    assert!(snapshot.nodes.iter().all(|node| node.networks.is_empty()));
    // A planner that wants it all the same does not get it.
    world.want(&[(1, 2)]);
    assert_eq!(world.phases(), []);
    assert_eq!(world.pairs_at("n1"), vec![]);
    world.lead.handle_backend_up(world.now, NET, odin());
    world.want(&[(1, 2)]);
    assert_eq!(world.only().phase, Phase::Carrying);
}
