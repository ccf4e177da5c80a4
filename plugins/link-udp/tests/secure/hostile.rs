//! What an attacker sends: dropped under a name, without an answer, and nobody else suffers.

use std::time::Duration;

use proptest::prelude::*;
use vreserve_link_udp::secure::{Kind, Lane, Preference, SecureDrop};
use vreserve_sdk::FarId;

use crate::sim::{Datagram, FAR, Node, Sim, address, keys};

const SECOND: Duration = Duration::from_secs(1);

/// Datagrams of every kind that a pair has exchanged, and the pair.
fn traffic() -> (Sim, Vec<Datagram>) {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.assert_carries();
    let sent = sim.sent.clone();
    (sim, sent)
}

/// Gives `bytes` to a node as from `host`, and lets time pass: what it sends to that host.
fn answers_to(sim: &mut Sim, node: usize, host: u8, bytes: Vec<u8>) -> (Result<(), SecureDrop>, usize) {
    let taken = sim.nodes[node].take(sim.now, address(host), bytes);
    sim.run(Duration::from_millis(100));
    (taken, sim.sent.iter().filter(|datagram| datagram.to == address(host)).count())
}

#[test]
fn a_damaged_datagram_of_any_kind_gives_nothing_and_gets_nothing() {
    let (mut sim, sent) = traffic();
    for kind in [Kind::Initiation, Kind::Response, Kind::Data, Kind::Control] {
        let datagram = sent.iter().find(|datagram| datagram.kind() == Some(kind)).unwrap();
        let node = usize::from(datagram.to == address(2));
        for place in 0..datagram.bytes.len() {
            let mut bytes = datagram.bytes.clone();
            bytes[place] ^= 0x40;
            let frames = sim.nodes[node].frames.len();
            let taken = sim.nodes[node].take(sim.now, address(66), bytes);
            assert!(taken.is_err(), "{kind:?} with byte {place} changed");
            assert_eq!(sim.nodes[node].frames.len(), frames);
        }
    }
    sim.run(SECOND);
    assert!(sim.sent.iter().all(|datagram| datagram.to != address(66)));
    sim.assert_carries();
}

#[test]
fn a_cut_datagram_of_any_kind_gives_nothing() {
    let (mut sim, sent) = traffic();
    for datagram in &sent {
        let node = usize::from(datagram.to == address(2));
        for length in 0..datagram.bytes.len() {
            let taken = sim.nodes[node].take(sim.now, address(66), datagram.bytes[..length].to_vec());
            assert!(taken.is_err());
        }
    }
    sim.run(SECOND);
    assert!(sim.sent.iter().all(|datagram| datagram.to != address(66)));
    sim.assert_carries();
}

#[test]
fn defects_have_their_names() {
    let (mut sim, sent) = traffic();
    let data = sent.iter().rfind(|datagram| datagram.kind() == Some(Kind::Data)).unwrap().clone();
    let initiation = sent.iter().find(|datagram| datagram.kind() == Some(Kind::Initiation)).unwrap().clone();
    let node = usize::from(data.to == address(2));
    let mut drop_of = |bytes: Vec<u8>| sim.nodes[node].take(sim.now, data.from, bytes).unwrap_err();
    let with = |place: usize, value: u8| {
        let mut bytes = data.bytes.clone();
        bytes[place] = value;
        bytes
    };
    assert_eq!(drop_of(vec![]), SecureDrop::Malformed);
    assert_eq!(drop_of(with(0, 9)), SecureDrop::Malformed);
    assert_eq!(drop_of(data.bytes[..45].to_vec()), SecureDrop::Malformed, "no room for an Ethernet header");
    assert_eq!(drop_of(with(6, !data.bytes[6])), SecureDrop::UnknownIndex);
    assert_eq!(drop_of(with(13, 1)), SecureDrop::Expired, "a counter that no session reaches");
    assert_eq!(drop_of(with(10, 1)), SecureDrop::Forged, "a counter that was not used");
    assert_eq!(drop_of(data.bytes.clone()), SecureDrop::Replayed);
    let mut unkeyed = initiation.bytes.clone();
    unkeyed[40] ^= 1;
    assert_eq!(drop_of(unkeyed), SecureDrop::Stranger);
}

/// Strangers who know node 0's key, and each sends an initiation with a valid `mac1`.
fn flood(sim: &mut Sim, count: u8) -> usize {
    let mut answered = 0;
    for n in 0..count {
        let mut stranger = Node::new(keys(100 + n), 100 + n, Lane::ONLY, Preference::Aes, sim.now);
        stranger.secure.add_far(sim.now, FAR, keys(1).public, Some(address(1))).unwrap();
        let mut out = [0; 2048];
        let length = stranger.secure.poll(sim.now, &mut out).unwrap().length;
        let dropped = sim.nodes[0].take(sim.now, stranger.address, out[..length].to_vec()).unwrap_err();
        answered += usize::from(dropped == SecureDrop::Limited);
        assert!(matches!(dropped, SecureDrop::Limited | SecureDrop::Stranger));
    }
    answered
}

