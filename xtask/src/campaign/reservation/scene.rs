//! The lab, the provider and a daemon per host, each a process that can be killed and started again. Everything that is
//! set up here is taken down here, also when the campaign fails half way.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use vreserve_testbed::{Guest, Lab, LabSpec, lab};

use super::{Api, Backend, Frames, Provider};
use crate::artifacts::Artifacts;
use crate::demo::config::{Dials, Surroundings};
use crate::demo::setting::{Plugins, Setting};
use crate::interrupt::{self, wait_for};
use crate::place::Place;
use crate::processes::Processes;
use crate::run;

/// The proxy of the lab, whose daemon leads.
pub(in super::super) const LEAD: &str = "hub";
const PROVIDER: &str = "provider";
/// It would be on a machine of its own, and its switches on others: what they do takes no processor from the nodes.
const PROVIDER_NICE: &str = "19";
/// The nodes of a lab of two hosts. Who else is in a lab's file is left out; all of them come after these, which so
/// keep their addresses.
const NODES: [&str; 3] = [LEAD, "alpha", "beta"];
/// The third host, and how it is written where a lab's file has none.
const THIRD: &str = "gamma";
const THIRD_HOST: &str = "\n[[host]]\nname = \"gamma\"\nrouter = \"east\"\n\
                          guest = [{ name = \"g1\", address = \"10.1.0.3/24\" }]\n";
/// For daemons to answer and to join, and for the first frames to cross.
const PATIENCE: Duration = Duration::from_secs(30);
/// Frames that a guest's interface may queue while the machine is busy with other things than our daemon.
const GUEST_QUEUE: u32 = 10_000;
/// Frames that must have crossed before a pair counts as connected.
const FIRST_FRAMES: usize = 100;

/// Demand is known after some 60 ms and its end after 150 ms. Large frames and the TCP stream are over the mark; small
/// frames and the TCP stream are under the lower one.
pub(in super::super) const DIALS: Dials = Dials {
    report_interval: "20ms",
    window: "100ms",
    hold: "100ms",
    noise: "500kbit",
    worth: "10mbit",
    not_worth: "8mbit",
    release_after: "50ms",
    min_hold: "100ms",
    lead: "\n[lead]\nretry_min = \"100ms\"\nretry_max = \"1s\"\nrestore_grace = \"2s\"\norphan_grace = \"2s\"\n",
};

/// What stands while a campaign runs. Dropped, it is struck.
pub(in super::super) struct Scene<'a> {
    // Before the lab: fields are dropped in this order.
    processes: Processes,
    lab: Option<Lab>,
    place: Place,
    built: &'a Artifacts,
    provider: Provider,
    time_scale: f64,
    trim: Trim,
}

/// What a scene has that others do not.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Trim {
    pub(in super::super) dials: Dials,
    /// Whether faults are injected into the lead's calls to the provider: those of which [`Scene::faults`] tells.
    pub(in super::super) is_faulty: bool,
}

/// Two guests on different hosts.
#[derive(Clone, Debug)]
pub(in super::super) struct Guests {
    pub(in super::super) a: Guest,
    pub(in super::super) b: Guest,
}

impl<'a> Scene<'a> {
    /// Brings up the lab of this name with two or three hosts, the provider and the daemons, after clearing away what
    /// an earlier campaign left, and waits until every node has joined and circuits can be asked for.
    ///
    /// # Errors
    /// If another campaign of this name is running, or something does not come up.
    pub(in super::super) fn set(
        name: &str,
        built: &'a Artifacts,
        backend: Backend,
        time_scale: f64,
        hosts: usize,
    ) -> anyhow::Result<Self> {
        let trim = Trim { dials: DIALS, is_faulty: false };
        Self::set_trimmed(name, built, backend, time_scale, hosts, trim)
    }

