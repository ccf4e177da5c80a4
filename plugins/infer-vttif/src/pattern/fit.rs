//! Grids: a graph is laid onto each grid of as many guests, and what does not fit is counted.
//!
//! Laying out grows from one guest: next is the guest whose place is the most certain from those that have one.
//! For a place speak edges to guests at neighbouring places, and that two guests have as many neighbours in
//! common as their places have; against it speaks what differs. The second sees past missing edges, and tells the
//! neighbour across from the one around the corner. Then guests change places while that mends something.
//!
//! A layout that goes wrong is noticed after a few guests, so graphs that are no grid cost little.

use vreserve_sdk::model::Pattern;

use super::graph::Part;
use super::tolerance;
use crate::shape::Grid;

/// Grids of more guests are not looked for: laying out takes time with the square of their number, and more.
const MAX_GUESTS: usize = 256;
/// From how many guests a layout may begin.
const STARTS: usize = 4;
const EDGE: i32 = 4;
const COMMON: i32 = 2;
/// So many edges may be wrong at any time in a layout that is not given up, beside its share of those allowed.
const SLIPS: usize = 4;
/// A place that leads the next best by this much is certain.
const CERTAIN: i32 = 3;

/// The grid that fits best, and how many edges are wrong in it; none if none fits.
pub(super) fn name(part: &Part) -> Option<(usize, Pattern)> {
    let guests = part.guests();
    let most_edges = guests * 6;
    if !(6..=MAX_GUESTS).contains(&guests) || part.edges.len() > most_edges {
        return None;
    }
    let mut graph: Option<Relations> = None;
    let mut best: Option<(usize, Pattern)> = None;
    for grid in Grid::of(guests) {
        let edges = grid.edges();
        let most = best.map_or_else(|| tolerance(guests, edges.len()), |(wrong, _)| wrong.saturating_sub(1));
        if edges.len().abs_diff(part.edges.len()) > most || !may_fit(part, &edges, most) {
            continue;
        }
        let graph = graph.get_or_insert_with(|| Relations::new(part));
        if let Some(wrong) = wrong_edges(graph, &grid, most) {
            if wrong == 0 {
                return Some((0, grid.pattern));
            }
            best = Some((wrong, grid.pattern));
        }
    }
    best
}

/// Whether the numbers of neighbours allow for a fit: each wrong edge changes two of them by one.
fn may_fit(part: &Part, edges: &[(usize, usize)], most: usize) -> bool {
    let mut wanted = vec![0_usize; part.guests()];
    for (one, other) in edges {
        wanted[*one] += 1;
        wanted[*other] += 1;
    }
    let mut found: Vec<_> = part.degrees().collect();
    wanted.sort_unstable();
    found.sort_unstable();
    let apart: usize = wanted.iter().zip(&found).map(|(one, other)| one.abs_diff(*other)).sum();
    apart <= 2 * most
}

/// The fewest edges that are wrong if the graph is this grid, unless they are more than `most`.
fn wrong_edges(graph: &Relations, grid: &Grid, most: usize) -> Option<usize> {
    let mut best: Option<usize> = None;
    for grid in grid.orders() {
        let places = Relations::new(&Part::new(graph.guests, grid.edges()));
        for start in graph.starts(places.neighbours[0].len()) {
            let bound = best.map_or(most, |wrong| wrong.saturating_sub(1));
            if let Some(wrong) = Layout::grow(graph, &places, start, bound) {
                best = Some(wrong);
                if wrong == 0 {
                    return best;
                }
            }
        }
    }
    best
}

/// Who is next to whom, and how many neighbours two have in common.
struct Relations {
    guests: usize,
    neighbours: Vec<Vec<usize>>,
    is_edge: Vec<bool>,
    common: Vec<u16>,
    /// Who is next to each, or has a neighbour in common with it.
    near: Vec<Vec<usize>>,
}

impl Relations {
    fn new(part: &Part) -> Self {
        let guests = part.guests();
        let (mut is_edge, mut common) = (vec![false; guests * guests], vec![0_u16; guests * guests]);
        for (one, other) in &part.edges {
            is_edge[one * guests + other] = true;
            is_edge[other * guests + one] = true;
        }
        for around in &part.neighbours {
            for one in around {
                for other in around.iter().filter(|other| *other != one) {
                    common[one * guests + other] += 1;
                }
            }
        }
        let is_near = |one: usize, other: usize| {
            let at = one * guests + other;
            is_edge[at] || common[at] > 0
        };
        let near =
            (0..guests).map(|one| (0..guests).filter(|other| is_near(one, *other)).collect()).collect();
        Relations { guests, neighbours: part.neighbours.clone(), is_edge, common, near }
    }

    /// Those whose number of neighbours is the closest to `degree`.
    fn starts(&self, degree: usize) -> impl Iterator<Item = usize> {
        let mut all: Vec<_> = (0..self.guests).collect();
        let around = |guest: &usize| -> usize {
            self.neighbours[*guest].iter().map(|other| self.neighbours[*other].len()).sum()
        };
        all.sort_by_key(|guest| (self.neighbours[*guest].len().abs_diff(degree), around(guest)));
        all.into_iter().take(STARTS)
    }
}

/// Guests on their way to places.
struct Layout<'a> {
    graph: &'a Relations,
    places: &'a Relations,
    place_of: Vec<Option<usize>>,
    guest_at: Vec<Option<usize>>,
    /// For each guest and place, how much speaks for it.
    scores: Vec<i32>,
    /// Guests near one that has a place.
    is_touched: Vec<bool>,
}

