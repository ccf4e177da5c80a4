//! The star as it is by default: sealed. Nobody on the underlay reads a frame, nobody gets an answer, and a node that
//! crashed is back within seconds.
//!
//! ```text
//!  a1 ─ alpha ═══ hub ═══ beta ─ b1
//!          ▲
//!          └── stranger: sends everything, gets nothing back
//! ```

use std::net::UdpSocket;
use std::time::Duration;

use vreserve_tests::sniff::Sniff;
use vreserve_tests::{Client, Format, PAIR, Setup, World, skip, wait};

/// A node that crashed and is started again has to join and to make new sessions.
const BACK: Duration = Duration::from_secs(15);
/// What guests say to each other.
const WORD: &[u8] = b"VRESERVE";
const PATTERN: &str = "5652455345525645";
const ALPHA: &str = "198.51.100.2:4789";

fn world(format: Format) -> World {
    let lab = format!("{PAIR}[[host]]\nname = \"stranger\"\n");
    World::start(&Setup { lab, client: Client::None, bare: vec!["stranger"], format, ..Setup::default() })
}

/// Datagrams between nodes while guests talk, and whether their frames can be read there.
fn overheard(world: &World) -> (usize, bool) {
    let heard = Sniff::start(world, "alpha", "inet0", "udp port 4789");
    let to = world.address("b1").to_string();
    world.exec("a1", &["ping", "-c", "10", "-i", "0.05", "-p", PATTERN, &to]);
    let frames = heard.finish_frames();
    let macs = [world.mac("a1").0, world.mac("b1").0];
    let has = |frame: &[u8], what: &[u8]| frame.windows(what.len()).any(|window| window == what);
    let is_read = frames.iter().any(|frame| has(frame, WORD) || macs.iter().any(|mac| has(frame, mac)));
    (frames.len(), is_read)
}

#[test]
fn nobody_on_the_underlay_can_read_what_guests_say() {
    if skip::is_skipped("secure_star, reading", &["ping", "tcpdump"]) {
        return;
    }
    for (format, can_be_read) in [(Format::Default, false), (Format::Vxlan, true)] {
        let world = world(format);
        world.assert_reachable("a1", "b1");
        let (datagrams, is_read) = overheard(&world);
        assert!(datagrams >= 20, "{datagrams} datagrams for 10 pings and their answers");
        assert_eq!(is_read, can_be_read, "{format:?}");
    }
}

#[test]
fn a_stranger_gets_no_byte_back_whatever_it_sends() {
    if skip::is_skipped("secure_star, stranger", &["ping", "tcpdump"]) {
        return;
    }
    let world = world(Format::Default);
    world.assert_reachable("a1", "b1");
    let heard = Sniff::start(&world, "alpha", "inet0", "udp port 4789");
    assert!(world.ping("a1", "b1", 5).is_perfect());
    let mut datagrams = heard.finish_frames();
    // Everything that was said between nodes, from the first octet after the outer headers on.
    datagrams.iter_mut().for_each(|frame| drop(frame.drain(..42)));
    datagrams.extend((0..=u8::MAX).map(|kind| vec![kind; 148]));
    datagrams.extend([0, 1, 31, 32, 92, 148, 1400].map(|length| vec![0; length]));

    let answers = Sniff::start(&world, "stranger", "inet0", "ip src 198.51.100.2");
    let socket = world.lab().inside("stranger", || UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    let before = counted(&world);
    for datagram in &datagrams {
        socket.send_to(datagram, ALPHA).unwrap();
    }
    wait::until_true("they are counted", BACK, || counted(&world) >= before + datagrams.len() as u64);
    assert_eq!(answers.finish().len(), 0, "a stranger got something back");
    assert!(world.ping("a1", "b1", 5).is_perfect());
}

/// Datagrams that alpha's endpoint dropped, whatever the reason.
fn counted(world: &World) -> u64 {
    let status = world.ask("alpha", &vreserve::api::Request::Status);
    let counters = status["counters"].as_object().unwrap();
    let drops = counters.iter().filter(|(name, _)| name.starts_with("link.internet.drop_"));
    drops.map(|(_, count)| count.as_u64().unwrap()).sum()
}

#[test]
fn a_node_that_crashed_is_back_within_seconds() {
    if skip::is_skipped("secure_star, restart", &["ping"]) {
        return;
    }
    let mut world = world(Format::Default);
    for node in ["beta", "hub"] {
        world.assert_reachable("a1", "b1");
        world.kill_daemon(node);
        world.start_daemon(node);
        wait::until_true("guests reach each other again", BACK, || world.ping("a1", "b1", 3).is_perfect());
    }
}
