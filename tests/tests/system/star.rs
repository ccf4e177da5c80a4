//! The star alone: guests reach each other through the hub, whoever restarts; strangers get nothing.
//!
//! ```text
//!  a1 ─ alpha ═══╗
//!  b1 ─ beta ════╬═══ hub
//!  g1 ─ gamma ═══╝        stranger: a host whose key the hub does not know
//! ```

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use vreserve::api::Request;
use vreserve_tests::sniff::Sniff;
use vreserve_tests::{Client, Keys, PAIR, Setup, World, program, skip, wait};

const HEALED: Duration = Duration::from_secs(30);
const PAIRS: [(&str, &str); 3] = [("a1", "b1"), ("b1", "g1"), ("g1", "a1")];

#[test]
fn guests_reach_each_other_once_and_are_learned() {
    if skip::is_skipped("star", &["ping", "tcpdump"]) {
        return;
    }
    let world = World::start(&Setup { client: Client::None, ..Setup::default() });
    // The first frames are broadcast ARP requests, which the hub floods.
    let asked = format!("arp[6:2] = 1 and ether src {}", world.mac("a1"));
    let seen = Sniff::start(&world, "g1", "eth0", &asked);
    world.exec("a1", &["ip", "neigh", "flush", "all"]);
    for (from, to) in PAIRS {
        let ping = world.ping(from, to, 5);
        assert!(ping.is_perfect(), "{}", ping.text);
    }
    let requests = seen.finish().len();
    assert!(
        (1..=2).contains(&requests),
        "g1 saw {requests} requests of a1 for b1's and perhaps its own address"
    );

    wait::until_true("the hub knows every guest", HEALED, || world.topology().guests.len() == 3);
    let guests = world.topology().guests;
    for (guest, node) in [("a1", "alpha"), ("b1", "beta"), ("g1", "gamma")] {
        let found = guests.iter().find(|known| known.mac == world.mac(guest)).unwrap();
        assert_eq!(found.node, node);
        let local = world.ask(node, &Request::Status)["guests"][world.mac(guest).to_string()].clone();
        assert_eq!(local, guest, "the interface is named after its guest");
    }

    // Known unicast does not reach those whom it does not concern.
    let ours = format!("icmp and ether src {}", world.mac("a1"));
    let elsewhere = Sniff::start(&world, "g1", "eth0", &ours);
    assert!(world.ping("a1", "b1", 5).is_perfect());
    assert_eq!(elsewhere.finish().len(), 0);
}

#[test]
fn a_restarted_spoke_and_a_restarted_proxy_heal() {
    if skip::is_skipped("star, restarts", &["ping"]) {
        return;
    }
    let mut world = World::start(&Setup { client: Client::None, ..Setup::default() });
    PAIRS.iter().for_each(|(from, to)| world.assert_reachable(from, to));

    world.kill_daemon("beta");
    wait::until_true("what concerns others goes on", HEALED, || world.ping("a1", "g1", 3).is_perfect());
    world.start_daemon("beta");
    world.wait_until_ready();
    PAIRS.iter().for_each(|(from, to)| world.assert_reachable(from, to));

    world.stop_daemon("hub");
    assert_eq!(world.ping("a1", "b1", 1).received, 0, "the star needs its hub");
    world.start_daemon("hub");
    world.wait_until_ready();
    PAIRS.iter().for_each(|(from, to)| world.assert_reachable(from, to));
    wait::until_true("the hub knows every guest again", HEALED, || world.topology().guests.len() == 3);
}

#[test]
fn a_stranger_is_not_admitted_and_gets_no_byte_back() {
    if skip::is_skipped("star, stranger", &["ping", "tcpdump"]) {
        return;
    }
    let lab = format!("{PAIR}[[host]]\nname = \"stranger\"\n");
    let world =
        World::start(&Setup { lab, client: Client::None, bare: vec!["stranger"], ..Setup::default() });
    world.assert_reachable("a1", "b1");
    // Anything with content from the hub: length of the segment less both headers.
    let content = "tcp src port 7654 and ((ip[2:2] - ((ip[0] & 0xf) << 2)) - ((tcp[12] & 0xf0) >> 2)) != 0";
    let answers = Sniff::start(&world, "stranger", "inet0", content);

    let keys = Keys::generate(world.dir().join("unknown.key"));
    let config = fs::read_to_string(world.config("stranger")).unwrap();
    let own = format!("{:?}", world.dir().join("stranger.key"));
    let config = config.replace(&own, &format!("{:?}", keys.file));
    let file = world.dir().join("unknown.toml");
    fs::write(&file, config).unwrap();
    let log = fs::File::create(world.dir().join("stranger.log")).unwrap();
    let mut daemon = Command::new(program("vreserve"));
    daemon.args(["run", "--config"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut daemon = world.lab().spawn("stranger", &mut daemon).unwrap();
    wait::until_true("the stranger is turned away", HEALED, || {
        let log = fs::read_to_string(world.dir().join("stranger.log")).unwrap_or_default();
        log.contains("proxy_lost")
    });

    // Nor does anybody who speaks another language.
    let greetings: [&[u8]; 3] = [b"GET / HTTP/1.0\r\n\r\n", &[0xff; 4096], &[0, 96]];
    for greeting in greetings {
        let hub = "198.51.100.1:7654".parse().unwrap();
        let stream = world.lab().inside("stranger", || TcpStream::connect_timeout(&hub, HEALED)).unwrap();
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(HEALED)).unwrap();
        // The hub may close before all is written.
        let _ = stream.write_all(greeting);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)), "an answer to {greeting:?}");
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(answers.finish().len(), 0);
    let nodes = world.topology().nodes;
    assert!(!nodes.iter().any(|node| node.name == "stranger"), "{nodes:?}");
    world.assert_reachable("a1", "b1");
}
