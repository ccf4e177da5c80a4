//! What an operator books on the command line is reserved, used, shown and given back.
//!
//! ```text
//!  vreserve reserve ──▶ hub ──oclient──▶ ODIN          a1 ─ alpha ══ lambda ══ beta ─ b1
//! ```

use std::process::{Command, Output};
use std::time::Duration;

use vreserve_tests::{Client, PAIR, Setup, World, program, skip, wait};

const BOUND: Duration = Duration::from_secs(30);

/// Runs `vreserve` with these words at the proxy.
fn vreserve(world: &World, words: &[&str]) -> Output {
    let mut command = Command::new(program("vreserve"));
    command.args(words).arg("--socket").arg(world.socket("hub")).output().unwrap()
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_booking_is_promised_used_shown_and_given_back() {
    if skip::is_skipped("booking", &["ping"]) {
        return;
    }
    let world = World::start(&Setup { lab: PAIR.to_owned(), ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let a1 = world.mac("a1").to_string();
    let reserve = ["reserve", "--from", &a1, "--to", "beta", "--rate", "100mbit", "--for", "10m"];
    let booked = vreserve(&world, &reserve);
    assert!(booked.status.success(), "{}", shown(&booked));
    let key = String::from_utf8_lossy(&booked.stdout).trim().to_owned();
    assert!(key.parse::<u64>().is_ok(), "the key alone on standard output: {key:?}");
    assert_eq!(world.odin_paths().len(), 1);
    let circuit = world.wait_until_carrying(BOUND);
    assert_eq!(circuit.pairs.len(), 2, "no traffic is needed for a booked circuit to be used");
    world.assert_reachable("a1", "b1");

    let calendar = shown(&vreserve(&world, &["calendar"]));
    assert!(calendar.contains(&key) && calendar.contains("open") && calendar.contains(&a1), "{calendar}");
    let again = vreserve(&world, &reserve);
    assert_eq!(again.status.code(), Some(1), "{}", shown(&again));
    assert!(shown(&again).contains(&format!("booked already as {key}")), "{}", shown(&again));

    assert!(vreserve(&world, &["cancel", &key]).status.success());
    wait::until_true("the lightpath is given back", BOUND, || world.is_odin_dark());
    let calendar = shown(&vreserve(&world, &["calendar"]));
    assert!(!calendar.contains(&key), "{calendar}");
    world.assert_reachable("a1", "b1");
    assert_eq!(vreserve(&world, &["cancel", &key]).status.code(), Some(1), "it is gone");
}

#[test]
fn a_provider_that_says_no_is_an_exit_code_and_leaves_nothing_booked() {
    if skip::is_skipped("booking, refused", &["ping"]) {
        return;
    }
    let client = "[ $# -gt 0 ] || exit 2\necho 'oclient: refused: no-route: no fibre' >&2; exit 1";
    let client = Client::Script(client.to_owned());
    let world = World::start(&Setup { lab: PAIR.to_owned(), client, ..Setup::default() });
    let reserve = ["reserve", "--from", "alpha", "--to", "beta", "--rate", "100mbit", "--for", "10m"];
    let refused = vreserve(&world, &reserve);
    assert_eq!(refused.status.code(), Some(3), "{}", shown(&refused));
    assert!(shown(&refused).contains("no fibre") && refused.stdout.is_empty(), "{}", shown(&refused));
    let calendar = vreserve(&world, &["calendar", "--json"]);
    assert_eq!(String::from_utf8_lossy(&calendar.stdout).trim(), "[]");
}
