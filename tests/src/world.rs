//! A lab with running daemons, an ODIN server, and everything a scenario asks of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vreserve::api::{Request, client};
use vreserve::control::lead::{ReservationsView, TopologyView};
use vreserve_core::lead::{CircuitStatus, Phase};
use vreserve_model::MacAddr;
use vreserve_testbed::{Lab, LabSpec, Role};

use crate::binaries::{program, require_plugins};
use crate::daemon::{Daemon, print_log};
use crate::node_config::{Keys, Site, socket};
use crate::ping::Ping;
use crate::setup::{Client, Setup};
use crate::wait;

const PLUGINS: [&str; 5] = ["capture-iouring", "link-udp", "infer-vttif", "adapt-vadapt", "reserve-odin"];
/// Starting, joining and the first answered probes take well under two seconds on an idle machine.
const READY: Duration = Duration::from_secs(20);
/// Frames that a guest's interface may queue while the machine is busy with other things than our daemon.
const GUEST_QUEUE: &str = "10000";

static LABS: AtomicUsize = AtomicUsize::new(0);

/// A lab with running daemons. Dropping it ends everything; after a panic it prints the logs first.
#[derive(Debug)]
pub struct World {
    lab: Option<Lab>,
    dir: TempDir,
    proxy: String,
    configs: BTreeMap<String, PathBuf>,
    daemons: BTreeMap<String, Daemon>,
    odin: Daemon,
}

impl World {
    /// Brings up the lab and the daemons, and waits until every node has joined and every star link is up.
    ///
    /// # Panics
    /// If something is missing, or does not come up.
    #[track_caller]
    pub fn start(setup: &Setup) -> Self {
        let world = Self::start_unready(setup);
        world.wait_until_ready();
        world
    }

    /// As [`World::start`], without waiting for the daemons.
    #[track_caller]
    pub fn start_unready(setup: &Setup) -> Self {
        require_plugins(&PLUGINS);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = setup.name.clone().unwrap_or_else(|| format!("t{}_{number}", std::process::id()));
        let spec = LabSpec::parse(&setup.lab, Path::new("scenario"));
        let spec = spec.and_then(|spec| spec.named(&name)).expect("the scenario's lab is well formed");
        let lab = Lab::up(spec).expect("the lab comes up");
        let dir = tempfile::Builder::new().prefix("vr-").tempdir().expect("a directory can be made");
        for (_, guest) in lab.spec().guests() {
            exec(&lab, &guest.name, &["ip", "link", "set", "eth0", "txqueuelen", GUEST_QUEUE]);
        }
        let odin = start_odin(&lab, dir.path(), setup.time_scale);
        let configs = write_configs(&lab, dir.path(), setup);
        let proxy = lab.spec().proxy().expect("every lab of these tests has a proxy").name.clone();
        let mut world = Self { lab: Some(lab), dir, proxy, configs, daemons: BTreeMap::new(), odin };
        let nodes: Vec<String> =
            world.configs.keys().filter(|host| !setup.bare.contains(&host.as_str())).cloned().collect();
        nodes.iter().for_each(|node| world.start_daemon(node));
        world
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab stands until the world is dropped")
    }

    /// The directory of configurations, keys, logs and sockets.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A host's configuration file.
    pub fn config(&self, host: &str) -> &Path {
        &self.configs[host]
    }

    /// The control socket of a node.
    pub fn socket(&self, node: &str) -> PathBuf {
        socket(self.dir.path(), node)
    }

    /// The Ethernet address of a guest.
    pub fn mac(&self, guest: &str) -> MacAddr {
        MacAddr(self.lab().spec().guest(guest).expect("the lab has this guest").mac.0)
    }

    /// The IP address of a guest.
    pub fn address(&self, guest: &str) -> std::net::Ipv4Addr {
        self.lab().spec().guest(guest).expect("the lab has this guest").address.addr()
    }

    /// Starts a node's daemon.
    pub fn start_daemon(&mut self, node: &str) {
        let mut command = Command::new(program("vreserve"));
        command.args(["run", "--config"]).arg(&self.configs[node]);
        let log = self.dir.path().join(format!("{node}.log"));
        let lab = self.lab.as_ref().expect("the lab stands until the world is dropped");
        self.daemons.insert(node.to_owned(), Daemon::start(lab, node, &mut command, log));
    }