impl<'a> Layout<'a> {
    /// Lays all guests out, `start` at the first place, and counts what is wrong, unless it is more than `most`.
    fn grow(graph: &'a Relations, places: &'a Relations, start: usize, most: usize) -> Option<usize> {
        let guests = graph.guests;
        let degree = |of: &Relations, at: usize| of.neighbours[at].len() as i32;
        let scores = (0..guests * guests)
            .map(|at| -2 * (degree(graph, at / guests) - degree(places, at % guests)).abs())
            .collect();
        let mut layout = Layout {
            graph,
            places,
            place_of: vec![None; guests],
            guest_at: vec![None; guests],
            scores,
            is_touched: vec![false; guests],
        };
        let mut wrong = layout.put(start, 0);
        for placed in 1..guests {
            let (guest, place) = layout.most_certain()?;
            wrong += layout.put(guest, place);
            // Some of what is wrong on the way is mended in the end.
            if wrong > SLIPS + 2 * most * placed / guests {
                return None;
            }
        }
        if wrong > most {
            layout.mend();
            wrong = (0..guests).map(|guest| layout.wrong_at(guest)).sum::<usize>() / 2;
        }
        (wrong <= most).then_some(wrong)
    }

    /// Gives a guest its place; what is wrong between it and those that have one.
    fn put(&mut self, guest: usize, place: usize) -> usize {
        self.place_of[guest] = Some(place);
        self.guest_at[place] = Some(guest);
        let guests = self.graph.guests;
        let (graph, places) = (self.graph, self.places);
        let free: Vec<_> = (0..guests).filter(|other| self.guest_at[*other].is_none()).collect();
        for near in graph.near[guest].iter().filter(|near| self.place_of[**near].is_none()) {
            self.is_touched[*near] = true;
            for other in &free {
                self.scores[near * guests + other] +=
                    score(graph, guest * guests + near, places, place * guests + other);
            }
        }
        let far: Vec<_> = (0..guests)
            .filter(|other| self.place_of[*other].is_none() && !is_near(graph, guest * guests + other))
            .collect();
        for near in places.near[place].iter().filter(|near| self.guest_at[**near].is_none()) {
            // Those near the guest have had it.
            for other in &far {
                self.scores[other * guests + near] +=
                    score(graph, guest * guests + other, places, place * guests + near);
            }
        }
        self.wrong_at(guest)
    }

    /// What is wrong between a guest and those that have a place.
    fn wrong_at(&self, guest: usize) -> usize {
        let Some(place) = self.place_of[guest] else { return 0 };
        let guests = self.graph.guests;
        let too_many = self.graph.neighbours[guest].iter().filter(|other| {
            self.place_of[**other].is_some_and(|other| !self.places.is_edge[place * guests + other])
        });
        let missing = self.places.neighbours[place].iter().filter(|other| {
            self.guest_at[**other].is_some_and(|other| !self.graph.is_edge[guest * guests + other])
        });
        too_many.count() + missing.count()
    }

    /// The guest without a place whose best place is the most certain.
    fn most_certain(&self) -> Option<(usize, usize)> {
        let guests = self.graph.guests;
        let mut best: Option<((bool, i32), usize, usize)> = None;
        let is_free = |guest: &usize| self.place_of[*guest].is_none();
        let free: Vec<_> = (0..guests).filter(|place| self.guest_at[*place].is_none()).collect();
        // Where the graph falls apart, nobody is near those that have a place.
        let has_near = (0..guests).any(|guest| self.is_touched[guest] && is_free(&guest));
        for guest in (0..guests).filter(is_free).filter(|guest| !has_near || self.is_touched[*guest]) {
            let (mut first, mut second, mut place) = (i32::MIN / 2, i32::MIN / 2, 0);
            let row = &self.scores[guest * guests..(guest + 1) * guests];
            for at in &free {
                let score = row[*at];
                if score > first {
                    (second, first, place) = (first, score, *at);
                } else if score > second {
                    second = score;
                }
            }
            let rank = (first - second >= CERTAIN, first);
            if best.is_none_or(|(least, ..)| rank > least) {
                best = Some((rank, guest, place));
            }
        }
        best.map(|(_, guest, place)| (guest, place))
    }

    /// Lets guests change places while that leaves less wrong.
    fn mend(&mut self) {
        for _ in 0..3 {
            let mut is_better = false;
            for one in 0..self.graph.guests {
                for other in 0..one {
                    let before = self.wrong_at(one) + self.wrong_at(other);
                    self.change_places(one, other);
                    if self.wrong_at(one) + self.wrong_at(other) < before {
                        is_better = true;
                    } else {
                        self.change_places(one, other);
                    }
                }
            }
            if !is_better {
                return;
            }
        }
    }

    fn change_places(&mut self, one: usize, other: usize) {
        self.place_of.swap(one, other);
        for guest in [one, other] {
            if let Some(place) = self.place_of[guest] {
                self.guest_at[place] = Some(guest);
            }
        }
    }
}

fn is_near(of: &Relations, at: usize) -> bool {
    of.is_edge[at] || of.common[at] > 0
}

/// How much two guests at two places speak for it.
fn score(graph: &Relations, guests: usize, places: &Relations, at: usize) -> i32 {
    let edge = match (graph.is_edge[guests], places.is_edge[at]) {
        (true, true) => EDGE,
        (false, false) => 0,
        _ => -EDGE,
    };
    let (here, there) = (i32::from(graph.common[guests]), i32::from(places.common[at]));
    edge + COMMON * (here.min(there) - (here - there).abs())
}
