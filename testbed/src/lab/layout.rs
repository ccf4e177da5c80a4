//! From a lab to the commands that make it. Pure: what runs them is in [`super`].
//!
//! ```text
//!  guest eth0 (TAP)          host                       commodity: br0
//!  guest eth0 ─veth─ vg-<guest>   inet0 ───── tbf ─ c-<host> ─┤
//!                            <network> ─────── h-<host> ─ p-<host>   one bridge per host port, alone
//!                                                  until an ODIN server joins a lambda to it
//!
//!  host inet0 ──── veth ──── inet0 host              instead of the bridge, where no rate is enforced
//!
//!  host inet0 ─ c-<host> router core ──── core router c-<host> ─ inet0 host      where there are routers
//!               HTB at every egress of a router: `base_classes`
//! ```

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::spec::{COMMODITY, Core, GUEST_MTU, Guest, GuestInterface, Host, LabSpec, Network};
use crate::batch::Batch;
use crate::units::{BitsPerSecond, Bytes};

/// Beyond any interface index that a lab's host reaches.
const FIRST_PORT_INDEX: usize = 100_000;

/// Addresses of the core link's two ends.
pub(crate) const CORE_NET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 30);
/// A router's interface on the core link.
pub(crate) const CORE: &str = "core";
/// Handle of the HTB at every egress of a router: "VR" in hexadecimal.
pub(crate) const HTB: &str = "5652";
/// Share of a link's rate that its HTB lets through, in percent: with all of it the queue of the real bottleneck
/// behind, which knows no classes, would fill first.
pub(crate) const SHAPED_PERCENT: u64 = 98;
/// Share of a link's rate that traffic without a reservation always has, in percent.
const BEST_EFFORT_PERCENT: u64 = 18;

/// The batch that makes the namespaces, empty.
pub(super) fn namespaces(lab: &LabSpec) -> Batch {
    Batch::ip_here(lab.namespaces().iter().map(|namespace| format!("netns add {namespace}")).collect())
}

/// The batches that fill the namespaces, in order.
pub(super) fn contents(lab: &LabSpec) -> Vec<Batch> {
    let mut batches = match &lab.commodity.core {
        Some(core) => routers(lab, core),
        None => vec![commodity(lab)],
    };
    for network in &lab.networks {
        batches.push(Batch::ip(&lab.namespace(&network.name), optical(lab, network)));
    }
    for host in &lab.hosts {
        let namespace = lab.namespace(&host.name);
        batches.push(Batch::ip(&namespace, inside_host(lab, host)));
        let limit = lab.commodity.rate.map(|rate| rate_limit("inet0", rate, lab.commodity.queue));
        batches.push(Batch::tc(&namespace, limit.into_iter().collect()));
    }
    for (_, guest) in lab.guests() {
        batches.push(Batch::ip(&lab.namespace(&guest.name), inside_guest(guest)));
    }
    let rate = lab.commodity.rate;
    match &lab.commodity.core {
        Some(core) => batches.extend(router_rates(lab, core, rate.unwrap_or(core.rate))),
        None => batches.extend(rate.map(|rate| commodity_rates(lab, rate))),
    }
    batches
}

/// The hosts at a router.
pub(crate) fn hosts_at<'a>(lab: &'a LabSpec, router: &str) -> impl Iterator<Item = &'a Host> {
    let router = router.to_owned();
    lab.hosts.iter().filter(move |host| host.router.as_ref() == Some(&router))
}

/// A router's interface to a host.
pub(crate) fn access(host: &str) -> String {
    format!("c-{host}")
}

fn routers(lab: &LabSpec, core: &Core) -> Vec<Batch> {
    let mtu = lab.commodity.mtu;
    let [one, other] = core.routers.each_ref().map(|router| lab.namespace(router));
    // The indices differ for the reason given at `port`.
    let index = FIRST_PORT_INDEX + lab.hosts.len();
    let peer = format!("peer name {CORE} mtu {mtu} netns {other}");
    let mut batches =
        vec![Batch::ip(&one, vec![format!("link add {CORE} index {index} mtu {mtu} type veth {peer}")])];
    let ends: Vec<Ipv4Addr> = CORE_NET.hosts().collect();
    for (nth, router) in core.routers.iter().enumerate() {
        let (own, far) = (ends[nth], ends[1 - nth]);
        let mut lines = vec![
            "link set lo up".to_owned(),
            format!("address add {}/32 dev lo", core.gateway),
            format!("address add {own}/{} dev {CORE}", CORE_NET.prefix_len()),
            format!("link set {CORE} up"),
            format!("route add {} via {far}", lab.commodity.subnet.trunc()),
        ];
        for (nth, host) in hosts_at(lab, router).enumerate() {
            let (name, index) = (access(&host.name), FIRST_PORT_INDEX + nth);
            let peer = format!("peer name inet0 mtu {mtu} netns {}", lab.namespace(&host.name));
            lines.push(format!("link add {name} index {index} mtu {mtu} type veth {peer}"));
            lines.push(format!("link set {name} up"));
            lines.push(format!("route add {}/32 dev {name} src {}", host.commodity.addr(), core.gateway));
        }
        batches.push(Batch::ip(&lab.namespace(router), lines));
    }
    batches
}

