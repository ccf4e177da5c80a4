//! Several links at once: order, room, queues, and planners that change their mind.

use std::time::Duration;

use vreserve_model::{BitsPerSecond, Capabilities, Failure, ReservationState};

use super::world::*;
use crate::lead::*;

fn phase_of(world: &World, a: &str, z: &str) -> Option<Phase> {
    world.lead.circuits().find(|c| c.link.a == a && c.link.z == z).map(|circuit| circuit.phase)
}

#[test]
fn a_serial_backend_is_asked_one_thing_at_a_time_the_most_valuable_first() {
    let mut world = World::new(4);
    world.auto.submit = false;
    world.want(&[(3, 4), (1, 2)]);
    assert_eq!(world.submits.len(), 1);
    assert_eq!(world.submits[0].2.a, "10.10.0.3");
    let waiting = world.lead.circuits().find(|circuit| circuit.link.a == "n1").unwrap();
    assert_eq!(waiting.waits_for.as_deref(), Some("waits for the backend to answer another request"));
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.submits[0].2.a, "10.10.0.1");
}

#[test]
fn new_links_carry_before_old_ones_go_and_common_ones_are_untouched() {
    let mut world = World::new(4);
    world.want(&[(1, 2), (2, 3)]);
    let common = world.lead.circuits().find(|circuit| circuit.link.a == "n2").unwrap();
    world.auto.submit = false;
    world.want(&[(2, 3), (3, 4)]);
    assert_eq!(phase_of(&world, "n1", "n2"), Some(Phase::Carrying), "H is in force until H' is");
    assert_eq!(phase_of(&world, "n3", "n4"), Some(Phase::Reserving));
    assert_eq!(world.pairs_at("n1").len(), 1);
    world.answer_submit(ReservationState::Active);
    assert_eq!(phase_of(&world, "n3", "n4"), Some(Phase::Carrying));
    assert_eq!(phase_of(&world, "n1", "n2"), None);
    let now = world.lead.circuits().find(|circuit| circuit.link.a == "n2").unwrap();
    assert_eq!(now, common);
}

#[test]
fn what_was_refused_for_lack_of_room_is_tried_again_once_the_old_is_released() {
    let mut world = World::new(4);
    world.want(&[(1, 2)]);
    world.auto.submit = false;
    world.auto.cancel = false;
    world.want(&[(3, 4)]);
    world.refuse_submit(Failure::refused("no path"));
    assert_eq!(phase_of(&world, "n1", "n2"), Some(Phase::Releasing), "what failed holds nothing up");
    assert!(world.submits.is_empty());
    world.answer_cancel(Ok(()));
    assert_eq!(world.submits.len(), 1, "at once, not after the back-off");
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.phases(), [Phase::Carrying]);
}

#[test]
fn a_backend_with_room_for_one_circuit_is_not_asked_for_two() {
    let mut world = World::new(4);
    let one = Capabilities { max_concurrent: Some(1), ..odin() };
    world.lead.handle_backend_up(world.now, NET, one);
    world.want(&[(1, 2)]);
    world.auto.cancel = false;
    world.want(&[(3, 4)]);
    assert_eq!(phase_of(&world, "n3", "n4"), Some(Phase::Wanted));
    assert_eq!(phase_of(&world, "n1", "n2"), Some(Phase::Releasing));
    assert!(world.submits.is_empty());
    world.answer_cancel(Ok(()));
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_eq!(phase_of(&world, "n3", "n4"), Some(Phase::Carrying));
}

#[test]
fn a_planner_that_flaps_leaks_nothing() {
    let mut world = World::new(2);
    world.auto.submit = false;
    for round in 0..20 {
        world.want(&[(1, 2)]);
        world.pass(Duration::from_millis(100));
        world.want(&[]);
        world.pass(Duration::from_millis(100));
        assert_eq!(world.submits.len(), 1, "the first request is still being answered in round {round}");
    }
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.phases(), [], "given back as soon as it was known");
    assert_eq!((world.circuit_links_at("n1"), world.keys.len()), (0, 1));
    world.auto.submit = true;
    for _ in 0..20 {
        world.want(&[(1, 2)]);
        world.want(&[]);
    }
    assert_eq!(world.phases(), []);
}

#[test]
fn a_change_of_mind_while_the_request_is_under_way_keeps_the_request() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.want(&[]);
    world.want(&[(1, 2)]);
    world.answer_submit(ReservationState::Active);
    assert_eq!((world.phases(), world.keys.len()), (vec![Phase::Carrying], 1));
}

#[test]
fn a_circuit_is_kept_when_more_is_wanted_of_it_and_that_is_told_once() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    let (id, _, request) = world.submits.remove(0);
    let granted = Some(BitsPerSecond(1_000_000_000));
    let answer =
        vreserve_model::Observed { rate: granted, ..observed(&request.key, ReservationState::Active) };
    world.lead.handle_submitted(world.now, id, Ok(answer));
    world.run();
    world.story();
    let mut more = want(&[(1, 2)]);
    more.links[0].rate = BitsPerSecond(5_000_000_000);
    for _ in 0..3 {
        world.lead.handle_wanted(world.now, &more);
        world.run();
    }
    assert_eq!(world.story(), ["undersized"]);
    assert_eq!((world.phases(), world.keys.len()), (vec![Phase::Carrying], 1));
}

#[test]
fn calls_wait_while_the_backend_is_down_and_traffic_goes_on() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.lead.handle_backend_down(world.now, NET, "the plugin panicked");
    world.run();
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.want(&[]);
    assert_eq!(world.phases(), [Phase::Releasing]);
    assert!(world.keys.len() == 1 && world.cancels.is_empty());
    world.lead.handle_backend_up(world.now, NET, odin());
    world.run();
    assert_eq!(world.phases(), []);
}
