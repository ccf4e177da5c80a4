//! ODIN's stand-in really switches: light where a path is, darkness everywhere else.
//!
//! ```text
//!  alpha ─ chicago ──4 lambdas── evanston ──4 lambdas── argonne ─ delta
//!  zeta  ─ chicago                  │ │
//!                                beta gamma
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use common::{can_run, carries, eventually, flood_rate, is_dark, spec, unique};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vreserve_testbed::Lab;
use vreserve_testbed::odin::client::ask;
use vreserve_testbed::odin::protocol::{PathReport, PathState, Reply, Request, write_line};

const LAB: &str = r#"
name = "odin"
commodity = { rate = "100mbit", subnet = "198.51.100.0/24" }
[[network]]
name = "omninet"
kind = "optical"
rate = "50mbit"
queue = "256kb"
subnet = "10.10.0.0/24"
lambdas = 4
switch = [{ name = "chicago" }, { name = "evanston" }, { name = "argonne" }]
fibres = [["chicago", "evanston"], ["argonne", "evanston"]]
[[host]]
name = "alpha"
attach = { omninet = "chicago" }
[[host]]
name = "beta"
attach = { omninet = "evanston" }
[[host]]
name = "gamma"
attach = { omninet = "evanston" }
[[host]]
name = "delta"
attach = { omninet = "argonne" }
[[host]]
name = "zeta"
attach = { omninet = "chicago" }
"#;
const ALPHA: &str = "10.10.0.1";
const BETA: &str = "10.10.0.2";
const GAMMA: &str = "10.10.0.3";
const DELTA: &str = "10.10.0.4";
const ZETA: &str = "10.10.0.5";

/// A lab with a server on its optical network.
struct Network {
    server: Child,
    socket: PathBuf,
    scale: &'static str,
    _directory: tempfile::TempDir,
    lab: Lab,
}

impl Network {
    fn up(tag: &str, scale: &'static str) -> Self {
        Self::up_with(tag, scale, &[])
    }