fn router_rates(lab: &LabSpec, core: &Core, rate: BitsPerSecond) -> Vec<Batch> {
    let of_router = |router: &String| {
        let mut lines = base_classes(CORE, core.rate, core.queue);
        for host in hosts_at(lab, router) {
            lines.extend(base_classes(&access(&host.name), rate, lab.commodity.queue));
        }
        Batch::tc(&lab.namespace(router), lines)
    };
    core.routers.iter().map(of_router).collect()
}

/// What is at an egress of a router before anything is reserved: the shaped rate, and the class of traffic
/// without a reservation, which has what others leave.
fn base_classes(interface: &str, rate: BitsPerSecond, queue: Bytes) -> Vec<String> {
    let (shaped, least) = (rate.0 / 100 * SHAPED_PERCENT, rate.0 / 100 * BEST_EFFORT_PERCENT);
    let burst = burst(rate);
    vec![
        format!("qdisc add dev {interface} root handle {HTB}: htb default 20 r2q 1000"),
        format!(
            "class add dev {interface} parent {HTB}: classid {HTB}:1 htb rate {shaped}bit ceil {shaped}bit \
             burst {burst} cburst {burst} quantum 60000"
        ),
        format!(
            "class add dev {interface} parent {HTB}:1 classid {HTB}:20 htb rate {least}bit ceil {shaped}bit \
             prio 7 quantum 60000 burst {burst} cburst {burst}"
        ),
        format!("qdisc add dev {interface} parent {HTB}:20 handle 20: bfifo limit {}", queue.0),
    ]
}

/// What a class may send at once: one millisecond of its rate, at least the 16 KiB with which classes were
/// measured to keep their rates.
pub(crate) fn burst(rate: BitsPerSecond) -> u64 {
    (rate.0 / 8 / 1000).max(16 << 10)
}

/// The `tc` command that limits what leaves an interface: a token bucket over one byte-counted FIFO.
pub(crate) fn rate_limit(interface: &str, rate: BitsPerSecond, queue: Bytes) -> String {
    let bucket = rate.bucket().0;
    format!("qdisc add dev {interface} root tbf rate {}bit burst {bucket} limit {}", rate.0, queue.0)
}

fn commodity(lab: &LabSpec) -> Batch {
    if let (None, [one, other]) = (lab.commodity.rate, &lab.hosts[..]) {
        return wire(lab, one, other);
    }
    let mut lines = vec!["link set lo up".to_owned(), bridge("br0"), "link set br0 up".to_owned()];
    for (nth, host) in lab.hosts.iter().enumerate() {
        let namespace = lab.namespace(&host.name);
        lines.extend(port(nth, &format!("c-{}", host.name), "inet0", "br0", &namespace, lab.commodity.mtu));
    }
    Batch::ip(&lab.namespace(COMMODITY), lines)
}

/// The two hosts' `inet0`, joined; their indices differ for the reason given at [`port`].
fn wire(lab: &LabSpec, one: &Host, other: &Host) -> Batch {
    let mtu = lab.commodity.mtu;
    let peer = format!("peer name inet0 mtu {mtu} netns {}", lab.namespace(&other.name));
    let line = format!("link add inet0 index {FIRST_PORT_INDEX} mtu {mtu} type veth {peer}");
    Batch::ip(&lab.namespace(&one.name), vec![line])
}

fn commodity_rates(lab: &LabSpec, rate: BitsPerSecond) -> Batch {
    let limit = |host: &Host| rate_limit(&format!("c-{}", host.name), rate, lab.commodity.queue);
    Batch::tc(&lab.namespace(COMMODITY), lab.hosts.iter().map(limit).collect())
}

