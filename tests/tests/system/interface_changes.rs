//! A guest's interface under a running TCP stream: it loses its offloads, changes its MTU, vanishes and comes back.
//!
//! ```text
//!  a1: eth0 ── vg-a1: alpha ═══ hub ═══ beta: vg-b1 ── b1: eth0
//!         └─ changed ─┘
//! ```

use vreserve_testbed::GUEST_MTU;
use vreserve_tests::traffic::{Iperf, Meter};
use vreserve_tests::{Client, Setup, World, pair_on_veth, skip};

/// Enough that it cannot have been under way before.
const MORE: u64 = 6_000_000;

#[test]
fn tcp_goes_on_whatever_becomes_of_the_interface() {
    if skip::is_skipped("interface_changes", &["ethtool", "iperf3", "ping"]) {
        return;
    }
    let world = World::start(&Setup { lab: pair_on_veth(), client: Client::None, ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let mut iperf = Iperf::between(&world, "a1", "b1", 5201, &[]);
    let goes_on = || Meter::start(&world, "b1", "eth0").wait_for(MORE);
    goes_on();

    for (member, interface) in [("alpha", "vg-a1"), ("a1", "eth0")] {
        world.exec(member, &["ethtool", "-K", interface, "tso", "off", "gso", "off", "tx", "off"]);
        goes_on();
    }
    for mtu in ["1000", "1400"] {
        world.exec("a1", &["ip", "link", "set", "eth0", "mtu", mtu]);
        world.exec("alpha", &["ip", "link", "set", "vg-a1", "mtu", mtu]);
        goes_on();
    }
    world.exec("alpha", &["ip", "link", "delete", "vg-a1"]);
    make_again(&world);
    goes_on();
    assert!(iperf.is_running(), "one connection through all of it");
}

/// The veth pair as the lab made it.
fn make_again(world: &World) {
    let namespace = world.lab().spec().namespace("a1");
    let (mac, address) = (world.mac("a1").to_string(), format!("{}/24", world.address("a1")));
    let mtu = GUEST_MTU.to_string();
    let pair = ["ip", "link", "add", "vg-a1", "mtu", &mtu, "type", "veth", "peer", "name", "eth0"];
    world.exec("alpha", &[&pair[..], &["mtu", &mtu, "netns", &namespace]].concat());
    world.exec("alpha", &["ip", "link", "set", "vg-a1", "up"]);
    world.exec("a1", &["ip", "link", "set", "eth0", "address", &mac, "up"]);
    world.exec("a1", &["ip", "address", "add", &address, "dev", "eth0"]);
}
