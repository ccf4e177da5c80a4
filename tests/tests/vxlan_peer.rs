//! A plain kernel VXLAN device is a far node of `link-udp`.
//!
//! ```text
//!  vx0 10.1.0.9 ─ rack ═══ VXLAN, static link ═══ alpha ─ a1 10.1.0.1
//!  (the kernel's)                                   ║ star
//!                                                  hub ═══ beta ─ b1 10.1.0.2
//! ```
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use vreserve_tests::traffic::{Iperf, Meter};
use vreserve_tests::{Client, PAIR, Setup, World, skip, wait};

const RACK: &str = "10.1.0.9";

#[test]
fn a_kernel_vxlan_device_exchanges_frames_with_guests_of_this_node_and_of_another() {
    if skip::is_skipped("vxlan_peer", &["ethtool", "iperf3", "ping"]) {
        return;
    }
    let world = World::start(&Setup {
        lab: format!("{PAIR}[[host]]\nname = \"rack\"\n"),
        client: Client::None,
        tables: vec![(
            "alpha",
            "[[static_link]]\nname = \"rack\"\nendpoint = \"internet\"\naddress = \"198.51.100.4:4789\"\n"
                .to_owned(),
        )],
        bare: vec!["rack"],
        ..Setup::default()
    });
    make_vxlan(&world);
    let reaches = |from: &str, to: &str| {
        wait::until_true(
            "the kernel's VXLAN device and a guest reach each other",
            Duration::from_secs(10),
            || world.ping_address(from, to, 3).is_perfect(),
        );
    };
    reaches("rack", "10.1.0.1");
    reaches("a1", RACK);
    assert!(
        world.exec("rack", &["ip", "neigh"]).contains(&world.mac("a1").to_string()),
        "ARP by the guest itself"
    );

    // Over the star, to a guest on another node, and from there.
    reaches("rack", "10.1.0.2");
    reaches("b1", RACK);

    let ways = [("a1", "rack", RACK, "vx0"), ("rack", "a1", "10.1.0.1", "eth0"), ("b1", "rack", RACK, "vx0")];
    for (from, to, address, interface) in ways {
        let meter = Meter::start(&world, to, interface);
        let _iperf = Iperf::start(&world, from, to, address, 5201, &[]);
        meter.wait_for(10_000_000);
    }
    assert_eq!(world.counter("alpha", "link.internet.drop_oversized"), 0);
    let links = world.ask("alpha", &vreserve::api::Request::Links);
    let rack = links.as_array().unwrap().iter().find(|link| link["class"] == "static").unwrap();
    assert_eq!(rack["far_node"], "rack");
    assert!(rack["sent_frames"].as_u64().unwrap() > 0 && rack["received_frames"].as_u64().unwrap() > 0);
}

fn make_vxlan(world: &World) {
    // A wire carries no super-frames: no network card hands a tunnel's segments on uncut, but a veth does.
    let uncut = ["tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off"];
    world.exec("rack", &[&["ethtool", "-K", "inet0"], &uncut[..]].concat());
    let far = "id 1 dstport 4789 local 198.51.100.4 remote 198.51.100.2 dev inet0";
    let add: Vec<_> = ["ip", "link", "add", "vx0", "mtu", "1450", "type", "vxlan"].into_iter().collect();
    world.exec("rack", &[add, far.split(' ').collect()].concat());
    world.exec("rack", &["ip", "address", "add", &format!("{RACK}/24"), "dev", "vx0"]);
    world.exec("rack", &["ip", "link", "set", "vx0", "up"]);
}
