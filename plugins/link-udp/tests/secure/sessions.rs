//! What sessions promise: no frame lost or twice, keys that change, an end, a far node that moves.

use std::time::Duration;

use vreserve_link_udp::secure::{Event, Kind, SecureDrop};

use crate::sim::{Datagram, FAR, Sim, address, counter, frame, index};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn keys_change_without_losing_or_repeating_a_frame() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    let frames = 6_000;
    for number in 0..frames {
        assert!(sim.send(0, &frame(number, 60)) && sim.send(1, &frame(number, 1_400)));
        sim.run(Duration::from_millis(100));
    }
    sim.run(SECOND);
    for (node, length) in [(0, 1_400), (1, 60)] {
        let expected: Vec<Vec<u8>> = (0..frames).map(|number| frame(number, length)).collect();
        assert_eq!(sim.nodes[node].frames, expected);
        assert_eq!(sim.nodes[node].events, [Event::Up(FAR)], "never down");
    }
    let data = sim.sent.iter().filter(|datagram| datagram.kind() == Some(Kind::Data));
    let sessions: std::collections::BTreeSet<_> =
        data.map(|datagram| (datagram.to, index(&datagram.bytes))).collect();
    assert!((8..=14).contains(&sessions.len()), "{} keys in 10 minutes", sessions.len());
}

#[test]
fn keys_change_while_a_fifth_of_all_is_lost_and_nothing_comes_twice() {
    let mut sim = Sim::pair();
    let mut random = crate::sim::Seeded(7);
    sim.carries = Box::new(move |_, _| !random.next().is_multiple_of(5));
    sim.run(10 * SECOND);
    for number in 0..4_000 {
        assert!(sim.send(0, &frame(number, 60)), "frame {number}");
        sim.run(Duration::from_millis(100));
    }
    let mut numbers: Vec<_> = sim.nodes[1].frames.iter().map(|frame| frame[..8].to_vec()).collect();
    let arrived = numbers.len();
    assert!(arrived > 3_000, "{arrived} of 4000");
    numbers.dedup();
    assert_eq!(numbers.len(), arrived);
    assert!(numbers.is_sorted(), "a wire in order stays in order across keys");
}

#[test]
fn a_session_without_far_node_ends_after_three_minutes() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.carries = Box::new(|_, _| false);
    sim.run(170 * SECOND);
    assert!(sim.is_up());
    sim.run(11 * SECOND);
    assert!(!sim.send(0, &[0; 60]) && !sim.send(1, &[0; 60]));
    for node in &sim.nodes {
        assert_eq!(node.events.iter().filter(|event| **event == Event::Down(FAR)).count(), 1);
    }
    sim.carries = Box::new(|_, _| true);
    sim.run(6 * SECOND);
    sim.assert_carries();
}

#[test]
fn old_datagrams_do_not_open_once_their_session_is_over() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.carries = Box::new(|_, _| false);
    sim.send(0, &[7; 60]);
    let late = sim.sent.last().unwrap().clone();
    sim.carries = Box::new(|_, _| true);
    sim.run(200 * SECOND);
    let dropped = sim.nodes[1].take(sim.now, late.from, late.bytes).unwrap_err();
    assert!(matches!(dropped, SecureDrop::UnknownIndex | SecureDrop::Expired), "{dropped:?}");
    sim.assert_carries();
}

#[test]
fn a_datagram_that_comes_again_is_dropped() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.send(0, &[7; 60]);
    let again = sim.sent.last().unwrap().clone();
    sim.run(SECOND);
    assert_eq!(sim.nodes[1].take(sim.now, again.from, again.bytes), Err(SecureDrop::Replayed));
    assert_eq!(sim.nodes[1].frames.len(), 1);
}

#[test]
fn reordered_datagrams_all_arrive_within_the_window() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.nodes[1].drops.clear();
    sim.carries = Box::new(|_, _| false);
    for number in 0..9_000 {
        sim.send(0, &frame(number, 60));
    }
    let data: Vec<Datagram> =
        sim.sent.iter().filter(|datagram| datagram.kind() == Some(Kind::Data)).cloned().collect();
    for datagram in data.iter().rev() {
        let _ = sim.nodes[1].take(sim.now, datagram.from, datagram.bytes.clone());
    }
    let reach = sim.nodes[1].frames.len();
    assert!(reach >= 8_000, "{reach}");
    assert_eq!(sim.nodes[1].drops.len(), 9_000 - reach);
    assert!(sim.nodes[1].drops.iter().all(|drop| *drop == SecureDrop::Late));
}

