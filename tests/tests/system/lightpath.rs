//! The whole loop: traffic is seen, a lightpath is reserved, the pair moves onto it and back, nothing is lost.
//!
//! ```text
//!  a1 ── alpha ═══ inet0 ═══ commodity, 100 Mbit/s ═══ hub      the star
//!          │                        ║
//!          │ omninet              beta ── b1
//!          └── chicago ══ lambda ══ evanston ──┘                the lightpath, 1 Gbit/s, from ODIN
//! ```

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use vreserve_core::lead::Phase;
use vreserve_model::ReservationState;
use vreserve_tests::gauge::Gauge;
use vreserve_tests::sniff::{Sniff, pair_filter};
use vreserve_tests::traffic::{Iperf, Meter};
use vreserve_tests::{Format, PAIR, Setup, World, program, skip, wait};

/// ODIN takes 0.9 s at this scale; the rest is inference, planning and the machine's other work.
const TO_LIGHTPATH: Duration = Duration::from_secs(30);
const TO_RELEASE: Duration = Duration::from_secs(30);

fn world(adapt: &str) -> World {
    let adapt = format!("max_links = 4\nmin_hold = \"2s\"\nrelease_after = \"1s\"\n{adapt}");
    // Clear text, so that it can be seen on which network a pair's frames are.
    World::start(&Setup { lab: PAIR.to_owned(), adapt, format: Format::Vxlan, ..Setup::default() })
}

fn at_ms(world: &World, event: &str) -> u64 {
    let found = world.events_named(event);
    found.first().unwrap_or_else(|| panic!("no event {event}"))["at_ms"].as_u64().unwrap()
}

/// What the command line says of the lead, as JSON.
fn ask(world: &World, arguments: &[&str]) -> Value {
    let mut vreserve = Command::new(program("vreserve"));
    let output =
        vreserve.args(arguments).arg("--json").arg("--socket").arg(world.socket("hub")).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// While the pair is on its circuit.
fn assert_explained(world: &World) {
    let why = ask(world, &["explain", &world.mac("b1").to_string(), "alpha"]);
    assert_eq!(why["explanation"]["decision"], "kept", "{why:#}");
    assert_eq!(why["explanation"]["candidates"][0]["network"], "omninet", "{why:#}");
    assert_eq!(why["circuits"][0]["phase"], "carrying", "{why:#}");
    assert!(why["evidence"][0]["rate"].as_u64() > Some(10_000_000), "{why:#}");
    let matrix = world.dir().join("matrix.toml");
    let demand = |from: &str, to: &str| {
        format!("[[demands]]\nsource = \"{from}\"\ndestination = \"{to}\"\nrate = \"80mbit\"\n")
    };
    std::fs::write(&matrix, demand("alpha", "beta") + &demand("alpha", "hub")).unwrap();
    let plan = ask(world, &["plan", "--what-if", matrix.to_str().unwrap()]);
    assert_eq!(plan["changes"].as_array().map(Vec::len), Some(0), "the circuit is there: {plan:#}");
    assert_eq!(
        (&plan["demand"], &plan["on_circuits"]),
        (&160_000_000.into(), &80_000_000.into()),
        "{plan:#}"
    );
    assert_eq!(world.reservations().circuits.len(), 1, "nothing was done");
}

fn wait_until_released(world: &World) {
    wait::until_true("the circuit is released", TO_RELEASE, || world.reservations().circuits.is_empty());
}

#[test]
fn a_pair_leaves_the_commodity_network_for_a_faster_lightpath_and_gives_it_back() {
    if skip::is_skipped("lightpath", &["iperf3", "tcpdump", "ping"]) {
        return;
    }
    let world = world("");
    world.assert_reachable("a1", "b1");
    let filter = pair_filter(world.mac("a1"), world.mac("b1"));
    let commodity = Sniff::start(&world, "commodity", "c-alpha", &filter);
    let optical = Sniff::start(&world, "omninet", "h-alpha", &filter);

    let iperf = Iperf::between(&world, "a1", "b1", 5201, &[]);
    Meter::start(&world, "b1", "eth0").wait_for(100_000);
    let before = Meter::start(&world, "b1", "eth0");
    wait::until_true("ODIN has been asked", TO_LIGHTPATH, || {
        !world.events_named("reservation_active").is_empty()
    });
    let before = before.rate();
    let circuit = world.wait_until_carrying(TO_LIGHTPATH);
    assert_eq!((circuit.link.a.as_str(), circuit.link.z.as_str()), ("alpha", "beta"));
    assert_eq!(circuit.state, ReservationState::Active);
    assert_explained(&world);
    let after = Meter::start(&world, "b1", "eth0");
    std::thread::sleep(Duration::from_secs(3));
    let after = after.rate();
    drop(iperf);
    wait_until_released(&world);
    world.assert_reachable("a1", "b1");

    let (carrying, back) = (at_ms(&world, "carrying"), at_ms(&world, "cutting_back"));
    let (submitted, unlinking) = (at_ms(&world, "reservation_submitted"), at_ms(&world, "unlinking"));
    let count = |times: &[u64], from: u64, until: u64| {
        times.iter().filter(|at| (from * 1000..until * 1000).contains(*at)).count()
    };
    let (commodity, optical) = (commodity.finish(), optical.finish());
    // What was under way when the last pair switched may still pass within this time.
    let settled = carrying + 500;
    assert!(settled < back, "the lightpath carried for {} ms only", back.saturating_sub(carrying));
    assert!(count(&commodity, 0, submitted) > 100, "the pair's frames are on the commodity network before");
    assert_eq!(count(&commodity, settled, back), 0, "and not while the lightpath carries them");
    assert!(count(&commodity, unlinking, u64::MAX / 1000) >= 6, "and again afterwards");
    assert_eq!(count(&optical, 0, submitted), 0, "on the optical network the other way round");
    assert!(count(&optical, settled, back) > 1000, "the pair's frames are on the optical network");
    assert_eq!(count(&optical, unlinking + 500, u64::MAX / 1000), 0);
    println!("{:.0} Mbit/s before, {:.0} after", before / 1e6, after / 1e6);
    assert!(after > 1.5 * before, "{before:.0} bit/s before, {after:.0} after");

    let reservations = world.reservations();
    let last = reservations.history.last().unwrap();
    assert_eq!((last.phase, last.state), (Phase::Gone, ReservationState::Released));
    assert_eq!(last.last_failure, None);
    assert!(world.is_odin_dark());
}

#[test]
fn no_frame_is_lost_or_overtaken_on_the_way_onto_the_lightpath_and_back() {
    if skip::is_skipped("lightpath, numbered datagrams", &["iperf3", "ping"]) {
        return;
    }
    // The numbered datagrams alone are too little to keep the circuit: it goes while they still flow.
    let world = world("release_below = \"6mbit\"\n");
    world.assert_reachable("a1", "b1");
    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(500);
    let load = Iperf::between(&world, "a1", "b1", 5201, &["-u", "-b", "30M", "-l", "1200"]);
    let circuit = world.wait_until_carrying(TO_LIGHTPATH);
    assert_eq!(circuit.pairs.len(), 2, "both directions take the lightpath: {:?}", circuit.pairs);
    gauge.wait_for(500);
    drop(load);
    wait_until_released(&world);
    gauge.wait_for(500);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");
    let switched = world.events_named("pair_switched");
    assert!(switched.iter().filter(|event| !event["onto"].is_null()).count() >= 2, "{switched:?}");
    assert!(switched.iter().filter(|event| event["onto"].is_null()).count() >= 2, "{switched:?}");
    assert!(world.is_odin_dark());
}