#[test]
fn under_load_a_cookie_is_asked_for_and_far_nodes_come_through() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    let now = sim.now;
    sim.nodes[0].secure.add_far(now, FAR, keys(2).public, None).unwrap();
    let limited = flood(&mut sim, 80);
    assert_eq!(limited, 30, "the first 50 of a second are no load");
    sim.introduce(1, 0);
    sim.run(Duration::from_millis(500));
    assert_eq!(sim.count(Kind::Cookie), limited + 1, "one to each of them, and one to the far node");
    assert_eq!(sim.count(Kind::Initiation), 2, "the far node comes again, with its cookie, at once");
    sim.assert_carries();
    let longest = sim.sent.iter().filter(|d| d.kind() == Some(Kind::Cookie)).map(|d| d.bytes.len()).max();
    assert!(longest < Some(148), "nothing is amplified");
}

#[test]
fn a_cookie_is_of_use_from_one_address_only() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    let now = sim.now;
    sim.nodes[0].secure.add_far(now, FAR, keys(2).public, None).unwrap();
    flood(&mut sim, 60);
    sim.carries = Box::new(|_, datagram| datagram.to != address(1) || datagram.bytes[132..] == [0; 16]);
    sim.introduce(1, 0);
    sim.run(Duration::from_millis(200));
    let with_cookie = sim.sent.iter().rfind(|d| d.kind() == Some(Kind::Initiation)).unwrap().clone();
    assert_ne!(with_cookie.bytes[132..], [0; 16]);
    let take = |sim: &mut Sim, from| sim.nodes[0].take(sim.now, from, with_cookie.bytes.clone());
    assert_eq!(take(&mut sim, address(66)), Err(SecureDrop::Limited));
    assert_eq!(take(&mut sim, with_cookie.from), Ok(()));
}

#[test]
fn a_far_node_that_is_never_content_with_its_cookie_does_not_set_the_pace() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    let now = sim.now;
    sim.nodes[0].secure.add_far(now, FAR, keys(2).public, None).unwrap();
    sim.introduce(1, 0);
    for port in 1..40 {
        // An address translator that takes another port for each datagram: no cookie ever fits.
        flood(&mut sim, 60);
        sim.nodes[1].address.set_port(port);
        sim.run(Duration::from_millis(100));
    }
    assert!(sim.count(Kind::Initiation) <= 5, "{} in four seconds", sim.count(Kind::Initiation));
}

#[test]
fn load_passes() {
    let mut sim = Sim::pair();
    flood(&mut sim, 80);
    sim.run(5 * SECOND);
    assert!(sim.is_up());
    let cookies = sim.count(Kind::Cookie);
    sim.run(600 * SECOND);
    assert_eq!(sim.count(Kind::Cookie), cookies);
}

#[test]
fn an_authentic_far_node_that_floods_initiations_is_limited() {
    let mut sim = Sim::strangers([Preference::Aes; 2]);
    sim.introduce(0, 1);
    let mut accepted = 0;
    for _ in 0..40 {
        let mut twin = Node::new(keys(2), 2, Lane::ONLY, Preference::Aes, sim.now);
        let elapsed = Duration::from_millis(sim.sent.len() as u64);
        twin.secure = crate::sim::endpoint(keys(2), Lane::ONLY, Preference::Aes, sim.now, elapsed + SECOND);
        twin.secure.add_far(sim.now, FarId(5), keys(1).public, Some(address(1))).unwrap();
        let mut out = [0; 2048];
        let length = twin.secure.poll(sim.now, &mut out).unwrap().length;
        accepted += usize::from(sim.nodes[0].take(sim.now, address(2), out[..length].to_vec()).is_ok());
    }
    assert!(accepted <= 1, "{accepted} in no time");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No bytes whatever make an endpoint panic or answer, whoever is up.
    #[test]
    fn any_bytes_are_dropped_in_silence(
        datagrams in proptest::collection::vec(
            (0_u8..7, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..200), 0_usize..3), 1..60),
    ) {
        let mut sim = Sim::pair();
        sim.run(SECOND);
        let lengths = [148, 80, 56];
        for (kind, lane, mut bytes, length) in datagrams {
            if let [first, second, ..] = bytes.as_mut_slice() {
                (*first, *second) = (kind, lane);
            }
            if length < 2 {
                bytes.resize(lengths[usize::from(kind).wrapping_sub(1).min(2)], 0);
            }
            let (taken, answers) = answers_to(&mut sim, 0, 66, bytes);
            prop_assert!(taken.is_err());
            prop_assert_eq!(answers, 0);
        }
        sim.assert_carries();
    }

    /// Real datagrams with any bytes changed: nothing comes in that was not sent, and the session lives.
    #[test]
    fn changed_datagrams_bring_nothing_in(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..), 1..60),
    ) {
        let (mut sim, sent) = traffic();
        let frames: Vec<usize> = sim.nodes.iter().map(|node| node.frames.len()).collect();
        for (which, place, mask) in changes {
            let datagram = which.get(&sent);
            let mut bytes = datagram.bytes.clone();
            let place = place.index(bytes.len());
            bytes[place] ^= mask;
            let node = usize::from(datagram.to == address(2));
            prop_assert!(sim.nodes[node].take(sim.now, address(66), bytes).is_err());
        }
        sim.run(SECOND);
        prop_assert!(sim.sent.iter().all(|datagram| datagram.to != address(66)));
        prop_assert_eq!(sim.nodes.iter().map(|node| node.frames.len()).collect::<Vec<_>>(), frames);
        sim.assert_carries();
    }
}
