//! The star, and a lightpath, over `link-tcp`: by another name in the configurations, and nothing else.
//!
//! ```text
//!  a1 ─ alpha ═══ hub ═══ beta ─ b1        ═══ TCP connections, TLS 1.3
//!          │       ▲        │
//!          │       └── stranger
//!          └── chicago ══ lambda ══ evanston ──┘
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use vreserve_tests::gauge::Gauge;
use vreserve_tests::sniff::Sniff;
use vreserve_tests::traffic::{Iperf, Meter, transfer};
use vreserve_tests::{Client, Format, PAIR, Setup, World, skip, wait};

/// A node that crashed and is started again has to join, and to be dialled or to dial.
const BACK: Duration = Duration::from_secs(15);
const TO_LIGHTPATH: Duration = Duration::from_secs(30);
const TO_RELEASE: Duration = Duration::from_secs(30);
/// What guests say to each other.
const WORD: &[u8] = b"VRESERVE";
const PATTERN: &str = "5652455345525645";
const HUB: &str = "198.51.100.1:4789";

fn star() -> World {
    let lab = format!("{PAIR}[[host]]\nname = \"stranger\"\n");
    let bare = vec!["stranger"];
    World::start(&Setup { lab, client: Client::None, bare, format: Format::Tcp, ..Setup::default() })
}

#[test]
fn guests_reach_each_other_and_nobody_on_the_underlay_reads_what_they_say() {
    if skip::is_skipped("tcp_star, reading", &["ping", "tcpdump"]) {
        return;
    }
    let world = star();
    world.assert_reachable("a1", "b1");
    let heard = Sniff::start(&world, "alpha", "inet0", "port 4789");
    let to = world.address("b1").to_string();
    world.exec("a1", &["ping", "-c", "10", "-i", "0.05", "-p", PATTERN, &to]);
    let frames = heard.finish_frames();
    let has = |frame: &[u8], what: &[u8]| frame.windows(what.len()).any(|window| window == what);
    assert!(frames.len() >= 20, "{} segments for 10 pings and their answers", frames.len());
    // Behind Ethernet and IPv4 headers, the protocol: TCP and nothing else.
    assert!(frames.iter().all(|frame| frame[23] == 6), "something that is not TCP");
    let macs = [world.mac("a1").0, world.mac("b1").0];
    assert!(!frames.iter().any(|frame| has(frame, WORD) || macs.iter().any(|mac| has(frame, mac))));
    assert!(world.counter("alpha", "link.internet.connections") >= 1);
}

#[test]
fn a_stranger_gets_no_byte_back_whatever_it_sends() {
    if skip::is_skipped("tcp_star, stranger", &["ping", "tcpdump"]) {
        return;
    }
    let world = star();
    world.assert_reachable("a1", "b1");
    // Anything with content from the hub: length of the segment less both headers.
    let content = "tcp src port 4789 and ((ip[2:2] - ((ip[0] & 0xf) << 2)) - ((tcp[12] & 0xf0) >> 2)) != 0";
    let answers = Sniff::start(&world, "stranger", "inet0", content);
    let before = world.counter("hub", "link.internet.closed_stranger");
    let hello: &[u8] = &[22, 3, 1, 0, 4, 1, 0, 0, 0];
    let openings: [&[u8]; 5] =
        [b"GET / HTTP/1.0\r\n\r\n", &[0xff; 4096], b"vreserve tcp 1\x12\xb5", hello, &[0; 2000]];
    for opening in openings {
        let hub = HUB.parse().unwrap();
        let stream = world.lab().inside("stranger", || TcpStream::connect_timeout(&hub, BACK)).unwrap();
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(BACK)).unwrap();
        // The hub may close before all is written.
        let _ = stream.write_all(opening);
        let _ = stream.shutdown(Shutdown::Write);
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)), "an answer to {opening:?}");
    }
    assert_eq!(answers.finish().len(), 0);
    assert!(world.counter("hub", "link.internet.closed_stranger") > before);
    assert!(world.ping("a1", "b1", 5).is_perfect());
}

#[test]
fn a_node_that_crashed_is_back_within_seconds() {
    if skip::is_skipped("tcp_star, restart", &["ping"]) {
        return;
    }
    let mut world = star();
    for node in ["beta", "hub"] {
        world.assert_reachable("a1", "b1");
        world.kill_daemon(node);
        world.start_daemon(node);
        wait::until_true("guests reach each other again", BACK, || world.ping("a1", "b1", 3).is_perfect());
    }
}

#[test]
fn bulk_tcp_between_guests_arrives_as_it_was_sent() {
    if skip::is_skipped("tcp_star, bulk", &["ping"]) {
        return;
    }
    let world = star();
    world.assert_reachable("a1", "b1");
    let sent: Vec<u8> = (0..16_u32 << 20).map(|index| (index * 31 % 251) as u8).collect();
    let received = transfer(&world, "a1", "b1", 9000, &sent);
    assert_eq!(received.len(), sent.len());
    assert!(received == sent);
}

#[test]
fn a_pair_moves_onto_its_lightpath_and_back_without_a_frame_lost_or_overtaken() {
    if skip::is_skipped("tcp_star, lightpath", &["iperf3", "ping"]) {
        return;
    }
    let adapt = "max_links = 4\nmin_hold = \"2s\"\nrelease_after = \"1s\"\nrelease_below = \"6mbit\"\n";
    let world = World::start(&Setup {
        lab: PAIR.to_owned(),
        format: Format::Tcp,
        adapt: adapt.to_owned(),
        ..Setup::default()
    });
    world.assert_reachable("a1", "b1");
    let gauge = Gauge::start(&world, "a1", "b1");
    gauge.wait_for(500);
    let load = Iperf::between(&world, "a1", "b1", 5202, &["-u", "-P", "4", "-b", "8M", "-l", "1200"]);
    world.wait_until_carrying(TO_LIGHTPATH);
    let before = Meter::start(&world, "b1", "eth0");
    gauge.wait_for(500);
    assert!(before.octets() > 100_000, "the load goes on");
    drop(load);
    wait::until_true("the circuit is released", TO_RELEASE, || world.reservations().circuits.is_empty());
    gauge.wait_for(500);
    let tally = gauge.finish();
    assert_eq!((tally.lost, tally.reordered, tally.duplicated), (0, 0, 0), "{tally:?}");
}
