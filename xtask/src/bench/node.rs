//! Ours: two daemons with dynamic plugins and inference on, in one of several settings, between two guests.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::ground::{A, B, Ground, Interface, Seat, Subject};
use crate::artifacts::Artifacts;
use crate::interrupt::wait_for;
use crate::processes::Processes;

/// For a daemon to open a guest's interface.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The first setting's port of control sessions (TCP) and of links (UDP); the next has the next.
const FIRST_PORT: u16 = 7000;

/// A setting of ours.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Wire format of the link.
    pub(crate) format: &'static str,
    pub(crate) interface: Interface,
    /// Lines for the `[node]` table.
    pub(crate) node: &'static str,
    /// Lines for the `[capture]` table.
    pub(crate) capture: &'static str,
    /// Of the guests.
    pub(crate) mtu: u32,
}

/// Where one daemon of a variant finds things.
struct Surroundings<'a> {
    variant: &'a Variant,
    port: u16,
    /// Of this node and of the proxy on the underlay.
    own: String,
    proxy: String,
    /// Folder of keys and durable state.
    files: &'a Path,
    plugins: &'a Path,
    sockets: &'a Path,
    /// Namespace of this node's guest, and its name.
    namespace: String,
    guest: String,
    /// Public keys of both nodes.
    keys: &'a [String; 2],
}

impl Variant {
    /// The place it needs.
    pub(crate) fn seat(&self) -> Seat {
        Seat { subject: self.name, interface: self.interface }
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
    let daemon = built.program("vreserve")?;
    let keys = [keygen(ground, daemon, variant.name, A)?, keygen(ground, daemon, variant.name, B)?];
    let mut processes = Processes::default();
    let mut pids = Vec::new();
    let (a, b) = ground.guests(variant.name);
    for (node, guest) in [(A, a), (B, b)] {
        let surroundings = Surroundings {
            variant,
            port: FIRST_PORT + nth,
            own: ground.address_of(node).to_string(),
            proxy: ground.address_of(A).to_string(),
            files: &ground.files(),
            plugins: &ground.plugins(),
            sockets: &ground.lab().runtime_directory(),
            namespace: ground.lab().spec().namespace(&guest.name),
            guest: guest.capture_interface(),
            keys: &keys,
        };
        let name = format!("{}-{node}", variant.name);
        let file = ground.files().join(format!("{name}.toml"));
        std::fs::write(&file, surroundings.config(node))
            .with_context(|| format!("write {}", file.display()))?;
        let mut command = Command::new(daemon);
        command.args(["run", "-c"]).arg(&file);
        pids.push(processes.start(ground.lab(), &ground.files(), &name, node, &mut command)?);
    }
    for guest in [a, b] {
        wait_for("the guest's interface", PATIENCE, || {
            processes.check()?;
            has_interface(ground, &guest.name, "eth0").map(|has| has.then_some(()))
        })?;
    }
    ground.address(variant.name, variant.mtu)?;
    wait_for("the first frame", PATIENCE, || {
        processes.check()?;
        does_answer(ground, &a.name, &b.address.addr().to_string()).map(|answers| answers.then_some(()))
    })?;
    Ok(ground.subject(variant.name, processes, pids))
}

/// Whether a member of the lab has an interface of this name.
pub(crate) fn has_interface(ground: &Ground, member: &str, name: &str) -> anyhow::Result<bool> {
    let table = ground.lab().inside(member, || std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let table = table.with_context(|| format!("read the interfaces of {member}"))?;
    Ok(table
        .lines()
        .any(|line| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))))
}

/// Whether one ping is answered within a second.
pub(crate) fn does_answer(ground: &Ground, guest: &str, address: &str) -> anyhow::Result<bool> {
    let output = ground.lab().exec(guest, Command::new("ping").args(["-c", "1", "-W", "1", address]))?;
    Ok(output.status.success())
}

