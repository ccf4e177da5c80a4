//! What can go wrong on a circuit's way, and that all of it is undone and tried again.

use std::time::Duration;

use vreserve_model::{Failure, ReservationState};

use super::world::*;
use crate::lead::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_refused_request_leaves_the_pair_on_the_star_and_is_repeated_after_a_doubling_delay() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    for delay in [1, 2, 4, 8, 8] {
        world.refuse_submit(Failure::refused("no free lambda"));
        assert!(world.pairs_at("n1").is_empty());
        let waiting = world.only();
        assert_eq!(waiting.last_failure.as_deref(), Some("no free lambda"));
        assert_eq!(waiting.back_off_until, Some(world.now + delay * SECOND));
        assert!(world.lead.snapshot(world.now).circuits[0].backing_off);
        world.want(&[(1, 2)]);
        assert!(world.submits.is_empty(), "a planner that insists does not shorten the delay");
        world.pass(delay * SECOND);
        assert_eq!(world.submits.len(), 1);
    }
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert!(world.cancels.is_empty(), "what was refused is not given back");
}

#[test]
fn a_backend_that_never_can_is_asked_again_only_when_it_is_replaced() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.refuse_submit(Failure::unsupported("not between these ports"));
    world.pass(Duration::from_secs(3600));
    assert!(world.submits.is_empty());
    assert_eq!(world.only().waits_for.as_deref(), Some("the backend can never provide it"));
    world.lead.handle_backend_up(world.now, NET, odin());
    world.run();
    assert_eq!(world.submits.len(), 1);
}

#[test]
fn a_failed_probe_is_undone_in_reverse_order() {
    let mut world = World::new(2);
    world.auto.probe = false;
    world.auto.cancel = false;
    world.want(&[(1, 2)]);
    assert_eq!((world.circuit_links_at("n1"), world.circuit_links_at("n2")), (1, 1));
    world.auto.apply = false;
    world.story();
    world.answer_probe(false);
    assert!(world.cancels.is_empty(), "first the link goes");
    world.apply_next();
    world.apply_next();
    assert_eq!((world.circuit_links_at("n1"), world.circuit_links_at("n2")), (0, 0));
    assert_eq!(world.cancels.len(), 1);
    world.answer_cancel(Ok(()));
    assert_eq!(world.story(), ["circuit_failed", "unlinking", "releasing", "released"]);
    let waiting = world.only();
    assert_eq!(waiting.last_failure.as_deref(), Some("probe failed: nothing came back"));
    assert_eq!((waiting.phase, waiting.failed_attempts), (Phase::Wanted, 1));
}

#[test]
fn a_node_that_cannot_set_up_the_link_fails_the_circuit_and_is_told_again() {
    let mut world = World::new(2);
    world.auto.apply = false;
    world.want(&[(1, 2)]);
    let (node, overlay) = world.configures.remove(0);
    world.lead.handle_applied(world.now, &node, overlay.revision, Err("address in use".into()));
    world.auto.apply = true;
    world.run();
    world.apply_next();
    let reason = world.only().last_failure.unwrap();
    assert_eq!(reason, "n1 could not set up the link: address in use");
    assert_eq!(world.circuit_links_at("n2"), 0);
    world.pass(SECOND);
    assert_eq!(world.phases(), [Phase::Carrying]);
}

#[test]
fn a_link_that_dies_puts_its_pairs_on_the_star_before_anything_is_repaired() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let link = world.only().circuit.link();
    world.auto.cancel = false;
    world.story();
    world.link_down("n2", link);
    for node in ["n1", "n2"] {
        assert!(world.pairs_at(node).is_empty());
        assert_eq!(world.circuit_links_at(node), 0, "without the link {node} waits for no barrier");
    }
    assert!(world.switches.is_empty());
    assert_eq!(world.cancels.len(), 1);
    world.pass(10 * SECOND);
    assert!(world.phases() == [Phase::Releasing], "no attempt while the dead circuit is held");
    world.answer_cancel(Ok(()));
    assert_eq!(world.phases(), [Phase::Carrying], "a fresh attempt");
    assert_ne!(world.only().circuit.link(), link, "link ids are not reused");
}

#[test]
fn a_degraded_circuit_is_given_up_as_a_dead_one_is_and_says_why() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let link = world.only().circuit.link();
    world.auto.cancel = false;
    let now = world.now;
    world.lead.handle_link_degraded(now, "n9", link, "not its end");
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.lead.handle_link_degraded(now, "n1", link, "9 of its last 40 probes were lost");
    world.run();
    assert!(world.pairs_at("n1").is_empty() && world.pairs_at("n2").is_empty());
    assert_eq!(world.cancels.len(), 1);
    let failure = world.only().last_failure.unwrap();
    assert_eq!(failure, "the link is degraded at n1: 9 of its last 40 probes were lost");
    world.answer_cancel(Ok(()));
    world.pass(10 * SECOND);
    assert_ne!(world.only().circuit.link(), link, "another one");
}

#[test]
fn a_circuit_that_keeps_dying_young_backs_off_longer_and_one_that_held_starts_anew() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    for (lived, delay) in [(0, 1), (0, 2), (1, 4), (60, 1)] {
        world.pass(lived * SECOND);
        let link = world.only().circuit.link();
        world.link_down("n1", link);
        assert_eq!(world.only().back_off_until, Some(world.now + delay * SECOND));
        world.pass(delay * SECOND);
        assert_eq!(world.phases(), [Phase::Carrying]);
    }
}

