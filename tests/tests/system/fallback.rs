//! Reservations that are refused, unknown or broken leave the traffic on the star, and say why.
//!
//! ```text
//!  a1 ─ alpha ═══ star ═══ hub ═══ star ═══ beta ─ b1
//!          └── chicago ══ lambda ══ evanston ──┘      refused, missing, hanging, garbage; or cut
//! ```

use std::process::Command;
use std::time::Duration;

use vreserve_core::lead::Phase;
use vreserve_tests::gauge::Gauge;
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{Client, PAIR, Setup, World, program, skip, wait};

const REASON: Duration = Duration::from_secs(30);
const LOAD: [&str; 6] = ["-u", "-b", "20M", "-l", "1200", "--forceflush"];

/// Traffic that wants a lightpath; asserts that `reason` is given and that the pair stays on the star.
fn assert_stays_on_star(world: &World, reason: &str) {
    world.assert_reachable("a1", "b1");
    let _load = Iperf::between(world, "a1", "b1", 5201, &LOAD);
    wait::until_true(&format!("`vreserve reservations` says {reason:?}"), REASON, || {
        shown_reservations(world).contains(reason)
    });
    world.assert_reachable("a1", "b1");
    let reservations = world.reservations();
    let used = |circuit: &vreserve_core::lead::CircuitStatus| !circuit.pairs.is_empty();
    assert!(!reservations.circuits.iter().any(used), "a pair was moved: {:?}", reservations.circuits);
    assert!(world.events_named("pair_switched").is_empty());
}

