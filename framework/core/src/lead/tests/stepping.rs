//! Backends that hold before they book, and backends that are switched through by a call of their own.

use std::time::Duration;

use vreserve_model::{Capabilities, Failure, ReservationState};

use super::world::*;
use crate::lead::*;

const SECOND: Duration = Duration::from_secs(1);

fn two_phase() -> World {
    let mut world = World::with(2, nsi());
    world.auto.submit = false;
    world.auto.cancel = false;
    world.want(&[(1, 2)]);
    world
}

#[test]
fn a_hold_is_committed_activated_and_at_the_end_deactivated_and_cancelled() {
    let mut world = two_phase();
    world.answer_submit(ReservationState::Held);
    assert_eq!(world.open_steps(), ["commit"]);
    world.answer_step(Ok(ReservationState::Booked));
    assert_eq!(world.open_steps(), ["activate"], "at once, and not when it would be looked up next");
    world.answer_step(Ok(ReservationState::Active));
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.want(&[]);
    assert_eq!(world.open_steps(), ["deactivate"]);
    assert!(world.cancels.is_empty(), "first it is taken out of use");
    world.answer_step(Ok(ReservationState::Booked));
    assert_eq!(world.cancels.len(), 1);
    world.answer_cancel(Ok(()));
    assert_eq!(world.phases(), []);
    assert!(world.disk.is_empty(), "what is gone is forgotten");
}

#[test]
fn a_hold_that_nobody_wants_any_more_is_aborted_and_never_committed() {
    let mut world = two_phase();
    world.want(&[]);
    world.answer_submit(ReservationState::Held);
    assert_eq!(world.open_steps(), ["abort"]);
    assert!(world.cancels.is_empty());
    world.answer_step(Ok(ReservationState::Released));
    assert_eq!(world.phases(), []);
}

#[test]
fn a_hold_is_not_committed_after_half_its_time() {
    let mut world = two_phase();
    world.lead.handle_backend_down(world.now, NET, "away");
    world.answer_submit(ReservationState::Held);
    world.pass(61 * SECOND);
    world.lead.handle_backend_up(world.now, NET, nsi());
    world.run();
    assert_eq!(world.open_steps(), ["abort"], "61 s of 120 s are too many");
}

#[test]
fn a_hold_that_has_run_out_by_our_clock_is_over_whatever_is_still_shown() {
    let mut world = two_phase();
    world.answer_submit(ReservationState::Held);
    world.answer_step(Err(Failure::unknown_outcome("cut off")));
    assert_eq!(world.finds.len(), 1, "looked up before anything else");
    world.now = world.now + 121 * SECOND;
    world.answer_find(Ok(Some(ReservationState::Held)));
    assert!(world.steps.is_empty(), "neither committed nor aborted");
    assert_eq!(world.lead.history().last().unwrap().state, ReservationState::Failed);
}

#[test]
fn a_refused_commit_leaves_nothing_and_is_tried_again_as_a_new_request() {
    let mut world = two_phase();
    world.answer_submit(ReservationState::Held);
    world.answer_step(Err(Failure::refused("the hold has run out")));
    assert!(world.steps.is_empty() && world.cancels.is_empty());
    world.pass(SECOND);
    assert_eq!(world.submits.len(), 1);
    assert_eq!(world.keys.len(), 2);
}

#[test]
fn an_activation_refused_before_the_window_is_repeated() {
    let mut world = World::with(2, gara());
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.answer_submit(ReservationState::Booked);
    for _ in 0..5 {
        world.pass(SECOND);
        assert_eq!(world.open_steps(), ["activate"]);
        world.answer_step(Err(Failure::refused("not yet")));
    }
    world.pass(SECOND);
    world.answer_step(Ok(ReservationState::Active));
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_eq!(world.keys.len(), 1);
}

#[test]
fn an_activation_cut_off_is_looked_up_and_not_repeated_if_it_took_effect() {
    let mut world = World::with(2, gara());
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.answer_submit(ReservationState::Booked);
    world.pass(SECOND);
    world.answer_step(Err(Failure::unknown_outcome("cut off")));
    assert_eq!(world.finds.len(), 1);
    world.answer_find(Ok(Some(ReservationState::Active)));
    assert!(world.steps.is_empty());
    assert_eq!(world.phases(), [Phase::Carrying]);
}

#[test]
fn an_abort_that_fails_is_followed_by_a_cancel_until_one_of_them_works() {
    let mut world = two_phase();
    world.want(&[]);
    world.answer_submit(ReservationState::Held);
    world.answer_step(Err(Failure::refused("it is committed")));
    world.pass(SECOND);
    assert_eq!(world.cancels.len(), 1);
    world.answer_cancel(Ok(()));
    assert_eq!(world.phases(), []);
}

#[test]
fn a_two_phase_backend_that_switches_through_by_itself_is_only_committed() {
    let mut world = World::with(2, Capabilities { fused_activation: true, ..nsi() });
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    world.answer_submit(ReservationState::Held);
    world.answer_step(Ok(ReservationState::Active));
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.want(&[]);
    assert!(world.steps.is_empty());
    assert_eq!(world.phases(), []);
}
