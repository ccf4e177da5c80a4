//! Two instances and plain sockets on loopback addresses, through the plugin's C tables.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{TestLink, numbered_frame, open, open_on, open_secure};
use proptest::prelude::*;
use vreserve_offload::Segments;
use vreserve_offload::checksum::{Integrity, Sum, pseudo_ipv4, verify};
use vreserve_sdk::{FailureKind, Offload};

/// Outer IPv4, UDP and VXLAN headers of an underlay of 1500 bytes leave this for a frame.
const LARGEST_FRAME: usize = 1464;
const OVERSIZED: u32 = 1;
const DOWN: u32 = 3;
const MALFORMED: u32 = 4;

fn joined_pair(a: &str, b: &str) -> (TestLink, TestLink) {
    let (a, b) = (open_on(a), open_on(b));
    a.add_far(20, &b.info().address).unwrap();
    b.add_far(10, &a.info().address).unwrap();
    (a, b)
}

/// A plain socket on `ip`, connected to the endpoint.
fn socket_towards(link: &TestLink, ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.connect(&*link.info().address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn vxlan(vni: u8, frame: &[u8]) -> Vec<u8> {
    [&[0x08, 0, 0, 0, 0, 0, vni, 0], frame].concat()
}

#[test]
fn frames_cross_in_order_and_unchanged() {
    for (a, b) in [("127.0.0.1", "127.0.0.2"), ("127.0.0.3", "127.0.0.4")] {
        let (a, b) = joined_pair(a, b);
        let frames: Vec<_> = (0..200).map(|n| (20, numbered_frame(60 + n as usize, n))).collect();
        let sent = a.send(&frames);
        assert_eq!((sent.consumed, sent.refusals), (200, vec![0; 200]));
        let received = b.recv_frames(200);
        assert!(received.iter().zip(&frames).all(|(got, sent)| got.0 == 10 && got.1 == sent.1));
        assert_eq!((a.counter("frames_sent"), b.counter("frames_received"), b.drops()), (200, 200, 0));
    }
}

#[test]
fn nothing_is_allocated_once_the_endpoint_is_open() {
    let (a, b) = joined_pair("127.0.0.15", "127.0.0.16");
    let (frame, offload) = tcp_super_frame(30_000);
    let frames: Vec<_> = (0..100).map(|n| (20 + n % 2, numbered_frame(60, n))).collect();
    for _ in 0..2 {
        assert_eq!((a.send(&frames).consumed, a.allocations.get()), (100, 0));
        assert_eq!(
            (a.send_with(&[(20, frame.clone())], offload).refusals, a.allocations.get()),
            (vec![0], 0)
        );
        let mut received = 0;
        while received < 51 {
            assert!(b.wait());
            received += b.recv(128).len();
            assert_eq!(b.allocations.get(), 0);
        }
    }
}

#[test]
fn ipv6_endpoints_carry_frames_and_say_their_smaller_mtu() {
    if UdpSocket::bind("[::1]:0").is_err() {
        common::skip("SKIPPED: there is no IPv6 loopback address here");
        return;
    }
    let link = open_on("[::1]");
    assert_eq!(link.info().mtu, 1444);
    link.add_far(5, &link.info().address).unwrap();
    assert_eq!(link.send(&[(5, numbered_frame(1444, 1))]).refusals, [0]);
    assert_eq!(link.recv_frames(1), [(5, numbered_frame(1444, 1))]);
}

#[test]
fn the_wire_format_is_rfc_7348() {
    let link = open_on("127.0.0.1");
    let socket = socket_towards(&link, "127.0.0.5");
    link.add_far(1, &socket.local_addr().unwrap().to_string()).unwrap();
    link.send(&[(1, numbered_frame(60, 9))]);
    let mut datagram = [0; 2048];
    let (len, from) = socket.recv_from(&mut datagram).unwrap();
    assert_eq!(datagram[..len], vxlan(7, &numbered_frame(60, 9)));
    assert_eq!(from, link.info().address.parse::<SocketAddr>().unwrap(), "sent from the bound port");
}

#[test]
fn a_far_node_may_send_from_any_port() {
    let link = open_on("127.0.0.1");
    link.add_far(3, "127.0.0.6:4789").unwrap();
    for mark in 0..3 {
        socket_towards(&link, "127.0.0.6").send(&vxlan(7, &numbered_frame(60, mark))).unwrap();
    }
    assert_eq!(link.recv_frames(3).iter().filter(|(far, _)| *far == 3).count(), 3);
}

#[test]
fn strangers_are_counted_and_get_no_answer() {
    let link = open_on("127.0.0.1");
    let stranger = socket_towards(&link, "127.0.0.7");
    stranger.send(&vxlan(7, &numbered_frame(60, 1))).unwrap();
    assert!(link.wait());
    assert_eq!(link.recv(16), []);
    assert_eq!((link.counter("drop_stranger"), link.drops()), (1, 1));
    stranger.set_nonblocking(true).unwrap();
    // Loopback delivers before the sender's call returns, so an answer would be here by now.
    assert_eq!(stranger.recv(&mut [0; 64]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    link.add_far(1, "127.0.0.7:4789").unwrap();
    stranger.send(&vxlan(7, &numbered_frame(60, 2))).unwrap();
    assert_eq!(link.recv_frames(1), [(1, numbered_frame(60, 2))]);
    link.remove_far(1);
    stranger.send(&vxlan(7, &numbered_frame(60, 3))).unwrap();
    assert!(link.wait());
    assert_eq!((link.recv(16), link.counter("drop_stranger")), (vec![], 2));
}

#[test]
fn dropped_datagrams_leave_no_gap_among_the_frames_behind_them() {
    let link = open_on("127.0.0.1");
    let far = socket_towards(&link, "127.0.0.8");
    link.add_far(1, "127.0.0.8:4789").unwrap();
    let bad = [
        vec![],
        vec![8, 0, 0, 0, 0, 0, 7],
        vxlan(8, &numbered_frame(60, 0)),
        vxlan(7, &[0; 13]),
        vxlan(7, &[1; 2000]),
    ];
    for (mark, bad) in bad.iter().enumerate() {
        far.send(bad).unwrap();
        far.send(&vxlan(7, &numbered_frame(100 + mark, mark as u32))).unwrap();
    }
    let expected: Vec<_> = (0..5).map(|mark| (1, numbered_frame(100 + mark, mark as u32))).collect();
    assert_eq!(link.recv_frames(5), expected);
    let counts = ["drop_malformed", "drop_wrong_vni", "drop_oversized", "drop_stranger"]
        .map(|name| link.counter(name));
    assert_eq!(counts, [3, 1, 1, 0]);
}

#[test]
fn frames_that_cannot_go_are_refused_one_by_one() {
    let (a, b) = joined_pair("127.0.0.1", "127.0.0.10");
    // A class E address has no route: the kernel says so at once.
    a.add_far(66, "240.0.0.1:4789").unwrap();
    let sent = a.send(&[
        (20, numbered_frame(60, 1)),
        (99, numbered_frame(60, 2)),
        (20, numbered_frame(LARGEST_FRAME + 1, 3)),
        (66, numbered_frame(60, 4)),
        (20, vec![0; 13]),
        (20, numbered_frame(LARGEST_FRAME, 5)),
    ]);
    assert_eq!((sent.consumed, &*sent.refusals), (6, &[0, DOWN, OVERSIZED, DOWN, MALFORMED, 0][..]));
    assert_eq!(sent.limits[2], LARGEST_FRAME as u32, "the host is told what would go");
    assert_eq!(b.recv_frames(2), [(10, numbered_frame(60, 1)), (10, numbered_frame(LARGEST_FRAME, 5))]);
}

#[test]
fn partial_checksums_are_finished() {
    let (a, b) = joined_pair("127.0.0.1", "127.0.0.11");
    let partial = Offload { flags: 1, checksum_start: 14, checksum_offset: 6, ..Offload::default() };
    let frame = numbered_frame(60, 0x0102_0304);
    assert_eq!(a.send_with(&[(20, frame.clone())], partial).refusals, [0]);
    let received = b.recv_frames(1).remove(0).1;
    assert_eq!(received[20..22], (!0x0406_u16).to_be_bytes(), "the sum of 0102 and 0304, complemented");
    let beyond = Offload { checksum_start: 59, ..partial };
    assert_eq!(a.send_with(&[(20, frame.clone())], beyond).refusals, [MALFORMED]);
}

#[test]
fn partial_checksums_are_finished_once_however_much_leaves_in_one_call() {
    let open = |ip: &str, seed| open_secure(seed, &format!(r#"{{"bind":"{ip}:0","mtu":9000}}"#));
    let (a, b) = (open("127.0.0.17", 1), open("127.0.0.18", 2));
    b.add_far_with_key(10, &a.info().address, &a.public).unwrap();
    a.add_far_with_key(20, &b.info().address, &b.public).unwrap();
    while a.send(&[(20, numbered_frame(60, 0))]).refusals != [0] {
        assert!(b.wait());
        b.recv(1);
        assert!(a.wait());
        a.recv(1);
    }
    b.recv_frames(1);
    let partial = Offload { flags: 1, checksum_start: 14, checksum_offset: 6, ..Offload::default() };
    // Together they are larger than what the plugin seals before it sends.
    let frames: Vec<_> = (0..64).map(|_| (20, numbered_frame(8000, 0x0102_0304))).collect();
    assert_eq!(a.send_with(&frames, partial).refusals, [0; 64]);
    for (number, (_, frame)) in b.recv_frames(64).iter().enumerate() {
        assert_eq!(frame[20..22], (!0x0406_u16).to_be_bytes(), "frame {number}");
    }
}

/// A TCP segment over IPv4 with that much payload, as a guest with offload hands it out.
fn tcp_super_frame(payload: usize) -> (Vec<u8>, Offload) {
    let mut frame = numbered_frame(54 + payload, 0);
    frame[12..14].copy_from_slice(&[8, 0]);
    let total = u16::try_from(40 + payload).unwrap();
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 9, 0x40, 0, 64, 6, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2]);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    let sum = Sum::of(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[34..54]
        .copy_from_slice(&[0x13, 0x88, 0x17, 0x70, 0, 0, 1, 0, 0, 0, 2, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    let partial = pseudo_ipv4([10, 8, 0, 1], [10, 8, 0, 2], 6, total - 20).partial();
    frame[50..52].copy_from_slice(&partial.to_be_bytes());
    for (index, byte) in frame[54..].iter_mut().enumerate() {
        *byte = (index % 251) as u8;
    }
    let offload = Offload {
        kind: 1,
        flags: 1,
        header_len: 54,
        segment_size: 1400,
        checksum_start: 34,
        checksum_offset: 16,
        reserved: 0,
    };
    (frame, offload)
}

#[test]
fn a_super_frame_crosses_as_wire_frames_and_is_whole_again() {
    let (a, b) = joined_pair("127.0.0.1", "127.0.0.17");
    let (frame, offload) = tcp_super_frame(65_000);
    assert_eq!(a.send_with(&[(20, frame.clone())], offload).refusals, [0]);
    let (mut payload, mut frames) = (Vec::new(), 0);
    while payload.len() < 65_000 {
        assert!(b.wait());
        for (far, piece, metadata) in b.recv_offloaded(16) {
            assert_eq!(far, 10);
            assert!(metadata == offload || metadata.kind == 0, "{metadata:?}");
            payload.extend_from_slice(&piece[54..]);
            frames += 1;
        }
    }
    assert_eq!(payload, frame[54..]);
    assert!(frames <= 4, "{frames} super-frames for one");
    assert_eq!((a.counter("frames_sent"), b.counter("frames_received"), b.drops()), (47, 47, 0));
}

#[test]
fn what_a_far_node_gets_of_a_super_frame_is_right_on_the_wire() {
    let link = open_on("127.0.0.1");
    let socket = socket_towards(&link, "127.0.0.18");
    link.add_far(1, &socket.local_addr().unwrap().to_string()).unwrap();
    let (frame, offload) = tcp_super_frame(4_000);
    link.send_with(&[(1, frame.clone())], offload);
    let mut payload = Vec::new();
    for (number, wire_len) in [(0, 1454), (1, 1454), (2, 1254)] {
        let mut datagram = [0; 2048];
        let (len, _) = socket.recv_from(&mut datagram).unwrap();
        assert_eq!((len, &datagram[..8]), (8 + wire_len, &[8, 0, 0, 0, 0, 0, 7, 0][..]));
        let wire = &datagram[8..len];
        assert_eq!(verify(wire), Ok(Integrity::Valid));
        assert_eq!(wire[38..42], (0x100_u32 + number * 1400).to_be_bytes(), "sequence");
        payload.extend_from_slice(&wire[54..]);
    }
    assert_eq!(payload, frame[54..]);
}

#[test]
fn a_frame_with_a_wrong_checksum_is_not_joined_to_others() {
    let link = open_on("127.0.0.1");
    link.add_far(1, "127.0.0.19:4789").unwrap();
    let far = socket_towards(&link, "127.0.0.19");
    let (frame, offload) = tcp_super_frame(4_200);
    let typed = vreserve_offload::Offload::try_from(offload).unwrap();
    let mut wires = Vec::new();
    for segment in Segments::plan(&frame, &typed).unwrap() {
        let mut wire = vec![0; segment.wire_len()];
        segment.write(&mut wire).unwrap();
        wires.push(wire);
    }
    wires[1][100] ^= 1;
    for wire in &wires {
        far.send(&vxlan(7, wire)).unwrap();
    }
    let received = link.recv_frames(3);
    assert!(received.iter().map(|(_, frame)| frame).eq(&wires), "the guest sees the damage itself");
}

#[test]
fn bogus_super_frames_are_refused_and_others_go_on() {
    let (a, b) = joined_pair("127.0.0.1", "127.0.0.20");
    let (frame, good) = tcp_super_frame(3_000);
    for bogus in [
        Offload { segment_size: 0, ..good },
        Offload { segment_size: 1, ..good },
        Offload { header_len: u16::MAX, ..good },
        Offload { checksum_start: 20, ..good },
        Offload { kind: 4, ..good },
        Offload { kind: 77, ..good },
    ] {
        assert_eq!(a.send_with(&[(20, frame.clone())], bogus).refusals, [MALFORMED], "{bogus:?}");
    }
    let oversized = a.send_with(&[(20, frame.clone())], Offload { segment_size: 1411, ..good });
    assert_eq!((&*oversized.refusals, &*oversized.limits), (&[OVERSIZED][..], &[LARGEST_FRAME as u32][..]));
    assert_eq!(a.send_with(&[(20, frame)], good).refusals, [0]);
    assert!(b.wait());
    assert_eq!(b.drops(), 0);
}

#[test]
fn far_nodes_and_addresses_that_cannot_be_are_refused_with_the_key() {
    let link = open_on("127.0.0.1");
    link.add_far(1, "127.0.0.12:4789").unwrap();
    let failure = link.add_far(2, "127.0.0.12:4790").unwrap_err();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("address")));

    let taken = format!(r#"{{"bind":"{}","format":"vxlan"}}"#, link.info().address);
    assert_eq!(open(&taken).err().unwrap().kind, FailureKind::Unavailable);
    let elsewhere = open(r#"{"bind":"192.0.2.1:4789","format":"vxlan"}"#).err().unwrap();
    assert_eq!(elsewhere.kind, FailureKind::Unavailable);
    assert!(elsewhere.reason.contains("192.0.2.1:4789"), "{elsewhere}");
    let device = open(r#"{"bind":"127.0.0.1:0","format":"vxlan","device":"no-such-dev"}"#).err().unwrap();
    assert_eq!(device.kind, FailureKind::Unavailable);
    let keyless = open(r#"{"bind":"127.0.0.1:0"}"#).err().unwrap();
    assert!(keyless.reason.contains("key pair"), "the secure format is the default: {keyless}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Each datagram gives one frame or adds one to exactly one counter; none ends the instance.
    #[test]
    fn any_datagram_is_admitted_or_counted_once(
        datagrams in proptest::collection::vec(
            (any::<bool>(), 0_u8..10, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..1600)), 1..100),
    ) {
        let link = open_on("127.0.0.1");
        link.add_far(1, "127.0.0.13:4789").unwrap();
        let far = socket_towards(&link, "127.0.0.13");
        let stranger = socket_towards(&link, "127.0.0.14");
        for (is_far, vni, has_header, bytes) in &datagrams {
            let socket = if *is_far { &far } else { &stranger };
            socket.send(&if *has_header { vxlan(*vni, bytes) } else { bytes.clone() }).unwrap();
        }
        let mut frames = 0;
        while frames + link.drops() < datagrams.len() as u64 {
            let (dropped, received) = (link.drops(), link.recv(7).len() as u64);
            frames += received;
            let is_idle = received == 0 && link.drops() == dropped;
            prop_assert!(!is_idle || link.wait());
        }
        prop_assert_eq!(frames, link.counter("frames_received"));
        prop_assert_eq!(frames + link.drops(), datagrams.len() as u64);
    }
}
