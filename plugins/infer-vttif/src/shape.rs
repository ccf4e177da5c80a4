//! What the named patterns look like: their edges, by number of guests. Inference compares with the grids; tests
//! and benches draw all of them.

use vreserve_sdk::model::Pattern;

/// A pattern among guests that are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub pattern: Pattern,
    /// How many guests it has.
    pub guests: usize,
    /// Each pair that talks, once.
    pub edges: Vec<(usize, usize)>,
}

/// A grid: guests at the points of a box of some dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) pattern: Pattern,
    pub(crate) sides: Vec<usize>,
}

impl Shape {
    /// All named patterns that so many guests can form, grids in every size of their sides. Shapes with two
    /// names are listed under the one that inference gives them; trees are balanced binary ones.
    pub fn of(guests: usize) -> Vec<Shape> {
        let n = guests;
        let shape = |pattern, edges| Shape { pattern, guests, edges };
        let chain = || (1..n).map(|guest| (guest - 1, guest));
        let mut all = Vec::new();
        if n >= 2 && n.is_multiple_of(2) {
            all.push(shape(Pattern::Pairs, (0..n / 2).map(|pair| (2 * pair, 2 * pair + 1)).collect()));
        }
        if n >= 3 {
            all.push(shape(Pattern::AllToAll, (0..n).flat_map(|a| (0..a).map(move |b| (b, a))).collect()));
            all.push(shape(Pattern::Chain, chain().collect()));
        }
        if n >= 4 {
            all.push(shape(Pattern::Ring, chain().chain([(0, n - 1)]).collect()));
            all.push(shape(Pattern::Star, (1..n).map(|guest| (0, guest)).collect()));
        }
        if n >= 6 {
            all.push(shape(Pattern::Tree, (1..n).map(|guest| ((guest - 1) / 2, guest)).collect()));
        }
        all.extend(Grid::of(n).iter().map(|grid| shape(grid.pattern, grid.edges())));
        all
    }
}

impl Grid {
    /// All grids of so many guests. Those that are the same under two names are listed under one: a square is a
    /// ring, and a torus of fours, or a mesh of twos, a hypercube.
    pub(crate) fn of(guests: usize) -> Vec<Grid> {
        let mut all = Vec::new();
        let mut add = |pattern, sides: &[usize]| all.push(Grid { pattern, sides: sides.to_vec() });
        if guests >= 8 && guests.is_power_of_two() {
            add(Pattern::Hypercube, &vec![2; guests.trailing_zeros() as usize]);
        }
        for sides in factors(guests, 2).filter(|sides| sides != &[2, 2]) {
            add(Pattern::Mesh2d, &sides);
            if sides[0] >= 3 {
                add(Pattern::NeighbourExchange, &sides);
                if sides != [4, 4] {
                    add(Pattern::Torus2d, &sides);
                }
            }
        }
        for sides in factors(guests, 3).filter(|sides| sides != &[2, 2, 2]) {
            add(Pattern::Mesh3d, &sides);
            if sides[0] >= 3 && sides != [4, 4, 4] {
                add(Pattern::Torus3d, &sides);
            }
        }
        all
    }

    /// Each pair of neighbours once, the lesser number first.
    pub(crate) fn edges(&self) -> Vec<(usize, usize)> {
        let closes = matches!(self.pattern, Pattern::Torus2d | Pattern::Torus3d);
        let guests: usize = self.sides.iter().product();
        let mut edges = Vec::new();
        for point in 0..guests {
            let mut stride = guests;
            for side in &self.sides {
                stride /= side;
                let place = point / stride % side;
                if place + 1 < *side {
                    edges.push((point, point + stride));
                } else if closes {
                    edges.push((point - place * stride, point));
                }
            }
            if self.pattern == Pattern::NeighbourExchange {
                let width = self.sides[1];
                let (is_last_row, column) = (point + width >= guests, point % width);
                if !is_last_row && column + 1 < width {
                    edges.push((point, point + width + 1));
                }
                if !is_last_row && column > 0 {
                    edges.push((point, point + width - 1));
                }
            }
        }
        edges
    }

    /// The same grid with its sides in every other order.
    pub(crate) fn orders(&self) -> Vec<Grid> {
        let mut orders = Vec::new();
        let mut sides = self.sides.clone();
        permute(&mut sides, 0, &mut orders);
        orders.sort_unstable();
        orders.dedup();
        orders.into_iter().map(|sides| Grid { pattern: self.pattern, sides }).collect()
    }
}

/// All ways to write `product` as so many factors from 2, in rising order.
fn factors(product: usize, count: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut found = Vec::new();
    split(product, count, 2, &mut Vec::new(), &mut found);
    found.into_iter()
}

fn split(product: usize, count: usize, least: usize, chosen: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    if count == 1 {
        if product >= least {
            found.push(chosen.iter().copied().chain([product]).collect());
        }
        return;
    }
    for factor in (least..=product).take_while(|factor| factor * factor <= product) {
        if product.is_multiple_of(factor) {
            chosen.push(factor);
            split(product / factor, count - 1, factor, chosen, found);
            chosen.pop();
        }
    }
}

fn permute(sides: &mut Vec<usize>, from: usize, orders: &mut Vec<Vec<usize>>) {
    // All sides of a hypercube are equal, however many they are.
    if from >= sides.len() || sides.iter().all(|side| *side == sides[0]) {
        orders.push(sides.clone());
        return;
    }
    for other in from..sides.len() {
        sides.swap(from, other);
        permute(sides, from + 1, orders);
        sides.swap(from, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_have_the_edges_that_they_should() {
        let count = |pattern: Pattern, sides: &[usize]| {
            let mut edges = Grid { pattern, sides: sides.to_vec() }.edges();
            assert!(edges.iter().all(|(a, b)| a < b), "{pattern} {sides:?}");
            let all = edges.len();
            edges.sort_unstable();
            edges.dedup();
            assert_eq!(edges.len(), all, "{pattern} {sides:?}: an edge twice");
            all
        };
        assert_eq!(count(Pattern::Mesh2d, &[3, 4]), 17);
        assert_eq!(count(Pattern::Torus2d, &[3, 4]), 24);
        assert_eq!(count(Pattern::NeighbourExchange, &[3, 4]), 29);
        assert_eq!(count(Pattern::Mesh3d, &[2, 3, 4]), 46);
        assert_eq!(count(Pattern::Torus3d, &[3, 4, 5]), 180);
        assert_eq!(count(Pattern::Hypercube, &[2; 6]), 192);
    }

    #[test]
    fn every_pattern_is_drawn_at_the_sizes_where_it_exists() {
        let patterns = |n| Shape::of(n).into_iter().map(|shape| shape.pattern).collect::<Vec<_>>();
        assert_eq!(
            patterns(4),
            [Pattern::Pairs, Pattern::AllToAll, Pattern::Chain, Pattern::Ring, Pattern::Star]
        );
        assert!(!patterns(16).contains(&Pattern::Torus3d) && patterns(27).contains(&Pattern::Torus3d));
        let meshes = Grid::of(64).into_iter().filter(|grid| grid.pattern == Pattern::Mesh3d);
        assert_eq!(meshes.map(|grid| grid.sides).collect::<Vec<_>>(), [[2, 2, 16], [2, 4, 8], [4, 4, 4]]);
        assert_eq!(Grid { pattern: Pattern::Mesh3d, sides: vec![2, 2, 16] }.orders().len(), 3);
    }
}
