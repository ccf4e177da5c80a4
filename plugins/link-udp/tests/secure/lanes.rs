//! Several workers on either side: every one has sessions, and each datagram reaches the one that has its.

use std::time::Duration;

use vreserve_link_udp::secure::{Kind, Lane, Preference, SecureDrop};

use crate::sim::{FAR, Node, Sim, address, frame, keys};

/// Two nodes with so many workers, steered by the lane byte as the kernel does.
fn nodes(ours: u32, theirs: u32) -> Sim {
    let mut sim = Sim::new(|now| {
        let lanes = |host: u8, count| {
            (0..count).map(move |index| {
                Node::new(keys(host), host, Lane::new(index, count).unwrap(), Preference::Aes, now)
            })
        };
        lanes(1, ours).chain(lanes(2, theirs)).collect()
    });
    for index in 0..sim.nodes.len() {
        let other = if sim.nodes[index].address == address(1) { ours as usize } else { 0 };
        sim.introduce(index, other);
    }
    sim
}

#[test]
fn every_worker_of_either_node_carries_frames_whatever_their_numbers() {
    for (ours, theirs) in [(1, 1), (2, 2), (4, 4), (1, 4), (4, 1), (2, 3), (3, 2)] {
        let mut sim = nodes(ours, theirs);
        sim.run(Duration::from_secs(5));
        assert!(sim.is_up(), "{ours} to {theirs}");
        for from in 0..sim.nodes.len() {
            let frame = frame(from as u64, 60);
            assert!(sim.send(from, &frame));
            sim.run(Duration::from_millis(50));
            let got = sim.nodes.iter().filter(|node| node.frames.contains(&frame));
            let got: Vec<_> = got.map(|node| (node.address, node.lane.index())).collect();
            let sender = &sim.nodes[from];
            let (far, count) = if sender.address == address(1) { (2, theirs) } else { (1, ours) };
            assert_eq!(got, [(address(far), sender.lane.index() % count as u8)], "{ours} to {theirs}");
        }
    }
}

#[test]
fn sessions_of_unequal_numbers_of_workers_outlive_their_keys() {
    let mut sim = nodes(1, 3);
    sim.run(Duration::from_secs(700));
    assert!(sim.is_up());
    assert!(sim.nodes.iter().all(|node| node.events.len() == 1), "never down");
    let stray = |drop: &SecureDrop| matches!(drop, SecureDrop::UnknownIndex | SecureDrop::WrongLane);
    assert!(!sim.nodes.iter().flat_map(|node| &node.drops).any(stray));
}

#[test]
fn an_initiation_that_was_steered_wrong_is_dropped() {
    let mut sim = nodes(2, 2);
    sim.carries = Box::new(|_, _| false);
    sim.run(Duration::from_millis(10));
    let initiation = sim.sent.iter().find(|datagram| datagram.bytes[1] == 1).unwrap().clone();
    assert_eq!(initiation.kind(), Some(Kind::Initiation));
    let other = sim.nodes.iter_mut().find(|node| node.address == initiation.to && node.lane.index() == 0);
    assert_eq!(other.unwrap().take(sim.now, initiation.from, initiation.bytes), Err(SecureDrop::WrongLane));
}

#[test]
fn a_far_node_that_comes_back_with_more_workers_is_served() {
    let mut sim = nodes(2, 1);
    sim.run(Duration::from_secs(5));
    sim.nodes.truncate(2);
    for index in 0..2 {
        let lane = Lane::new(index, 2).unwrap();
        let mut node = Node::new(keys(2), 2, lane, Preference::Aes, sim.now);
        node.secure = crate::sim::endpoint(keys(2), lane, Preference::Aes, sim.now, Duration::from_secs(9));
        sim.nodes.push(node);
        let last = sim.nodes.len() - 1;
        sim.introduce(last, 0);
    }
    sim.run(Duration::from_secs(5));
    for from in 0..4 {
        let frame = frame(from as u64 + 10, 60);
        assert!(sim.nodes[from].secure.is_up(FAR) && sim.send(from, &frame));
        sim.run(Duration::from_millis(50));
        assert!(sim.nodes.iter().any(|node| node.frames.contains(&frame)), "from {from}");
    }
}
