//! The best that there is, by trying everything: every selection that the budgets take, and for each of them every way
//! of every pair. Written without the planner's code, so that the two check each other.

use vreserve_adapt_vadapt::choice::{Edge, Problem};

/// What budgets are exceeded by is more than this share of them, or rounding.
const ROUNDING: f64 = 1e-9;

/// What all pairs together can be served at most, in bit/s.
pub(crate) fn exact(problem: &Problem) -> f64 {
    let mut search = Search { problem, chosen: vec![None; problem.pairs.len()], best: f64::MIN };
    search.choose(0);
    search.best
}

/// Where a pair is.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Star,
    Own(usize),
    Two,
}

struct Search<'a> {
    problem: &'a Problem,
    /// The edge of each pair.
    chosen: Vec<Option<usize>>,
    best: f64,
}

impl Search<'_> {
    /// Tries every edge, and none, for this pair and all after it.
    fn choose(&mut self, pair: usize) {
        if pair == self.problem.pairs.len() {
            return self.route();
        }
        self.chosen[pair] = None;
        self.choose(pair + 1);
        for edge in 0..self.problem.edges.len() {
            if self.problem.edges[edge].pair == pair {
                self.chosen[pair] = Some(edge);
                if self.is_allowed(pair) {
                    self.choose(pair + 1);
                }
            }
        }
        self.chosen[pair] = None;
    }

    /// Whether what is chosen up to and with this pair is within all limits.
    fn is_allowed(&self, last: usize) -> bool {
        let edges: Vec<&Edge> =
            self.chosen[..=last].iter().flatten().map(|edge| &self.problem.edges[*edge]).collect();
        let within =
            |sum: f64, most: Option<f64>| most.is_none_or(|most| sum <= most * (1.0 + ROUNDING) + 0.5);
        let rooms = self.problem.rooms.iter().enumerate().all(|(network, room)| {
            let own = || edges.iter().filter(move |edge| edge.network == network);
            room.circuits.is_none_or(|most| own().count() <= most)
                && within(own().map(|edge| edge.rate).sum(), room.rate)
        });
        let cost: f64 = edges.iter().map(|edge| edge.cost).sum();
        rooms
            && edges.len() <= self.problem.limits.links
            && within(edges.iter().map(|edge| edge.rate).sum(), self.problem.limits.rate)
            && self.problem.limits.cost.is_none_or(|most| cost <= most * (1.0 + ROUNDING))
    }

    fn route(&mut self) {
        let way = |edge: &Option<usize>| edge.map_or(Way::Star, Way::Own);
        let mut ways: Vec<Way> = self.chosen.iter().map(way).collect();
        let room = |(pair, way): (usize, &Way)| match way {
            Way::Own(edge) => (self.problem.edges[*edge].rate - self.problem.pairs[pair].demand).max(0.0),
            Way::Star | Way::Two => 0.0,
        };
        let mut room: Vec<f64> = ways.iter().enumerate().map(room).collect();
        self.relay(0, &mut ways, &mut room);
    }

    /// Tries the star and every two circuits for this pair and all after it; `room` is by the pair whose own circuit
    /// it is.
    fn relay(&mut self, pair: usize, ways: &mut Vec<Way>, room: &mut Vec<f64>) {
        let problem = self.problem;
        if pair == problem.pairs.len() {
            self.best = self.best.max(served(problem, ways));
            return;
        }
        self.relay(pair + 1, ways, room);
        let wanted = &problem.pairs[pair];
        if problem.max_hops < 2 || !wanted.may_relay || ways[pair] != Way::Star {
            return;
        }
        let [a, z] = wanted.ends;
        for first in 0..problem.pairs.len() {
            for second in 0..problem.pairs.len() {
                let is_own = |pair: usize| matches!(ways[pair], Way::Own(_));
                let meets = first != second
                    && is_own(first)
                    && is_own(second)
                    && joins(problem.pairs[first].ends, a)
                        .is_some_and(|by| joins(problem.pairs[second].ends, z) == Some(by));
                if meets && room[first] >= wanted.demand && room[second] >= wanted.demand {
                    ways[pair] = Way::Two;
                    room[first] -= wanted.demand;
                    room[second] -= wanted.demand;
                    self.relay(pair + 1, ways, room);
                    room[first] += wanted.demand;
                    room[second] += wanted.demand;
                    ways[pair] = Way::Star;
                }
            }
        }
    }
}

/// The end that is not `node`, of a pair that has it.
fn joins(ends: [usize; 2], node: usize) -> Option<usize> {
    match ends {
        [one, other] if one == node => Some(other),
        [other, one] if one == node => Some(other),
        _ => None,
    }
}

/// What all pairs are served on these ways. A star link that is offered more than it carries is shared in proportion.
fn served(problem: &Problem, ways: &[Way]) -> f64 {
    let offered = |node: usize| -> f64 {
        let others = problem.others.get(node).copied().unwrap_or(0.0);
        let here = problem
            .pairs
            .iter()
            .zip(ways)
            .filter(|(pair, way)| **way == Way::Star && pair.ends.contains(&node));
        others + here.map(|(pair, _)| pair.demand).sum::<f64>()
    };
    let of_pair = |(pair, way): (&vreserve_adapt_vadapt::choice::NodePairDemand, &Way)| match (
        way,
        problem.star_rate,
    ) {
        (Way::Own(edge), _) => pair.demand.min(problem.edges[*edge].rate) + pair.worth,
        (Way::Two, _) => pair.demand,
        (Way::Star, None) => 0.0,
        (Way::Star, Some(rate)) => {
            let share = |node| (rate / offered(node)).min(1.0);
            pair.demand * share(pair.ends[0]).min(share(pair.ends[1]))
        }
    };
    problem.pairs.iter().zip(ways).map(of_pair).sum()
}
