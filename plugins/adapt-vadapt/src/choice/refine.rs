//! Refinement by simulated annealing, seeded by the greedy selection: one link more, or another, and what has to make
//! room for it. A bounded number of steps, and random numbers that are the same each time: the same problem gives the
//! same selection.

use super::greedy::orders;
use super::problem::Problem;
use super::selection::Selection;
use super::{Effort, ways::ways};

/// How often of ten a step gives a link up instead of asking for one.
const DROPS_OF_TEN: u64 = 2;
/// The temperature at first, as a share of what one link is worth on average: a loss of so much is then accepted one
/// time in e.
const HEAT: f64 = 0.3;
/// A gain under this share is the rounding of sums.
const NOTHING: f64 = 1e-9;

/// Random numbers: SplitMix64 (Steele, Lea and Flood, 2014), from a fixed seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Under `limit`, which is not zero.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The best selection met on the way; the seed if there is no better one.
pub(super) fn refine(problem: &Problem, seed: Selection, effort: Effort) -> Selection {
    let orders = orders(problem);
    if orders[0].is_empty() {
        return seed;
    }
    let mut dice = Dice(0x5EED);
    let worth = |selection: &Selection| ways(problem, selection, effort.routing).value;
    let first = worth(&seed);
    let heat = HEAT * first / seed.members().len().max(1) as f64;
    let (mut current, mut value) = (seed.clone(), first);
    let (mut best, mut most) = (seed, first);
    for step in 0..effort.steps {
        let temperature = heat * f64::from(effort.steps - step) / f64::from(effort.steps);
        let Some(next) = neighbour(problem, &current, &orders, &mut dice) else { continue };
        let found = worth(&next);
        let loss = value - found;
        if loss <= 0.0 || dice.share() < (-loss / temperature.max(f64::MIN_POSITIVE)).exp() {
            (current, value) = (next, found);
            if value > most * (1.0 + NOTHING) {
                (best, most) = (current.clone(), value);
            }
        }
    }
    best
}

/// A selection that differs a little; none if this time there is none.
fn neighbour(
    problem: &Problem,
    from: &Selection,
    orders: &[Vec<usize>; 2],
    dice: &mut Dice,
) -> Option<Selection> {
    let mut next = from.clone();
    let order = &orders[dice.below(2)];
    if dice.next() % 10 < DROPS_OF_TEN {
        let dropped = droppable(problem, &next, None, dice)?;
        next.remove(problem, dropped);
        let pair = problem.edges[dropped].pair;
        let others: Vec<usize> =
            order.iter().copied().filter(|edge| problem.edges[*edge].pair != pair).collect();
        next.fill(problem, &others);
        return Some(next);
    }
    let wanted = order[dice.below(order.len())];
    match next.edge_of(problem.edges[wanted].pair) {
        Some(own) if own == wanted || problem.edges[own].is_held => return None,
        Some(own) => next.remove(problem, own),
        None => {}
    }
    while !next.fits(problem, wanted) {
        let victim = droppable(problem, &next, Some(wanted), dice)?;
        next.remove(problem, victim);
    }
    next.add(problem, wanted);
    next.fill(problem, order);
    Some(next)
}

/// Any link that need not stay; where one is to make room on a network that is full, one of that network.
fn droppable(
    problem: &Problem,
    selection: &Selection,
    for_edge: Option<usize>,
    dice: &mut Dice,
) -> Option<usize> {
    let free: Vec<usize> =
        selection.members().iter().copied().filter(|edge| !problem.edges[*edge].is_held).collect();
    let network = for_edge.map(|edge| problem.edges[edge].network);
    let same: Vec<usize> =
        free.iter().copied().filter(|edge| Some(problem.edges[*edge].network) == network).collect();
    let pool = if same.is_empty() || dice.next().is_multiple_of(2) { &free } else { &same };
    if pool.is_empty() { None } else { Some(pool[dice.below(pool.len())]) }
}
