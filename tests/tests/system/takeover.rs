//! A proxy that is killed and started again takes its lightpath over as it is.
//!
//! ```text
//!  a1 ─ alpha ═══ star ═══ hub, killed and started again ═══ star ═══ beta ─ b1
//!          └── chicago ══ lambda, numbered datagrams ══ evanston ──┘
//! ```

use std::time::Duration;

use vreserve::control::lead::JournalState;
use vreserve_core::lead::Phase;
use vreserve_model::ReservationState;
use vreserve_tests::gauge::Gauge;
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{PAIR, Setup, World, skip, wait};

const TO_LIGHTPATH: Duration = Duration::from_secs(30);
/// Datagrams of the gauge, one a millisecond: half of these outlast the time for which a lead keeps what it
/// found on record though nobody wants it.
const FURTHER: usize = 10_000;

#[test]
fn a_killed_proxy_finds_its_lightpath_and_moves_nothing() {
    if skip::is_skipped("takeover", &["iperf3", "ping"]) {
        return;
    }
    let mut world = World::start(&Setup { lab: PAIR.to_owned(), ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let _load = Iperf::between(&world, "a1", "b1", 5201, &["-u", "-b", "30M", "-l", "1200"]);
    world.wait_until_carrying(TO_LIGHTPATH);
    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(500);
    let before = world.wait_until_carrying(TO_LIGHTPATH);
    assert_eq!(before.pairs.len(), 2, "{:?}", before.pairs);
    let paths = world.odin_paths();
    assert_eq!(paths.len(), 1, "{paths:?}");

    world.kill_daemon("hub");
    gauge.wait_for(500);
    world.start_daemon("hub");
    world.wait_until_ready();
    let after = wait::until("the lightpath is looked up", TO_LIGHTPATH, || {
        let mut circuits = world.reservations().circuits.into_iter();
        circuits.find(|circuit| circuit.state == ReservationState::Active)
    });
    assert_eq!(
        (after.circuit, &after.key, &after.native_id),
        (before.circuit, &before.key, &before.native_id)
    );
    gauge.wait_for(FURTHER);
    gauge.wait_for(FURTHER);

    let view = world.reservations();
    assert_eq!(view.journal.state, JournalState::Ready);
    assert_eq!(view.circuits.len(), 1, "{:#?}", view.circuits);
    let kept = &view.circuits[0];
    assert_eq!((kept.circuit, kept.phase, kept.pairs.len()), (before.circuit, Phase::Carrying, 2));
    assert_eq!(world.odin_paths(), paths, "ODIN has the same path, and no other");
    for event in ["pair_switched", "pair_aborted", "reservation_submitted", "circuit_failed", "unlinking"] {
        assert!(world.events_named(event).is_empty(), "{:?}", world.events_named(event));
    }
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");
    drop(_load);
    wait::until_true("the lightpath is given back", TO_LIGHTPATH, || world.is_odin_dark());
}
