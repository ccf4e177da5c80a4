//! Two guests and what joins them: our daemon and the kernel's VXLAN, or two daemons of ours.
//!
//! ```text
//!  guest a: eth0 (TAP) ── node a: daemon ════ VXLAN ════ vx0 ─ br0 ─ guest0: node b ── eth0: guest b
//!  guest a: eth0 (TAP) ── node a: daemon ════ secure ═══ daemon: node b ── eth0 (TAP): guest b
//! ```

use std::net::{Ipv6Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use super::sample::{Content, Spot};
use super::traffic::End;
use crate::artifacts::Artifacts;
use crate::bench::dataplane::{CLEAR, SECURE};
use crate::bench::ground::{A, B, GUEST_MTU, Ground, Interface, Seat, Subject, UNDERLAY};
use crate::bench::node::{self, Plan, Variant};
use crate::bench::underlay::Underlay;

/// Of guest a, so that it has frames to send that are too large for any way.
const LARGE_MTU: u32 = 9000;
/// Out of reach of the other end's, as a veth pair whose ends have the same index takes a second to come up.
const FAR_INDEX: u32 = 100_001;
const VXLAN_PORT: u16 = 4789;
/// The bridge's end of the veth pair of guest b.
const GUEST_PORT: &str = "guest0";

/// Our node that faces the kernel's device.
const KERNEL: Variant = Variant { name: "kernel-vxlan", ..CLEAR };

/// What is at the far end of guest a's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Far {
    /// A VXLAN device of the kernel.
    Kernel,
    /// A node of ours, over a sealed link.
    Ours,
}

impl Far {
    /// For tables, and the name of the guests' seat.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kernel => KERNEL.name,
            Self::Ours => SECURE.name,
        }
    }

    /// Where its guests are.
    pub(super) fn seat(self) -> Seat {
        Seat { subject: self.name(), interface: Interface::Absent }
    }
}

/// A pair that is joined.
pub(super) struct Pair {
    pub(super) far: Far,
    pub(super) subject: Subject,
    /// Control sockets of the daemons, with the names of their nodes.
    pub(super) sockets: Vec<(&'static str, PathBuf)>,
}

impl Pair {
    /// Starts the daemons, makes the kernel's devices, and waits until a frame crosses.
    ///
    /// # Errors
    /// What a daemon or `ip` said.
    pub(super) fn join(ground: &Ground, built: &Artifacts, far: Far) -> anyhow::Result<Self> {
        let subject = match far {
            Far::Kernel => join_kernel(ground, built)?,
            Far::Ours => node::start(ground, built, &SECURE, 0)?,
        };
        let nodes: &[&'static str] = if far == Far::Kernel { &[A] } else { &[A, B] };
        let socket = |node: &&'static str| (*node, socket(ground, far, node));
        let pair = Self { far, sockets: nodes.iter().map(socket).collect(), subject };
        pair.enlarge(ground)?;
        pair.spread(ground)?;
        for way in [0, 1] {
            pair.add_version6(ground, way)?;
        }
        Ok(pair)
    }

    /// The guests and their addresses.
    pub(super) fn ends(&self, ground: &Ground) -> [End; 2] {
        let (a, b) = ground.guests(self.far.name());
        [(0, a), (1, b)].map(|(nth, guest)| End {
            guest: guest.name.clone(),
            v4: guest.address.addr(),
            v6: version6(nth),
        })
    }

    /// Where to look at checksums. On a wire every datagram of node a is looked at as it leaves; frames that guest b
    /// gets from the kernel's VXLAN are whole on any underlay.
    pub(super) fn spots(&self, ground: &Ground, underlay: Underlay) -> Vec<Spot> {
        let (a, b) = ground.guests(self.far.name());
        let guest = |name: &'static str, guest: &vreserve_testbed::Guest| Spot {
            name,
            member: guest.name.clone(),
            interface: "eth0",
            filter: format!("ether dst {}", guest.mac),
            content: Content::Plain,
        };
        let mut spots = vec![guest("guest-a", a), guest("guest-b", b)];
        if self.far == Far::Kernel && underlay == Underlay::Wire {
            spots.push(Spot {
                name: "underlay",
                member: A.to_owned(),
                interface: UNDERLAY,
                filter: format!("src host {} and udp dst port {VXLAN_PORT}", ground.address_of(A)),
                content: Content::Vxlan,
            });
        }
        spots
    }

    /// Members whose counters matter.
    pub(super) fn members(&self) -> [&str; 4] {
        [&self.subject.from, A, B, &self.subject.to]
    }