/// What an operator sees.
fn shown_reservations(world: &World) -> String {
    let mut ask = Command::new(program("vreserve"));
    ask.args(["reservations", "--socket"]).arg(world.socket("hub"));
    let output = ask.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn pair(client: Client, reserve: &str) -> World {
    let reserve = reserve.to_owned();
    World::start(&Setup { lab: PAIR.to_owned(), client, reserve, ..Setup::default() })
}

#[test]
fn a_server_without_a_free_lambda_refuses_until_one_is_free() {
    if skip::is_skipped("fallback, refused", &["iperf3", "ping"]) {
        return;
    }
    let others = "[[host]]\nname = \"gamma\"\nattach = { omninet = \"chicago\" }\n\
                  [[host]]\nname = \"delta\"\nattach = { omninet = \"evanston\" }\n";
    let lab = format!("{}{others}", PAIR.replace("lambdas = 4", "lambdas = 1"));
    let bare = vec!["gamma", "delta"];
    let reserve = "lambdas = 1".to_owned();
    let world = World::start(&Setup { lab, bare, reserve, ..Setup::default() });
    let taken = world.oclient(&["-c", "10.10.0.4", "10.10.0.5", "1"]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_stays_on_star(&world, "lambda-busy");

    // The other customer leaves: what was refused for lack of room is tried again.
    let text = String::from_utf8_lossy(&taken.stdout).into_owned();
    let path = text.split_ascii_whitespace().nth(1).unwrap();
    assert!(world.oclient(&["-t", path]).status.success());
    let _load = Iperf::between(&world, "a1", "b1", 5202, &LOAD);
    world.wait_until_carrying(REASON);
}

#[test]
fn a_missing_client_is_named() {
    if skip::is_skipped("fallback, missing client", &["iperf3", "ping"]) {
        return;
    }
    let world = pair(Client::File("/nonexistent/oclient".into()), "");
    assert_stays_on_star(&world, "/nonexistent/oclient");
}

#[test]
fn a_client_that_refuses_fails_prints_garbage_or_hangs_is_told_apart() {
    if skip::is_skipped("fallback, broken clients", &["iperf3", "ping"]) {
        return;
    }
    // Asked for its usage, it answers as the original does: it is there.
    let usage = "[ $# -gt 0 ] || exit 2";
    let cases = [
        ("echo 'oclient: refused: no-route: no fibre' >&2; exit 1", "no-route: no fibre"),
        ("echo 'segmentation fault' >&2; exit 139", "segmentation fault"),
        ("head -c 300000 /dev/urandom", "the client printed"),
        ("echo 'path 1 up'; echo 'path 2 up'", "the client printed more than one path"),
        ("sleep 600", "did not end within 1 s"),
    ];
    for (script, reason) in cases {
        println!("client: {script}");
        let world = pair(Client::Script(format!("{usage}\n{script}")), "timeout = 1");
        assert_stays_on_star(&world, reason);
    }
}

#[test]
fn a_pair_whose_lightpath_dies_is_back_on_the_star_at_once_and_gets_another() {
    if skip::is_skipped("fallback, dead circuit", &["iperf3", "ping"]) {
        return;
    }
    let world = pair(Client::Odin, "");
    world.assert_reachable("a1", "b1");
    let _load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    let circuit = world.wait_until_carrying(REASON);
    let lambda = format!("f0l{}a", circuit.labels["lambda"]);
    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(200);
    world.exec("omninet", &["ip", "link", "set", &lambda, "down"]);
    wait::until_true("the circuit is given up", REASON, || !world.events_named("circuit_failed").is_empty());
    gauge.wait_for(500);
    // One datagram a millisecond: what was lost is how long the pair had no way. A dead link is noticed
    // within a second.
    let tally = gauge.finish();
    println!("lost over the dead lightpath: {tally:?}");
    assert!(tally.lost < 4000, "{tally:?}");
    world.assert_reachable("a1", "b1");
    let failed = world.events_named("circuit_failed");
    let reason = failed[0]["reason"].as_str().unwrap();
    assert!(!reason.is_empty() && failed[0]["phase"] == "carrying", "{failed:?}");
    wait::until_true("the reason is shown", REASON, || shown_reservations(&world).contains(reason));

    // The broken lightpath is given back, and after the back-off there is another.
    wait::until_true("another lightpath carries", Duration::from_secs(40), || {
        let circuits = world.reservations().circuits;
        circuits.iter().any(|now| now.phase == Phase::Carrying && now.circuit != circuit.circuit)
    });
    world.assert_reachable("a1", "b1");
}

#[test]
fn a_lightpath_that_delivers_a_tenth_of_its_rate_is_not_used() {
    if skip::is_skipped("fallback, slow circuit", &["iperf3", "ping", "tc"]) {
        return;
    }
    let world = pair(Client::Odin, "");
    world.assert_reachable("a1", "b1");
    // The optical switch polices every port: whatever path there will be, it gets a tenth.
    for port in ["h-alpha", "h-beta"] {
        world.exec(
            "omninet",
            &[
                "tc", "qdisc", "replace", "dev", port, "root", "tbf", "rate", "100mbit", "burst", "64kb",
                "limit", "4mb",
            ],
        );
    }
    assert_stays_on_star(&world, "came back");
    let reason = world.events_named("circuit_failed")[0]["reason"].as_str().unwrap().to_owned();
    println!("{reason}");
    assert!(reason.starts_with("probe failed: of 1000.0 Mbit/s, "), "{reason}");
}

#[test]
fn a_pair_whose_lightpath_begins_to_lose_is_on_the_star_within_a_second() {
    if skip::is_skipped("fallback, lossy circuit", &["iperf3", "ping", "nft"]) {
        return;
    }
    let world = pair(Client::Odin, "");
    world.assert_reachable("a1", "b1");
    let _load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    world.wait_until_carrying(REASON);
    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(200);
    // Both switches on the way drop a fifth: six of ten round trips are lost. With many more, it would as often
    // be a dead lightpath as a lossy one.
    world.exec(
        "omninet",
        &[
            "nft",
            "add table bridge lossy { chain forward { \
        type filter hook forward priority 0; numgen random mod 10 < 2 drop; }; }",
        ],
    );
    wait::until_true("the circuit is given up", REASON, || !world.events_named("circuit_failed").is_empty());
    gauge.wait_for(500);
    // One datagram a millisecond, of which more than a third were lost while the pair stayed.
    let tally = gauge.finish();
    println!("lost over the lossy lightpath: {tally:?}");
    assert!(tally.lost < 2000, "{tally:?}");
    let failed = world.events_named("circuit_failed");
    let reason = failed[0]["reason"].as_str().unwrap();
    assert!(reason.contains("is degraded at") && reason.contains("probes were lost"), "{reason}");
    wait::until_true("the reason is shown", REASON, || shown_reservations(&world).contains(reason));
    world.exec("omninet", &["nft", "delete table bridge lossy"]);
    world.assert_reachable("a1", "b1");
}

#[test]
fn a_server_that_dies_costs_no_frame_and_what_cannot_be_given_back_is_shown() {
    if skip::is_skipped("fallback, dead server", &["iperf3", "ping"]) {
        return;
    }
    let adapt =
        "max_links = 4\nmin_hold = \"2s\"\nrelease_after = \"1s\"\nrelease_below = \"6mbit\"\n".to_owned();
    let mut world = World::start(&Setup { lab: PAIR.to_owned(), adapt, ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    world.wait_until_carrying(REASON);
    let gauge = Gauge::start(&world, "a1", "b1");
    world.kill_odin();
    gauge.wait_for(500);
    drop(load);
    // Thousand small datagrams a second are too little to keep the circuit: the pair goes back to the star.
    wait::until_true("giving back has failed", REASON, || {
        !world.events_named("reservation_call_failed").is_empty()
    });
    gauge.wait_for(500);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered), (0, 0), "{tally:?}");
    let failed = world.events_named("reservation_call_failed");
    let reason = failed[0]["reason"].as_str().unwrap();
    assert!(shown_reservations(&world).contains(reason), "{reason:?} is not shown");
}
