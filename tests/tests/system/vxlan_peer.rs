//! A plain kernel VXLAN device is a far node of `link-udp`, and of `link-vxlan`.
//!
//! ```text
//!  vx0 10.1.0.9 ─ rack ═══ VXLAN, static link ═══ alpha ─ a1 10.1.0.1
//!  (the kernel's)                                   ║ star
//!                                                  hub ═══ beta ─ b1 10.1.0.2
//! ```

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use vreserve_tests::traffic::{Iperf, Meter};
use vreserve_tests::{Client, Format, PAIR, Setup, World, skip, wait};

const RACK: &str = "10.1.0.9";

fn world(format: Format) -> World {
    World::start(&Setup {
        lab: format!("{PAIR}[[host]]\nname = \"rack\"\n"),
        client: Client::None,
        tables: vec![(
            "alpha",
            "[[static_link]]\nname = \"rack\"\nendpoint = \"internet\"\naddress = \"198.51.100.4:4789\"\n"
                .to_owned(),
        )],
        bare: vec!["rack"],
        format,
        ..Setup::default()
    })
}

#[test]
fn a_kernel_vxlan_device_exchanges_frames_with_guests_of_this_node_and_of_another() {
    if skip::is_skipped("vxlan_peer", &["ethtool", "iperf3", "ping"]) {
        return;
    }
    exchange(&world(Format::Vxlan));
}

#[test]
fn a_kernel_vxlan_device_exchanges_frames_with_those_behind_link_vxlan() {
    if skip::is_skipped("vxlan_peer, link-vxlan", &["ethtool", "iperf3", "ping"]) {
        return;
    }
    let world = world(Format::Device);
    exchange(&world);
    for member in ["rack", "a1", "b1"] {
        assert_eq!(wrong_checksums(&world, member), 0, "at {member}");
    }
    assert!(world.counter("alpha", "capture.a1.super_frames_out") > 0, "the guest gets super-frames");
}

fn exchange(world: &World) {
    // A wire carries no super-frames: no network card hands a tunnel's segments on uncut, but a veth does.
    let uncut = ["tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off"];
    world.exec("rack", &[&["ethtool", "-K", "inet0"], &uncut[..]].concat());
    make_vxlan(world);
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
        let meter = Meter::start(world, to, interface);
        let _iperf = Iperf::start(world, from, to, address, 5201, &[]);
        meter.wait_for(10_000_000);
    }
    assert_eq!(world.counter("alpha", "link.internet.drop_oversized"), 0);
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

/// Payload of each datagram that the kernel is to cut, and how many of them it gets at once.
const SEGMENT: usize = 300;
const SEGMENTS: usize = 20;

#[test]
fn what_a_kernel_vxlan_device_leaves_uncut_arrives_whole_and_with_right_checksums() {
    if skip::is_skipped("vxlan_peer, uncut", &["iperf3", "ping"]) {
        return;
    }
    let world = world(Format::Vxlan);
    make_vxlan(&world);
    wait::until_true("the kernel's VXLAN device reaches the guest", Duration::from_secs(10), || {
        world.ping_address("rack", "10.1.0.1", 1).is_perfect()
    });
    for (from, to, address, interface) in [("rack", "a1", "10.1.0.1", "eth0"), ("a1", "rack", RACK, "vx0")] {
        let meter = Meter::start(&world, to, interface);
        let _iperf = Iperf::start(&world, from, to, address, 5201, &[]);
        meter.wait_for(10_000_000);
    }
    assert!(world.counter("alpha", "capture.a1.super_frames_out") > 0, "the guest gets super-frames");
    datagrams_cut_late(&world);
    for member in ["rack", "a1"] {
        assert_eq!(wrong_checksums(&world, member), 0, "at {member}");
    }
    for drop in ["drop_oversized", "drop_malformed", "drop_wrong_vni"] {
        assert_eq!(world.counter("alpha", &format!("link.internet.{drop}")), 0, "{drop}");
    }
}

/// One large send that the guest's kernel leaves to its VXLAN device to cut (`UDP_SEGMENT`), which leaves it to the
/// veth: the far guest gets each datagram by itself.
fn datagrams_cut_late(world: &World) {
    let bind = |member: &str, address: &str| world.lab().inside(member, || UdpSocket::bind(address));
    let receiver = bind("a1", "10.1.0.1:9098").unwrap().unwrap();
    let sender = bind("rack", "10.1.0.9:0").unwrap().unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    setsockopt(&sender, sockopt::UdpGsoSegment, &(SEGMENT as i32)).unwrap();
    let sent: Vec<u8> = (0..SEGMENT * SEGMENTS).map(|place| (place / SEGMENT) as u8).collect();
    sender.send_to(&sent, "10.1.0.1:9098").unwrap();
    let mut datagram = [0; 2 * SEGMENT];
    for segment in sent.chunks(SEGMENT) {
        let length = receiver.recv(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], segment);
    }
}

/// TCP segments and UDP datagrams with a wrong checksum, as a member's kernel counts them.
fn wrong_checksums(world: &World, member: &str) -> u64 {
    let table = world.lab().inside(member, || std::fs::read_to_string("/proc/thread-self/net/snmp"));
    let table = table.unwrap().unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split(' ').collect()).collect();
    let counts = lines.chunks(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
    counts.filter(|(name, _)| **name == "InCsumErrors").map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}
