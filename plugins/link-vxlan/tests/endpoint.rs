//! Two endpoints on a veth pair, as the host drives them.
//!
//! ```text
//!  a: 10.9.0.1 va ════ veth ════ vb 10.9.0.2 :b
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::frames::{Flow, Frame, numbered};
use common::host::TestLink;
use common::netns::Netns;
use vreserve_offload::checksum::{Integrity, verify};

/// A cut that real network cards make, which a veth leaves to the receiver.
const WIRE: &str =
    "tso off gso off tx-udp-segmentation off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off";

struct Pair {
    a: TestLink,
    b: TestLink,
    /// After the endpoints.
    netns: (Netns, Netns),
}

impl Pair {
    /// Two endpoints that admit each other, as 1.
    fn open() -> Option<Self> {
        let netns = Netns::pair()?;
        let a = TestLink::open(&netns.0, r#"{"bind":"10.9.0.1","vni":7}"#).unwrap();
        let b = TestLink::open(&netns.1, r#"{"bind":"10.9.0.2","vni":7}"#).unwrap();
        a.add_far(1, "10.9.0.2:4789");
        b.add_far(1, "10.9.0.1:4789");
        Some(Pair { a, b, netns })
    }
}

fn assert_sent(link: &TestLink, frames: &[Frame]) {
    let frames: Vec<_> = frames.iter().map(|frame| (1, frame.clone())).collect();
    let sent = link.send(&frames).unwrap();
    assert_eq!((sent.consumed, sent.refusals), (frames.len(), vec![0; frames.len()]));
}

fn wire_frames(received: &[(u32, Frame)]) -> Vec<Vec<u8>> {
    assert!(received.iter().all(|(far, _)| *far == 1));
    received.iter().flat_map(|(_, frame)| frame.wire_frames()).collect()
}

#[test]
fn an_endpoint_says_where_it_is_and_what_it_takes() {
    let Some(pair) = Pair::open() else { return };
    let info = pair.a.info();
    assert_eq!(
        (info.address.as_str(), info.mtu, info.offload, info.queues),
        ("10.9.0.1:4789", 1464, true, 1)
    );
    assert!(pair.netns.0.ip("-d link show vrx4789").contains("mtu 1450"));
}

#[test]
fn super_frames_arrive_with_the_same_payload_and_right_checksums() {
    let Some(pair) = Pair::open() else { return };
    let payload: Vec<u8> = (0..30_000_u32).map(|index| (index * 31 % 251) as u8).collect();
    for is_wire in [false, true] {
        if is_wire {
            pair.netns.0.exec(&format!("ethtool -K va {WIRE}"));
        }
        for flow in Flow::ALL {
            for frame in [flow.frame(&payload, 1200), flow.frame(&payload[..100], 1200)] {
                let sent = frame.wire_frames();
                assert_sent(&pair.a, &[frame]);
                let received = pair.b.recv_wire_frames(sent.len());
                let frames = wire_frames(&received);
                let shape = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).collect::<Vec<_>>();
                assert_eq!(shape(&frames), shape(&sent), "{flow:?}");
                for (frame, sent) in frames.iter().zip(&sent) {
                    assert_eq!(verify(frame), Ok(Integrity::Valid), "{flow:?}");
                    let payload = if flow.is_ipv4 { 54 } else { 74 };
                    assert_eq!(frame.get(payload..), sent.get(payload..), "{flow:?}");
                }
                // A veth leaves what it can uncut.
                assert!(is_wire || received.len() == 1, "{} slots, {flow:?}", received.len());
            }
        }
    }
    assert_eq!(pair.b.counter("frames_received"), pair.a.counter("frames_sent"));
}

#[test]
fn frames_of_all_sizes_keep_their_order_both_ways() {
    let Some(pair) = Pair::open() else { return };
    let payload = vec![5; 20_000];
    for (from, to) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        for round in 0..20 {
            let mut frames: Vec<_> =
                (0..40).map(|at| numbered(round * 40 + at, 60 + 30 * at as usize)).collect();
            frames.insert(20, Flow::ALL[0].frame(&payload, 1000));
            assert_sent(from, &frames);
            let expected: Vec<_> = frames.iter().flat_map(Frame::wire_frames).collect();
            let received = wire_frames(&to.recv_wire_frames(expected.len()));
            assert!(received == expected, "round {round}");
        }
    }
}