/// Makes a node's key, `<variant>-<node>.key` among the ground's files, and returns its public half.
///
/// # Errors
/// What the daemon said.
pub(crate) fn keygen(ground: &Ground, daemon: &Path, variant: &str, node: &str) -> anyhow::Result<String> {
    let file = ground.files().join(format!("{variant}-{node}.key"));
    let output = Command::new(daemon).arg("keygen").arg(file).output().context("start vreserve keygen")?;
    if !output.status.success() {
        bail!("vreserve keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Surroundings<'_> {
    fn config(&self, node: &str) -> String {
        let Self { variant, port, own, proxy, namespace, guest, keys, .. } = self;
        let file = |ending: &str| quoted(&self.files.join(format!("{}-{node}.{ending}", variant.name)));
        let socket = quoted(&self.sockets.join(format!("{}-{node}.sock", variant.name)));
        let place = if node == A {
            format!(
                "role = \"proxy\"\ncontrol = \"{own}:{port}\"\n\
                 admit = [{{ name = \"{B}\", public_key = \"{}\" }}]",
                keys[1]
            )
        } else {
            format!(
                "proxy = {{ name = \"{A}\", public_key = \"{}\", address = \"{proxy}:{port}\" }}",
                keys[0]
            )
        };
        let capture = match variant.interface {
            Interface::Absent => format!("netns = \"{namespace}\"\nmtu = {}\nup = true", variant.mtu),
            Interface::Veth => "kind = \"interface\"".to_owned(),
        };
        format!(
            "[node]\nname = \"{node}\"\nkey = {}\nstate_dir = {}\nsocket = {socket}\n{place}\n{}\n\
             [plugins]\ndirs = [{}]\n\
             [capture.guest]\nuse = \"capture-iouring\"\ninterface = \"{guest}\"\n{capture}\n{}\n\
             [link.star]\nuse = \"link-udp\"\nbind = \"{own}:{port}\"\nformat = \"{}\"\n\
             [infer.vttif]\nuse = \"infer-vttif\"\n",
            file("key"),
            file("state"),
            variant.node,
            quoted(self.plugins),
            variant.capture,
            variant.format,
        )
    }
}

/// A path as a TOML string.
pub(crate) fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(node: &str, interface: Interface) -> toml::Table {
        let variant = Variant {
            name: "clear",
            format: "vxlan",
            interface,
            node: "workers = 1",
            capture: "queue_depth = 8",
            mtu: 1450,
        };
        let surroundings = Surroundings {
            variant: &variant,
            port: 7001,
            own: "198.51.100.2".to_owned(),
            proxy: "198.51.100.1".to_owned(),
            files: Path::new("/t/fi\"les"),
            plugins: Path::new("/t/plugins"),
            sockets: Path::new("/run/x"),
            namespace: "vr-bench-clear-b".to_owned(),
            guest: "eth0".to_owned(),
            keys: &["key-of-a".to_owned(), "key-of-b".to_owned()],
        };
        surroundings.config(node).parse().unwrap()
    }

    #[test]
    fn a_node_knows_its_guest_its_link_and_the_proxy() {
        let b = config(B, Interface::Absent);
        assert_eq!(b["node"]["proxy"]["address"].as_str(), Some("198.51.100.1:7001"));
        assert_eq!(b["node"]["workers"].as_integer(), Some(1));
        assert_eq!(b["node"]["key"].as_str(), Some("/t/fi\"les/clear-b.key"));
        assert_eq!(b["capture"]["guest"]["netns"].as_str(), Some("vr-bench-clear-b"));
        assert_eq!(b["capture"]["guest"]["queue_depth"].as_integer(), Some(8));
        assert_eq!(b["link"]["star"]["format"].as_str(), Some("vxlan"));
    }

    #[test]
    fn the_proxy_admits_the_other_and_a_veth_is_captured_where_it_is() {
        let a = config(A, Interface::Veth);
        assert_eq!(a["node"]["admit"][0]["public_key"].as_str(), Some("key-of-b"));
        assert_eq!(a["capture"]["guest"]["kind"].as_str(), Some("interface"));
        assert!(a["capture"]["guest"].get("netns").is_none());
    }
}
