//! The loop as it should go, and what people are told of it.

use std::time::Duration;

use vreserve_model::ReservationState;

use super::world::*;
use crate::lead::*;

#[test]
fn a_wanted_link_is_reserved_linked_probed_and_carries_in_this_order() {
    let mut world = World::new(2);
    world.auto = Auto { submit: false, cancel: false, apply: false, probe: false, switch: false };
    world.story();
    world.want(&[(1, 2)]);
    let (_, network, request) = world.submits[0].clone();
    assert_eq!((network.as_str(), request.a.as_str(), request.z.as_str()), (NET, "10.10.0.1", "10.10.0.2"));
    assert_eq!(request.owner, "lab/7");
    assert_eq!(world.phases(), [Phase::Reserving]);
    world.pass(Duration::from_secs(18));
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.phases(), [Phase::Linking]);
    world.apply_next();
    assert_eq!(world.phases(), [Phase::Linking], "one end is not enough");
    world.apply_next();
    assert_eq!(world.phases(), [Phase::Probing]);
    assert!(world.pairs_at("n1").is_empty(), "no pair moves before the probe");
    world.answer_probe(true);
    assert_eq!(world.phases(), [Phase::Switching]);
    world.apply_next();
    world.apply_next();
    world.answer_switch(None);
    assert_eq!(world.phases(), [Phase::Switching], "the other direction is still held");
    world.answer_switch(None);
    let status = world.only();
    assert_eq!(status.phase, Phase::Carrying);
    assert_eq!((status.native_id.is_some(), status.labels["lambda"].as_str()), (true, "2"));
    assert_eq!(status.times.active_at.unwrap().since(status.times.submitted_at.unwrap()).as_secs(), 18);
    assert_eq!(status.pairs.len(), 2);
    let story = world.story();
    let expected = [
        "planned",
        "reservation_submitted",
        "reservation_active",
        "linked",
        "probed",
        "pair_switched",
        "pair_switched",
        "carrying",
    ];
    assert_eq!(story, expected);
}

#[test]
fn when_demand_ends_pairs_go_back_before_the_link_and_the_link_before_the_reservation() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.auto = Auto { submit: false, cancel: false, apply: false, probe: false, switch: false };
    world.story();
    world.want(&[]);
    world.apply_next();
    world.apply_next();
    assert_eq!(world.phases(), [Phase::CuttingBack]);
    assert_eq!(world.circuit_links_at("n1"), 1, "the link stays under the barrier");
    world.answer_switch(None);
    world.answer_switch(None);
    assert_eq!(world.phases(), [Phase::Unlinking]);
    assert!(world.cancels.is_empty(), "nothing is given back while an end still has the link");
    world.apply_next();
    world.apply_next();
    assert_eq!(world.phases(), [Phase::Releasing]);
    assert_eq!(world.cancels[0].3.as_deref(), Some(format!("path-{}", world.cancels[0].2).as_str()));
    world.pass(Duration::from_secs(12));
    world.answer_cancel(Ok(()));
    assert_eq!(world.phases(), []);
    let past = world.lead.history().next().unwrap();
    assert_eq!((past.phase, past.state), (Phase::Gone, ReservationState::Released));
    let story = world.story();
    let expected =
        ["planned", "cutting_back", "pair_switched", "pair_switched", "unlinking", "releasing", "released"];
    assert_eq!(story, expected);
    world.lead.handle_backend_down(world.now, NET, "else its list is due");
    assert_eq!(world.lead.poll_timeout(), None, "nothing is left to wait for");
}

#[test]
fn the_planner_sees_circuits_as_they_stand() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    let since = world.now;
    let before = world.lead.snapshot(world.now).circuits;
    assert!(!before[0].carries_traffic && !before[0].backing_off);
    world.pass(Duration::from_secs(1));
    world.answer_submit(ReservationState::Active);
    let snapshot = world.lead.snapshot(world.now);
    assert!(snapshot.circuits[0].carries_traffic);
    assert_eq!(snapshot.circuits[0].wanted_since, since);
    assert_eq!(snapshot.nodes.len(), 3);
    assert_eq!(snapshot.nodes[1].networks[NET], "10.10.0.1");
    assert_eq!(snapshot.guests.len(), 2);
    assert_eq!(snapshot.backends[0].network, NET);
}

#[test]
fn events_and_status_read_back_as_written() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    for event in &world.events {
        let text = serde_json::to_string(event).unwrap();
        assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
    let status = world.only();
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<CircuitStatus>(&text).unwrap(), status, "{text}");
}

#[test]
fn a_promise_that_is_activated_later_is_looked_up_until_it_is_active() {
    let mut world = World::new(2);
    world.auto.submit = false;
    let stepwise = vreserve_model::Capabilities { find: true, ..Default::default() };
    world.lead.handle_backend_up(world.now, NET, stepwise);
    world.want(&[(1, 2)]);
    world.answer_submit(ReservationState::Booked);
    assert_eq!((world.phases(), world.finds.len()), (vec![Phase::Reserving], 0));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.open_steps(), ["activate"]);
    world.answer_step(Ok(ReservationState::Activating));
    world.pass(Duration::from_secs(1));
    world.answer_find(Ok(Some(ReservationState::Active)));
    assert_eq!(world.phases(), [Phase::Carrying]);
}
