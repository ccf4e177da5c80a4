//! Shadow mode on a running overlay: what would be reserved is shown, and nobody is asked for anything.

use std::time::Duration;

use vreserve_core::lead::Phase;
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{PAIR, Setup, World, skip, wait};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn demand_is_planned_for_and_shown_and_stays_on_the_star() {
    if skip::is_skipped("shadow", &["iperf3", "ping"]) {
        return;
    }
    let lead = "[lead]\nshadow = true\n".to_owned();
    let world = World::start(&Setup { lab: PAIR.to_owned(), lead, ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let load = Iperf::between(&world, "a1", "b1", 5201, &["-u", "-b", "20M", "-l", "1200"]);
    let wanted = wait::until("a circuit would be reserved", SOON, || world.reservations().circuits.pop());
    assert_eq!((wanted.link.a.as_str(), wanted.link.z.as_str()), ("alpha", "beta"));
    assert_eq!((wanted.phase, wanted.key.as_ref()), (Phase::Wanted, None));
    let waits_for = wanted.waits_for.expect("it waits");
    assert!(waits_for.contains("shadow mode"), "{waits_for}");

    // It would go when the demand does; until then, and after, nothing was asked for and nobody moved.
    drop(load);
    wait::until_true("it would be given back", SOON, || world.reservations().circuits.is_empty());
    let past = world.reservations().history;
    assert_eq!((past.len(), past[0].phase), (1, Phase::Gone));
    assert!(past[0].times.released_at > Some(past[0].times.wanted_at), "{:?}", past[0].times);
    assert!(world.is_odin_dark());
    for event in ["reservation_submitted", "pair_switched"] {
        assert_eq!(world.events_named(event), Vec::<serde_json::Value>::new());
    }
    world.assert_reachable("a1", "b1");
}
