//! Shadow mode: everything is planned and shown, and nobody is asked.

use std::time::Duration;

use vreserve_model::BitsPerSecond;

use super::world::*;
use crate::lead::*;

fn shadow(count: u8) -> World {
    let mut world = World::empty();
    world.lead = Lead::new(LeadConfig { shadow: true, ..World::config(7) });
    world.join("hub", NodeRole::Proxy, 100);
    for last in 1..=count {
        world.join(&format!("n{last}"), NodeRole::Spoke, last);
        world.lead.handle_guests(world.now, &format!("n{last}"), &[mac(last)]);
    }
    world.lead.handle_backend_up(world.now, NET, odin());
    world.run();
    world
}

#[test]
fn what_would_be_reserved_is_shown_with_its_time_and_nothing_is_asked_for() {
    let mut world = shadow(3);
    let wanted_at = world.now;
    world.want(&[(1, 2), (2, 3)]);
    world.pass(Duration::from_secs(60));
    assert!(world.submits.is_empty() && world.disk.is_empty() && world.switches.is_empty());
    let circuits: Vec<_> = world.lead.circuits().collect();
    assert_eq!(circuits.len(), 2);
    for circuit in &circuits {
        assert_eq!((circuit.phase, circuit.times.wanted_at), (Phase::Wanted, wanted_at));
        assert_eq!(circuit.rate, BitsPerSecond(1_000_000_000));
        let waits_for = circuit.waits_for.as_deref().expect("it waits");
        assert!(waits_for.contains("shadow mode"), "{waits_for}");
    }
    world.want(&[(2, 3)]);
    world.want(&[(2, 3)]);
    assert_eq!(world.lead.circuits().count(), 1);
    let past: Vec<_> = world.lead.history().collect();
    assert_eq!((past.len(), past[0].link.a.as_str(), past[0].phase), (1, "n1", Phase::Gone));
    assert_eq!(past[0].times.released_at, Some(world.now));
    assert_eq!(world.story(), ["planned", "planned"], "one event per change of mind");
}

#[test]
fn operators_cannot_book() {
    let mut world = shadow(2);
    world.lead.handle_clock(world.now, world.wall());
    let wish = BookingWish {
        from: "n1".into(),
        to: "n2".into(),
        network: None,
        rate: BitsPerSecond(1_000_000),
        start_ms: None,
        end_ms: world.wall() + 60_000,
    };
    assert_eq!(world.lead.book(world.now, wish), Err(BookingError::Shadow));
}

#[test]
fn what_an_earlier_lead_holds_is_used_as_long_as_it_is_wanted_and_given_back() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.crash();
    world.lead = Lead::new(LeadConfig { shadow: true, ..World::config(9) });
    world.lead.handle_clock(world.now, world.wall());
    world.lead.restore(world.now, world.disk.values().cloned().collect());
    world.run();
    world.come_back("hub", NodeRole::Proxy, 100);
    world.come_back("n1", NodeRole::Spoke, 1);
    world.come_back("n2", NodeRole::Spoke, 2);
    world.lead.handle_backend_up(world.now, NET, odin());
    world.run();
    world.answer_find(Ok(Some(vreserve_model::ReservationState::Active)));
    world.want(&[(1, 2)]);
    assert_eq!(world.phases(), [Phase::Carrying]);
    world.want(&[]);
    world.pass(Duration::from_secs(60));
    assert!(world.phases().is_empty() && world.disk.is_empty(), "given back");
}
