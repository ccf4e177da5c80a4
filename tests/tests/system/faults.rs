//! Faults that the configuration asks for: they are injected, said aloud, and the lead gets over them.
//!
//! ```text
//!  a1 ─ alpha ═══ star ═══ hub: the lead ── wrapper ── oclient ── ODIN ═══ beta ─ b1
//!                                             ├ the first submit: "active", and nobody was asked
//!                                             └ the first cancel: done, and its answer lost
//! ```

use std::process::Command;
use std::time::Duration;

use vreserve_tests::gauge::Gauge;
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{PAIR, Setup, World, program, skip, wait};

/// A circuit that carries nothing is given up after its probe; then another is asked for.
const PATIENCE: Duration = Duration::from_secs(40);
const FAULTS: &str = "wrap = \"faults\"\n\
                      faults = { black_hole = { calls = [1] }, reply_lost_after = { verbs = [\"cancel\"], calls = [2] } }\n";

/// What an operator sees.
fn shown_status(world: &World) -> String {
    let output =
        Command::new(program("vreserve")).args(["status", "--socket"]).arg(world.socket("hub")).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[test]
fn a_circuit_that_was_only_promised_carries_nothing_and_one_whose_end_was_not_heard_is_gone() {
    if skip::is_skipped("faults", &["iperf3", "ping"]) {
        return;
    }
    let world = World::start(&Setup { lab: PAIR.to_owned(), reserve: FAULTS.to_owned(), ..Setup::default() });
    let status = shown_status(&world);
    assert!(status.contains("INJECTS FAULTS on purpose: reply_lost_after, black_hole"), "{status}");
    assert!(world.log("hub").contains("THIS INSTANCE INJECTS FAULTS"));
    world.assert_reachable("a1", "b1");
    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(200);
    let load = Iperf::between(&world, "a1", "b1", 5201, &["-u", "-b", "20M", "-l", "1200"]);
    let circuit = world.wait_until_carrying(PATIENCE);
    assert_eq!(world.counter("hub", "reserve.omninet.fault_black_hole"), 1);
    let native_id = circuit.native_id.unwrap();
    assert!(!native_id.starts_with("black-hole"), "{native_id} carries");
    gauge.wait_for(200);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered), (0, 0), "no frame took the black hole: {tally:?}");
    drop(load);
    wait::until_true("everything is given back", PATIENCE, || world.reservations().circuits.is_empty());
    assert_eq!(world.counter("hub", "reserve.omninet.fault_reply_lost_after"), 1);
    assert!(world.is_odin_dark());
}
