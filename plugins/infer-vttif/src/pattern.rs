//! The name of the shape that edges form, whatever the guests are called.
//!
//! An edge counts without its direction: what one side sends is seldom all of the traffic. Small shapes
//! that have two names take the first of: pairs, all-to-all, ring, chain, star. So three guests in a
//! triangle are all-to-all, and three in a row a chain.

use hashbrown::{HashMap, HashSet};
use vreserve_sdk::model::{MacAddr, Pattern};

use crate::report::Pair;

/// Names the shape of `edges`. Guests without an edge do not take part.
pub(crate) fn name(edges: impl Iterator<Item = Pair>) -> Pattern {
    let graph = Graph::new(edges);
    let (guests, edges) = (graph.neighbours.len(), graph.edges);
    let has_only_degrees = |low, high| graph.degrees().all(|degree| (low..=high).contains(&degree));
    if guests == 0 {
        return Pattern::Silent;
    }
    if has_only_degrees(1, 1) {
        return Pattern::Pairs;
    }
    if edges == guests * (guests - 1) / 2 {
        return Pattern::AllToAll;
    }
    if !graph.is_connected() {
        return Pattern::Irregular;
    }
    match edges {
        _ if edges == guests && has_only_degrees(2, 2) => Pattern::Ring,
        _ if edges + 1 != guests => Pattern::Irregular,
        _ if has_only_degrees(1, 2) => Pattern::Chain,
        _ if graph.degrees().any(|degree| degree == guests - 1) => Pattern::Star,
        _ => Pattern::Tree,
    }
}

struct Graph {
    neighbours: Vec<Vec<usize>>,
    edges: usize,
}

impl Graph {
    fn new(pairs: impl Iterator<Item = Pair>) -> Self {
        let mut numbers: HashMap<MacAddr, usize> = HashMap::new();
        let mut edges = HashSet::new();
        for Pair { source, destination } in pairs {
            let next = numbers.len();
            let one = *numbers.entry(source).or_insert(next);
            let next = numbers.len();
            let other = *numbers.entry(destination).or_insert(next);
            edges.insert((one.min(other), one.max(other)));
        }
        let mut neighbours = vec![Vec::new(); numbers.len()];
        for (one, other) in &edges {
            neighbours[*one].push(*other);
            neighbours[*other].push(*one);
        }
        Graph { neighbours, edges: edges.len() }
    }

    fn degrees(&self) -> impl Iterator<Item = usize> + '_ {
        self.neighbours.iter().map(Vec::len)
    }

    fn is_connected(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(edges: &[(u8, u8)], labels: &[u8]) -> Vec<Pair> {
        let mac = |n: u8| MacAddr([2, 0, 0, 0, 0, labels[usize::from(n)]]);
        edges.iter().map(|(one, other)| Pair { source: mac(*one), destination: mac(*other) }).collect()
    }

    fn shapes(n: u8) -> Vec<(Pattern, Vec<(u8, u8)>)> {
        let all = (0..n).flat_map(|one| (0..one).map(move |other| (one, other))).collect();
        let chain: Vec<_> = (1..n).map(|guest| (guest - 1, guest)).collect();
        let ring = chain.iter().copied().chain([(n - 1, 0)]).collect();
        let star = (1..n).map(|guest| (0, guest)).collect();
        let tree = (1..n).map(|guest| ((guest - 1) / 2, guest)).collect();
        let pairs = (0..n / 2).map(|pair| (2 * pair, 2 * pair + 1)).collect();
        let two_rings = (0..n).flat_map(|g| [(g, (g + 1) % n), (n + g, n + (g + 1) % n)]).collect();
        let lollipop = chain.iter().copied().chain([(2, 0)]).collect();
        vec![
            (Pattern::AllToAll, all),
            (Pattern::Ring, ring),
            (Pattern::Chain, chain),
            (Pattern::Star, star),
            (Pattern::Tree, tree),
            (Pattern::Pairs, pairs),
            (Pattern::Irregular, two_rings),
            (Pattern::Irregular, lollipop),
        ]
    }

    proptest! {
        #[test]
        fn every_shape_is_named_under_any_labels_and_directions(
            n in 6_u8..20,
            labels in Just((0..40).collect::<Vec<u8>>()).prop_shuffle(),
            flips in proptest::collection::vec(0_u8..3, 200),
        ) {
            for (expected, edges) in shapes(n) {
                let directed: Vec<_> = edges.iter().zip(&flips).flat_map(|((one, other), flip)| match flip {
                    0 => vec![(*one, *other)],
                    1 => vec![(*other, *one)],
                    _ => vec![(*one, *other), (*other, *one)],
                }).collect();
                prop_assert_eq!(name(pairs(&directed, &labels).into_iter()), expected);
            }
        }
    }

    #[test]
    fn small_shapes_have_one_name() {
        let labels: Vec<u8> = (0..10).collect();
        for (edges, expected) in [
            (&[][..], Pattern::Silent),
            (&[(0, 1)], Pattern::Pairs),
            (&[(0, 1), (1, 2)], Pattern::Chain),
            (&[(0, 1), (1, 2), (2, 0)], Pattern::AllToAll),
            (&[(0, 1), (1, 2), (2, 3), (3, 0)], Pattern::Ring),
            (&[(0, 1), (0, 2), (0, 3)], Pattern::Star),
            (&[(0, 1), (2, 3), (3, 4)], Pattern::Irregular),
        ] {
            assert_eq!(name(pairs(edges, &labels).into_iter()), expected, "{edges:?}");
        }
    }
}
