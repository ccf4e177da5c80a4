//! A lightpath through `reserve-exec`: a Python program between the lead and ODIN's client.
//!
//! ```text
//!  hub: lead ─ reserve-exec ─ lightpath.py ─ oclient ─ ODIN
//!  a1 ─ alpha ═══ star ═══ hub ═══ star ═══ beta ─ b1
//!          └── chicago ══ lambda ══ evanston ──┘      dark until ODIN joins it
//! ```

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vreserve_core::lead::Phase;
use vreserve_model::ReservationState;
use vreserve_tests::sniff::{Sniff, pair_filter};
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{Client, Format, PAIR, Setup, World, skip, wait};

const PROGRAM: &str = include_str!("../../../plugins/reserve-exec/examples/lightpath.py");
const TO_LIGHTPATH: Duration = Duration::from_secs(60);
const LOAD: [&str; 6] = ["-u", "-b", "20M", "-l", "1200", "--forceflush"];

fn world(time_scale: f64) -> World {
    let client = Client::Program(PROGRAM);
    // Clear text, so that it can be seen on which network a pair's frames are.
    World::start(&Setup {
        lab: PAIR.to_owned(),
        client,
        format: Format::Vxlan,
        time_scale,
        ..Setup::default()
    })
}

fn wait_until_dark(world: &World) {
    wait::until_true("the circuit is released", TO_LIGHTPATH, || {
        world.reservations().circuits.is_empty() && world.is_odin_dark()
    });
}

#[test]
fn a_pair_gets_a_lightpath_through_a_python_program_and_gives_it_back() {
    if skip::is_skipped("exec", &["iperf3", "tcpdump", "ping", "python3"]) {
        return;
    }
    let world = world(0.05);
    world.assert_reachable("a1", "b1");
    let optical = Sniff::start(&world, "omninet", "h-alpha", &pair_filter(world.mac("a1"), world.mac("b1")));
    let load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    let circuit = world.wait_until_carrying(TO_LIGHTPATH);
    assert_eq!((circuit.link.a.as_str(), circuit.link.z.as_str()), ("alpha", "beta"));
    assert_eq!(circuit.state, ReservationState::Active);
    assert_eq!(world.odin_paths().len(), 1);
    world.assert_reachable("a1", "b1");
    drop(load);
    wait_until_dark(&world);
    world.assert_reachable("a1", "b1");
    assert!(optical.finish().len() > 100, "the pair's frames were on the optical network");
    let last = world.reservations().history.pop().unwrap();
    assert_eq!((last.phase, last.state), (Phase::Gone, ReservationState::Released));
    assert_eq!(last.last_failure, None);
    assert!(world.counter("hub", "reserve.omninet.runs") >= 4);
    assert_eq!(world.counter("hub", "reserve.omninet.unknown_outcomes"), 0);
}

#[test]
fn a_program_that_is_killed_while_odin_works_has_its_path_found_and_used_and_asks_for_no_second() {
    if skip::is_skipped("exec, killed", &["iperf3", "ping", "python3"]) {
        return;
    }
    // Five seconds from request to light.
    let world = world(0.3);
    world.assert_reachable("a1", "b1");
    let load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    let submit = wait::until("ODIN works for the program", TO_LIGHTPATH, || {
        let is_asked = world.odin_paths().iter().any(|path| path["state"] != "up");
        is_asked.then(|| running(&world, "SUBMIT")).flatten()
    });
    kill(submit, Signal::SIGKILL).unwrap();
    let circuit = world.wait_until_carrying(TO_LIGHTPATH);
    assert_eq!(circuit.state, ReservationState::Active);
    assert_eq!(world.odin_paths().len(), 1);
    assert_eq!(world.counter("hub", "reserve.omninet.unknown_outcomes"), 1);
    assert_eq!(world.events_named("reservation_submitted").len(), 1);
    drop(load);
    wait_until_dark(&world);
}

/// The process that works on `verb` in this world.
fn running(world: &World, verb: &str) -> Option<Pid> {
    let (verb, place) = (format!("VRESERVE_VERB={verb}"), world.dir().join("client"));
    let is_it = |entry: &fs::DirEntry| {
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let has = |text: &[u8], word: &str| text.split(|byte| *byte == 0).any(|part| part == word.as_bytes());
        has(&read("environ"), &verb) && has(&read("cmdline"), place.to_str().unwrap())
    };
    let found = fs::read_dir("/proc").unwrap().flatten().find(is_it)?;
    Some(Pid::from_raw(found.file_name().to_str()?.parse().ok()?))
}
