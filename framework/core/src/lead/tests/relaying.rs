//! Pairs over two circuits: the node between is told first and last, and whatever dies, there is the star.

use std::time::Duration;

use vreserve_model::{ReservationState, Wanted};

use super::world::*;
use crate::ids::LinkId;
use crate::lead::*;
use crate::overlay::PairWay;

const SECOND: Duration = Duration::from_secs(1);

/// Circuits from `n2` to `n1` and `n3`, whose guests are relayed.
fn over_n2() -> Wanted {
    let mut wanted = want(&[(1, 2), (2, 3)]);
    relay(&mut wanted, [1, 2, 3]);
    wanted
}

fn want_over_n2(world: &mut World) {
    world.lead.handle_wanted(world.now, &over_n2());
    world.run();
}

fn relayed() -> World {
    let mut world = World::new(3);
    want_over_n2(&mut world);
    assert_eq!(world.phases(), [Phase::Carrying; 2]);
    world
}

/// Both circuits carry, and the ways over `n2` have come to be wanted; no node has set up anything of that yet.
fn asked_to_relay() -> World {
    let mut world = World::new(3);
    world.want(&[(1, 2), (2, 3)]);
    world.auto.apply = false;
    want_over_n2(&mut world);
    world
}

/// The way of what the guest of `n1` sends to that of `n3`, as `n1` was told.
fn way(world: &World) -> Option<PairWay> {
    world.pairs_at("n1").into_iter().find(|way| way.destination == mac(3))
}

fn links(world: &World) -> [LinkId; 2] {
    let link =
        |z: &str| world.lead.circuits().find(|circuit| circuit.link.z == z).expect("a circuit").link_id;
    [link("n2"), link("n3")]
}

fn relays_at_n2(world: &World) -> usize {
    world.applied["n2"].relays.len()
}

#[test]
fn the_node_between_is_told_before_frames_come_and_until_they_come_no_more() {
    let mut world = asked_to_relay();
    let told = |world: &World| world.configures.iter().map(|(node, _)| node.clone()).collect::<Vec<_>>();
    assert_eq!(told(&world), ["n2"], "it alone");
    world.apply_next();
    assert_eq!(told(&world), ["n1", "n3"]);
    assert_eq!(relays_at_n2(&world), 2);
    world.auto.apply = true;
    world.apply_next();
    world.apply_next();
    let [first, onward] = links(&world);
    let expected = PairWay { source: mac(1), destination: mac(3), link: first, onward: Some(onward) };
    assert_eq!(way(&world), Some(expected));

    // Both pairs are wanted on the star again; the circuits stay for their own ends.
    world.auto.switch = false;
    world.want(&[(1, 2), (2, 3)]);
    assert_eq!((way(&world), relays_at_n2(&world)), (None, 2), "what is under way is still relayed");
    world.answer_switch(None);
    world.answer_switch(None);
    assert_eq!(relays_at_n2(&world), 0);
    assert_eq!(world.phases(), [Phase::Carrying; 2]);
}

#[test]
fn a_pair_does_not_wait_for_its_second_circuit_on_the_first_nor_the_first_for_the_pair() {
    let mut world = World::new(3);
    world.auto.submit = false;
    want_over_n2(&mut world);
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.lead.circuits().filter(|circuit| circuit.phase == Phase::Carrying).count(), 1);
    assert_eq!((way(&world), relays_at_n2(&world)), (None, 0));
    world.answer_submit(ReservationState::Active);
    assert!(way(&world).is_some());
    assert_eq!(world.phases(), [Phase::Carrying; 2]);
}

#[test]
fn the_death_of_the_second_circuit_brings_the_pair_back_behind_a_barrier() {
    let mut world = relayed();
    world.auto.switch = false;
    let [first, onward] = links(&world);
    world.link_down("n2", onward);
    assert_eq!(way(&world), None);
    assert_eq!(world.pairs_at("n1").len(), 1, "the pair of the first circuit's own ends stays");
    let switched = world.switches.iter().map(|(node, _, pair, old)| (node.as_str(), pair.destination, *old));
    assert_eq!(
        switched.collect::<Vec<_>>(),
        [("n1", mac(3), Some(first))],
        "its link is there, so frames are kept in order"
    );
    world.answer_switch(None);
    assert_eq!(relays_at_n2(&world), 0);
}

#[test]
fn the_death_of_the_first_circuit_leaves_the_second_to_others() {
    let mut world = relayed();
    let [first, _] = links(&world);
    world.link_down("n1", first);
    assert_eq!((way(&world), world.pairs_at("n1").len()), (None, 0));
    assert_eq!(world.pairs_at("n3").len(), 1, "only what is for n2");
    assert_eq!(relays_at_n2(&world), 0);
    // And again, when the first circuit is.
    world.pass(2 * SECOND);
    want_over_n2(&mut world);
    world.pass(2 * SECOND);
    assert!(way(&world).is_some_and(|way| way.onward.is_some()));
}

#[test]
fn a_relay_that_does_not_answer_leaves_the_pair_on_the_star_for_a_while() {
    let mut world = asked_to_relay();
    world.story();
    world.pass(World::config(7).patience.switching);
    let story = world.story();
    assert_eq!(story.iter().filter(|event| *event == "pair_aborted").count(), 2, "{story:?}");
    assert!(world.configures.iter().filter(|(node, _)| node != "n2").all(|(_, part)| part.pairs.len() == 1));
    world.auto.apply = true;
    while !world.configures.is_empty() {
        world.apply_next();
    }
    world.pass(10 * SECOND);
    assert!(way(&world).is_some(), "tried again");
}

#[test]
fn a_lead_that_takes_over_leaves_a_relayed_pair_where_it_is() {
    let mut world = relayed();
    let before: Vec<_> = ["n1", "n2", "n3"].map(|node| world.applied[node].clone()).to_vec();
    world.crash();
    for (name, role, last) in [("hub", NodeRole::Proxy, 100)].into_iter().chain([
        ("n1", NodeRole::Spoke, 1),
        ("n3", NodeRole::Spoke, 3),
        ("n2", NodeRole::Spoke, 2),
    ]) {
        world.come_back(name, role, last);
    }
    world.lead.handle_backend_up(world.now, NET, odin());
    world.run();
    while !world.finds.is_empty() {
        world.answer_find(Ok(Some(ReservationState::Active)));
    }
    world.pass(SECOND);
    want_over_n2(&mut world);
    world.pass(60 * SECOND);
    assert!(world.switches.is_empty());
    for (node, before) in ["n1", "n2", "n3"].iter().zip(&before) {
        let after = &world.applied[*node];
        assert_eq!((&after.links, &after.pairs), (&before.links, &before.pairs), "{node} is untouched");
        assert_eq!(after.relays, before.relays, "{node} is untouched");
    }
}

#[test]
fn a_guest_that_moves_to_the_relay_takes_its_pair_back_first() {
    let mut world = relayed();
    world.lead.handle_guests(world.now, "n3", &[]);
    world.lead.handle_guests(world.now, "n2", &[mac(2), mac(3)]);
    world.run();
    assert_eq!((way(&world), relays_at_n2(&world)), (None, 0));
    assert_eq!(world.pairs_at("n1").len(), 1);
}
