//! Small problems whose best selection is plain to see, and what must hold of any.

use proptest::prelude::*;

use super::*;

const EFFORT: Effort = Effort { routing: Routing::Shortest, steps: 500 };

/// Pairs of nodes with a demand each, all on one network, circuits at that rate.
fn problem(demands: &[([usize; 2], f64)], links: usize) -> Problem {
    let pair = |(ends, demand): &([usize; 2], f64)| NodePairDemand {
        ends: *ends,
        demand: *demand,
        worth: 0.0,
        bias: 1.0,
        may_relay: true,
    };
    let edge = |(pair, (_, rate)): (usize, &([usize; 2], f64))| Edge {
        pair,
        network: 0,
        rate: *rate,
        cost: 1.0,
        is_held: false,
    };
    Problem {
        pairs: demands.iter().map(pair).collect(),
        edges: demands.iter().enumerate().map(edge).collect(),
        rooms: vec![Room::default()],
        limits: Limits { links, ..Limits::default() },
        max_hops: 1,
        ..Problem::default()
    }
}

fn chosen(problem: &Problem, effort: Effort) -> Vec<usize> {
    let mut members = choose(problem, effort).members().to_vec();
    members.sort_unstable();
    members
}

#[test]
fn refinement_finds_what_greed_misses() {
    let mut problem = problem(&[([0, 1], 60.0), ([2, 3], 50.0), ([4, 5], 50.0)], 3);
    problem.limits.rate = Some(100.0);
    assert_eq!(chosen(&problem, Effort { steps: 0, ..EFFORT }), [0]);
    assert_eq!(chosen(&problem, EFFORT), [1, 2]);
    // A circuit that is there is not given up for so little.
    problem.pairs[0].bias = 2.0;
    assert_eq!(chosen(&problem, EFFORT), [0]);
    problem.pairs[0].bias = 1.0;
    problem.edges[0].is_held = true;
    assert_eq!(chosen(&problem, EFFORT), [0], "what is held stays");
}

#[test]
fn two_circuits_with_room_carry_a_third_pair() {
    let mut problem = problem(&[([0, 1], 60.0), ([1, 2], 50.0), ([0, 2], 40.0), ([0, 3], 45.0)], 2);
    problem.edges.iter_mut().for_each(|edge| edge.rate = 100.0);
    let first = choose(&problem, EFFORT);
    assert_eq!(value(&problem, &first, Routing::Shortest), 110.0);
    problem.max_hops = 2;
    let both = choose(&problem, EFFORT);
    let found = ways(&problem, &both, Routing::Widest);
    assert_eq!(found.relays, [Relay { pair: 2, by: 1, edges: [0, 1] }]);
    assert_eq!(found.value, 150.0);
    problem.pairs[2].demand = 41.0;
    assert!(ways(&problem, &both, Routing::Widest).relays.is_empty(), "what does not fit stays whole");
    problem.pairs[2].demand = 40.0;
    problem.pairs[2].may_relay = false;
    assert!(ways(&problem, &both, Routing::Widest).relays.is_empty(), "two hops spare nobody anything");
}

#[test]
fn the_widest_way_is_the_one_with_most_room() {
    let mut problem =
        problem(&[([0, 1], 90.0), ([1, 3], 90.0), ([0, 2], 50.0), ([2, 3], 60.0), ([0, 3], 10.0)], 4);
    problem.edges.iter_mut().for_each(|edge| edge.rate = 100.0);
    problem.edges.truncate(4);
    problem.max_hops = 2;
    let all = choose(&problem, EFFORT);
    let by = |routing| ways(&problem, &all, routing).relays[0].by;
    assert_eq!((by(Routing::Shortest), by(Routing::Widest)), (1, 2));
}

#[test]
fn the_widest_network_is_taken_where_the_order_would_fill_the_first() {
    let mut problem = problem(&[([0, 1], 40.0), ([2, 3], 30.0)], 2);
    problem.rooms =
        vec![Room { rate: Some(50.0), ..Room::default() }, Room { rate: Some(90.0), ..Room::default() }];
    let others: Vec<Edge> = problem.edges.iter().map(|edge| Edge { network: 1, ..edge.clone() }).collect();
    problem.edges.extend(others);
    let networks = |routing| -> Vec<usize> {
        let found = choose(&problem, Effort { routing, steps: 0 });
        found.members().iter().map(|edge| problem.edges[*edge].network).collect()
    };
    assert_eq!(networks(Routing::Shortest), [0, 1]);
    assert_eq!(networks(Routing::Widest), [1, 0], "60 left of 90 is more than 50, and then less");
}

#[test]
fn what_the_star_would_carry_anyhow_is_no_gain() {
    // Three pairs share the star link of node 0, which carries 60 of their 120; the fourth has its own.
    let mut problem = problem(&[([0, 1], 40.0), ([0, 2], 40.0), ([0, 3], 40.0), ([4, 5], 50.0)], 1);
    assert_eq!(chosen(&problem, EFFORT), [3]);
    problem.star_rate = Some(60.0);
    assert_eq!(chosen(&problem, EFFORT), [0], "whichever of the three leaves, the others are better off");
    let star = value(&problem, &Selection::none(&problem), Routing::Shortest);
    assert_eq!(star, 110.0);
    assert_eq!(value(&problem, &choose(&problem, EFFORT), Routing::Shortest), 150.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_choice_keeps_the_budgets_is_never_worse_than_the_star_and_is_the_same_again(
        demands in proptest::collection::vec(((0_usize..6, 0_usize..6), 1_u32..100, 1_u32..150), 1..12),
        links in 0_usize..5, rate in 1_u32..300, cost in 1_u32..5, star in proptest::option::of(1_u32..150),
        max_hops in 1_u32..3,
    ) {
        let demands: Vec<_> = demands.iter().filter(|((a, z), ..)| a != z).collect();
        let plain: Vec<_> = demands.iter().map(|((a, z), demand, _)| ([*a, *z], f64::from(*demand))).collect();
        let mut problem = problem(&plain, links);
        for (edge, (_, _, rate)) in problem.edges.iter_mut().zip(&demands) {
            edge.rate = f64::from(*rate);
        }
        problem.limits = Limits { links, rate: Some(f64::from(rate)), cost: Some(f64::from(cost)) };
        problem.star_rate = star.map(f64::from);
        problem.max_hops = max_hops;
        for routing in [Routing::Shortest, Routing::Widest] {
            let found = choose(&problem, Effort { routing, steps: 100 });
            prop_assert_eq!(&choose(&problem, Effort { routing, steps: 100 }), &found);
            let (used, costs) = found.used();
            prop_assert!(found.members().len() <= links && used <= f64::from(rate) + 1.0);
            prop_assert!(costs <= f64::from(cost) + 0.1);
            let star = value(&problem, &Selection::none(&problem), routing);
            let reached = value(&problem, &found, routing);
            prop_assert!(reached >= star - 1e-6, "{reached} instead of {star}");
        }
    }
}
