//! Edges between numbered guests, without directions: what one side sends is seldom all of the traffic, so an
//! edge is as strong as its stronger direction.

use hashbrown::HashMap;
use vreserve_sdk::model::MacAddr;

use crate::report::Pair;

/// An edge between two guests, the lesser number first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edge {
    pub(super) ends: (u32, u32),
    pub(super) strength: f64,
}

/// Guests with at least one edge.
pub(super) struct Graph {
    pub(super) guests: usize,
    /// The strongest first.
    pub(super) edges: Vec<Edge>,
}

impl Graph {
    pub(super) fn new(pairs: impl Iterator<Item = (Pair, f64)>) -> Self {
        let mut numbers: HashMap<MacAddr, u32> = HashMap::new();
        let mut number = |mac| {
            let next = numbers.len() as u32;
            *numbers.entry(mac).or_insert(next)
        };
        let mut edges: Vec<_> = pairs
            .map(|(pair, strength)| {
                let (one, other) = (number(pair.source), number(pair.destination));
                Edge { ends: (one.min(other), one.max(other)), strength }
            })
            .collect();
        edges.sort_unstable_by_key(|edge| edge.ends);
        edges.dedup_by(|edge, kept| {
            let is_same = edge.ends == kept.ends;
            if is_same {
                kept.strength = kept.strength.max(edge.strength);
            }
            is_same
        });
        // Stable, so that the order of equals does not depend on the sort.
        edges.sort_by(|one, other| other.strength.total_cmp(&one.strength));
        Graph { guests: numbers.len(), edges }
    }

    /// What so many of the strongest edges form.
    pub(super) fn strongest(&self, kept: usize) -> Part {
        let edges = &self.edges[..kept.min(self.edges.len())];
        let mut number = vec![u32::MAX; self.guests];
        let mut guests = 0;
        let mut place = |guest: u32| {
            let place = &mut number[guest as usize];
            if *place == u32::MAX {
                *place = guests;
                guests += 1;
            }
            *place as usize
        };
        let edges: Vec<_> = edges.iter().map(|edge| (place(edge.ends.0), place(edge.ends.1))).collect();
        Part::new(guests as usize, edges)
    }
}

/// A graph whose strengths do not matter.
pub(super) struct Part {
    pub(super) neighbours: Vec<Vec<usize>>,
    pub(super) edges: Vec<(usize, usize)>,
}

impl Part {
    pub(super) fn new(guests: usize, edges: Vec<(usize, usize)>) -> Self {
        let mut degrees = vec![0; guests];
        for (one, other) in &edges {
            degrees[*one] += 1;
            degrees[*other] += 1;
        }
        let mut neighbours: Vec<_> = degrees.into_iter().map(Vec::with_capacity).collect();
        for (one, other) in &edges {
            neighbours[*one].push(*other);
            neighbours[*other].push(*one);
        }
        Part { neighbours, edges }
    }

    pub(super) fn guests(&self) -> usize {
        self.neighbours.len()
    }

    pub(super) fn degrees(&self) -> impl Iterator<Item = usize> + '_ {
        self.neighbours.iter().map(Vec::len)
    }

    pub(super) fn is_connected(&self) -> bool {
        let mut seen = vec![false; self.neighbours.len()];
        let mut reached = 0;
        let mut stack = vec![0];
        while let Some(guest) = stack.pop() {
            if !std::mem::replace(&mut seen[guest], true) {
                reached += 1;
                stack.extend(&self.neighbours[guest]);
            }
        }
        reached == self.neighbours.len()
    }
}
