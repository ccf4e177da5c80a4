//! The policy on a virtual clock: which change each period ends with.

use std::time::Duration;

use proptest::prelude::*;
use vreserve_sdk::model::{BackendView, CircuitView, Demand, Guest, MacAddr, NodeView, TopologyReport};

use super::*;

/// Nodes n0 to n4 with a guest each; n4 is on the star only.
fn snapshot(seconds: u64, mbps: &[(u8, u8, u64)]) -> Snapshot {
    let guest = |number: u8| MacAddr([2, 0, 0, 0, 0, number]);
    let address = |node: u8| ("optical".to_owned(), format!("10.0.0.{node}"));
    let demand = |(from, to, mbps): &(u8, u8, u64)| Demand {
        source: guest(*from),
        destination: guest(*to),
        rate: BitsPerSecond(mbps * 1_000_000),
        frames_per_second: 0.0,
        confidence: 1.0,
    };
    let networks = |node: u8| (node != 4).then(|| address(node)).into_iter().collect();
    Snapshot {
        now: Timestamp::from_millis(seconds * 1000),
        nodes: (0..5).map(|node| NodeView { name: format!("n{node}"), networks: networks(node) }).collect(),
        guests: (0..5).map(|node| Guest { mac: guest(node), node: format!("n{node}") }).collect(),
        topology: TopologyReport { demands: mbps.iter().map(demand).collect(), ..TopologyReport::silent() },
        backends: vec![BackendView {
            network: "optical".to_owned(),
            capabilities: Capabilities::default(),
            max_circuits: None,
            max_rate: None,
        }],
        circuits: Vec::new(),
        max_hops: 1,
        question: None,
    }
}

/// What is wanted and when that changed, in seconds, of a matrix that depends on the second.
fn run(config: Config, seconds: u64, mbps: impl Fn(u64) -> Vec<(u8, u8, u64)>) -> Vec<(u64, Vec<String>)> {
    let mut policy = Policy::new(config);
    let mut found: Vec<(u64, Vec<String>)> = Vec::new();
    for second in 0..seconds {
        let now = snapshot(second, &mbps(second));
        let (wanted, _) = policy.step(&now);
        assert_eq!(policy.step(&now), (wanted.clone(), None), "the same snapshot changes nothing");
        let mut names: Vec<_> = wanted.links.iter().map(|link| format!("{}-{}", link.a, link.z)).collect();
        names.sort();
        if found.last().is_none_or(|(_, last)| *last != names) {
            found.push((second, names));
        }
    }
    found
}

fn names(links: &[&str]) -> Vec<String> {
    links.iter().map(|link| (*link).to_owned()).collect()
}

#[test]
fn each_period_relieves_the_most_loaded_star_link_by_its_largest_pair() {
    let mbps = vec![(0, 1, 90), (0, 2, 60), (2, 3, 70), (3, 4, 75)];
    // n0 has 150, then n2 130 of 100 Mbit/s, then n3 75: under 80.
    let found = run(Config::default(), 60, |_| mbps.clone());
    assert_eq!(found, [(0, vec![]), (10, names(&["n0-n1"])), (20, names(&["n0-n1", "n2-n3"]))]);
    let few = Config { max_links: 1, ..Config::default() };
    assert_eq!(run(few, 60, |_| mbps.clone()).len(), 2);
}

#[test]
fn a_circuit_goes_when_it_is_nearly_idle_and_the_star_has_room_again() {
    let loads = |second: u64| match second {
        0..15 => vec![(0, 1, 90), (2, 3, 85)],
        15..35 => vec![(0, 1, 5), (2, 3, 85)],
        _ => vec![],
    };
    let found = run(Config::default(), 80, loads);
    let expected = [
        (0, vec![]),
        (10, names(&["n0-n1"])),
        (20, names(&["n0-n1", "n2-n3"])),
        (30, names(&["n2-n3"])),
        (50, vec![]),
    ];
    assert_eq!(found, expected, "one change at most at the end of each period");
}

#[test]
fn an_unknown_is_not_a_zero_and_what_an_end_has_left_goes_at_once() {
    let mut policy = Policy::new(Config::default());
    for second in 0..15 {
        policy.step(&snapshot(second, &[(0, 1, 90)]));
    }
    for second in 15..60 {
        let mut silent = snapshot(second, &[]);
        silent.topology.silent_nodes.push("n1".to_owned());
        assert_eq!(policy.step(&silent).0.links.len(), 1, "at {second} s");
    }
    let mut left = snapshot(60, &[]);
    left.nodes.remove(1);
    assert!(policy.step(&left).0.links.is_empty());
}

#[test]
fn circuits_that_are_there_are_adopted_and_every_pair_is_explained() {
    let mut policy = Policy::new(Config::default());
    let mut first = snapshot(0, &[(0, 1, 50)]);
    first.circuits.push(CircuitView {
        a: "n0".to_owned(),
        z: "n1".to_owned(),
        network: "optical".to_owned(),
        rate: BitsPerSecond(60_000_000),
        wanted_since: Timestamp::ZERO,
        carries_traffic: true,
        backing_off: false,
    });
    first.question = Some(PairQuestion { a: "n0".to_owned(), z: "n1".to_owned() });
    let (wanted, _) = policy.step(&first);
    assert_eq!((wanted.links.len(), wanted.rules.len()), (1, 2));
    let explanation = wanted.explanation.unwrap();
    assert_eq!(
        (explanation.decision, explanation.why.as_str()),
        (Decision::Kept, "it has 60mbit on optical")
    );
    first.question = Some(PairQuestion { a: "n2".to_owned(), z: "n3".to_owned() });
    let explanation = policy.step(&first).0.explanation.unwrap();
    assert_eq!(explanation.why, "last period: the first period is not over");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_happens_one_link_changes_per_period(
        loads in proptest::collection::vec(proptest::collection::vec((0_u8..5, 0_u8..5, 0_u64..200), 0..8), 40..80),
    ) {
        let config = Config { period: Duration::from_secs(5), ..Config::default() };
        let found = run(config, loads.len() as u64, |second| loads[second as usize].clone());
        for pair in found.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= 5 && pair[1].1.len().abs_diff(pair[0].1.len()) == 1, "{:?}", pair);
        }
    }
}
