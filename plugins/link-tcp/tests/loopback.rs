//! Two instances on loopback addresses, through the plugin's C tables, in both formats.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::cell::RefCell;

use common::{
    TestLink, connect, drive, frames, numbered_frame, open, open_on, open_sealed, open_secure, until,
};
use vreserve_sdk::{FailureKind, Offload};

const OVERSIZED: u32 = 1;
const BUSY: u32 = 2;
const DOWN: u32 = 3;
const MALFORMED: u32 = 4;

/// Two endpoints that are connected, in each format.
fn pairs() -> [(TestLink, TestLink); 2] {
    let pairs = [
        (open_on("127.0.0.1"), open_on("127.0.0.2")),
        (open_sealed(1, "127.0.0.1"), open_sealed(2, "127.0.0.2")),
    ];
    pairs.iter().for_each(|(a, b)| connect(a, b));
    pairs
}

/// A TCP segment over IPv4 with that much payload, as a guest with offload hands it out.
fn tcp_super_frame(payload: usize) -> (Vec<u8>, Offload) {
    let mut frame = numbered_frame(54 + payload, 0);
    frame[12..14].copy_from_slice(&[8, 0]);
    let total = u16::try_from(40 + payload).unwrap();
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 9, 0x40, 0, 64, 6, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2]);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[34..54]
        .copy_from_slice(&[0x13, 0x88, 0x17, 0x70, 0, 0, 1, 0, 0, 0, 2, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
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
fn frames_cross_both_ways_in_order_and_unchanged() {
    for (a, b) in pairs() {
        let sent: Vec<_> = (0..200).map(|n| (20, numbered_frame(60 + n as usize * 7, n))).collect();
        let outcome = a.send(&sent);
        assert_eq!((outcome.consumed, outcome.refusals), (200, vec![0; 200]));
        let received = frames(&[&b, &a], 200);
        assert!(received.iter().zip(&sent).all(|(got, sent)| got.0 == 10 && got.1 == sent.1));
        b.send(&[(10, numbered_frame(60, 9))]);
        assert_eq!(frames(&[&a, &b], 1), [(20, numbered_frame(60, 9))]);
        assert_eq!((a.counter("frames_sent"), b.counter("frames_received"), b.drops()), (200, 200, 0));
        assert_eq!((a.counter("connections"), b.counter("connections"), b.ended()), (1, 1, 0));
    }
}

#[test]
fn a_super_frame_crosses_in_one_piece_with_its_metadata() {
    for (a, b) in pairs() {
        for payload in [2_000, 65_000] {
            let (frame, offload) = tcp_super_frame(payload);
            assert_eq!(a.send_with(&[(20, frame.clone())], offload).refusals, [0]);
            let received = RefCell::new(Vec::new());
            let take = |link, far, frame, offload| received.borrow_mut().push((link, far, frame, offload));
            drive(&[&b, &a], take, || !received.borrow().is_empty());
            assert_eq!(received.into_inner(), [(0, 10, frame, offload)]);
        }
        let partial = Offload { flags: 1, checksum_start: 14, checksum_offset: 6, ..Offload::default() };
        a.send_with(&[(20, numbered_frame(60, 1))], partial);
        drive(
            &[&b, &a],
            |_, _, _, offload| assert_eq!(offload, partial),
            || b.counter("frames_received") > 49,
        );
        assert_eq!(b.counter("frames_received"), 2 + 47 + 1, "a super-frame counts its segments");
    }
}

#[test]
fn every_far_node_has_a_connection_of_its_own() {
    let hub = open_sealed(9, "127.0.0.1");
    let leaves: Vec<_> = (1..=5_u8).map(|seed| open_sealed(seed, &format!("127.0.0.{}", seed + 1))).collect();
    for (far, leaf) in (1..).zip(&leaves) {
        hub.add_far_with_key(far, &leaf.info().address, &leaf.public).unwrap();
        leaf.add_far_with_key(0, &hub.info().address, &hub.public).unwrap();
    }
    let all: Vec<_> = std::iter::once(&hub).chain(&leaves).collect();
    until(&all, || hub.counter("connections") == 5);
    until(&all, || leaves.iter().all(|leaf| leaf.counter("connections") == 1));
    let batch: Vec<_> = (0..50).map(|n| (1 + n % 5, numbered_frame(100, n))).collect();
    assert_eq!(hub.send(&batch).refusals, [0; 50]);
    let received = RefCell::new(vec![Vec::new(); 6]);
    let take = |link: usize, _, frame, _| received.borrow_mut()[link].push(frame);
    drive(&all, take, || received.borrow().iter().map(Vec::len).sum::<usize>() == 50);
    for (far, frames) in (0..).zip(received.into_inner()).skip(1) {
        let expected: Vec<_> = batch.iter().filter(|(to, _)| *to == far).map(|(_, f)| f.clone()).collect();
        assert_eq!(frames, expected, "far node {far}");
    }
    hub.remove_far(3);
    assert_eq!(hub.send(&[(3, numbered_frame(60, 0)), (2, numbered_frame(60, 1))]).refusals, [DOWN, 0]);
}

#[test]
fn frames_that_cannot_go_are_refused_one_by_one() {
    for (a, b) in pairs() {
        let (super_frame, good) = tcp_super_frame(3_000);
        let outcome = a.send(&[
            (20, numbered_frame(60, 1)),
            (99, numbered_frame(60, 2)),
            (20, vec![0; 13]),
            (20, numbered_frame(65_536, 3)),
            (20, numbered_frame(65_535, 4)),
        ]);
        assert_eq!((outcome.consumed, &*outcome.refusals), (5, &[0, DOWN, MALFORMED, OVERSIZED, 0][..]));
        assert_eq!(outcome.limits[3], 65_535, "the host is told what would go");
        for bogus in [
            Offload { segment_size: 0, ..good },
            Offload { segment_size: 1, ..good },
            Offload { kind: 4, ..good },
            Offload { kind: 77, ..good },
            Offload { checksum_start: 3_060, ..good },
        ] {
            assert_eq!(a.send_with(&[(20, super_frame.clone())], bogus).refusals, [MALFORMED], "{bogus:?}");
        }
        assert_eq!(frames(&[&b, &a], 2), [(10, numbered_frame(60, 1)), (10, numbered_frame(65_535, 4))]);
    }
}

#[test]
fn a_far_node_that_does_not_read_costs_its_own_frames_and_nothing_that_was_taken() {
    let small = r#""buffer":262144"#;
    for (a, b) in [
        (
            open(&format!(r#"{{"bind":"127.0.0.1:0","format":"clear",{small}}}"#)).unwrap(),
            open_on("127.0.0.2"),
        ),
        (open_secure(1, &format!(r#"{{"bind":"127.0.0.1:0",{small}}}"#)), open_sealed(2, "127.0.0.2")),
    ] {
        connect(&a, &b);
        let (mut taken, mut number) = (Vec::new(), 0_u32);
        loop {
            let batch: Vec<_> = (number..number + 64).map(|n| (20, numbered_frame(9000, n))).collect();
            let outcome = a.send(&batch);
            assert_eq!(outcome.consumed, 64, "there may be room for others");
            taken.extend((number..).zip(&outcome.refusals).filter(|(_, why)| **why == 0).map(|(n, _)| n));
            number += 64;
            if outcome.refusals.contains(&BUSY) {
                break;
            }
            assert!(outcome.refusals.iter().all(|why| *why == 0), "{outcome:?}");
            assert!(number < 100_000, "900 MB are in no buffer");
        }
        let expected = taken.len();
        let received: Vec<_> = frames(&[&b, &a], expected)
            .iter()
            .map(|(_, frame)| u32::from_be_bytes(*frame[14..].first_chunk().unwrap()))
            .collect();
        assert_eq!(received, taken);
        assert_eq!((a.counter("frames_sent"), a.ended() + b.ended()), (expected as u64, 0));
        assert_eq!(a.send(&[(20, numbered_frame(60, 1))]).refusals, [0]);
        assert_eq!(frames(&[&b, &a], 1).len(), 1);
    }
}

#[test]
fn the_descriptor_stays_readable_until_every_frame_has_been_given_out() {
    for (a, b) in pairs() {
        a.send(&(0..10).map(|n| (20, numbered_frame(100, n))).collect::<Vec<_>>());
        let mut received = 0;
        while received < 10 {
            until(&[&a], || b.is_ready());
            received += b.recv(1).len();
            assert!(received == 10 || received == 0 || b.is_ready(), "{received} of 10");
        }
        until(&[&a], || b.recv(1).is_empty() && !b.is_ready());
    }
}

#[test]
fn a_node_that_comes_back_is_connected_again() {
    for seed in [None, Some(2)] {
        let open_at = |address: &str| match seed {
            None => open(&format!(r#"{{"bind":"{address}","format":"clear"}}"#)).unwrap(),
            Some(seed) => open_secure(seed, &format!(r#"{{"bind":"{address}"}}"#)),
        };
        let a = if seed.is_some() { open_sealed(1, "127.0.0.1") } else { open_on("127.0.0.1") };
        let mut b = open_at("127.0.0.2:0");
        connect(&a, &b);
        for round in 2..4 {
            let address = b.info().address;
            drop(b);
            until(&[&a], || a.ended() > round - 2);
            assert_eq!(a.send(&[(20, numbered_frame(60, 0))]).refusals, [DOWN]);
            b = open_at(&address);
            b.add_far_with_key(10, &a.info().address, &a.public).unwrap();
            until(&[&a, &b], || a.counter("connections") == round && b.counter("connections") == 1);
            assert_eq!(a.send(&[(20, numbered_frame(60, 1))]).refusals, [0]);
            assert_eq!(frames(&[&b, &a], 1), [(10, numbered_frame(60, 1))]);
        }
    }
}

#[test]
fn one_connection_stays_if_both_nodes_dial() {
    let open_dialling =
        |seed, ip: &str| open_secure(seed, &format!(r#"{{"bind":"{ip}:0","dial":"always"}}"#));
    let (a, b) = (open_dialling(1, "127.0.0.1"), open_dialling(2, "127.0.0.2"));
    connect(&a, &b);
    // However the two crossed, each node ends with one, the same as the other's: frames pass both ways.
    let is_over = || {
        let made = |link: &TestLink| link.counter("connections") + link.counter("closed_replaced");
        let left =
            |link: &TestLink| link.counter("connections") - link.ended().min(link.counter("connections"));
        made(&a) >= 1 && left(&a) <= 1 && left(&b) <= 1
    };
    until(&[&a, &b], is_over);
    let answered = RefCell::new(0);
    drive(
        &[&a, &b],
        |link, _, _, _| *answered.borrow_mut() += usize::from(link == 0),
        || {
            a.send(&[(20, numbered_frame(60, 0))]);
            b.send(&[(10, numbered_frame(60, 0))]);
            *answered.borrow() >= 100
        },
    );
    assert!(b.counter("frames_received") > 0);
}

#[test]
fn an_idle_connection_lives_and_a_dead_one_does_not() {
    let open_hasty = |ip: &str| {
        let config = format!(r#"{{"bind":"{ip}:0","format":"clear","timeout":"500ms"}}"#);
        open(&config).unwrap()
    };
    let (a, b) = (open_hasty("127.0.0.1"), open_hasty("127.0.0.2"));
    connect(&a, &b);
    let begun = std::time::Instant::now();
    until(&[&a, &b], || begun.elapsed() > std::time::Duration::from_millis(1500));
    assert_eq!((a.ended(), b.ended()), (0, 0), "three times the time-out passed in silence");
    // From now on b is not called any more: it says nothing.
    until(&[&a], || a.counter("closed_silent") == 1);
    assert_eq!(a.send(&[(20, numbered_frame(60, 0))]).refusals, [DOWN]);
}

#[test]
fn frames_that_a_connection_takes_with_it_are_counted() {
    let (a, b) = (open_on("127.0.0.1"), open_on("127.0.0.2"));
    connect(&a, &b);
    let batch: Vec<_> = (0..64).map(|n| (20, numbered_frame(60_000, n))).collect();
    let mut taken = 0_u64;
    loop {
        let refusals = a.send(&batch).refusals;
        taken += refusals.iter().filter(|why| **why == 0).count() as u64;
        if refusals.contains(&BUSY) {
            break;
        }
    }
    a.remove_far(20);
    assert_eq!(a.counter("closed_removed"), 1);
    assert_eq!(a.counter("frames_sent") + a.counter("drop_disconnected"), taken);
    assert!(a.counter("drop_disconnected") > 0);
}

#[test]
fn far_nodes_and_addresses_that_cannot_be_are_refused_with_the_key() {
    let link = open_on("127.0.0.1");
    link.add_far(1, "127.0.0.12:4789").unwrap();
    let failure = link.add_far(2, "127.0.0.12:4789").unwrap_err();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("address")));
    let sealed = open_sealed(1, "127.0.0.1");
    let failure = sealed.add_far(2, "127.0.0.12:4789").unwrap_err();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("public_key")));

    let taken = format!(r#"{{"bind":"{}","format":"clear"}}"#, link.info().address);
    assert_eq!(open(&taken).err().unwrap().kind, FailureKind::Unavailable);
    let elsewhere = open(r#"{"bind":"192.0.2.1:4789","format":"clear"}"#).err().unwrap();
    assert_eq!(elsewhere.kind, FailureKind::Unavailable);
    assert!(elsewhere.reason.contains("192.0.2.1:4789"), "{elsewhere}");
    let keyless = open(r#"{"bind":"127.0.0.1:0"}"#).err().unwrap();
    assert!(keyless.reason.contains("key pair"), "the secure format is the default: {keyless}");
    assert_eq!((link.info().mtu, link.info().offload, link.info().queues), (65_535, true, 1));
}