#[test]
fn frames_open_out_of_place_behind_one_another() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.carries = Box::new(|_, _| false);
    let first = sim.sent.len();
    for number in 0..3 {
        sim.send(0, &frame(number, 100));
    }
    let mut gathered = [0; 300];
    let from = sim.nodes[0].address;
    let mut opener = sim.nodes[1].secure.opener(sim.now, from, &sim.sent[first].bytes).unwrap();
    assert_eq!(opener.far(), FAR);
    for (place, datagram) in sim.sent[first..].iter().enumerate() {
        assert!(opener.serves(&datagram.bytes));
        let opened = opener.open_into(&datagram.bytes, &mut gathered[place * 100..]);
        assert_eq!(opened, Ok(100));
    }
    assert_eq!(gathered.to_vec(), [frame(0, 100), frame(1, 100), frame(2, 100)].concat());
    assert_eq!(opener.open_into(&sim.sent[first].bytes, &mut gathered), Err(SecureDrop::Replayed));
}

#[test]
fn a_frame_that_is_sealed_where_it_lies_arrives() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    let frame = frame(5, 90);
    let mut bytes = [vec![0; 16], frame.clone(), vec![0; 16]].concat();
    let mut sealer = sim.nodes[0].secure.sealer(sim.now, FAR).unwrap();
    sealer.seal_in_place(&mut bytes);
    let to = sealer.address();
    let from = sim.nodes[0].address;
    sim.put(Datagram { from, to, bytes });
    sim.run(SECOND);
    assert_eq!(sim.nodes[1].frames, [frame]);
}

#[test]
fn a_far_node_that_moves_is_followed() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.nodes[1].address = address(77);
    sim.send(1, &[7; 60]);
    sim.run(SECOND);
    assert!(sim.nodes[0].events.contains(&Event::Moved(FAR, address(77))));
    sim.assert_carries();
    assert_eq!(sim.sent.last().map(|datagram| datagram.from), Some(address(77)));
}

#[test]
fn a_copy_from_elsewhere_moves_nobody() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.send(1, &[7; 60]);
    let copy = sim.sent.last().unwrap().clone();
    sim.run(SECOND);
    assert_eq!(sim.nodes[0].take(sim.now, address(66), copy.bytes), Err(SecureDrop::Replayed));
    sim.assert_carries();
    assert!(sim.sent.iter().all(|datagram| datagram.to != address(66)));
}

#[test]
fn an_idle_pair_costs_little_and_stays_up() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    let before = sim.sent.len();
    sim.run(3_600 * SECOND);
    assert!(sim.is_up());
    for node in &sim.nodes {
        assert_eq!(node.events, [Event::Up(FAR)]);
    }
    let rate = (sim.sent.len() - before) as f64 / 3_600.0;
    assert!(rate < 0.6, "{rate} datagrams a second");
}

#[test]
fn counters_begin_at_zero_and_never_repeat() {
    let mut sim = Sim::pair();
    sim.run(400 * SECOND);
    let mut seen = std::collections::BTreeSet::new();
    for datagram in &sim.sent {
        if matches!(datagram.kind(), Some(Kind::Data | Kind::Control)) {
            let key = (datagram.to, index(&datagram.bytes), counter(&datagram.bytes));
            assert!(seen.insert(key), "{key:?}");
        }
    }
    assert!(seen.len() > 50);
}

#[test]
fn a_removed_far_node_is_a_stranger() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.send(1, &[7; 60]);
    let late = sim.sent.last().unwrap().clone();
    sim.nodes[0].secure.remove_far(FAR);
    let sent = sim.sent.len();
    assert_eq!(sim.nodes[0].take(sim.now, late.from, late.bytes), Err(SecureDrop::UnknownIndex));
    sim.run(300 * SECOND);
    let own = sim.nodes[0].address;
    assert!(sim.sent[sent..].iter().all(|datagram| datagram.from != own), "silence");
}
