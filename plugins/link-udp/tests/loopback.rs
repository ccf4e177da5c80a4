//! Two instances and plain sockets on loopback addresses, through the plugin's C tables.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{TestLink, numbered_frame, open, open_on};
use proptest::prelude::*;
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
fn after_the_first_batch_nothing_is_allocated() {
    let (a, b) = joined_pair("127.0.0.15", "127.0.0.16");
    let frames: Vec<_> = (0..100).map(|n| (20 + n % 2, numbered_frame(60, n))).collect();
    for is_first in [true, false] {
        assert_eq!(a.send(&frames).consumed, 100);
        let sending = a.allocations.get();
        let mut received = 0;
        while received < 50 {
            assert!(b.wait());
            received += b.recv(128).len();
            assert!(is_first || b.allocations.get() == 0, "{} allocations", b.allocations.get());
        }
        assert_eq!(sending > 0, is_first, "{sending} allocations");
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
fn a_datagram_larger_than_the_slot_is_oversized() {
    let link = open(r#"{"bind":"127.0.0.1:0","format":"vxlan","vni":7,"mtu":9000}"#).unwrap();
    let far = socket_towards(&link, "127.0.0.9");
    link.add_far(1, "127.0.0.9:4789").unwrap();
    far.send(&vxlan(7, &[2; 8000])).unwrap();
    assert!(link.wait());
    assert_eq!((link.recv(4), link.counter("drop_oversized")), (vec![], 1));
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
    assert_eq!(sent.frames[3], numbered_frame(60, 4), "a refused frame is as it was");
    assert_eq!(b.recv_frames(2), [(10, numbered_frame(60, 1)), (10, numbered_frame(LARGEST_FRAME, 5))]);
}

#[test]
fn partial_checksums_are_finished_and_super_frames_refused() {
    let (a, b) = joined_pair("127.0.0.1", "127.0.0.11");
    let partial = Offload { flags: 1, checksum_start: 14, checksum_offset: 6, ..Offload::default() };
    let frame = numbered_frame(60, 0x0102_0304);
    assert_eq!(a.send_with(&[(20, frame.clone())], partial).refusals, [0]);
    let received = b.recv_frames(1).remove(0).1;
    assert_eq!(received[20..22], (!0x0406_u16).to_be_bytes(), "the sum of 0102 and 0304, complemented");
    let beyond = Offload { checksum_start: 59, ..partial };
    assert_eq!(a.send_with(&[(20, frame.clone())], beyond).refusals, [MALFORMED]);
    let super_frame = Offload { kind: 1, segment_size: 1400, ..Offload::default() };
    assert_eq!(a.send_with(&[(20, frame)], super_frame).refusals, [OVERSIZED]);
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
    let clear = open(r#"{"bind":"127.0.0.1:0"}"#).err().unwrap();
    assert_eq!(clear.key.as_deref(), Some("format"));
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
            prop_assert!(link.wait());
            frames += link.recv(7).len() as u64;
        }
        prop_assert_eq!(frames, link.counter("frames_received"));
        prop_assert_eq!(frames + link.drops(), datagrams.len() as u64);
    }
}
