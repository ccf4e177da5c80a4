//! From a lab to the commands that make it. Pure: what runs them is in [`super`].
//!
//! ```text
//!  guest eth0 (TAP)          host                       commodity: br0
//!  guest eth0 ─veth─ vg-<guest>   inet0 ───── tbf ─ c-<host> ─┤
//!                            <network> ─────── h-<host> ─ p-<host>   one bridge per host port, alone
//!                                                  until an ODIN server joins a lambda to it
//! ```

use super::spec::{COMMODITY, Commodity, GUEST_MTU, Guest, GuestInterface, Host, LabSpec, Network};
use crate::batch::Batch;
use crate::units::{BitsPerSecond, Bytes};

/// The batch that makes the namespaces, empty.
pub(super) fn namespaces(lab: &LabSpec) -> Batch {
    Batch::ip_here(lab.namespaces().iter().map(|namespace| format!("netns add {namespace}")).collect())
}

/// The batches that fill the namespaces, in order.
pub(super) fn contents(lab: &LabSpec) -> Vec<Batch> {
    let mut batches = vec![Batch::ip(&lab.namespace(COMMODITY), commodity(lab))];
    for network in &lab.networks {
        batches.push(Batch::ip(&lab.namespace(&network.name), optical(lab, network)));
    }
    for host in &lab.hosts {
        let namespace = lab.namespace(&host.name);
        batches.push(Batch::ip(&namespace, inside_host(lab, host)));
        batches.push(Batch::tc(&namespace, vec![rate_limit("inet0", lab.commodity.rate, lab.commodity.queue)]));
    }
    for (_, guest) in lab.guests() {
        batches.push(Batch::ip(&lab.namespace(&guest.name), inside_guest(guest)));
    }
    batches.push(Batch::tc(&lab.namespace(COMMODITY), commodity_rates(lab)));
    batches
}

/// The `tc` command that limits what leaves an interface: a token bucket over one byte-counted FIFO.
pub(crate) fn rate_limit(interface: &str, rate: BitsPerSecond, queue: Bytes) -> String {
    let bucket = rate.bucket().0;
    format!("qdisc add dev {interface} root tbf rate {}bit burst {bucket} limit {}", rate.0, queue.0)
}

fn commodity(lab: &LabSpec) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned(), bridge("br0"), "link set br0 up".to_owned()];
    for host in &lab.hosts {
        lines.extend(port(&format!("c-{}", host.name), "inet0", "br0", &lab.namespace(&host.name), lab.commodity.mtu));
    }
    lines
}

fn commodity_rates(lab: &LabSpec) -> Vec<String> {
    let Commodity { rate, queue, .. } = lab.commodity;
    lab.hosts.iter().map(|host| rate_limit(&format!("c-{}", host.name), rate, queue)).collect()
}

fn optical(lab: &LabSpec, network: &Network) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for host in lab.hosts.iter().filter(|host| host.attachments.contains_key(&network.name)) {
        let switch_port = format!("p-{}", host.name);
        lines.push(bridge(&switch_port));
        lines.push(format!("link set {switch_port} up"));
        let namespace = lab.namespace(&host.name);
        lines.extend(port(&format!("h-{}", host.name), &network.name, &switch_port, &namespace, network.mtu));
    }
    lines
}

/// A bridge that forwards and does nothing else: no multicast snooping, no queries of its own.
pub(crate) fn bridge(name: &str) -> String {
    format!("link add {name} type bridge mcast_snooping 0")
}

/// A veth pair from a port of `bridge` here to `interface` in the host's namespace.
fn port(name: &str, interface: &str, bridge: &str, namespace: &str, mtu: u32) -> [String; 2] {
    [
        format!("link add {name} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {namespace}"),
        format!("link set {name} master {bridge} up"),
    ]
}

fn inside_host(lab: &LabSpec, host: &Host) -> Vec<String> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("address add {} dev inet0", host.commodity),
        "link set inet0 up".to_owned(),
    ];
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
    if guest.interface == GuestInterface::Tap {
        lines.push("tuntap add dev eth0 mode tap".to_owned());
    }
    lines.push(format!("link set eth0 address {} mtu {GUEST_MTU}", guest.mac));
    lines.push(format!("address add {} dev eth0", guest.address));
    lines.push("link set eth0 up".to_owned());
    lines
}