#[test]
fn a_frame_that_cannot_go_is_refused_and_those_around_it_go() {
    let Some(pair) = Pair::open() else { return };
    let bogus = Frame { bytes: vec![0; 100], offload: Flow::ALL[0].frame(&[0; 2000], 1000).offload };
    let batch = [
        (1, numbered(1, 60)),
        (1, numbered(2, 1465)),
        (9, numbered(3, 60)),
        (1, bogus),
        (1, Flow::ALL[0].frame(&[0; 4000], 1420)),
        (1, numbered(4, 1464)),
    ];
    let sent = pair.a.send(&batch).unwrap();
    assert_eq!((sent.consumed, sent.refusals), (6, vec![0, 1, 3, 4, 1, 0]));
    assert_eq!(sent.limits, [0, 1464, 0, 0, 1464, 0]);
    let received = wire_frames(&pair.b.recv_wire_frames(2));
    assert_eq!(received, [numbered(1, 60).bytes, numbered(4, 1464).bytes]);
}

#[test]
fn a_vlan_tag_stays_on_its_frame() {
    let Some(pair) = Pair::open() else { return };
    let mut tagged = Flow::ALL[0].frame(&[7; 5000], 1000);
    tagged.bytes.splice(12..12, [0x81, 0x00, 0x20, 0x05]);
    tagged.offload.checksum_start += 4;
    tagged.offload.header_len += 4;
    assert_sent(&pair.a, std::slice::from_ref(&tagged));
    let received = pair.b.recv_wire_frames(5);
    assert_eq!(wire_frames(&received), tagged.wire_frames());
}

#[test]
fn what_no_far_node_sent_is_dropped_and_counted_by_reason() {
    let Some((a, b)) = Netns::pair() else { return };
    a.ip("address add 10.9.0.3/24 dev va");
    let link = TestLink::open(&a, r#"{"bind":"10.9.0.1","vni":7}"#).unwrap();
    let sender = |vni: u32| {
        let sender = TestLink::open(&b, &format!(r#"{{"bind":"10.9.0.2","vni":{vni}}}"#)).unwrap();
        sender.add_far(1, "10.9.0.1:4789");
        sender.add_far(2, "10.9.0.3:4789");
        sender
    };
    let stranger = sender(7);
    assert_sent(&stranger, &[numbered(1, 60)]);
    link.recv_until_counted("drop_stranger", 1);
    link.add_far(1, "10.9.0.2:4789");
    stranger.send(&[(2, numbered(2, 60))]).unwrap();
    link.recv_until_counted("drop_elsewhere", 1);
    assert_sent(&stranger, &[numbered(3, 60)]);
    assert_eq!(wire_frames(&link.recv_wire_frames(1)), [numbered(3, 60).bytes]);
    drop(stranger);
    let other = sender(8);
    assert_sent(&other, &[numbered(4, 60)]);
    link.recv_until_counted("drop_wrong_vni", 1);
    link.remove_far(1);
    drop(other);
    assert_sent(&sender(7), &[numbered(5, 60)]);
    link.recv_until_counted("drop_stranger", 2);
}

#[test]
fn nothing_that_comes_reaches_the_machines_own_stack() {
    let Some(pair) = Pair::open() else { return };
    // Were it heard, the machine would answer a guest's question for its address.
    let mut question = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    question.extend([2, 0, 0, 0, 0, 1, 10, 9, 0, 77, 0, 0, 0, 0, 0, 0, 10, 9, 0, 2]);
    assert_sent(&pair.a, &[Frame::plain(question.clone())]);
    assert_eq!(wire_frames(&pair.b.recv_wire_frames(1)), [question]);
    assert_sent(&pair.b, &[numbered(1, 60)]);
    assert_eq!(wire_frames(&pair.a.recv_wire_frames(1)), [numbered(1, 60).bytes], "no answer came before it");
    assert!(!pair.netns.1.ip("neigh show").contains("10.9.0.77"));
}

#[test]
fn an_underlay_whose_mtu_grows_takes_larger_frames_at_once() {
    let Some(pair) = Pair::open() else { return };
    assert_eq!(pair.a.send(&[(1, numbered(1, 1900))]).unwrap().refusals, [1]);
    pair.netns.0.ip("link set va mtu 2000");
    pair.netns.1.ip("link set vb mtu 2000");
    assert_sent(&pair.a, &[numbered(2, 1900)]);
    assert_eq!(wire_frames(&pair.b.recv_wire_frames(1)), [numbered(2, 1900).bytes]);
    assert_eq!(pair.a.send(&[(1, numbered(3, 1965))]).unwrap().limits, [1964]);
}
