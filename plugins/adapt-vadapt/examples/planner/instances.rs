//! Small random problems of every kind: lightpaths of a fixed rate and circuits of any rate, one network and two, with
//! and without budgets, with the star known and not, one hop and two.

use vreserve_adapt_vadapt::Routing;
use vreserve_adapt_vadapt::choice::{Edge, Limits, NodePairDemand, Problem, Room};

const MBIT: f64 = 1e6;

/// One problem, and how its ways are chosen.
pub(crate) fn random(random: &mut fastrand::Rng) -> (Problem, Routing) {
    let nodes = random.usize(4..=7);
    let mut ends: Vec<[usize; 2]> = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |z| [a, z])).collect();
    random.shuffle(&mut ends);
    ends.truncate(random.usize(4..=10));
    let mut pairs: Vec<NodePairDemand> = ends.into_iter().map(|ends| pair(ends, random)).collect();
    pairs.sort_by(|one, other| other.demand.total_cmp(&one.demand));
    let networks = random.usize(1..=2);
    let mut edges = Vec::new();
    for network in 0..networks {
        let is_on: Vec<bool> = (0..nodes).map(|_| random.f64() < 0.85).collect();
        let fixed = random.bool().then(|| [100.0, 300.0, 1000.0][random.usize(0..3)] * MBIT);
        let (circuit, per_gbit) = (random.f64() * 2.0, random.f64() * 10.0);
        for (number, pair) in
            pairs.iter().enumerate().filter(|(_, pair)| pair.ends.iter().all(|end| is_on[*end]))
        {
            let rate = fixed.unwrap_or(pair.demand * 1.2);
            let cost = circuit + per_gbit * rate / 1e9;
            edges.push(Edge { pair: number, network, rate, cost, is_held: false });
        }
    }
    // The edges of one pair stand together, in the order of the networks.
    edges.sort_by_key(|edge| (edge.pair, edge.network));
    let asked: f64 = edges.iter().map(|edge| edge.rate).sum();
    let costs: f64 = edges.iter().map(|edge| edge.cost).sum();
    let mut some = |of: f64| random.bool().then(|| of * (0.1 + 0.6 * random.f64()));
    let limits = Limits { links: 0, rate: some(asked), cost: some(costs) };
    let rates: Vec<Option<f64>> = (0..networks).map(|_| some(asked)).collect();
    let room = |rate| Room { circuits: random.bool().then(|| random.usize(1..=3)), rate };
    let rooms = rates.into_iter().map(room).collect();
    let problem = Problem {
        pairs,
        edges,
        rooms,
        limits: Limits { links: random.usize(1..=4), ..limits },
        star_rate: random.bool().then(|| (30.0 + 170.0 * random.f64()) * MBIT),
        others: Vec::new(),
        max_hops: random.u32(1..=2),
    };
    (problem, if random.bool() { Routing::Shortest } else { Routing::Widest })
}

/// Demands from 10 to 1,000 Mbit/s, small ones more often.
fn pair(ends: [usize; 2], random: &mut fastrand::Rng) -> NodePairDemand {
    let waits = random.f64() < 0.2;
    NodePairDemand {
        ends,
        demand: 10.0 * MBIT * 100.0_f64.powf(random.f64() * random.f64()),
        worth: if waits { 20.0 * MBIT } else { 0.0 },
        bias: 1.0,
        may_relay: !waits,
    }
}
