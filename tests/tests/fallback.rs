//! Reservations that are refused, unknown or broken leave the traffic on the star, and say why.
//!
//! ```text
//!  a1 ─ alpha ═══ star ═══ hub ═══ star ═══ beta ─ b1
//!          └── chicago ══ lambda ══ evanston ──┘      refused, missing, hanging, garbage; or cut
//! ```
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;
use std::time::{Duration, Instant};

use vreserve_core::lead::Phase;
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
fn a_client_that_fails_prints_garbage_or_hangs_leaves_the_outcome_unknown() {
    if skip::is_skipped("fallback, broken clients", &["iperf3", "ping"]) {
        return;
    }
    // Without arguments the client is asked for its usage: that it answers means that it is there.
    let cases = [
        ("[ $# -gt 0 ] || exit 2; echo 'oclient: refused: no-route: no fibre' >&2; exit 1", "no-route"),
        ("[ $# -gt 0 ] || exit 2; echo 'segmentation fault' >&2; exit 139", "139"),
        ("[ $# -gt 0 ] || exit 2; head -c 300000 /dev/urandom", "unknown"),
        ("[ $# -gt 0 ] || exit 2; echo 'path 1 up'; echo 'path 2 up'", "unknown"),
        ("[ $# -gt 0 ] || exit 2; sleep 600", "1s"),
    ];
    for (script, reason) in cases {
        println!("client: {script}");
        let world = pair(Client::Script(script.to_owned()), "timeout = 1");
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
    world.exec("omninet", &["ip", "link", "set", &lambda, "down"]);
    let cut = Instant::now();
    wait::until_true("the pair answers over the star", Duration::from_secs(10), || {
        world.ping("a1", "b1", 1).received == 1
    });
    let outage = cut.elapsed();
    println!("back on the star after {outage:?}");
    assert!(outage < Duration::from_secs(6), "back only after {outage:?}");
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
