//! The greedy selection: the links with the largest gain first, or with the largest gain for what they use of the
//! budgets, whichever comes to more.

use super::problem::Problem;
use super::selection::Selection;
use super::ways::{star, ways};
use crate::config::Routing;

/// The better of the greedy selections; the first of equals.
pub(super) fn best(problem: &Problem, routing: Routing) -> Selection {
    let mut best: Option<(Selection, f64)> = None;
    for order in orders(problem) {
        let mut selection = Selection::held(problem);
        fill(&mut selection, problem, &order, routing);
        let value = ways(problem, &selection, routing).value;
        if best.as_ref().is_none_or(|(_, most)| value > *most) {
            best = Some((selection, value));
        }
    }
    best.map_or_else(|| Selection::held(problem), |(selection, _)| selection)
}

/// Edges with something to gain, by gain, and by gain for what they use. Equals stay in the problem's order, in which
/// the networks that a pair prefers come first.
pub(super) fn orders(problem: &Problem) -> [Vec<usize>; 2] {
    let alone = star(problem, &vec![true; problem.pairs.len()]);
    let gains: Vec<f64> = problem.edges.iter().map(|edge| problem.gain(edge, alone[edge.pair])).collect();
    let sorted_by = |key: &dyn Fn(usize) -> f64| {
        let mut order: Vec<usize> = (0..problem.edges.len()).filter(|edge| gains[*edge] > 0.0).collect();
        order.sort_by(|one, other| key(*other).total_cmp(&key(*one)));
        order
    };
    [sorted_by(&|edge| gains[edge]), sorted_by(&|edge| gains[edge] / weight(problem, edge))]
}

/// What an edge uses, as the sum of its shares of all that is limited.
fn weight(problem: &Problem, edge: usize) -> f64 {
    let edge = &problem.edges[edge];
    let share = |uses: f64, most: Option<f64>| most.map_or(0.0, |most| uses / most.max(1.0));
    let room = problem.rooms[edge.network];
    let one = share(1.0, Some(problem.limits.links as f64));
    one + share(1.0, room.circuits.map(|most| most as f64))
        + share(edge.rate, room.rate)
        + share(edge.rate, problem.limits.rate)
        + problem.limits.cost.map_or(0.0, |most| edge.cost / most.max(f64::MIN_POSITIVE))
}

/// Shortest: a pair takes the first network in its order that has room. Widest: the one with the most room left.
fn fill(selection: &mut Selection, problem: &Problem, order: &[usize], routing: Routing) {
    if routing == Routing::Shortest {
        return selection.fill(problem, order);
    }
    for edge in order {
        let own = problem.edges.iter().enumerate().filter(|(_, own)| own.pair == problem.edges[*edge].pair);
        let fitting = own.map(|(index, _)| index).filter(|index| selection.fits(problem, *index));
        let left = |index: &usize| selection.rate_left(problem, problem.edges[*index].network);
        // `max_by` gives the last of equals, and the first is preferred.
        let widest = fitting.rev().max_by(|one, other| left(one).total_cmp(&left(other)));
        if let Some(widest) = widest {
            selection.add(problem, widest);
        }
    }
}