    fn up_with(tag: &str, scale: &'static str, options: &[&str]) -> Self {
        let lab = Lab::up(unique(spec(LAB), tag)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("odin.sock");
        let server = start(&lab, &socket, scale, options);
        let network = Self { server, socket, scale, _directory: directory, lab };
        network.wait_for_server();
        network
    }

    fn wait_for_server(&self) {
        eventually("the server listens", || UnixStream::connect(&self.socket).is_ok());
    }

    fn oclient(&self, words: &[&str]) -> Output {
        self.client(words).output().unwrap()
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oclient"));
        command.args(words).env("ODIN_SERVER", &self.socket);
        command
    }

    fn create(&self, source: &str, destination: &str, lambda: &str) -> String {
        let output = self.oclient(&["-c", source, destination, lambda, "0"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_ascii_whitespace().nth(1).unwrap().to_owned()
    }

    fn paths(&self) -> Vec<PathReport> {
        match ask(&self.socket, &Request::List).unwrap() {
            Reply::Paths(paths) => paths,
            other => panic!("{other:?}"),
        }
    }

    fn carries(&self, from: &str, to: &str, at: &str) -> bool {
        carries(&self.lab, from, to, at.parse().unwrap())
    }

    fn is_dark(&self, from: &str, to: &str, at: &str) -> bool {
        is_dark(&self.lab, from, to, at.parse().unwrap())
    }

    /// Interfaces in the optical namespace beyond the hosts' ports.
    fn lit_interfaces(&self) -> usize {
        let output = self.lab.exec("omninet", Command::new("ip").args(["-o", "link"])).unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count() - 1 - 2 * self.lab.spec().hosts.len()
    }

    fn end_server(&mut self, signal: Signal) -> std::process::ExitStatus {
        kill(Pid::from_raw(self.server.id().cast_signed()), signal).unwrap();
        self.server.wait().unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn start(lab: &Lab, socket: &std::path::Path, scale: &str, options: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odin-server"));
    command.args(["--lab", &lab.spec().name, "--network", "omninet", "--time-scale", scale, "--socket"]);
    command.arg(socket).args(options).env("RUST_LOG", "warn");
    lab.spawn("omninet", &mut command).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_path_carries_from_its_word_until_its_teardown() {
    if !can_run() {
        return;
    }
    let network = Network::up("path", "0.01");
    assert!(network.is_dark("alpha", "beta", BETA));
    let output = network.oclient(&["-c", ALPHA, BETA, "3", "any", "-flags"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..5],
        ["path 1 up", "source 10.10.0.1", "destination 10.10.0.2", "lambda 3", "switches chicago evanston"]
    );
    let seconds = |line: &str, word: &str| line.strip_prefix(word).unwrap().trim().parse::<f64>().unwrap();
    assert!(seconds(lines[5], "software-seconds") >= 0.025 && seconds(lines[6], "hardware-seconds") >= 0.15);
    assert!(network.carries("alpha", "beta", BETA) && network.carries("beta", "alpha", ALPHA));
    assert!(network.is_dark("alpha", "gamma", GAMMA), "a path is for its two ends");

    let output = network.oclient(&["-t", "1"]);
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("path 1 down\nhardware-seconds 0.1"));
    assert!(network.is_dark("alpha", "beta", BETA));
    assert_eq!((network.paths().len(), network.lit_interfaces()), (0, 0));
    assert_eq!(network.oclient(&["-t", "1"]).status.code(), Some(4));
}

#[test]
fn paths_that_end_at_one_host_are_isolated_from_each_other() {
    if !can_run() {
        return;
    }
    let network = Network::up("apart", "0.001");
    network.create(ALPHA, BETA, "1");
    network.create(GAMMA, ALPHA, "2");
    network.create(ALPHA, ZETA, "1");
    for (host, address) in [("beta", BETA), ("gamma", GAMMA), ("zeta", ZETA)] {
        assert!(network.carries("alpha", host, address) && network.carries(host, "alpha", ALPHA), "{host}");
    }
    for (from, to, address) in [("beta", "gamma", GAMMA), ("gamma", "beta", BETA), ("beta", "zeta", ZETA)] {
        assert!(network.is_dark(from, to, address), "{from} to {to}");
    }
}

#[test]
fn a_path_over_a_transit_switch_leaves_that_switchs_ports_dark() {
    if !can_run() {
        return;
    }
    let network = Network::up("transit", "0.001");
    network.create(DELTA, ALPHA, "2");
    assert_eq!(network.paths()[0].switches, ["argonne", "evanston", "chicago"]);
    assert!(network.carries("alpha", "delta", DELTA) && network.carries("delta", "alpha", ALPHA));
    assert!(network.is_dark("alpha", "beta", BETA) && network.is_dark("beta", "delta", DELTA));
}

#[test]
fn a_busy_lambda_is_refused_and_another_is_not() {
    if !can_run() {
        return;
    }
    let network = Network::up("busy", "0.001");
    let first = network.create(ALPHA, BETA, "1");
    let output = network.oclient(&["-c", ZETA, DELTA, "1", "0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("oclient: refused: lambda-busy: lambda 1 carries path 1"),
        "{}",
        stderr(&output)
    );
    network.create(ZETA, DELTA, "2");
    assert!(network.oclient(&["-t", &first]).status.success());
    assert_eq!(network.create(ZETA, GAMMA, "1"), "3", "freed, and ids grow");
}

#[test]
fn the_network_gives_a_path_its_rate() {
    if !can_run() {
        return;
    }
    let network = Network::up("rate", "0.001");
    network.create(ALPHA, DELTA, "1");
    for (from, to, at) in [("alpha", "delta", DELTA), ("delta", "alpha", ALPHA)] {
        let rate = flood_rate(&network.lab, from, to, at.parse().unwrap()) / 1e6;
        assert!((20.0..65.0).contains(&rate), "{from} to {to}: {rate} Mbit/s of 50");
    }
}

#[test]
fn a_client_that_goes_away_does_not_stop_its_request() {
    if !can_run() {
        return;
    }
    let network = Network::up("gone", "0.02");
    let mut client = network.client(&["-c", ALPHA, BETA, "1", "0"]).spawn().unwrap();
    eventually("the request runs", || !network.paths().is_empty());
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("the path is up", || network.paths().iter().any(|path| path.state == PathState::Up));
    assert!(network.carries("alpha", "beta", BETA));
}

#[test]
fn a_server_that_ends_leaves_no_light_and_its_clients_without_a_path() {
    if !can_run() {
        return;
    }
    let mut network = Network::up("ends", "0.001");
    assert_eq!(network.socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    network.create(ALPHA, BETA, "1");
    assert!(network.end_server(Signal::SIGTERM).success());
    assert_eq!(network.lit_interfaces(), 0);
    assert!(network.is_dark("alpha", "beta", BETA) && !network.socket.exists());
    let output = network.oclient(&["-c", ALPHA, BETA, "1", "0"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_server_that_ends_in_the_middle_says_so_and_undoes_it() {
    if !can_run() {
        return;
    }
    let mut network = Network::up("middle", "0.5");
    let create = |source, lambda| {
        network.client(&["-c", source, DELTA, lambda, "0"]).stderr(Stdio::piped()).spawn().unwrap()
    };
    let clients = [create(ALPHA, "1"), create(BETA, "2")];
    eventually("a request runs", || network.lit_interfaces() > 0);
    assert!(network.end_server(Signal::SIGTERM).success());
    for client in clients {
        let output = client.wait_with_output().unwrap();
        // The second may not have been let in any more.
        let is_refused =
            output.status.code() == Some(1) && stderr(&output).contains("refused: shutting-down");
        assert!(is_refused || output.status.code() == Some(3), "{}", stderr(&output));
    }
    assert_eq!(network.lit_interfaces(), 0);
}

#[test]
fn a_killed_servers_light_is_put_out_by_the_next_and_the_outcome_is_unknown() {
    if !can_run() {
        return;
    }
    let mut network = Network::up("killed", "0.2");
    let waiting = network.client(&["-c", ALPHA, BETA, "1", "0"]).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the request runs", || network.lit_interfaces() == 2);
    network.end_server(Signal::SIGKILL);
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(5));
    assert_eq!(network.lit_interfaces(), 2);
    network.server = start(&network.lab, &network.socket, network.scale, &[]);
    network.wait_for_server();
    assert_eq!((network.paths().len(), network.lit_interfaces()), (0, 0));
}

#[test]
fn one_network_has_one_server() {
    if !can_run() {
        return;
    }
    let network = Network::up("sole", "0.001");
    network.create(ALPHA, BETA, "1");
    let other = network.socket.with_file_name("other.sock");
    assert_eq!(start(&network.lab, &other, "0", &[]).wait().unwrap().code(), Some(1));
    assert!(network.carries("alpha", "beta", BETA));
}

#[test]
fn hostile_and_wrong_words_change_nothing() {
    if !can_run() {
        return;
    }
    let network = Network::up("words", "0.001");
    let wrong: [&[&str]; 6] = [
        &[],
        &["-c", ALPHA, BETA],
        &["-c", "x", BETA, "1"],
        &["-c", ALPHA, BETA, "-1", "0"],
        &["-t", "x"],
        &["-t"],
    ];
    for words in wrong {
        let output = network.oclient(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains("usage: oclient -c <srcIP> <dstIP> <lambda#> <flags>"));
    }
    for (words, reason) in [
        (["-c", ALPHA, ALPHA, "1"], "same-address"),
        (["-c", ALPHA, "10.10.0.99", "1"], "address-unknown"),
        (["-c", ALPHA, BETA, "5"], "lambda-unknown"),
    ] {
        let output = network.oclient(&words);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(&format!("refused: {reason}: ")), "{}", stderr(&output));
    }
    let garbage = [&b"\n"[..], b"{", b"\xff\xfe\n", b"{\"create\":{}}\n", b"[[[[[[[[\n"];
    for bytes in garbage {
        let mut stream = UnixStream::connect(&network.socket).unwrap();
        std::io::Write::write_all(&mut stream, bytes).unwrap();
        drop(stream);
    }
    let mut unread = UnixStream::connect(&network.socket).unwrap();
    write_line(&mut unread, &Request::List).unwrap();
    drop(unread);
    assert!(network.paths().is_empty() && network.lit_interfaces() == 0);
    network.create(ALPHA, BETA, "1");
}

/// The value of a word in a client's output.
fn value(output: &Output, word: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned))
}

#[test]
fn switches_that_are_configured_at_once_take_the_time_of_one() {
    if !can_run() {
        return;
    }
    let software = |tag: &str, options: &[&str]| {
        let network = Network::up_with(tag, "0.1", options);
        let output = network.oclient(&["-c", ALPHA, DELTA, "1", "0"]);
        assert!(network.carries("alpha", "delta", DELTA));
        value(&output, "software-seconds").unwrap().parse::<f64>().unwrap()
    };
    // Three switches of 0.125 s each.
    let serial = software("serial", &[]);
    assert!(serial >= 0.375, "{serial} s");
    let parallel = software("parallel", &["--parallel-switches"]);
    assert!((0.125..0.375).contains(&parallel), "{parallel} s");
}

fn epoch_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64
}

fn flag(word: &str, ms: u64) -> String {
    format!("{word}={}.{:03}", ms / 1000, ms % 1000)
}

#[test]
fn a_path_for_later_is_dark_until_its_start_and_after_its_end() {
    if !can_run() {
        return;
    }
    let network = Network::up_with("later", "0.001", &["--deferred"]);
    let start = epoch_ms() + 1500;
    let end = start + 2500;
    let output = network.oclient(&["-c", ALPHA, BETA, "1", "0", &flag("start", start), &flag("end", end)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(value(&output, "path").unwrap(), "1 booked");
    assert_eq!(value(&output, "start"), Some(flag("start", start)[6..].to_owned()));
    assert!(network.is_dark("alpha", "beta", BETA));
    let mut list = Command::new(env!("CARGO_BIN_EXE_odin-server"));
    let list = list.args(["--list", "--socket"]).arg(&network.socket).output().unwrap();
    let line = String::from_utf8(list.stdout).unwrap();
    assert!(line.starts_with("path 1 booked 10.10.0.1 10.10.0.2 lambda 1 start "), "{line}");
    assert!(line.ends_with(" via chicago evanston\n"), "{line}");

    // Its lambda is promised for then, and free before and after.
    let taken = network.oclient(&["-c", ZETA, BETA, "1", "0"]);
    assert!(stderr(&taken).contains("refused: lambda-busy"), "{}", stderr(&taken));
    let soon = network.oclient(&["-c", ZETA, BETA, "1", "0", &flag("end", epoch_ms() + 500)]);
    assert_eq!(value(&soon, "path").unwrap(), "2 up", "{}", stderr(&soon));

    eventually("the path is up", || {
        network.paths().iter().any(|path| path.id.0 == 1 && path.state == PathState::Up)
    });
    assert!(epoch_ms() + 500 >= start, "not before its time");
    assert!(network.carries("alpha", "beta", BETA));
    eventually("both are over", || network.paths().is_empty());
    assert!(epoch_ms() >= end);
    assert!(network.is_dark("alpha", "beta", BETA));
    assert_eq!(network.lit_interfaces(), 0);
}

#[test]
fn a_booked_path_is_cancelled_while_dark_and_wrong_times_are_refused() {
    if !can_run() {
        return;
    }
    let network = Network::up_with("booked", "0.001", &["--deferred"]);
    let start = flag("start", epoch_ms() + 3_600_000);
    let output = network.oclient(&["-c", ALPHA, BETA, "1", &start]);
    assert_eq!(value(&output, "path").unwrap(), "1 booked", "{}", stderr(&output));
    assert_eq!(network.oclient(&["-t", "1"]).status.code(), Some(0));
    assert!(network.paths().is_empty());
    for flags in [["start=x", "0"], ["end=5", "0"], [&start, &start]] {
        let output = network.oclient(&["-c", ALPHA, BETA, "1", flags[0], flags[1]]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("refused: bad-window: "), "{}", stderr(&output));
    }
    // A server that does not defer knows no such flags.
    let original = Network::up("original", "0.001");
    let output = original.oclient(&["-c", ALPHA, BETA, "1", &start]);
    assert_eq!(value(&output, "path").unwrap(), "1 up", "{}", stderr(&output));
}

#[test]
fn requests_that_wait_are_listed() {
    if !can_run() {
        return;
    }
    let network = Network::up("queue", "0.1");
    let create = |source, lambda| {
        network.client(&["-c", source, DELTA, lambda, "0"]).stdout(Stdio::null()).spawn().unwrap()
    };
    let mut first = create(ALPHA, "1");
    eventually("the first runs", || !network.paths().is_empty());
    let mut second = create(BETA, "2");
    eventually("the second waits", || {
        network.paths().iter().any(|path| (path.state, path.lambda) == (PathState::Waiting, 2))
    });
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    assert!(network.paths().iter().all(|path| path.state == PathState::Up) && network.paths().len() == 2);
}
