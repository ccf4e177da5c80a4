//! What operators book ahead of time.

use std::time::Duration;

use vreserve_model::{BitsPerSecond, Capabilities, Failure, ReservationState, Timestamp};

use super::world::*;
use crate::lead::*;

const SECOND: Duration = Duration::from_secs(1);

fn world(capabilities: Capabilities) -> World {
    let mut world = World::with(3, capabilities);
    world.lead.handle_clock(world.now, world.wall());
    world.run();
    world
}

/// From `start` seconds after now on, for `length` seconds.
fn wish(world: &World, from: &str, to: &str, start: u64, length: u64) -> BookingWish {
    let start_ms = world.wall() + start * 1000;
    BookingWish {
        from: from.into(),
        to: to.into(),
        network: None,
        rate: BitsPerSecond(50_000_000),
        start_ms: Some(start_ms),
        end_ms: start_ms + length * 1000,
    }
}

fn book(world: &mut World, wish: BookingWish) -> BookingId {
    let id = world.lead.book(world.now, wish).expect("accepted");
    world.run();
    id
}

#[test]
fn where_the_backend_can_a_booking_is_asked_for_at_once_used_in_its_window_and_given_back() {
    let mut world = world(gara());
    world.auto.submit = false;
    let asked = wish(&world, "n1", "n2", 100, 60);
    let id = book(&mut world, asked.clone());
    let request = world.submits[0].2.clone();
    assert_eq!((request.start_ms, request.end_ms), (asked.start_ms, Some(asked.end_ms)));
    world.answer_submit(ReservationState::Booked);
    world.pass(90 * SECOND);
    while !world.finds.is_empty() {
        world.answer_find(Ok(Some(ReservationState::Booked)));
    }
    assert!(world.steps.is_empty(), "not before its window");
    let entry = world.lead.calendar().remove(0);
    assert_eq!((entry.booking, entry.phase), (Some(id), Some(BookingPhase::Booked)));
    world.pass(11 * SECOND);
    assert_eq!(world.open_steps(), ["activate"]);
    world.answer_step(Ok(ReservationState::Active));
    assert_eq!((world.pairs_at("n1").len(), world.pairs_at("n2").len()), (1, 1));
    assert_eq!(world.lead.calendar()[0].phase, Some(BookingPhase::Open));
    world.pass(58 * SECOND);
    assert!(world.pairs_at("n1").is_empty(), "off it before the provider takes it away");
    assert_eq!(world.open_steps(), ["deactivate"]);
    world.answer_step(Ok(ReservationState::Booked));
    assert_eq!(world.lead.calendar(), []);
    assert!(world.disk.is_empty());
}

#[test]
fn elsewhere_it_is_asked_for_shortly_before() {
    let times = (Duration::from_secs(17), Duration::from_secs(3));
    let mut world = world(Capabilities { setup_time: times.0, lead_time: times.1, ..odin() });
    let asked = wish(&world, "n1", "n2", 100, 60);
    book(&mut world, asked);
    world.pass(79 * SECOND);
    assert_eq!(world.keys.len(), 0);
    world.pass(2 * SECOND);
    assert_eq!(world.keys.len(), 1);
    assert!(world.pairs_at("n1").is_empty(), "ready, and not used before its window");
    world.pass(20 * SECOND);
    assert_eq!(world.pairs_at("n1").len(), 1);
    world.pass(60 * SECOND);
    assert_eq!(world.phases(), []);
    assert!(world.disk.is_empty());
}

#[test]
fn guests_may_be_named_and_only_their_pair_takes_it() {
    let mut world = world(odin());
    world.lead.handle_guests(world.now, "n1", &[mac(1), mac(11)]);
    let asked = wish(&world, &mac(1).to_string(), &mac(2).to_string(), 1, 60);
    book(&mut world, asked);
    world.pass(5 * SECOND);
    let pairs = world.pairs_at("n1");
    assert_eq!(pairs.len(), 1);
    assert_eq!((pairs[0].source, pairs[0].destination), (mac(1), mac(2)));
}