    /// Asks a node's daemon to end and waits until it has.
    #[track_caller]
    pub fn stop_daemon(&mut self, node: &str) {
        let mut daemon = self.daemons.remove(node).expect("the node runs");
        let status = daemon.stop();
        assert!(status.success(), "{node} ended with {status}:\n{}", daemon.log());
    }

    /// Ends a node's daemon as a crash would.
    pub fn kill_daemon(&mut self, node: &str) {
        self.daemons.remove(node).expect("the node runs").kill();
    }

    /// What a node's daemon has printed.
    pub fn log(&self, node: &str) -> String {
        self.daemons[node].log()
    }

    /// Ends the ODIN server as a crash would.
    pub fn kill_odin(&mut self) {
        self.odin.kill();
    }

    /// Waits until every running node has joined and every star link is up, and backends have been asked.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let expected = self.daemons.len();
        wait::until_true("all nodes joined", READY, || {
            self.try_ask::<TopologyView>(&self.proxy, &Request::Topology)
                .is_some_and(|topology| topology.nodes.len() == expected)
        });
        for node in self.daemons.keys() {
            wait::until_true("star links up", READY, || self.is_star_up(node, expected));
        }
        wait::until_true("backends asked", READY, || {
            let asked = |reason: &Option<String>| reason.as_deref() != Some("not asked yet");
            self.reservations().backends.iter().all(|backend| asked(&backend.reason))
        });
    }

    fn is_star_up(&self, node: &str, nodes: usize) -> bool {
        let Some(links) = self.try_ask::<Vec<Value>>(node, &Request::Links) else { return false };
        let star = links.iter().filter(|link| link["class"] == "star");
        let up = star.filter(|link| link["health"] == "up").count();
        up == if node == self.proxy { nodes - 1 } else { 1 }
    }

    /// A daemon's answer; none if it does not answer.
    pub fn try_ask<T: serde::de::DeserializeOwned>(&self, node: &str, request: &Request) -> Option<T> {
        client::ask_as(&self.socket(node), request).ok()
    }

    /// A daemon's answer as JSON.
    #[track_caller]
    pub fn ask(&self, node: &str, request: &Request) -> Value {
        match client::ask(&self.socket(node), request) {
            Ok(answer) => answer,
            Err(error) => panic!("{node} does not answer {request:?}: {error}"),
        }
    }

    /// A node's count of frames dropped for a reason.
    #[track_caller]
    pub fn drops(&self, node: &str, reason: &str) -> u64 {
        self.ask(node, &Request::Status)["drops"][reason].as_u64().unwrap_or(0)
    }

    /// A plugin's counter, as `kind.instance.counter`.
    #[track_caller]
    pub fn counter(&self, node: &str, counter: &str) -> u64 {
        self.ask(node, &Request::Status)["counters"][counter].as_u64().unwrap_or(0)
    }

    /// What the lead has reserved.
    #[track_caller]
    pub fn reservations(&self) -> ReservationsView {
        let answer = self.ask(&self.proxy, &Request::Reservations);
        serde_json::from_value(answer).expect("the lead answers in its own types")
    }

    /// What the lead believes of the traffic.
    #[track_caller]
    pub fn topology(&self) -> TopologyView {
        let answer = self.ask(&self.proxy, &Request::Topology);
        serde_json::from_value(answer).expect("the lead answers in its own types")
    }

    /// The events of the lead so far.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let socket = self.socket(&self.proxy);
        let lines = client::events(&socket, false).expect("the lead answers");
        lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    /// Events of one name, oldest first.
    #[track_caller]
    pub fn events_named(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == name).collect()
    }

    /// Waits until a circuit carries, and returns it.
    #[track_caller]
    pub fn wait_until_carrying(&self, bound: Duration) -> CircuitStatus {
        wait::until("a circuit carries", bound, || {
            self.reservations().circuits.into_iter().find(|circuit| circuit.phase == Phase::Carrying)
        })
    }

    /// Whether ODIN has no path.
    #[track_caller]
    pub fn is_odin_dark(&self) -> bool {
        let mut list = Command::new(program("odin-server"));
        list.args(["--list", "--json", "--socket"]).arg(odin_socket(self.dir.path()));
        let output = list.output().expect("the program is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim() == "[]"
    }

    /// Runs `oclient` as another customer of the network would.
    pub fn oclient(&self, arguments: &[&str]) -> Output {
        let mut client = Command::new(program("oclient"));
        client.args(arguments).env("ODIN_SERVER", odin_socket(self.dir.path()));
        client.output().expect("the program is there")
    }

    /// Runs a command line in a member's namespace to its end.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn exec(&self, member: &str, words: &[&str]) -> String {
        exec(self.lab(), member, words)
    }

    /// Pings from one guest an address that need not be a guest's, five times a second.
    pub fn ping_address(&self, from: &str, to: &str, count: usize) -> Ping {
        let count = count.to_string();
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c", &count, "-i", "0.2", "-W", "2", to]);
        Ping::of(&self.lab().exec(from, &mut ping).expect("ping runs"))
    }

    /// Pings from one guest another, five times a second.
    pub fn ping(&self, from: &str, to: &str, count: usize) -> Ping {
        self.ping_address(from, &self.address(to).to_string(), count)
    }

    /// Asserts that two guests reach each other, each reply coming once. Ping gives the first requests a
    /// second chance: the guests may still be learned.
    #[track_caller]
    pub fn assert_reachable(&self, from: &str, to: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ping = self.ping(from, to, 3);
            if ping.is_perfect() {
                return;
            }
            assert!(Instant::now() < deadline, "{from} does not reach {to}:\n{}", ping.text);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_state();
        }
        self.daemons.values_mut().for_each(Daemon::kill);
        self.odin.kill();
        if let Some(lab) = self.lab.take()
            && let Err(error) = lab.down()
        {
            eprintln!("the lab was not taken down: {error}");
        }
    }
}

