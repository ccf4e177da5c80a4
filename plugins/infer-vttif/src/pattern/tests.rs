//! Every pattern at many sizes, under noise; and graphs that have no name.

use proptest::prelude::*;
use vreserve_sdk::model::MacAddr;

use super::*;
use crate::shape::Shape;

/// Numbers that look random and are the same in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn labels(&mut self, count: usize) -> Vec<usize> {
        let mut labels: Vec<_> = (0..count).collect();
        for at in (1..count).rev() {
            labels.swap(at, self.below(at + 1));
        }
        labels
    }
}

type Strong = (usize, usize, f64);

fn mac(n: usize) -> MacAddr {
    let [high, low] = (n as u16).to_be_bytes();
    MacAddr([2, 0, 0, 0, high, low])
}

/// The name of these edges, each in one direction or both, among guests with other numbers.
fn named(edges: &[Strong], numbers: &mut Numbers) -> Pattern {
    let labels = numbers.labels(256);
    let mut directed: Vec<(Pair, f64)> = Vec::new();
    for (one, other, strength) in edges {
        let (one, other) = (mac(labels[*one]), mac(labels[*other]));
        let forth = (Pair { source: one, destination: other }, *strength);
        let back = (Pair { source: other, destination: one }, *strength);
        match numbers.below(3) {
            0 => directed.push(forth),
            1 => directed.push(back),
            _ => directed.extend([forth, back]),
        }
    }
    name(directed.into_iter())
}

/// A shape with strengths of which some are twice the others.
fn unequal(shape: &Shape, numbers: &mut Numbers) -> Vec<Strong> {
    shape.edges.iter().map(|(a, b)| (*a, *b, 1.0 + numbers.share())).collect()
}

/// Edges between other guests of the shape, far weaker than its own.
fn with_weak_edges(mut edges: Vec<Strong>, shape: &Shape, share: f64, numbers: &mut Numbers) -> Vec<Strong> {
    let count = (shape.edges.len() as f64 * share).ceil() as usize;
    let free = shape.guests * (shape.guests - 1) / 2 - shape.edges.len();
    let mut added = 0;
    while added < count.min(free) {
        let (one, other) = (numbers.below(shape.guests), numbers.below(shape.guests));
        let is_there = |(a, b, _): &Strong| (*a, *b) == (one, other) || (*a, *b) == (other, one);
        if one != other && !edges.iter().any(is_there) {
            edges.push((one, other, 0.1 + 0.25 * numbers.share()));
            added += 1;
        }
    }
    edges
}

#[test]
fn every_pattern_is_named_under_any_labels_weights_and_weak_edges() {
    let mut numbers = Numbers(1);
    for guests in (4..=18).chain([24, 27, 32, 36, 60, 64]) {
        for shape in Shape::of(guests) {
            for share in [0.0, 0.1, 0.2] {
                let edges = unequal(&shape, &mut numbers);
                let edges = with_weak_edges(edges, &shape, share, &mut numbers);
                assert_eq!(named(&edges, &mut numbers), shape.pattern, "{guests} guests, {share} noise");
            }
        }
    }
}

#[test]
fn dense_and_regular_shapes_are_named_though_edges_are_missing() {
    let mut numbers = Numbers(2);
    let is_meant = |shape: &Shape| {
        shape.pattern == Pattern::AllToAll
            || crate::shape::Grid::of(shape.guests).iter().any(|grid| grid.pattern == shape.pattern)
    };
    let (mut right, mut tried) = (0, 0);
    for guests in [12, 16, 27, 36, 64] {
        for shape in Shape::of(guests).iter().filter(|shape| is_meant(shape)) {
            for _ in 0..3 {
                let mut edges = unequal(shape, &mut numbers);
                for _ in 0..edges.len() / 20 {
                    edges.swap_remove(numbers.below(edges.len()));
                }
                tried += 1;
                right += usize::from(named(&edges, &mut numbers) == shape.pattern);
            }
        }
    }
    assert!(right * 100 >= tried * 90, "{right} of {tried}");
}

#[test]
fn random_graphs_have_no_name() {
    let mut numbers = Numbers(3);
    let (mut named_wrongly, mut tried) = (0, 0);
    for guests in 10..=64_usize {
        for degree in [3, 4, 6] {
            let chance = f64::from(degree) / (guests - 1) as f64;
            let all = (0..guests).flat_map(|a| (0..a).map(move |b| (b, a)));
            let edges = all.filter(|_| numbers.share() < chance).collect();
            let shape = Shape { pattern: Pattern::Irregular, guests, edges };
            let edges = unequal(&shape, &mut numbers);
            tried += 1;
            named_wrongly +=
                usize::from(!matches!(named(&edges, &mut numbers), Pattern::Irregular | Pattern::Silent));
        }
    }
    assert!(named_wrongly * 100 <= tried, "{named_wrongly} of {tried}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_edges_have_a_name(
        edges in proptest::collection::vec((0_usize..30, 0_usize..30, 0.0_f64..1e12), 0..120),
        seed in any::<u64>(),
    ) {
        let edges: Vec<_> = edges.into_iter().filter(|(one, other, _)| one != other).collect();
        let first = named(&edges, &mut Numbers(seed));
        prop_assert!(Pattern::ALL.contains(&first));
        prop_assert_eq!(named(&edges, &mut Numbers(seed)), first);
    }
}

#[test]
fn small_shapes_have_one_name() {
    for (edges, expected) in [
        (&[][..], Pattern::Silent),
        (&[(0, 1)], Pattern::Pairs),
        (&[(0, 1), (1, 2)], Pattern::Chain),
        (&[(0, 1), (1, 2), (2, 0)], Pattern::AllToAll),
        (&[(0, 1), (1, 2), (2, 3), (3, 0)], Pattern::Ring),
        (&[(0, 1), (0, 2), (0, 3)], Pattern::Star),
        (&[(0, 1), (2, 3), (3, 4)], Pattern::Irregular),
    ] {
        let edges: Vec<_> = edges.iter().map(|(one, other)| (*one, *other, 1.0)).collect();
        assert_eq!(named(&edges, &mut Numbers(4)), expected, "{edges:?}");
    }
}