fn optical(lab: &LabSpec, network: &Network) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for (nth, host) in attached(lab, network).enumerate() {
        let switch_port = format!("p-{}", host.name);
        lines.push(bridge(&switch_port));
        lines.push(format!("link set {switch_port} up"));
        let namespace = lab.namespace(&host.name);
        let name = format!("h-{}", host.name);
        lines.extend(port(nth, &name, &network.name, &switch_port, &namespace, network.mtu));
    }
    lines
}

/// The interfaces that must carry frames before the lab counts as up, by namespace.
pub(super) fn carrying(lab: &LabSpec) -> Vec<(String, Vec<String>)> {
    let ports = lab.hosts.iter().map(|host| format!("c-{}", host.name)).collect();
    let core = lab.commodity.core.as_ref();
    let switch = lab.commodity.rate.filter(|_| core.is_none()).map(|_| (lab.namespace(COMMODITY), ports));
    let mut all: Vec<_> = switch.into_iter().collect();
    for router in core.into_iter().flat_map(|core| &core.routers) {
        let ports = hosts_at(lab, router).map(|host| access(&host.name));
        all.push((lab.namespace(router), std::iter::once(CORE.to_owned()).chain(ports).collect()));
    }
    for network in &lab.networks {
        let ports = attached(lab, network).map(|host| format!("h-{}", host.name)).collect();
        all.push((lab.namespace(&network.name), ports));
    }
    for host in &lab.hosts {
        let own = std::iter::once("inet0".to_owned()).chain(host.attachments.keys().cloned());
        all.push((lab.namespace(&host.name), own.collect()));
    }
    all
}

fn attached<'a>(lab: &'a LabSpec, network: &Network) -> impl Iterator<Item = &'a Host> {
    let name = network.name.clone();
    lab.hosts.iter().filter(move |host| host.attachments.contains_key(&name))
}

/// A bridge that forwards and does nothing else: no multicast snooping, no queries of its own.
pub(crate) fn bridge(name: &str) -> String {
    format!("link add {name} type bridge mcast_snooping 0")
}

/// A veth pair from a port of `bridge` here to `interface` in the host's namespace.
///
/// The kernel processes a veth's carrier at once only if the two ends differ in interface index, else up to a
/// second later; ends in different namespaces easily have the same, so the port's index is set out of reach.
fn port(nth: usize, name: &str, interface: &str, bridge: &str, namespace: &str, mtu: u32) -> [String; 2] {
    let index = FIRST_PORT_INDEX + nth;
    let peer = format!("peer name {interface} mtu {mtu} netns {namespace}");
    [
        format!("link add {name} index {index} mtu {mtu} type veth {peer}"),
        format!("link set {name} master {bridge} up"),
    ]
}

fn inside_host(lab: &LabSpec, host: &Host) -> Vec<String> {
    let core = lab.commodity.core.as_ref();
    // Behind a router a host has no neighbours: its address is its own alone.
    let address = core.map_or(host.commodity.to_string(), |_| format!("{}/32", host.commodity.addr()));
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("address add {address} dev inet0"),
        "link set inet0 up".to_owned(),
    ];
    if let Some(Core { gateway, .. }) = core {
        lines.push(format!("route add {gateway} dev inet0 scope link"));
        lines.push(format!("route add default via {gateway}"));
    }
    for (network, attachment) in &host.attachments {
        lines.push(format!("address add {} dev {network}", attachment.address));
        lines.push(format!("link set {network} up"));
    }
    for guest in host.guests.iter().filter(|guest| guest.interface == GuestInterface::Veth) {
        let end = guest.capture_interface();
        let namespace = lab.namespace(&guest.name);
        let peer = format!("peer name eth0 mtu {GUEST_MTU} netns {namespace}");
        lines.push(format!("link add {end} mtu {GUEST_MTU} type veth {peer}"));
        lines.push(format!("link set {end} up"));
    }
    lines
}

fn inside_guest(guest: &Guest) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    if guest.interface == GuestInterface::Absent {
        return lines;
    }
    if guest.interface == GuestInterface::Tap {
        lines.push("tuntap add dev eth0 mode tap".to_owned());
    }
    lines.push(format!("link set eth0 address {} mtu {GUEST_MTU}", guest.mac));
    lines.push(format!("address add {} dev eth0", guest.address));
    lines.push("link set eth0 up".to_owned());
    lines
}