impl World {
    fn print_state(&self) {
        for node in self.daemons.keys() {
            if let Ok(status) = client::ask(&self.socket(node), &Request::Status) {
                eprintln!("---- {node}: drops {} counters {}", status["drops"], status["counters"]);
            }
        }
        if let Ok(reservations) = client::ask(&self.socket(&self.proxy), &Request::Reservations) {
            eprintln!("---- reservations\n{reservations:#}");
        }
        let entries = fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        let logs =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
        logs.for_each(|log| print_log(&log));
    }
}

#[track_caller]
fn exec(lab: &Lab, member: &str, words: &[&str]) -> String {
    let output = lab.exec(member, Command::new(words[0]).args(&words[1..])).expect("the program starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?} in {member}: {out}{err}");
    out.into_owned()
}

fn odin_socket(dir: &Path) -> PathBuf {
    dir.join("odin.sock")
}

fn start_odin(lab: &Lab, dir: &Path, time_scale: f64) -> Daemon {
    let mut command = Command::new(program("odin-server"));
    command.args(["--lab", &lab.spec().name, "--network", "omninet", "--socket"]).arg(odin_socket(dir));
    command.args(["--time-scale", &time_scale.to_string()]);
    let hub = &lab.spec().proxy().expect("every lab of these tests has a proxy").name;
    let odin = Daemon::start(lab, hub, &mut command, dir.join("odin.log"));
    wait::until_true("the ODIN server listens", READY, || odin_socket(dir).exists());
    odin
}

fn write_configs(lab: &Lab, dir: &Path, setup: &Setup) -> BTreeMap<String, PathBuf> {
    let hosts = &lab.spec().hosts;
    let key = |host: &vreserve_testbed::Host| {
        (host.name.clone(), Keys::generate(dir.join(format!("{}.key", host.name))))
    };
    let keys: Vec<_> = hosts.iter().map(key).collect();
    let client = match &setup.client {
        Client::Odin => Some(program("oclient")),
        Client::File(file) => Some(file.clone()),
        Client::Script(script) => Some(write_script(dir, script)),
        Client::None => None,
    };
    let odin = odin_socket(dir);
    let site = Site { lab: lab.spec(), setup, dir, keys: &keys, client: client.as_deref(), odin: &odin };
    debug_assert_eq!(hosts.iter().filter(|host| host.role == Role::Proxy).count(), 1);
    hosts.iter().map(|host| (host.name.clone(), site.write(host))).collect()
}

fn write_script(dir: &Path, lines: &str) -> PathBuf {
    let path = dir.join("client");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).expect("the world's directory can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    path
}
