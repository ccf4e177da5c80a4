//! A backend is changed while a pair is on its lightpath: the old path goes, a new one comes, no frame is lost.
//!
//! ```text
//!  a1 ── alpha ═══ star ═══ hub ═══ star ═══ beta ── b1
//!          ├── chicago ══ lambda ══ evanston ──┤      omninet, of the first ODIN server
//!          └──── stamm ══ lambda ══ zweig ─────┘      starlight, of the second
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use vreserve_core::lead::Phase;
use vreserve_tests::gauge::Gauge;
use vreserve_tests::traffic::Iperf;
use vreserve_tests::{PAIR, Setup, World, program, skip, wait};

const BOUND: Duration = Duration::from_secs(40);
const SCALE: &str = "0.05";
const LOAD: [&str; 5] = ["-u", "-b", "30M", "-l", "1200"];

/// The second server; ends with the test.
struct SecondOdin {
    child: Child,
    socket: PathBuf,
}

impl SecondOdin {
    fn start(world: &World) -> Self {
        let socket = world.dir().join("second.sock");
        let mut command = Command::new(program("odin-server"));
        command.args(["--lab", &world.lab().spec().name, "--network", "starlight", "--time-scale", SCALE]);
        command.arg("--socket").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = world.lab().spawn("hub", &mut command).unwrap();
        wait::until_true("the second server listens", BOUND, || socket.exists());
        Self { child, socket }
    }

    fn is_dark(&self) -> bool {
        let mut list = Command::new(program("odin-server"));
        let output = list.args(["--list", "--json", "--socket"]).arg(&self.socket).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim() == "[]"
    }
}

impl Drop for SecondOdin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pair_moves_from_one_servers_lightpath_to_the_others_and_loses_nothing() {
    if skip::is_skipped("swap, two servers", &["iperf3", "ping"]) {
        return;
    }
    let network = PAIR.split("[[host]]").next().unwrap().split("[[network]]").nth(1).unwrap();
    let second = network
        .replace("omninet", "starlight")
        .replace("10.10.", "10.11.")
        .replace("chicago", "stamm")
        .replace("evanston", "zweig");
    let lab = PAIR
        .replacen("[[host]]", &format!("[[network]]{second}[[host]]"), 1)
        .replace("omninet = \"chicago\"", "omninet = \"chicago\", starlight = \"stamm\"")
        .replace("omninet = \"evanston\"", "omninet = \"evanston\", starlight = \"zweig\"");
    let world = World::start(&Setup { lab, ..Setup::default() });
    let other = SecondOdin::start(&world);
    world.assert_reachable("a1", "b1");
    let gauge = Gauge::start(&world, "a1", "b1");
    let _load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    let first = world.wait_until_carrying(BOUND);
    assert_eq!(first.link.network, "omninet");

    // A file with a mistake changes nothing, and its line is named.
    let (code, said) = world.reload_lead(|text| text.replace("client = ", "clinet = "));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("hub.toml:") && said.contains("[reserve.omninet] clinet"), "{said}");
    gauge.wait_for(500);
    assert_eq!(world.wait_until_carrying(BOUND).circuit, first.circuit);

    let socket = format!("{:?}", other.socket);
    let (code, said) = world.reload_lead(|text| {
        let from = text.split("server = ").nth(1).unwrap().lines().next().unwrap().to_owned();
        let text = text.replace("clinet = ", "client = ").replace(&from, &socket);
        text.replace("network = \"omninet\"", "network = \"starlight\"")
    });
    assert_eq!(code, 0, "{said}");
    let circuits = || world.reservations().circuits;
    wait::until_true("the pair is on the other server's lightpath and on no other", BOUND, || {
        let circuits = circuits();
        circuits.len() == 1 && circuits[0].link.network == "starlight" && circuits[0].phase == Phase::Carrying
    });
    assert!(world.is_odin_dark(), "the first server's path is gone");
    assert!(!other.is_dark());
    let events = world.events();
    let at = |name: &str, network: &str| {
        events.iter().position(|event| event["event"] == name && event["network"] == network).unwrap()
    };
    assert!(
        at("carrying", "starlight") < at("cutting_back", "omninet"),
        "the new one before the old one goes"
    );
    gauge.wait_for(500);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");
    wait::until_true("the former backend is closed", BOUND, || world.reservations().former_backends == 0);
}

#[test]
fn on_the_same_network_the_old_path_is_released_by_the_old_backend_before_the_new_one_asks() {
    if skip::is_skipped("swap, one network", &["iperf3", "ping"]) {
        return;
    }
    let world = World::start(&Setup { lab: PAIR.to_owned(), ..Setup::default() });
    let (calls, script) = (world.dir().join("calls"), world.dir().join("other-client"));
    let lines = format!("#!/bin/sh\necho \"$1\" >> {calls:?}\nexec {:?} \"$@\"\n", program("oclient"));
    fs::write(&script, lines).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    world.assert_reachable("a1", "b1");
    let gauge = Gauge::start(&world, "a1", "b1");
    let load = Iperf::between(&world, "a1", "b1", 5201, &LOAD);
    let first = world.wait_until_carrying(BOUND);

    let (code, said) = world.reload_lead(|text| {
        text.replace(&format!("client = {:?}", program("oclient")), &format!("client = {script:?}"))
    });
    assert_eq!((code, said.as_str()), (0, "[reserve.omninet] opened anew for omninet\n"));
    wait::until_true("the pair is on a lightpath of the new backend", BOUND, || {
        let circuits = world.reservations().circuits;
        circuits.len() == 1 && circuits[0].circuit != first.circuit && circuits[0].phase == Phase::Carrying
    });
    gauge.wait_for(500);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");
    drop(load);
    wait::until_true("the new one is given back", BOUND, || world.reservations().circuits.is_empty());
    let calls = fs::read_to_string(&calls).unwrap();
    let verbs: Vec<_> = calls.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(verbs, ["-c", "-t"], "the first path was released by the backend that had asked for it");
    assert!(world.is_odin_dark());
}