#[test]
fn a_booking_takes_over_the_link_of_what_the_planner_had() {
    let mut world = world(Capabilities { serial: false, ..odin() });
    world.want(&[(1, 2)]);
    let before = world.only();
    let asked = wish(&world, "n1", "n2", 10, 60);
    let id = book(&mut world, asked);
    world.pass(12 * SECOND);
    let during = world.only();
    assert_eq!((during.booking, during.link_id), (Some(id), before.link_id));
    assert!(!world.story().contains(&"pair_aborted".to_owned()));
    world.pass(60 * SECOND);
    let after = world.only();
    assert_eq!((after.booking, after.phase), (None, Phase::Carrying), "the planner has its own again");
}

#[test]
fn demand_that_meets_a_booking_needs_no_circuit_of_its_own() {
    let mut world = world(gara());
    world.auto.submit = false;
    let asked = wish(&world, "n1", "n2", 100, 60);
    let id = book(&mut world, asked);
    world.answer_submit(ReservationState::Booked);
    world.pass(90 * SECOND);
    while !world.finds.is_empty() {
        world.answer_find(Ok(Some(ReservationState::Booked)));
    }
    world.pass(11 * SECOND);
    assert_eq!(world.open_steps(), ["activate"]);
    world.want(&[(1, 2)]);
    assert!(world.submits.is_empty(), "what is booked is on its way");
    world.answer_step(Ok(ReservationState::Active));
    assert_eq!((world.only().booking, world.pairs_at("n1").len()), (Some(id), 1));
    world.pass(60 * SECOND);
    world.answer_step(Ok(ReservationState::Booked));
    assert_eq!(world.submits.len(), 1, "when the window is over, demand is met again");
}

#[test]
fn the_same_two_ends_are_booked_once_at_a_time() {
    let mut world = world(gara());
    let first = wish(&world, "n1", "n2", 100, 60);
    let id = book(&mut world, first);
    for (start, length) in [(100, 60), (90, 20), (159, 10), (110, 1)] {
        let overlapping = wish(&world, "n2", "n1", start, length);
        assert_eq!(world.lead.book(world.now, overlapping), Err(BookingError::Taken(id)));
    }
    let others = [("n1", "n2", 40, 60), ("n1", "n2", 160, 60), ("n1", "n3", 100, 60)];
    for (from, to, start, length) in others {
        let other = wish(&world, from, to, start, length);
        book(&mut world, other);
    }
    world.lead.cancel_booking(world.now, id).unwrap();
    let again = wish(&world, "n1", "n2", 110, 10);
    book(&mut world, again);
}

#[test]
fn a_cancelled_booking_is_given_back_whatever_it_has_come_to() {
    for wait in [0, 50, 110] {
        let mut world = world(odin());
        let asked = wish(&world, "n1", "n2", 100, 60);
        let id = book(&mut world, asked);
        world.pass(wait * SECOND);
        world.lead.cancel_booking(world.now, id).unwrap();
        world.run();
        assert_eq!(world.phases(), []);
        assert!(world.disk.is_empty());
        assert_eq!(world.lead.cancel_booking(world.now, id), Err(BookingError::UnknownBooking(id)));
    }
}

#[test]
fn a_refused_booking_is_tried_again_until_its_window_is_over() {
    let mut world = world(gara());
    world.auto.submit = false;
    let asked = wish(&world, "n1", "n2", 10, 60);
    book(&mut world, asked);
    world.refuse_submit(Failure::refused("full"));
    assert_eq!(world.lead.calendar()[0].reason.as_deref(), Some("full"));
    world.pass(SECOND);
    assert_eq!(world.submits.len(), 1);
    world.refuse_submit(Failure::unsupported("never"));
    world.pass(100 * SECOND);
    assert!(world.submits.is_empty());
    assert_eq!(world.lead.calendar(), []);
}