    /// As [`Scene::set`], with more to it.
    ///
    /// # Errors
    /// As [`Scene::set`].
    pub(in super::super) fn set_trimmed(
        name: &str,
        built: &'a Artifacts,
        backend: Backend,
        time_scale: f64,
        hosts: usize,
        trim: Trim,
    ) -> anyhow::Result<Self> {
        // Two providers' campaigns may run side by side.
        let name = &format!("{name}_{}", Setting::of(backend).network);
        let place = Place::take(name, built)?;
        lab::down(name)?;
        let lab = Lab::up(spec(name, backend, hosts)?)?;
        let provider = Provider::new(backend, &lab, &place.nodes())?;
        let processes = Processes::default();
        let mut scene = Self { processes, lab: Some(lab), place, built, provider, time_scale, trim };
        scene.acquaint()?;
        scene.write_configs()?;
        scene.start_provider()?;
        scene.await_provider()?;
        let hosts: Vec<_> = scene.lab().spec().hosts.iter().map(|host| host.name.clone()).collect();
        hosts.iter().try_for_each(|host| scene.start_node(host))?;
        scene.await_nodes(hosts.len())?;
        Ok(scene)
    }

    /// The lab.
    pub(in super::super) fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab stands until the scene is struck")
    }

    /// The provider.
    pub(in super::super) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The control API of a node.
    pub(in super::super) fn api(&self, node: &str) -> Api {
        Api { socket: self.lab().runtime_directory().join(format!("{node}.sock")) }
    }

    /// The file that says which faults are injected; none are while it is not there.
    pub(in super::super) fn faults(&self) -> PathBuf {
        self.lab().runtime_directory().join("faults.toml")
    }

    /// What the lead says it holds.
    ///
    /// # Errors
    /// If it does not answer.
    pub(in super::super) fn reservations(&self) -> anyhow::Result<super::Reservations> {
        self.api(LEAD).reservations()
    }

    /// The guests of two hosts.
    ///
    /// # Errors
    /// If the lab has no such guests.
    pub(in super::super) fn guests(&self, a: &str, b: &str) -> anyhow::Result<Guests> {
        let guest = |name: &str| {
            self.lab().spec().guest(name).cloned().with_context(|| format!("the lab has no guest {name}"))
        };
        Ok(Guests { a: guest(a)?, b: guest(b)? })
    }

    /// Starts numbered frames between two guests and waits until they cross; `nth` tells pairs apart.
    ///
    /// # Errors
    /// If a socket cannot be made, or they do not cross in time.
    pub(in super::super) fn frames(&mut self, guests: &Guests, nth: u16) -> anyhow::Result<Frames> {
        let frames = Frames::start(self.lab(), &guests.a, &guests.b, nth)?;
        wait_for("the first numbered frames", PATIENCE, || {
            self.check()?;
            Ok((frames.arrived() >= FIRST_FRAMES).then_some(()))
        })?;
        Ok(frames)
    }

    /// Fails if a process has ended that was not killed by the campaign; shows the end of its log.
    pub(in super::super) fn check(&mut self) -> anyhow::Result<()> {
        self.processes.check()
    }

    /// Starts a node's daemon.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(in super::super) fn start_node(&mut self, node: &str) -> anyhow::Result<()> {
        let config = self.place.nodes().join(format!("{node}.toml"));
        let mut command = Command::new(self.built.program("vreserve")?);
        self.start(node, node, command.args(["run", "-c"]).arg(config))
    }

    /// Ends a node's daemon on the spot (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub(in super::super) fn kill_node(&mut self, node: &str) -> anyhow::Result<()> {
        self.processes.kill(node)
    }

    /// Starts the provider.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(in super::super) fn start_provider(&mut self) -> anyhow::Result<()> {
        let provider = self.provider.command(self.built, self.lab().spec(), self.time_scale)?;
        let mut command = Command::new("nice");
        command.args(["-n", PROVIDER_NICE]).arg(provider.get_program()).args(provider.get_args());
        self.start(PROVIDER, LEAD, &mut command)
    }

    /// Ends the provider on the spot (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub(in super::super) fn kill_provider(&mut self) -> anyhow::Result<()> {
        self.processes.kill(PROVIDER)
    }

    /// Waits until the provider answers.
    ///
    /// # Errors
    /// If it does not in time.
    pub(in super::super) fn await_provider(&mut self) -> anyhow::Result<()> {
        wait_for("the provider", PATIENCE, || {
            self.check()?;
            Ok(self.provider.circuits().ok())
        })?;
        Ok(())
    }

    /// Ends daemons and provider, takes the lab down, removes the files.
    ///
    /// # Errors
    /// If something does not end, or is left.
    pub(in super::super) fn strike(mut self) -> anyhow::Result<()> {
        self.processes.end()?;
        let lab = self.lab.take().expect("the lab stands until the scene is struck");
        let name = lab.spec().name.clone();
        lab.down()?;
        self.place.clear()?;
        let left = lab::namespaces_left(&name);
        if !left.is_empty() {
            bail!("namespaces are left: {}", left.join(", "));
        }
        Ok(())
    }

    /// Tells the guests each other's hardware addresses for good: a question for one would be lost with the star, and
    /// with it all that waits for the answer.
    fn acquaint(&self) -> anyhow::Result<()> {
        let guests: Vec<_> = self.lab().spec().guests().map(|(_, guest)| guest.clone()).collect();
        for own in &guests {
            let others = guests.iter().filter(|guest| guest.name != own.name).map(|other| {
                let (address, mac) = (other.address.addr(), other.mac);
                format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent")
            });
            let queue = format!("link set eth0 txqueuelen {GUEST_QUEUE}");
            self.lab().ip(&own.name, others.chain([queue]).collect())?;
        }
        Ok(())
    }

    fn write_configs(&self) -> anyhow::Result<()> {
        let nodes = self.place.nodes();
        let daemon = self.built.program("vreserve")?;
        let keygen = |name: &str| {
            let output = Command::new(daemon).arg("keygen").arg(nodes.join(format!("{name}.key"))).output();
            let output = output.context("start vreserve keygen")?;
            if !output.status.success() {
                bail!("vreserve keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            anyhow::Ok((name.to_owned(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
        };
        let spec = self.lab().spec();
        let keys = spec.hosts.iter().map(|host| keygen(&host.name)).collect::<Result<Vec<_>, _>>()?;
        let wrap = || format!("wrap = \"faults\"\nfaults = {{ file = {:?} }}\n", self.faults());
        let surroundings = Surroundings {
            lab: spec,
            nodes: &nodes,
            plugins: &self.place.plugins(),
            keys: &keys,
            provision: self.provider.provision(self.built, self.time_scale)?,
            dials: &self.trim.dials,
            chosen: Plugins::default(),
            reserve: &if self.trim.is_faulty { wrap() } else { String::new() },
        };
        for host in &spec.hosts {
            let file = nodes.join(format!("{}.toml", host.name));
            let text = surroundings.config_of(host, &self.api(&host.name).socket);
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    fn await_nodes(&mut self, nodes: usize) -> anyhow::Result<()> {
        let events = wait_for("the lead's control API", PATIENCE, || {
            self.check()?;
            Ok(self.api(LEAD).follow().ok())
        })?;
        // Every node joins, and the backend says that it can be used.
        let mut missing = nodes + 1;
        wait_for("all nodes and the provider at the lead", PATIENCE, || {
            self.check()?;
            let is_arrival = |name: &str| matches!(name, "node_joined" | "backend_up");
            missing = missing.saturating_sub(events.try_iter().filter(|one| is_arrival(&one.event)).count());
            Ok((missing == 0).then_some(()))
        })
    }

    fn start(&mut self, name: &str, member: &str, command: &mut Command) -> anyhow::Result<()> {
        let lab = self.lab.as_ref().expect("the lab stands until the scene is struck");
        self.processes.start(lab, &self.place.nodes(), name, member, command).map(drop)
    }
}

/// The backend's lab with two or three hosts and nobody else.
fn spec(name: &str, backend: Backend, hosts: usize) -> anyhow::Result<LabSpec> {
    let file = run::root().join("testbed/labs").join(Setting::of(backend).lab);
    let mut text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    if !text.contains(THIRD) {
        text += THIRD_HOST;
    }
    let mut spec = LabSpec::parse(&text, &file)?.named(name)?;
    spec.hosts.retain(|host| NODES.contains(&host.name.as_str()) || (hosts > 2 && host.name == THIRD));
    Ok(spec)
}

impl Drop for Scene<'_> {
    /// For a campaign that ended early. The lab ends its processes when it is taken down. Logs stay where something
    /// failed, until the next campaign of this name; an interrupted one leaves nothing.
    fn drop(&mut self) {
        let Some(lab) = self.lab.take() else { return };
        if let Err(error) = lab.down() {
            eprintln!("xtask: the lab is not down: {error}; run `vreserve-lab down --all`");
        }
        if interrupt::check().is_err()
            && let Err(error) = self.place.clear()
        {
            eprintln!("xtask: files are left: {error:#}");
        }
    }
}
