//! Four guests, everybody with everybody, at rates that rank the pairs.
//!
//! ```text
//!  a1 ─ alpha ─ chicago ══ lambdas ══ evanston ─ gamma ─ g1      Mbit/s   a1 b1 g1 d1
//!  b1 ─ beta ──────┘                     └────── delta ─ d1      a1        ·  6 18  4
//!          all of them on the star to the hub, 100 Mbit/s        b1        ·  · 10 14
//!                                                                g1        ·  ·  ·  5
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use vreserve_core::lead::Phase;
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{Setup, World, skip, wait};

/// Source, destination, rate: a flow for each of the six pairs.
const FLOWS: [(&str, &str, &str); 6] = [
    ("a1", "g1", "18M"),
    ("b1", "d1", "14M"),
    ("b1", "g1", "10M"),
    ("a1", "b1", "6M"),
    ("g1", "d1", "5M"),
    ("a1", "d1", "4M"),
];
/// Two lightpaths are set up one after the other, 2.6 s each at this scale; inference, ranking and perhaps a
/// change of mind come on top.
const TO_LIGHTPATHS: Duration = Duration::from_secs(60);

#[test]
fn all_to_all_traffic_is_inferred_and_the_top_pairs_get_the_lightpaths() {
    if skip::is_skipped("all_to_all", &["iperf3", "ping"]) {
        return;
    }
    let world = World::start(&Setup {
        lab: include_str!("../../../testbed/labs/all-to-all.toml").to_owned(),
        time_scale: 0.15,
        // With two hops the third pair may be worth more than the second: over alpha, beside the first.
        adapt: "max_links = 2\ntwo_hop = false\nmin_rate = \"2mbit\"\nmin_hold = \"1s\"\nrelease_after = \"1s\"\n\
                swap_margin = 1.15\n"
            .to_owned(),
        ..Setup::default()
    });
    for (from, to, _) in FLOWS {
        world.assert_reachable(from, to);
    }
    let start = |(nth, (from, to, rate)): (usize, &(&str, &str, &str))| {
        let port = 5201 + u16::try_from(nth).unwrap();
        Iperf::between(&world, from, to, port, &["-u", "-l", "1200", "-b", rate])
    };
    let mut flows: Vec<_> = FLOWS.iter().enumerate().map(start).collect();

    let top = BTreeSet::from([pair("alpha", "gamma"), pair("beta", "delta")]);
    wait::until_true("the two top pairs are carried", TO_LIGHTPATHS, || carrying(&world) == top);
    let carried_at = world.events_named("carrying")[0]["seq"].as_u64().unwrap();
    let seen = world.events_named("topology_changed");
    let before = seen.iter().filter(|event| event["seq"].as_u64().unwrap() < carried_at);
    let patterns: Vec<_> = before.map(|event| event["pattern"].as_str().unwrap().to_owned()).collect();
    assert!(patterns.iter().any(|pattern| pattern == "all-to-all"), "{patterns:?}");
    assert!(flows.iter_mut().all(Iperf::is_running), "every flow went on");

    // The ranking holds: no more links than max_links, and no other pair's.
    let active = world.reservations().circuits;
    assert_eq!(active.iter().filter(|circuit| !circuit.phase.is_ending()).count(), 2, "{active:?}");
}

fn pair(one: &str, other: &str) -> (String, String) {
    let (a, z) = if one < other { (one, other) } else { (other, one) };
    (a.to_owned(), z.to_owned())
}

fn carrying(world: &World) -> BTreeSet<(String, String)> {
    let circuits = world.reservations().circuits.into_iter();
    let carrying = circuits.filter(|circuit| circuit.phase == Phase::Carrying);
    carrying.map(|circuit| pair(&circuit.link.a, &circuit.link.z)).collect()
}
