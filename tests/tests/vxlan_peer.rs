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
    if skip::is_skipped("vxlan_peer", &["iperf3", "ping"]) {
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

    for (from, to, address) in [("a1", "rack", RACK), ("rack", "a1", "10.1.0.1"), ("b1", "rack", RACK)] {
        let meter = Meter::start(&world, if to == "rack" { from } else { to });
        let _iperf = Iperf::start(&world, from, to, address, 5201, &[]);
        // To a guest it is the data that counts, from one the acknowledgements.
        let enough = if to == "rack" { 20_000 } else { 2_000_000 };
        wait::until_true("TCP flows", Duration::from_secs(15), || meter.octets() > enough);
    }
    let links = world.ask("alpha", &vreserve::api::Request::Links);
    let rack = links.as_array().unwrap().iter().find(|link| link["class"] == "static").unwrap();
    assert_eq!(rack["far_node"], "rack");
    assert!(rack["sent_frames"].as_u64().unwrap() > 0 && rack["received_frames"].as_u64().unwrap() > 0);
}

fn make_vxlan(world: &World) {
    let far = "id 1 dstport 4789 local 198.51.100.4 remote 198.51.100.2 dev inet0";
    let add: Vec<_> = ["ip", "link", "add", "vx0", "mtu", "1450", "type", "vxlan"].into_iter().collect();
    world.exec("rack", &[add, far.split(' ').collect()].concat());
    world.exec("rack", &["ip", "address", "add", &format!("{RACK}/24"), "dev", "vx0"]);
    world.exec("rack", &["ip", "link", "set", "vx0", "up"]);
}
