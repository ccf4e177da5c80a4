//! How the nodes find out what the path takes.

use std::time::Duration;

use vreserve_link_udp::secure::{Event, Kind, OVERHEAD};

use crate::sim::{FAR, LIMITS, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// A path that swallows datagrams above a size without a word.
fn narrow(sim: &mut Sim, size: usize) {
    sim.carries = Box::new(move |_, datagram| datagram.bytes.len() <= size);
}

fn largest(sim: &Sim, node: usize) -> usize {
    sim.nodes[node].secure.largest_frame(FAR).unwrap() + OVERHEAD
}

#[test]
fn a_path_that_takes_all_is_believed_at_once_and_left_alone() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    assert_eq!((largest(&sim, 0), largest(&sim, 1)), (LIMITS.ceiling, LIMITS.ceiling));
    sim.run(60 * SECOND);
    assert_eq!(largest(&sim, 0), LIMITS.ceiling);
    let changes = |event: &&Event| matches!(event, Event::LargestFrame(..));
    assert_eq!(sim.nodes[0].events.iter().filter(changes).count(), 0);
}

#[test]
fn the_largest_datagram_that_passes_is_found_closely() {
    for size in (LIMITS.floor..LIMITS.ceiling).step_by(7) {
        let mut sim = Sim::pair();
        narrow(&mut sim, size);
        sim.run(30 * SECOND);
        for node in 0..2 {
            let largest = largest(&sim, node);
            assert!(largest <= size && size < largest + 4, "{largest} on a path of {size}");
        }
        sim.assert_carries();
    }
}

#[test]
fn a_path_that_narrows_is_noticed() {
    let mut sim = Sim::pair();
    sim.run(20 * SECOND);
    narrow(&mut sim, 1_300);
    sim.run(60 * SECOND);
    assert!((1_297..=1_300).contains(&largest(&sim, 0)), "{}", largest(&sim, 0));
}

#[test]
fn a_path_that_widens_is_noticed_in_ten_minutes() {
    let mut sim = Sim::pair();
    narrow(&mut sim, 1_300);
    sim.run(60 * SECOND);
    sim.carries = Box::new(|_, _| true);
    sim.run(660 * SECOND);
    assert_eq!(largest(&sim, 0), LIMITS.ceiling);
}

#[test]
fn what_the_system_refuses_is_not_tried_further() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    let now = sim.now;
    sim.nodes[0].secure.handle_refusal(now, FAR, 1_401);
    assert!(largest(&sim, 0) <= 1_400);
    narrow(&mut sim, 1_400);
    sim.run(30 * SECOND);
    assert!((1_397..=1_400).contains(&largest(&sim, 0)));
    sim.nodes[0].secure.handle_refusal(now, FAR, 10);
    assert!((1_397..=1_400).contains(&largest(&sim, 0)), "a path that takes less than the floor is no path");
}

#[test]
fn a_dead_path_says_nothing_of_sizes() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    sim.carries = Box::new(|_, _| false);
    sim.run(100 * SECOND);
    assert_eq!(largest(&sim, 0), LIMITS.ceiling);
}

#[test]
fn lost_probes_do_not_narrow_a_path_that_takes_all() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    let mut random = crate::sim::Seeded(3);
    sim.carries = Box::new(move |_, _| !random.next().is_multiple_of(20));
    sim.run(300 * SECOND);
    assert_eq!(largest(&sim, 0), LIMITS.ceiling);
}

#[test]
fn probes_are_as_long_as_what_they_ask() {
    let mut sim = Sim::pair();
    sim.run(SECOND);
    let is_probe = |length: &usize| *length > 100;
    let controls = sim.sent.iter().filter(|datagram| datagram.kind() == Some(Kind::Control));
    let lengths: std::collections::BTreeSet<_> =
        controls.map(|datagram| datagram.bytes.len()).filter(is_probe).collect();
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [LIMITS.floor, LIMITS.ceiling]);
}
