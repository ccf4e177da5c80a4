//! How two nodes come to a session, whatever is lost on the way, and how others do not.

use std::time::Duration;

use vreserve_link_udp::secure::{Event, Kind, Lane, Preference, SecureDrop};

use crate::sim::{FAR, Node, Seeded, Sim, endpoint, keys};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_nodes_that_know_each_other_come_up_and_carry_frames() {
    let mut sim = Sim::pair();
    assert!(!sim.send(0, &[0; 60]), "no session, no frame");
    sim.run(SECOND);
    assert!(sim.is_up());
    sim.assert_carries();
    for node in &sim.nodes {
        assert_eq!(node.events, [Event::Up(FAR)]);
    }
}

#[test]
fn one_node_that_knows_the_address_is_enough() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    let now = sim.now;
    sim.nodes[0].secure.add_far(now, FAR, keys(2).public, None).unwrap();
    sim.run(SECOND);
    assert!(sim.sent.is_empty(), "nobody knows where to send");
    sim.introduce(1, 0);
    sim.run(SECOND);
    assert!(sim.is_up());
    sim.assert_carries();
}

#[test]
fn nodes_that_begin_at_once_make_one_session() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    assert_eq!((sim.count(Kind::Initiation), sim.count(Kind::Response)), (2, 1));
    let greater = usize::from(keys(2).public > keys(1).public);
    assert_eq!(sim.nodes[greater].drops, [SecureDrop::Simultaneous]);
    assert_eq!(sim.nodes[1 - greater].drops, []);
    assert!(sim.is_up());
}

#[test]
fn every_pair_of_ciphers_agrees() {
    use Preference::{Aes, ChaCha};
    for preferences in [[Aes, Aes], [Aes, ChaCha], [ChaCha, Aes], [ChaCha, ChaCha]] {
        let mut sim = Sim::strangers(preferences);
        sim.introduce(0, 1);
        sim.introduce(1, 0);
        sim.run(SECOND);
        sim.assert_carries();
    }
}

#[test]
fn any_one_datagram_may_be_lost() {
    for lost in 0..14 {
        let mut sim = Sim::pair();
        sim.carries = Box::new(move |number, _| number != lost);
        sim.run(4 * SECOND);
        assert!(sim.is_up(), "datagram {lost} was lost");
        sim.carries = Box::new(|_, _| true);
        sim.assert_carries();
    }
}

#[test]
fn nodes_come_up_while_half_of_all_is_lost() {
    for seed in 0..20 {
        let mut sim = Sim::pair();
        let mut random = Seeded(seed);
        sim.carries = Box::new(move |_, _| random.next().is_multiple_of(2));
        sim.run(120 * SECOND);
        assert!(sim.is_up(), "seed {seed}");
    }
}

#[test]
fn an_unanswered_node_keeps_asking_at_a_bounded_rate() {
    let mut sim = Sim::pair();
    sim.carries = Box::new(|_, _| false);
    sim.run(600 * SECOND);
    let each = sim.count(Kind::Initiation) / 2;
    assert!((100..=130).contains(&each), "{each} initiations in 10 minutes");
    sim.carries = Box::new(|_, _| true);
    sim.run(6 * SECOND);
    assert!(sim.is_up());
}

#[test]
fn a_stranger_gets_no_byte_even_if_it_knows_the_key() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    sim.introduce(1, 0);
    sim.run(60 * SECOND);
    assert!(sim.sent.len() > 10);
    assert!(sim.sent.iter().all(|datagram| datagram.from == sim.nodes[1].address), "silence");
    assert!(sim.nodes[0].drops.iter().all(|drop| *drop == SecureDrop::Stranger));
}

#[test]
fn a_node_with_another_key_than_expected_gets_nothing() {
    let mut sim = Sim::pair();
    let now = sim.now;
    sim.nodes[1] = Node::new(keys(9), 2, Lane::ONLY, Preference::Aes, now);
    sim.introduce(1, 0);
    sim.run(60 * SECOND);
    assert!(!sim.nodes[0].secure.is_up(FAR) && !sim.nodes[1].secure.is_up(FAR));
    assert_eq!(sim.count(Kind::Initiation), sim.sent.len(), "initiations only, and no answers");
}

