//! Guests behind `capture-pcap`: by another name in the configurations, what arrives is what was sent; and a guest that is
//! a file.
//!
//! ```text
//!  a1 eth0 ══ vg-a1 ─ libpcap ─ alpha ═══ hub ═══ beta ─ libpcap ─ vg-b1 ══ eth0 b1
//!                      a file ─┘
//! ```

use std::fs;
use std::time::Duration;

use vreserve_tests::sniff::Sniff;
use vreserve_tests::traffic::transfer;
use vreserve_tests::{Client, Setup, World, pair_on_veth, skip, wait};

/// Several seconds at the star's rate, thousands of super-frames.
const OCTETS: u32 = 12 << 20;

#[test]
fn a_tcp_transfer_between_guests_with_offloads_is_exact_to_the_octet() {
    if skip::is_skipped("capture_pcap", &["ping", "ethtool"]) {
        return;
    }
    let lab = pair_on_veth();
    let world =
        World::start(&Setup { lab, client: Client::None, capture: "capture-pcap", ..Setup::default() });
    world.assert_reachable("a1", "b1");
    let offloads = world.exec("a1", &["ethtool", "-k", "eth0"]);
    for offload in ["tcp-segmentation-offload: on", "tx-checksumming: on"] {
        assert!(offloads.contains(offload), "the guest has the kernel's defaults:\n{offloads}");
    }
    for (port, (from, to)) in (9000..).zip([("a1", "b1"), ("b1", "a1")]) {
        let sent: Vec<u8> = (0..OCTETS).map(|index| (index * 31 % 251) as u8).collect();
        let received = transfer(&world, from, to, port, &sent);
        assert_eq!(received.len(), sent.len());
        assert!(received == sent, "from {from} to {to}");
    }
    assert!(world.counter("alpha", "capture.a1.super_frames_in") > 0);
}

/// A broadcast of an experimental type (IEEE 802) from a guest that nobody else is, with its number.
fn broadcast(number: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x02, 0, 0, 0, 0xf1, 0x1e, 0x88, 0xb6]);
    frame.extend(number.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// A file in pcap format with frames so many milliseconds apart.
fn capture_file(frames: &[Vec<u8>], apart: u32) -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
    let mut file: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    for (number, frame) in (0..).zip(frames) {
        let at = number * apart;
        let length = u32::try_from(frame.len()).unwrap();
        let header = [1_000_000_000 + at / 1000, at % 1000 * 1000, length, length];
        file.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
        file.extend(frame);
    }
    file
}

#[test]
fn frames_of_a_file_reach_guests_in_the_files_own_time_and_order() {
    if skip::is_skipped("capture_pcap, file", &["ping", "tcpdump"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("played.pcap");
    // Two minutes, played four times as fast: longer than the world takes to come up.
    let frames: Vec<_> = (0..1200).map(broadcast).collect();
    fs::write(&file, capture_file(&frames, 100)).unwrap();
    let table = format!(
        "[capture.played]\nuse = \"capture-pcap\"\nkind = \"file\"\nfile = {file:?}\nspeed = 4.0\nmtu = 1400\n"
    );
    let tables = vec![("alpha", table)];
    let setup = Setup {
        lab: pair_on_veth(),
        client: Client::None,
        capture: "capture-pcap",
        tables,
        ..Setup::default()
    };
    let world = World::start(&setup);
    world.assert_reachable("a1", "b1");
    let before = world.counter("alpha", "capture.played.frames_in");
    let seen = Sniff::start(&world, "b1", "eth0", "ether proto 0x88b6");
    wait::until_true("forty more frames are played", Duration::from_secs(30), || {
        world.counter("alpha", "capture.played.frames_in") >= before + 40
    });
    let numbers: Vec<_> = seen
        .finish_frames()
        .iter()
        .map(|frame| u32::from_be_bytes(*frame[14..].first_chunk().unwrap()))
        .collect();
    assert!(numbers.len() >= 20, "{numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert!(world.topology().guests.iter().any(|guest| guest.node == "alpha" && guest.mac.0[4] == 0xf1));
}
