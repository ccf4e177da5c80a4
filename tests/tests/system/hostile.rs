//! What nobody should send: datagrams from strangers, malformed ones, guests' frames that are none.
//!
//! ```text
//!  a1 ─ alpha ═══ hub ═══ beta ─ b1
//!          ▲       └─ also sends alpha what no node would
//!          └── stranger: sends everything, gets nothing back
//! ```

use std::net::UdpSocket;
use std::time::Duration;

use vreserve_tests::sniff::Sniff;
use vreserve_tests::{Client, Format, PAIR, Setup, World, raw, skip, wait};

const ALPHA: &str = "198.51.100.2:4789";
const COUNTED: Duration = Duration::from_secs(10);
const SIGNAL_ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Every case is sent so many times.
const TIMES: usize = 20;

fn world() -> World {
    let lab = format!("{PAIR}[[host]]\nname = \"stranger\"\n");
    // Clear text, so that datagrams can be forged.
    let format = Format::Vxlan;
    World::start(&Setup { lab, client: Client::None, bare: vec!["stranger"], format, ..Setup::default() })
}

/// A VXLAN datagram: flags, network identifier, inner frame.
fn datagram(flags: u8, vni: u32, frame: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    [&[flags, 0, 0, 0, a, b, c, 0], frame].concat()
}

/// An Ethernet frame of the least length.
fn frame(destination: [u8; 6], source: [u8; 6], ether_type: [u8; 2]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &ether_type].concat();
    frame.resize(60, 0x5a);
    frame
}

fn send_from(world: &World, host: &str, datagrams: &[Vec<u8>]) {
    let socket = world.lab().inside(host, || UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    for datagram in std::iter::repeat_n(datagrams, TIMES).flatten() {
        socket.send_to(datagram, ALPHA).unwrap();
    }
}

#[test]
fn strangers_are_counted_and_never_answered() {
    if skip::is_skipped("hostile, strangers", &["ping", "tcpdump"]) {
        return;
    }
    let world = world();
    world.assert_reachable("a1", "b1");
    let answers = Sniff::start(&world, "stranger", "inet0", "ip src 198.51.100.2");
    let (a1, b1) = (world.mac("a1").0, world.mac("b1").0);
    let datagrams = [
        datagram(8, 1, &frame(a1, b1, [8, 0])),
        datagram(8, 1, &frame([2, 0x56, 0x52, 0, 0, 1], b1, SIGNAL_ETHERTYPE)),
        vec![0; 1400],
        vec![1],
        Vec::new(),
    ];
    send_from(&world, "stranger", &datagrams);
    let all = (datagrams.len() * TIMES) as u64;
    wait::until_true("strangers' datagrams are counted", COUNTED, || {
        world.counter("alpha", "link.internet.drop_stranger") >= all
    });
    assert_eq!(answers.finish().len(), 0, "a stranger got something back");
    assert!(world.ping("a1", "b1", 5).is_perfect());
}

#[test]
fn malformed_datagrams_of_a_known_sender_are_counted_by_reason() {
    if skip::is_skipped("hostile, malformed", &["ping"]) {
        return;
    }
    let world = world();
    world.assert_reachable("a1", "b1");
    let (a1, b1) = (world.mac("a1").0, world.mac("b1").0);
    let good = frame(a1, b1, [8, 0]);
    let datagrams = [
        // Malformed: without the I flag, shorter than the header, with a runt inside.
        datagram(0, 1, &good),
        vec![8, 0, 0],
        datagram(8, 1, &good[..9]),
        datagram(8, 2, &good),
        datagram(8, 1, &vec![0x5a; 4000]),
        datagram(8, 1, &frame(a1, [0xff; 6], [8, 0])),
        datagram(8, 1, &frame([2, 0x56, 0x52, 0, 0, 1], b1, SIGNAL_ETHERTYPE)),
    ];
    let counted = || {
        let link = |name: &str| world.counter("alpha", &format!("link.internet.drop_{name}"));
        let drop = |name: &str| world.drops("alpha", name);
        [
            link("malformed") + drop("runt") + drop("malformed"),
            link("wrong_vni"),
            link("oversized"),
            drop("invalid_source"),
            drop("bad_signal"),
        ]
    };
    let before = counted();
    send_from(&world, "hub", &datagrams);
    let times = TIMES as u64;
    let expected = [3 * times, times, times, times, times];
    wait::until_true("every kind is counted under its name", COUNTED, || {
        counted().iter().zip(before).zip(expected).all(|((now, before), more)| now - before >= more)
    });
    assert!(world.ping("a1", "b1", 5).is_perfect());
}

#[test]
fn a_guest_that_speaks_as_nodes_do_is_cut_off() {
    if skip::is_skipped("hostile, guest", &["ping", "tcpdump"]) {
        return;
    }
    let world = world();
    world.assert_reachable("a1", "b1");
    let (a1, b1) = (world.mac("a1").0, world.mac("b1").0);
    let seen = Sniff::start(&world, "b1", "eth0", "ether proto 0x88b5 or ether proto 0x1234");
    let mut barrier = frame(b1, a1, SIGNAL_ETHERTYPE);
    barrier[14..20].copy_from_slice(b"VRSV\x01\x03");
    let frames = [
        barrier,
        frame([0xff; 6], a1, SIGNAL_ETHERTYPE),
        frame(b1, [0x01, 0, 0x5e, 0, 0, 1], [0x12, 0x34]),
        frame(b1, [0; 6], [0x12, 0x34]),
    ];
    for _ in 0..TIMES {
        raw::send(&world, "a1", "eth0", &frames);
    }
    let twice = 2 * TIMES as u64;
    wait::until_true("they are counted", COUNTED, || {
        world.drops("alpha", "reserved_ethertype") >= twice && world.drops("alpha", "invalid_source") >= twice
    });
    assert!(world.ping("a1", "b1", 5).is_perfect());
    assert_eq!(seen.finish().len(), 0, "none of them reached the other guest");
}
