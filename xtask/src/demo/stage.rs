//! What stands while the demo runs: the lab, the provider, the daemons. Everything that is set up here is
//! taken down here, also when the demo fails half way.

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, bail};
use vreserve_testbed::{Host, Lab, LabSpec, Role, lab};

use super::config::Surroundings;
use super::provider::Provider;
use super::record::{self, Event, Record};
use super::setting::Setting;
use crate::artifacts::Artifacts;
use crate::interrupt::{self, wait_for};
use crate::place::Place;
use crate::processes::Processes;
use crate::run;

const PROVIDER: &str = "provider";
/// For daemons to answer and to join.
const PATIENCE: Duration = Duration::from_secs(20);

/// The stage, set. Dropped, it is struck.
pub(crate) struct Stage {
    // Before the lab: fields are dropped in this order.
    processes: Processes,
    lab: Option<Lab>,
    place: Place,
    setting: Setting,
    provider: Option<Provider>,
}

/// What was left when the stage had been struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftovers {
    /// Namespaces of the lab that still exist.
    pub(crate) namespaces: usize,
    /// Processes in them that had to be ended by the lab.
    pub(crate) processes: usize,
}

impl Stage {
    /// Brings up the lab after clearing away what an earlier demo left.
    ///
    /// # Errors
    /// If another demo is running, or the lab cannot be made.
    pub(crate) fn set(built: &Artifacts, setting: Setting) -> anyhow::Result<Self> {
        let place = Place::take("demo", built)?;
        let mut spec = LabSpec::load(&run::root().join("testbed/labs").join(setting.lab))?;
        setting.fit(&mut spec);
        let cleared = lab::down(&spec.name)?;
        if cleared.namespaces + cleared.processes > 0 {
            println!(
                "cleared away after an earlier demo: {} namespaces, {} processes",
                cleared.namespaces, cleared.processes
            );
        }
        let lab = Some(Lab::up(spec)?);
        Ok(Self { lab, processes: Processes::default(), place, setting, provider: None })
    }

