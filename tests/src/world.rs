//! A lab with running daemons and an ODIN server: from its beginning to its end.

mod ask;
mod reach;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use vreserve::api::{Request, client};
use vreserve_model::MacAddr;
use vreserve_testbed::{Lab, LabSpec};

use crate::binaries::{program, require_plugins};
use crate::daemon::{Daemon, print_log};
use crate::node_config::{Keys, Site, socket};
use crate::setup::{Client, Setup};
use crate::wait;
use reach::exec;

const PLUGINS: [&str; 9] = [
    "capture-iouring",
    "capture-pcap",
    "link-tcp",
    "link-udp",
    "link-vxlan",
    "infer-vttif",
    "adapt-vadapt",
    "reserve-odin",
    "reserve-exec",
];
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

    /// The paths that ODIN has.
    #[track_caller]
    pub fn odin_paths(&self) -> Vec<serde_json::Value> {
        let mut list = Command::new(program("odin-server"));
        list.args(["--list", "--json", "--socket"]).arg(odin_socket(self.dir.path()));
        let output = list.output().expect("the program is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a list of paths")
    }

    /// Whether ODIN has no path.
    #[track_caller]
    pub fn is_odin_dark(&self) -> bool {
        self.odin_paths().is_empty()
    }

    /// Runs `oclient` as another customer of the network would.
    pub fn oclient(&self, arguments: &[&str]) -> Output {
        let mut client = Command::new(program("oclient"));
        client.args(arguments).env("ODIN_SERVER", odin_socket(self.dir.path()));
        client.output().expect("the program is there")
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
        Client::Script(script) => Some(write_script(dir, &format!("#!/bin/sh\n{script}\n"))),
        Client::Program(text) => Some(write_script(dir, text)),
        Client::None => None,
    };
    let odin = odin_socket(dir);
    let site = Site { lab: lab.spec(), setup, dir, keys: &keys, client: client.as_deref(), odin: &odin };
    hosts.iter().map(|host| (host.name.clone(), site.write(host))).collect()
}

fn write_script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("client");
    fs::write(&path, text).expect("the world's directory can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    path
}
