//! The ways that pairs take over a selection, and what all of it is worth: their own circuit, else two circuits with
//! room left by way of a third node, else the star.

use super::problem::{NodePairDemand, Problem};
use super::selection::Selection;
use crate::config::Routing;

/// A pair on two circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The pair, by number.
    pub pair: usize,
    /// The node in between.
    pub by: usize,
    /// The edge from the pair's first end, and that to its second.
    pub edges: [usize; 2],
}

/// Ways and their worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Ways {
    /// Pairs that take two circuits.
    pub relays: Vec<Relay>,
    /// What all pairs together are served, in bit/s.
    pub value: f64,
}

/// One direction of a chosen edge, with the room that its own pair leaves.
struct Arc {
    from: usize,
    to: usize,
    /// Its place among the selection's members.
    member: usize,
}

/// The ways over a selection.
pub fn ways(problem: &Problem, selection: &Selection, routing: Routing) -> Ways {
    let own = |(index, pair): (usize, &NodePairDemand)| {
        let edge = selection.edge_of(index)?;
        Some(pair.bias * (pair.demand.min(problem.edges[edge].rate) + pair.worth))
    };
    let mut value: f64 = problem.pairs.iter().enumerate().filter_map(own).sum();
    let relays = if problem.max_hops < 2 { Vec::new() } else { relays(problem, selection, routing) };
    value += relays.iter().map(|relay| problem.pairs[relay.pair].demand).sum::<f64>();
    if problem.star_rate.is_some() {
        let mut on_star: Vec<bool> =
            (0..problem.pairs.len()).map(|pair| selection.edge_of(pair).is_none()).collect();
        relays.iter().for_each(|relay| on_star[relay.pair] = false);
        value += star(problem, &on_star).iter().sum::<f64>();
    }
    Ways { relays, value }
}

/// What the star carries of each pair that is on it. A star link that more is offered to than it carries is shared in
/// proportion, so that a pair that leaves the star never takes anything from those that stay.
pub(super) fn star(problem: &Problem, on_star: &[bool]) -> Vec<f64> {
    let Some(rate) = problem.star_rate else { return vec![0.0; problem.pairs.len()] };
    let mut load = vec![0.0; problem.nodes().max(problem.others.len())];
    load[..problem.others.len()].copy_from_slice(&problem.others);
    let staying = || problem.pairs.iter().enumerate().filter(|(index, _)| on_star[*index]);
    for (_, pair) in staying() {
        pair.ends.into_iter().for_each(|end| load[end] += pair.demand);
    }
    let share = |node: usize| if load[node] > rate { rate / load[node] } else { 1.0 };
    let mut carried = vec![0.0; problem.pairs.len()];
    for (index, pair) in staying() {
        carried[index] = pair.demand * share(pair.ends[0]).min(share(pair.ends[1]));
    }
    carried
}

/// Pairs without a circuit of their own, largest first, over two that have room for all of their demand.
fn relays(problem: &Problem, selection: &Selection, routing: Routing) -> Vec<Relay> {
    let mut arcs: Vec<Arc> = Vec::with_capacity(selection.members().len() * 2);
    let mut room: Vec<f64> = Vec::with_capacity(selection.members().len());
    for (member, edge) in selection.members().iter().enumerate() {
        let edge = &problem.edges[*edge];
        let pair = &problem.pairs[edge.pair];
        room.push((edge.rate - pair.demand).max(0.0));
        let [a, z] = pair.ends;
        arcs.push(Arc { from: a, to: z, member });
        arcs.push(Arc { from: z, to: a, member });
    }
    arcs.sort_by_key(|arc| (arc.from, arc.to));
    let is_candidate = |index: &usize| {
        let pair = &problem.pairs[*index];
        pair.may_relay && pair.demand > 0.0 && selection.edge_of(*index).is_none()
    };
    let mut waiting: Vec<usize> = (0..problem.pairs.len()).filter(is_candidate).collect();
    waiting.sort_by(|one, other| problem.pairs[*other].demand.total_cmp(&problem.pairs[*one].demand));
    let mut relays = Vec::new();
    for pair in waiting {
        let (ends, demand) = (problem.pairs[pair].ends, problem.pairs[pair].demand);
        if let Some([first, second]) = between(&arcs, &room, ends, demand, routing) {
            room[arcs[first].member] -= demand;
            room[arcs[second].member] -= demand;
            let edges = [first, second].map(|arc| selection.members()[arcs[arc].member]);
            relays.push(Relay { pair, by: arcs[first].to, edges });
        }
    }
    relays
}

/// The two arcs by way of one node: the first that has room, or those with the most.
fn between(
    arcs: &[Arc],
    room: &[f64],
    [from, to]: [usize; 2],
    demand: f64,
    routing: Routing,
) -> Option<[usize; 2]> {
    let start = arcs.partition_point(|arc| arc.from < from);
    let mut best: Option<([usize; 2], f64)> = None;
    for (first, arc) in arcs.iter().enumerate().skip(start).take_while(|(_, arc)| arc.from == from) {
        let Ok(second) = arcs.binary_search_by_key(&(arc.to, to), |arc| (arc.from, arc.to)) else { continue };
        let width = room[arc.member].min(room[arcs[second].member]);
        if width < demand || best.is_some_and(|(_, widest)| widest >= width) {
            continue;
        }
        best = Some(([first, second], width));
        if routing == Routing::Shortest {
            break;
        }
    }
    best.map(|(ways, _)| ways)
}