#[test]
fn an_initiation_is_answered_once() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    let answered = sim.sent.iter().position(|datagram| datagram.kind() == Some(Kind::Response)).unwrap();
    let responder = sim.sent[answered].from;
    let replayed = sim.sent.iter().find(|datagram| datagram.to == responder).unwrap().clone();
    sim.run(60 * SECOND);
    let before = sim.count(Kind::Response);
    let node = sim.nodes.iter_mut().find(|node| node.address == responder).unwrap();
    assert_eq!(node.take(sim.now, replayed.from, replayed.bytes), Err(SecureDrop::StaleInitiation));
    sim.run(SECOND);
    assert_eq!(sim.count(Kind::Response), before);
    sim.assert_carries();
}

#[test]
fn a_node_that_restarts_is_back_within_two_seconds() {
    let mut sim = Sim::pair();
    sim.run(30 * SECOND);
    sim.nodes[1].secure = endpoint(keys(2), Lane::ONLY, Preference::Aes, sim.now, 30 * SECOND);
    sim.introduce(1, 0);
    sim.run(2 * SECOND);
    sim.assert_carries();
}

#[test]
fn a_recorded_initiation_moves_nobody_even_if_the_node_has_forgotten_it() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    let now = sim.now;
    sim.nodes[0].secure.add_far(now, FAR, keys(2).public, None).unwrap();
    sim.introduce(1, 0);
    sim.run(SECOND);
    let recorded = sim.sent[0].clone();
    assert_eq!(recorded.kind(), Some(Kind::Initiation));
    sim.nodes[0].secure = endpoint(keys(1), Lane::ONLY, Preference::Aes, sim.now, SECOND);
    sim.introduce(0, 1);
    let from = crate::sim::address(66);
    assert_eq!(sim.nodes[0].take(sim.now, from, recorded.bytes), Ok(()));
    sim.run(120 * SECOND);
    assert_eq!(
        sim.sent.iter().filter(|datagram| datagram.to == from).count(),
        1,
        "one answer, to nobody's use"
    );
    sim.assert_carries();
}

#[test]
fn a_node_whose_clock_went_back_is_reached_by_the_other() {
    let mut sim = Sim::pair();
    sim.run(30 * SECOND);
    sim.nodes[1].secure = endpoint(keys(2), Lane::ONLY, Preference::Aes, sim.now, Duration::ZERO);
    sim.nodes[1].events.clear();
    // The same moment as at the first start: older than what the other node has seen since.
    sim.introduce(1, 0);
    sim.run(30 * SECOND);
    assert!(sim.is_up());
    sim.assert_carries();
}

/// The wire's bytes for fixed keys, times and randomness: a change here is another protocol, and needs another
/// version in the prologue.
#[test]
fn the_wire_is_what_it_was() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    let now = sim.now;
    sim.nodes[0].secure.add_far(now, FAR, keys(2).public, None).unwrap();
    sim.introduce(1, 0);
    sim.run(Duration::from_millis(60));
    sim.send(1, &crate::sim::frame(1, 60));
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for kind in [Kind::Initiation, Kind::Response, Kind::Data] {
        let datagram = sim.sent.iter().find(|datagram| datagram.kind() == Some(kind)).unwrap();
        digest.update(&datagram.bytes);
    }
    let hex: String = digest.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "d1f35510f13a9006");
}

#[test]
fn a_far_node_is_admitted_once() {
    let mut sim = Sim::pair();
    let now = sim.now;
    let secure = &mut sim.nodes[0].secure;
    let mut refused = |far, key| secure.add_far(now, far, key, None).unwrap_err().key.unwrap();
    assert_eq!(refused(FAR, keys(3).public), "address");
    assert_eq!(refused(vreserve_sdk::FarId(2), keys(2).public), "key");
    assert_eq!(refused(vreserve_sdk::FarId(2), keys(1).public), "key");
    assert_eq!(refused(vreserve_sdk::FarId(2), [0; 32]), "key");
    secure.remove_far(FAR);
    secure.add_far(now, FAR, keys(2).public, None).unwrap();
}
