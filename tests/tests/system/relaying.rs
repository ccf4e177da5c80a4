//! Two lightpaths for three pairs of hosts: what gets none of its own goes over both, by way of the host between.
//!
//! ```text
//!  a1 ─ alpha ══ lightpath ══ gamma ─ g1      Mbit/s   a1 → g1  20
//!                               ║                      b1 → g1  16
//!  b1 ─ beta ═══ lightpath ═════╝                      a1 → b1   8, relayed by gamma
//! ```

use std::time::Duration;

use vreserve_core::lead::CircuitStatus;
use vreserve_core::overlay::PairWay;
use vreserve_tests::gauge::Gauge;
use vreserve_tests::traffic::{Iperf, Meter};
use vreserve_tests::{Setup, World, skip, wait};

const SOON: Duration = Duration::from_secs(60);

fn load(world: &World, [from, to]: [&str; 2], port: u16, rate: &str) -> Iperf {
    Iperf::between(world, from, to, port, &["-u", "-l", "1200", "-b", rate])
}

/// The ways over two circuits, as nodes were told.
fn relayed(world: &World) -> Vec<PairWay> {
    let mut ways: Vec<PairWay> =
        world.reservations().circuits.into_iter().flat_map(|circuit| circuit.pairs).collect();
    ways.retain(|way| way.onward.is_some());
    ways
}

fn circuit_to(world: &World, end: &str) -> CircuitStatus {
    let circuits = world.reservations().circuits.into_iter();
    let mut to_end = circuits.filter(|circuit| circuit.link.a == end || circuit.link.z == end);
    to_end.next().expect("it has a circuit")
}

#[test]
fn a_pair_without_a_lightpath_of_its_own_takes_two_and_the_star_when_one_dies() {
    if skip::is_skipped("relaying", &["iperf3", "ping"]) {
        return;
    }
    let world = World::start(&Setup {
        lab: include_str!("../../../testbed/labs/all-to-all.toml").to_owned(),
        adapt: "max_links = 2\nmin_rate = \"2mbit\"\nmin_hold = \"1s\"\nrelease_after = \"1s\"\n".to_owned(),
        bare: vec!["delta"],
        ..Setup::default()
    });
    for (from, to) in [("a1", "g1"), ("b1", "g1"), ("a1", "b1")] {
        world.assert_reachable(from, to);
    }
    let _loads = [load(&world, ["a1", "g1"], 5201, "20M"), load(&world, ["b1", "g1"], 5202, "16M")];
    wait::until_true("both lightpaths carry", SOON, || world.events_named("carrying").len() == 2);
    let gauge = Gauge::start(&world, "a1", "b1");
    let _relayed = load(&world, ["a1", "b1"], 5203, "8M");
    wait::until_true("a1 reaches b1 over both", SOON, || {
        relayed(&world).iter().any(|way| (way.source, way.destination) == (world.mac("a1"), world.mac("b1")))
    });
    // Nothing else comes to beta on its lightpath than what gamma relays.
    Meter::start(&world, "beta", "omninet").wait_for(2_000_000);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");

    // The second lightpath dies: gamma sends to the star by itself, and alpha follows.
    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(200);
    let lambda = format!("f0l{}a", circuit_to(&world, "beta").labels["lambda"]);
    world.exec("omninet", &["ip", "link", "set", &lambda, "down"]);
    wait::until_true("a1 reaches b1 by the star", SOON, || relayed(&world).is_empty());
    gauge.wait_for(500);
    let tally = gauge.finish();
    println!("lost over the dead lightpath: {tally:?}");
    assert!(tally.lost < 4000, "{tally:?}");
    world.assert_reachable("a1", "b1");
    assert_eq!(circuit_to(&world, "alpha").times.ending_at, None, "the first lightpath stays");
}