    /// Gives guest a an MTU beyond the overlay's.
    fn enlarge(&self, ground: &Ground) -> anyhow::Result<()> {
        ground.lab().ip(&self.subject.from, vec![format!("link set eth0 mtu {LARGE_MTU}")])?;
        Ok(())
    }

    /// Has every processor receive the flows that are its own, as network cards do. A veth pair by itself hands on
    /// what each processor sent, so that a sender that moves from one to the other overtakes itself (measured: a
    /// thousand segments in a second of TCP at full speed, on the underlay already).
    fn spread(&self, ground: &Ground) -> anyhow::Result<()> {
        let mut ends = vec![(A, UNDERLAY), (B, UNDERLAY)];
        if self.far == Far::Kernel {
            ends.extend([(B, GUEST_PORT), (self.subject.to.as_str(), "eth0")]);
        }
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get().min(32));
        let mask = format!("{:x}", (1_u64 << processors) - 1);
        for (member, interface) in ends {
            let namespace = ground.lab().spec().namespace(member);
            let script = format!("echo {mask} > /sys/class/net/{interface}/queues/rx-0/rps_cpus");
            // Only `ip netns` shows a namespace's own interfaces in /sys.
            let mut command = Command::new("ip");
            let output = command.args(["netns", "exec", &namespace, "sh", "-c", &script]).output();
            let output = output.context("start ip")?;
            if !output.status.success() {
                bail!("spread {interface} of {member}: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        Ok(())
    }

    /// IPv6 for one guest; labs have it off.
    fn add_version6(&self, ground: &Ground, nth: u16) -> anyhow::Result<()> {
        let (a, b) = ground.guests(self.far.name());
        let (own, other) = if nth == 0 { (a, b) } else { (b, a) };
        let switch = || std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0");
        ground.lab().inside(&own.name, switch)?.context("switch IPv6 on for a guest")?;
        let lines = [
            format!("address replace {}/64 dev eth0 nodad", version6(nth)),
            format!("neigh replace {} lladdr {} dev eth0 nud permanent", version6(1 - nth), other.mac),
        ];
        ground.lab().ip(&own.name, lines.into())?;
        Ok(())
    }
}

fn version6(nth: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, nth + 1)
}

fn socket(ground: &Ground, far: Far, node: &str) -> PathBuf {
    ground.lab().runtime_directory().join(format!("{}-{node}.sock", far.name()))
}

fn join_kernel(ground: &Ground, built: &Artifacts) -> anyhow::Result<Subject> {
    make_devices(ground, KERNEL.name)?;
    let far = [ground.address_of(B)];
    let own = SocketAddrV4::new(ground.address_of(A), VXLAN_PORT);
    let plan = Plan { variant: &KERNEL, nth: 0, nodes: &[A], guests: 1, bind: Some(own), static_links: &far };
    let (mut processes, pids) = node::launch(ground, built, &plan)?;
    ground.address(KERNEL.name, GUEST_MTU)?;
    let (a, b) = ground.guests(KERNEL.name);
    node::await_answer(ground, &mut processes, &a.name, b.address.addr())?;
    Ok(ground.subject(KERNEL.name, processes, pids))
}

/// VXLAN, bridge and veth at the far end. Nothing joins frames on the way to the guest: a sample sees each as it
/// came.
fn make_devices(ground: &Ground, name: &str) -> anyhow::Result<()> {
    let (_, guest) = ground.guests(name);
    let (local, remote) = (ground.address_of(B), ground.address_of(A));
    let namespace = ground.lab().spec().namespace(&guest.name);
    let vxlan = format!("type vxlan id 1 local {local} remote {remote} dstport {VXLAN_PORT} dev {UNDERLAY}");
    let lines = [
        "link add br0 type bridge mcast_snooping 0".to_owned(),
        format!("link add vx0 mtu {GUEST_MTU} {vxlan}"),
        format!(
            "link add {GUEST_PORT} index {FAR_INDEX} mtu {GUEST_MTU} type veth peer name eth0 netns {namespace}"
        ),
        "link set vx0 master br0 up".to_owned(),
        format!("link set {GUEST_PORT} master br0 up"),
        "link set br0 up".to_owned(),
    ];
    ground.lab().ip(B, lines.into())?;
    let mut command = Command::new("ethtool");
    let output = ground.lab().exec(B, command.args(["-K", "vx0", "gro", "off"]))?;
    if !output.status.success() {
        bail!("ethtool: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
