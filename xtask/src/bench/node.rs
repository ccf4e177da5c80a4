//! Ours: daemons with dynamic plugins and inference on, in one of several settings, between guests.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use vreserve_testbed::Guest;

use super::config::NodeFile;
use super::ground::{A, B, Ground, Interface, Seat, Subject};
use crate::artifacts::Artifacts;
use crate::interrupt::wait_for;
use crate::processes::Processes;

/// For a daemon to open its guests' interfaces, and for the first frame to cross.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The first subject's port of control sessions (TCP) and of links (UDP); the next has the next.
const FIRST_PORT: u16 = 7000;

/// A setting of ours.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Lines for the `[link]` table: the plugin, and its wire format.
    pub(crate) link: &'static str,
    pub(crate) interface: Interface,
    /// Lines for the `[node]` table.
    pub(crate) node: &'static str,
    /// Lines for the `[capture]` tables.
    pub(crate) capture: &'static str,
    /// Lines for the `[infer]` table.
    pub(crate) infer: &'static str,
    /// Of the guests.
    pub(crate) mtu: u32,
}

/// The daemons of one subject.
pub(crate) struct Plan<'a> {
    pub(crate) variant: &'a Variant,
    /// Tells ports of subjects apart.
    pub(crate) nth: u16,
    pub(crate) nodes: &'static [&'static str],
    /// On each node, in one namespace.
    pub(crate) guests: usize,
    /// Where the link's endpoint is, if not at the node's own address.
    pub(crate) bind: Option<SocketAddrV4>,
    pub(crate) static_links: &'a [Ipv4Addr],
}

impl Variant {
    /// The place it needs.
    pub(crate) fn seat(&self) -> Seat {
        Seat { subject: self.name, interface: self.interface }
    }

    fn capture_of(&self, ground: &Ground, guest: &Guest, nth: usize) -> String {
        let lines = match self.interface {
            Interface::Absent => format!(
                "interface = \"eth{nth}\"\nnetns = \"{}\"\nmtu = {}\nup = true",
                ground.lab().spec().namespace(&guest.name),
                self.mtu
            ),
            Interface::Veth => format!(
                "interface = \"{}\"\nkind = \"interface\"\nmtu = {}",
                guest.capture_interface(),
                self.mtu
            ),
        };
        format!("{lines}\n{}", self.capture)
    }
}

/// Starts both daemons and waits until a frame crosses.
///
/// # Errors
/// If a daemon ends, or no frame crosses in time.
pub(crate) fn start(
    ground: &Ground,
    built: &Artifacts,
    variant: &Variant,
    nth: u16,
) -> anyhow::Result<Subject> {
    let plan = Plan { variant, nth, nodes: &[A, B], guests: 1, bind: None, static_links: &[] };
    let (mut processes, pids) = launch(ground, built, &plan)?;
    ground.address(variant.name, variant.mtu)?;
    let (a, b) = ground.guests(variant.name);
    await_answer(ground, &mut processes, &a.name, b.address.addr())?;
    Ok(ground.subject(variant.name, processes, pids))
}

/// Starts the daemons and waits until every guest has its interface.
///
/// # Errors
/// If a daemon ends, or does not open an interface in time.
pub(crate) fn launch(
    ground: &Ground,
    built: &Artifacts,
    plan: &Plan<'_>,
) -> anyhow::Result<(Processes, Vec<u32>)> {
    let daemon = built.program("vreserve")?;
    let subject = plan.variant.name;
    let keys = [keygen(ground, daemon, subject, A)?, keygen(ground, daemon, subject, B)?];
    let port = FIRST_PORT + plan.nth;
    let (a, b) = ground.guests(subject);
    let guest_of = |node: &str| if node == A { a } else { b };
    let mut processes = Processes::default();
    let mut pids = Vec::new();
    for node in plan.nodes {
        let guest = guest_of(node);
        let file = NodeFile {
            name: node,
            subject,
            control: SocketAddrV4::new(ground.address_of(A), port),
            bind: plan.bind.unwrap_or(SocketAddrV4::new(ground.address_of(node), port)),
            link: plan.variant.link,
            files: &ground.files(),
            plugins: &ground.plugins(),
            sockets: &ground.lab().runtime_directory(),
            keys: &keys,
            node: plan.variant.node,
            infer: plan.variant.infer,
            captures: (0..plan.guests).map(|nth| plan.variant.capture_of(ground, guest, nth)).collect(),
            static_links: plan.static_links,
        };
        let name = format!("{subject}-{node}");
        let path = ground.files().join(format!("{name}.toml"));
        std::fs::write(&path, file.text()).with_context(|| format!("write {}", path.display()))?;
        let mut command = Command::new(daemon);
        command.args(["run", "-c"]).arg(&path);
        pids.push(processes.start(ground.lab(), &ground.files(), &name, node, &mut command)?);
    }
    let last = format!("eth{}", plan.guests - 1);
    for node in plan.nodes {
        wait_for("the guests' interfaces", PATIENCE, || {
            processes.check()?;
            has_interface(ground, &guest_of(node).name, &last).map(|has| has.then_some(()))
        })?;
    }
    Ok((processes, pids))
}

/// Waits until a guest's ping is answered.
///
/// # Errors
/// If it is not in time, or a daemon ends.
pub(crate) fn await_answer(
    ground: &Ground,
    processes: &mut Processes,
    guest: &str,
    at: Ipv4Addr,
) -> anyhow::Result<()> {
    wait_for("the first frame", PATIENCE, || {
        processes.check()?;
        does_answer(ground, guest, &at.to_string()).map(|answers| answers.then_some(()))
    })
}

/// Whether a member of the lab has an interface of this name.
pub(crate) fn has_interface(ground: &Ground, member: &str, name: &str) -> anyhow::Result<bool> {
    let table = ground.lab().inside(member, || std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let table = table.with_context(|| format!("read the interfaces of {member}"))?;
    let is_it = |line: &str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
    Ok(table.lines().any(is_it))
}

/// Whether one ping is answered within a second.
pub(crate) fn does_answer(ground: &Ground, guest: &str, address: &str) -> anyhow::Result<bool> {
    let output = ground.lab().exec(guest, Command::new("ping").args(["-c", "1", "-W", "1", address]))?;
    Ok(output.status.success())
}

/// Makes a node's key, `<subject>-<node>.key` among the ground's files, and returns its public half.
///
/// # Errors
/// What the daemon said.
pub(crate) fn keygen(ground: &Ground, daemon: &Path, subject: &str, node: &str) -> anyhow::Result<String> {
    let file = ground.files().join(format!("{subject}-{node}.key"));
    let output = Command::new(daemon).arg("keygen").arg(file).output().context("start vreserve keygen")?;
    if !output.status.success() {
        bail!("vreserve keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
