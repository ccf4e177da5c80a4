//! Guests whose MTU is larger than a link carries are told so, and what they send arrives all the same.
//!
//! ```text
//!  a1 eth0 (MTU 1500) ═ alpha ─── sealed, or VXLAN, on an underlay of 1500 ─── hub ─── beta ═ b1 (1500)
//! ```

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::time::Duration;

use vreserve::api::Request;
use vreserve_tests::traffic::connect;
use vreserve_tests::{Client, Format, Setup, World, pair_on_veth, skip};

const GUESTS: [(&str, &str, &str); 2] = [("alpha", "a1", "fd00:1::1"), ("beta", "b1", "fd00:1::2")];
const OCTETS: usize = 4 << 20;

/// Each wire format and what it leaves of 1500 octets for a guest's IP packets.
const FORMATS: [(Format, &str); 2] = [(Format::Default, "1426"), (Format::Vxlan, "1450")];

/// Two guests with an MTU of 1500 and IPv6 addresses; the daemons know of it.
fn world(format: Format) -> World {
    let mut world =
        World::start(&Setup { lab: pair_on_veth(), client: Client::None, format, ..Setup::default() });
    for (node, guest, address) in GUESTS {
        let port = format!("vg-{guest}");
        world.exec(node, &["ip", "link", "set", &port, "mtu", "1500"]);
        world.exec(guest, &["ip", "link", "set", "eth0", "mtu", "1500"]);
        world.exec(guest, &["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0"]);
        world.exec(guest, &["ip", "-6", "address", "add", &format!("{address}/64"), "dev", "eth0", "nodad"]);
        world.stop_daemon(node);
        world.start_daemon(node);
    }
    world.wait_until_ready();
    world.assert_reachable("a1", "b1");
    world
}

/// Pings with packets of 1500 octets that nobody may fragment.
fn ping_whole(world: &World, to: &str, octets: &str) -> String {
    let mut ping = Command::new("ping");
    ping.args(["-n", "-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", octets, to]);
    let output = world.lab().exec("a1", &mut ping).unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn guests_learn_the_mtu_of_their_path_over_both_ip_versions() {
    if skip::is_skipped("path_mtu, ping", &["ping", "sysctl"]) {
        return;
    }
    for (format, mtu) in FORMATS {
        learn(&world(format), mtu);
    }
}

fn learn(world: &World, mtu: &str) {
    let to = world.address("b1").to_string();
    let answer = ping_whole(world, &to, "1472");
    assert!(answer.contains(&format!("Frag needed and DF set (mtu = {mtu})")), "{answer}");
    let route = world.exec("a1", &["ip", "route", "get", &to]);
    assert!(route.contains(&format!("mtu {mtu}")), "the guest's kernel believes it: {route}");

    let to = GUESTS[1].2;
    assert!(world.ping_address("a1", to, 3).received > 0, "IPv6 works at all");
    let answer = ping_whole(world, to, "1452");
    assert!(answer.contains(&format!("Packet too big: mtu={mtu}")), "{answer}");
    let route = world.exec("a1", &["ip", "-6", "route", "get", to]);
    assert!(route.contains(&format!("mtu {mtu}")), "{route}");

    let status = world.ask("alpha", &Request::Status);
    assert_eq!(status["too_big"]["answered"], 2, "{status}");
    assert_eq!(world.drops("alpha", "oversized"), 2);
    assert_eq!(world.ask("hub", &Request::Status)["too_big"]["answered"], 0);
}

#[test]
fn a_tcp_transfer_with_segments_that_are_too_large_at_first_is_exact() {
    if skip::is_skipped("path_mtu, TCP", &["ping", "sysctl"]) {
        return;
    }
    let world = world(Format::Default);
    let (mut near, mut far) = connect(&world, "a1", "b1", 9000);
    far.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let sent: Vec<u8> = (0..OCTETS as u32).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
    let received = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut received = Vec::with_capacity(OCTETS);
            far.read_to_end(&mut received).map(|_| received)
        });
        near.write_all(&sent).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        reader.join().unwrap().unwrap()
    });
    assert!(received == sent, "{} of {} octets, or others", received.len(), sent.len());
    let refused = world.drops("alpha", "oversized");
    assert!(refused > 0, "the first segments were too large");
    assert!(refused < 100, "and then no more: {refused}");
}
