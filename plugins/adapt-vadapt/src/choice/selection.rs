//! A selection H ⊆ E: at most one link per pair, and what all of them use of the budgets.

use super::problem::{Edge, Problem};

/// The links chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The edge of each pair, by number.
    on: Vec<Option<usize>>,
    /// The edges, in the order in which they were chosen.
    members: Vec<usize>,
    used: Used,
}

/// What is used of the budgets.
#[derive(Clone, Debug, PartialEq)]
struct Used {
    rate: f64,
    cost: f64,
    /// Circuits and rate by network.
    rooms: Vec<(usize, f64)>,
}

/// Why an edge cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its pair has another.
    HasLink,
    /// No circuit is left of all that there may be.
    Links,
    /// Its network has no circuit left.
    NetworkCircuits,
    /// The rates of its network's circuits would come to too much.
    NetworkRate,
    /// The rates of all circuits would come to too much.
    Rate,
    /// They would cost too much.
    Cost,
}

/// Sums of rates are far from the precision of their type; a bit per second is nobody's budget.
const SLACK: f64 = 0.5;
/// The same for sums of costs, whose unit is the operator's.
const ROUNDING: f64 = 1e-9;

impl Selection {
    /// No link.
    pub fn none(problem: &Problem) -> Self {
        let used = Used { rate: 0.0, cost: 0.0, rooms: vec![(0, 0.0); problem.rooms.len()] };
        Selection { on: vec![None; problem.pairs.len()], members: Vec::new(), used }
    }

    /// Held links only, whether or not they fit: they are there.
    pub fn held(problem: &Problem) -> Self {
        let mut selection = Self::none(problem);
        for (index, edge) in problem.edges.iter().enumerate().filter(|(_, edge)| edge.is_held) {
            if selection.on[edge.pair].is_none() {
                selection.add(problem, index);
            }
        }
        selection
    }

    /// The edges chosen, by number.
    pub fn members(&self) -> &[usize] {
        &self.members
    }

    /// The edge of a pair.
    pub fn edge_of(&self, pair: usize) -> Option<usize> {
        self.on[pair]
    }

    /// True if the edge's pair has none and the budgets take it.
    pub fn fits(&self, problem: &Problem, edge: usize) -> bool {
        self.obstacle(problem, edge).is_none()
    }

    /// Why an edge cannot be chosen as well; none if it can.
    pub fn obstacle(&self, problem: &Problem, edge: usize) -> Option<Obstacle> {
        let Edge { pair, network, rate, cost, .. } = problem.edges[edge];
        let exceeds = |sum: f64, most: Option<f64>| most.is_some_and(|most| sum > most + SLACK);
        let costs_more = |sum: f64, most: f64| sum > most * (1.0 + ROUNDING);
        let (room, (circuits, used)) = (problem.rooms[network], self.used.rooms[network]);
        if self.on[pair].is_some() {
            Some(Obstacle::HasLink)
        } else if self.members.len() >= problem.limits.links {
            Some(Obstacle::Links)
        } else if room.circuits.is_some_and(|most| circuits >= most) {
            Some(Obstacle::NetworkCircuits)
        } else if exceeds(used + rate, room.rate) {
            Some(Obstacle::NetworkRate)
        } else if exceeds(self.used.rate + rate, problem.limits.rate) {
            Some(Obstacle::Rate)
        } else if problem.limits.cost.is_some_and(|most| costs_more(self.used.cost + cost, most)) {
            Some(Obstacle::Cost)
        } else {
            None
        }
    }

    /// What all circuits come to, and what they cost.
    pub fn used(&self) -> (f64, f64) {
        (self.used.rate, self.used.cost)
    }

    /// Circuits on a network, and what they come to.
    pub fn used_on(&self, network: usize) -> (usize, f64) {
        self.used.rooms[network]
    }

    /// Chooses an edge whose pair has none, whether or not it fits.
    pub fn add(&mut self, problem: &Problem, edge: usize) {
        let Edge { pair, network, rate, cost, .. } = problem.edges[edge];
        self.on[pair] = Some(edge);
        self.members.push(edge);
        self.used.rate += rate;
        self.used.cost += cost;
        self.used.rooms[network].0 += 1;
        self.used.rooms[network].1 += rate;
    }

    /// Gives an edge up; nothing if it is not chosen.
    pub fn remove(&mut self, problem: &Problem, edge: usize) {
        let Some(place) = self.members.iter().position(|member| *member == edge) else { return };
        let Edge { pair, network, rate, cost, .. } = problem.edges[edge];
        self.members.remove(place);
        self.on[pair] = None;
        self.used.rate -= rate;
        self.used.cost -= cost;
        self.used.rooms[network].0 -= 1;
        self.used.rooms[network].1 -= rate;
    }

    /// Adds every edge that fits, in this order.
    pub(super) fn fill(&mut self, problem: &Problem, order: &[usize]) {
        for edge in order {
            if self.members.len() >= problem.limits.links {
                return;
            }
            if self.fits(problem, *edge) {
                self.add(problem, *edge);
            }
        }
    }

    /// Room for rates that is left on a network, for the choice of the widest.
    pub(super) fn rate_left(&self, problem: &Problem, network: usize) -> f64 {
        problem.rooms[network].rate.map_or(f64::INFINITY, |most| most - self.used.rooms[network].1)
    }
}