    /// The lab.
    pub(crate) fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab stands until the stage is struck")
    }

    /// A socket by its owner's name; goes with the lab.
    fn socket(&self, owner: &str) -> PathBuf {
        self.lab().runtime_directory().join(format!("{owner}.sock"))
    }

    /// Folder of logs and reports.
    pub(crate) fn reports(&self) -> PathBuf {
        self.place.nodes()
    }

    /// Starts the provider and waits until it answers.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn start_provider(&mut self, built: &Artifacts, time_scale: f64) -> anyhow::Result<()> {
        let provider = Provider::new(self.setting, self.lab(), &self.place.nodes())?;
        let mut server = provider.command(built, self.lab().spec(), time_scale)?;
        self.provider = Some(provider);
        let proxy = proxy_of(self.lab().spec())?.to_owned();
        self.start(PROVIDER, &proxy, &mut server)?;
        wait_for("the provider", PATIENCE, || {
            self.check()?;
            Ok(self.circuits().ok())
        })?;
        Ok(())
    }

    /// Writes keys and configurations and starts a daemon per host; returns the events of the lead once every
    /// node has joined it and capacity can be reserved.
    ///
    /// # Errors
    /// If a daemon ends, or they do not find together in time.
    pub(crate) fn start_daemons(
        &mut self,
        built: &Artifacts,
        time_scale: f64,
    ) -> anyhow::Result<Receiver<Record>> {
        let spec = self.lab().spec().clone();
        let daemon = built.program("vreserve")?;
        self.write_configs(&spec, built, time_scale)?;
        let nodes: Vec<_> = spec.hosts.iter().filter(|host| is_node(host)).collect();
        for host in &nodes {
            let config = self.place.nodes().join(format!("{}.toml", host.name));
            self.start(&host.name, &host.name, Command::new(daemon).args(["run", "-c"]).arg(config))?;
        }
        let socket = self.socket(proxy_of(&spec)?);
        let events = wait_for("the proxy's control API", PATIENCE, || {
            self.check()?;
            Ok(record::follow::<Record>(&socket).ok())
        })?;
        // Each node, and the provider of the one network.
        let mut missing = nodes.len() + 1;
        wait_for("all nodes and the provider at the lead", PATIENCE, || {
            self.check()?;
            let news = events.try_iter();
            missing = missing.saturating_sub(news.filter(|record| is_arrival(&record.event)).count());
            Ok((missing == 0).then_some(()))
        })?;
        Ok(events)
    }

    /// Fails if a daemon or the provider has ended; shows the end of its log.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.processes.check()
    }

    /// How many circuits the provider has, in any state.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn circuits(&self) -> anyhow::Result<usize> {
        self.provider.as_ref().context("the provider was not started")?.circuits()
    }

    /// Ends daemons and provider, takes the lab down, removes the files.
    ///
    /// # Errors
    /// If something does not end, or cannot be removed.
    pub(crate) fn strike(mut self) -> anyhow::Result<Leftovers> {
        self.processes.end()?;
        let lab = self.lab.take().expect("the lab stands until the stage is struck");
        let name = lab.spec().name.clone();
        let cleared = lab.down()?;
        self.place.clear()?;
        Ok(Leftovers { namespaces: lab::namespaces_left(&name).len(), processes: cleared.processes })
    }

    /// Leaves everything standing; says how to look at it and how to end it.
    pub(crate) fn leave_standing(mut self) {
        self.processes.leave_running();
        if let Some(lab) = self.lab.take() {
            let name = lab.spec().name.clone();
            println!("the lab `{name}`, its daemons and the provider go on running");
            println!("  configurations and logs in {}", self.place.nodes().display());
            println!("  target/release/vreserve lab exec {name} a1 -- iperf3 --client …");
            println!("  target/release/vreserve lab down {name}");
            lab.leave_standing();
        }
    }

    fn write_configs(&self, spec: &LabSpec, built: &Artifacts, time_scale: f64) -> anyhow::Result<()> {
        let (nodes, daemon) = (self.place.nodes(), built.program("vreserve")?);
        let keygen = |name: &str| {
            let output = Command::new(daemon).arg("keygen").arg(nodes.join(format!("{name}.key"))).output();
            let output = output.context("start vreserve keygen")?;
            if !output.status.success() {
                bail!("vreserve keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            anyhow::Ok((name.to_owned(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
        };
        let hosts = || spec.hosts.iter().filter(|host| is_node(host));
        let keys = hosts().map(|host| keygen(&host.name)).collect::<Result<Vec<_>, _>>()?;
        let provider = self.provider.as_ref().context("the provider was not started")?;
        let surroundings = Surroundings {
            lab: spec,
            nodes: &nodes,
            plugins: &self.place.plugins(),
            keys: &keys,
            provision: provider.provision(built, time_scale)?,
            dials: &self.setting.dials,
            chosen: self.setting.plugins,
            reserve: "",
        };
        for host in hosts() {
            let file = nodes.join(format!("{}.toml", host.name));
            let text = surroundings.config_of(host, &self.socket(&host.name));
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    fn start(&mut self, name: &str, member: &str, command: &mut Command) -> anyhow::Result<()> {
        let lab = self.lab.as_ref().expect("the lab stands until the stage is struck");
        self.processes.start(lab, &self.place.nodes(), name, member, command).map(drop)
    }
}

impl Drop for Stage {
    /// For a demo that ended early. The lab ends its processes when it is taken down. Logs stay where something
    /// failed, until the next demo; an interrupted one leaves nothing.
    fn drop(&mut self) {
        let Some(lab) = self.lab.take() else { return };
        if let Err(error) = lab.down() {
            eprintln!("xtask: the lab is not down: {error}; run `target/release/vreserve lab down --all`");
        }
        if interrupt::check().is_err()
            && let Err(error) = self.place.clear()
        {
            eprintln!("xtask: files are left: {error:#}");
        }
    }
}

fn proxy_of(spec: &LabSpec) -> anyhow::Result<&str> {
    let proxy = spec.hosts.iter().find(|host| host.role == Role::Proxy);
    Ok(&proxy.context("the demo's lab has no proxy")?.name)
}

/// Whether a host has a daemon: those that have neither guests nor the lead are there for other traffic.
fn is_node(host: &Host) -> bool {
    host.role == Role::Proxy || !host.guests.is_empty()
}

fn is_arrival(event: &Event) -> bool {
    matches!(event, Event::NodeJoined { .. } | Event::BackendUp { .. })
}