#[test]
fn bookings_survive_the_lead() {
    let mut world = world(gara());
    world.auto.submit = false;
    let asked = wish(&world, "n1", "n2", 100, 60);
    let id = book(&mut world, asked);
    let later = wish(&world, "n1", "n3", 5000, 60);
    let other = book(&mut world, later);
    world.answer_submit(ReservationState::Booked);
    world.answer_submit(ReservationState::Booked);
    world.crash();
    let entries: Vec<_> = world.lead.calendar().iter().map(|e| (e.booking, e.circuit.is_some())).collect();
    assert_eq!(entries, [(Some(id), true), (Some(other), true)]);
    world.come_back("hub", NodeRole::Proxy, 100);
    (1..=3).for_each(|last| world.come_back(&format!("n{last}"), NodeRole::Spoke, last));
    world.lead.handle_backend_up(world.now, NET, gara());
    world.run();
    world.answer_find(Ok(Some(ReservationState::Booked)));
    world.answer_find(Ok(Some(ReservationState::Booked)));
    world.pass(50 * SECOND);
    assert!(world.submits.is_empty() && world.cancels.is_empty(), "kept beyond the grace, asked for once");
    assert_eq!(world.keys.len(), 2);
}

#[test]
fn clocks_that_step_do_no_harm() {
    let mut world = world(gara());
    world.auto.submit = false;
    let asked = wish(&world, "n1", "n2", 100, 60);
    let id = book(&mut world, asked);
    world.answer_submit(ReservationState::Booked);
    let wall = world.wall();
    world.lead.handle_clock(world.now, wall + 110_000);
    world.run();
    world.pass(2 * SECOND);
    assert_eq!(world.open_steps(), ["activate"], "the clock says that the window is open");
    world.answer_step(Ok(ReservationState::Active));
    assert_eq!(world.pairs_at("n1").len(), 1);
    world.lead.handle_clock(world.now, wall);
    world.run();
    assert!(world.pairs_at("n1").is_empty(), "and now it says that it is not");
    assert_eq!(world.lead.calendar()[0].booking, Some(id));
    world.lead.handle_clock(world.now, 0);
    world.lead.tick(Timestamp::ZERO);
    world.lead.handle_clock(world.now, u64::MAX);
    world.run();
    assert_eq!(world.open_steps(), ["deactivate"]);
}

#[test]
fn nonsense_is_refused_with_the_reason() {
    let mut world = world(odin());
    let good = wish(&world, "n1", "n2", 10, 60);
    let reason =
        |world: &mut World, wish: BookingWish| world.lead.book(world.now, wish).unwrap_err().to_string();
    let unknown = BookingWish { to: "n9".into(), ..good.clone() };
    assert_eq!(reason(&mut world, unknown), "no node or guest \"n9\"");
    let same = BookingWish { to: mac(1).to_string(), ..good.clone() };
    assert_eq!(reason(&mut world, same), "both ends are at n1");
    let other = BookingWish { network: Some("qos".into()), ..good.clone() };
    assert_eq!(reason(&mut world, other), "n1 and n2 share no network that can be reserved");
    let backwards = BookingWish { end_ms: 7, ..good.clone() };
    assert_eq!(reason(&mut world, backwards), "the window is over before it begins");
    world.lead.handle_journal_failed(world.now, "read-only");
    assert_eq!(reason(&mut world, good), "the journal cannot be written: read-only");
    assert!(world.lead.calendar().is_empty());
}

#[test]
fn a_lead_that_stops_gives_back_what_was_planned_and_leaves_what_is_booked() {
    let mut world = world(gara());
    world.want(&[(1, 3)]);
    let asked = wish(&world, "n1", "n2", 0, 600);
    book(&mut world, asked);
    world.pass(SECOND);
    assert_eq!(world.pairs_at("n1").len(), 2);
    world.lead.handle_stop(world.now);
    world.run();
    assert!(!world.lead.is_stopped());
    world.answer_step(Ok(ReservationState::Booked));
    assert!(world.lead.is_stopped());
    assert_eq!(world.pairs_at("n1").len(), 1, "the booked pair goes on");
    assert_eq!(world.disk.len(), 2, "the booking and its circuit");
}