#[test]
fn a_node_that_leaves_while_its_circuit_is_being_reserved_leaks_nothing() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.auto.cancel = false;
    world.want(&[(1, 2)]);
    world.leave("n2");
    assert!(world.cancels.is_empty(), "there is nothing to cancel before the answer");
    world.answer_submit(ReservationState::Active);
    assert_eq!(world.cancels.len(), 1);
    world.answer_cancel(Ok(()));
    assert_eq!(world.phases(), [Phase::Wanted]);
    assert_eq!(world.only().waits_for.as_deref(), Some("waits for a node to join"));
    assert_eq!(world.lead.history().last().unwrap().last_failure.as_deref(), Some("n2 has left"));
}

#[test]
fn a_node_that_leaves_while_carrying_sends_the_other_end_to_the_star_at_once() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.leave("n2");
    assert!(world.pairs_at("n1").is_empty());
    assert_eq!(world.circuit_links_at("n1"), 0);
    assert_eq!(world.phases(), [Phase::Wanted], "released, and wanted again when the node is back");
    world.join("n2", NodeRole::Spoke, 2);
    world.lead.handle_guests(world.now, "n2", &[mac(2)]);
    world.run();
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_eq!(world.pairs_at("n1").len(), 1);
}

#[test]
fn after_an_unknown_outcome_it_looks_and_adopts_what_it_finds() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.refuse_submit(Failure::unknown_outcome("oclient was killed"));
    assert_eq!(world.only().state, ReservationState::Unknown);
    assert_eq!(world.finds.len(), 1);
    world.answer_find(Err(Failure::unavailable("no server")));
    assert_eq!(world.only().last_failure.as_deref(), Some("no server"));
    assert!(world.submits.is_empty() && world.finds.is_empty());
    world.pass(SECOND);
    world.answer_find(Ok(Some(ReservationState::Active)));
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_eq!(world.keys.len(), 1);
}

#[test]
fn after_an_unknown_outcome_what_is_found_unwanted_is_cancelled() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.refuse_submit(Failure::internal("the plugin panicked"));
    world.want(&[]);
    assert_eq!(world.phases(), [Phase::Reserving], "it must be known first");
    world.auto.cancel = false;
    world.answer_find(Ok(Some(ReservationState::Active)));
    assert_eq!(world.cancels.len(), 1);
    world.answer_cancel(Err(Failure::unknown_outcome("timed out")));
    assert_eq!(world.phases(), [Phase::Releasing]);
    world.pass(SECOND);
    assert_eq!(world.cancels.len(), 1, "cancelled until the backend says gone");
    world.answer_cancel(Ok(()));
    assert_eq!(world.phases(), []);
}

#[test]
fn after_an_unknown_outcome_what_is_not_there_is_asked_for_under_a_new_key() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.refuse_submit(Failure::unknown_outcome("connection cut"));
    world.answer_find(Ok(None));
    assert_eq!(world.phases(), [Phase::Wanted]);
    assert_eq!(world.lead.history().last().unwrap().state, ReservationState::Failed);
    world.pass(SECOND);
    assert_eq!(world.submits.len(), 1);
    assert_eq!(world.keys.len(), 2);
    assert!(world.cancels.is_empty());
}

#[test]
fn an_aborted_pair_stays_on_the_star_and_follows_later_while_the_other_uses_the_circuit() {
    let mut world = World::new(2);
    world.auto.switch = false;
    world.want(&[(1, 2)]);
    world.answer_switch(Some("too many frames held"));
    world.answer_switch(None);
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_eq!((world.pairs_at("n1").len(), world.pairs_at("n2").len()), (0, 1));
    world.pass(SECOND);
    world.answer_switch(None);
    assert_eq!((world.pairs_at("n1").len(), world.pairs_at("n2").len()), (1, 1));
}

#[test]
fn a_circuit_that_no_pair_can_be_switched_to_is_given_up() {
    let mut world = World::new(2);
    world.auto.switch = false;
    world.want(&[(1, 2)]);
    for delay in [1, 2, 4, 8, 0] {
        assert_eq!(world.phases(), [Phase::Switching]);
        world.answer_switch(Some("barrier lost"));
        world.answer_switch(Some("barrier lost"));
        world.pass(delay * SECOND);
    }
    let gone = world.lead.history().next().expect("given up");
    assert_eq!(gone.last_failure.as_deref(), Some("no pair could be switched to it: barrier lost"));
}

#[test]
fn nodes_that_never_answer_do_not_hold_a_circuit_for_ever() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.auto.apply = false;
    world.want(&[]);
    world.pass(60 * SECOND);
    assert_eq!(world.phases(), [], "released although no node answered");
}

#[test]
fn a_provider_that_drops_a_circuit_is_believed_and_one_that_contradicts_itself_is_not() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let circuit = world.only();
    let report = observed(circuit.key.as_ref().unwrap(), ReservationState::Held);
    world.lead.handle_found(world.now, circuit.circuit, Ok(vec![report]));
    world.run();
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert!(world.story().contains(&"reservation_contradicted".to_owned()));
    world.lead.handle_found(world.now, circuit.circuit, Ok(vec![]));
    world.run();
    assert!(world.pairs_at("n1").is_empty());
    assert_eq!(world.phases(), [Phase::Wanted]);
}

#[test]
fn answers_that_nothing_waits_for_change_nothing_and_are_told() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let id = world.only().circuit;
    world.story();
    for id in [id, CircuitId(4711)] {
        world.lead.handle_submitted(world.now, id, Err(Failure::refused("late")));
        world.lead.handle_cancelled(world.now, id, Ok(()));
    }
    world.lead.handle_switched(world.now, "n1", 3, &[]);
    world.lead.handle_applied(world.now, "n9", u64::MAX, Ok(()));
    world.run();
    assert_eq!(world.story(), ["stray_answer"; 4]);
    assert_eq!(world.phases(), [Phase::Carrying]);
}
