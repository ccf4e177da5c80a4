//! Which links to have, as a problem with a value to be made large: VADAPT's (Sundararaj, Gupta, Dinda), which is
//! NP-hard and hard to approximate in general, so it is solved greedily and then refined for a bounded number of
//! steps.
//!
//! ```text
//!  Problem ──▶ greedy: in the order of gain, and of gain per share of the budgets ──▶ Selection
//!                                                                                        │
//!  value ◀── ways: own circuit, two circuits with room left, the star ◀── refine: annealing, seeded by it
//! ```
//! Numbers only: what pairs, networks and hosts are called, and what is remembered of them, is the planner's.
//! The same problem gives the same selection.

mod greedy;
mod problem;
mod refine;
mod selection;
mod ways;

pub use problem::{Edge, Limits, NodePairDemand, Problem, Room};
pub use selection::{Obstacle, Selection};
pub use ways::{Relay, Ways, ways};

use crate::config::Routing;

/// How hard to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// How ways are chosen where there are several.
    pub routing: Routing,
    /// Steps of the refinement; none leaves the greedy selection as it is.
    pub steps: u32,
}

/// Small problems are refined for so many steps for each way to put one link in place of another.
const STEPS_PER_SWAP: u32 = 20;

/// The best selection found. Held links are always in it; without them it is never worth less than none at all.
pub fn choose(problem: &Problem, effort: Effort) -> Selection {
    let greedy = greedy::best(problem, effort.routing);
    let is_all = problem.edges.iter().all(|edge| greedy.edge_of(edge.pair).is_some());
    let edges = u32::try_from(problem.edges.len()).unwrap_or(u32::MAX);
    let steps = effort.steps.min(STEPS_PER_SWAP.saturating_mul(edges.saturating_mul(edges)));
    if steps == 0 || is_all || problem.is_solved_by_greed() {
        return greedy;
    }
    refine::refine(problem, greedy, Effort { steps, ..effort })
}

/// What a selection is worth.
pub fn value(problem: &Problem, selection: &Selection, routing: Routing) -> f64 {
    ways(problem, selection, routing).value
}

#[cfg(test)]
mod tests;
