//! The name of the shape that edges form, whatever the guests are called, and although some edges are noise.
//!
//! ```text
//!  edges with strengths ─▶ graph ─▶ cuts: with all edges, then without ─▶ plain: pairs, all-to-all, ring, …
//!  (either direction)               the weakest, at gaps                 grid: mesh, torus, hypercube, …
//!                                                                           └▶ the name that fits best
//! ```
//! Noise is told from the shape in two ways. Edges far weaker than the typical one may be left out, if there is a
//! gap in strength above them and at most a third of all edges go. And where shapes are dense or
//! regular (all-to-all, star, grids, from nine guests on), an eighth of the edges may be wrong: missing, or too
//! many. What is sparse has no such margin: a ring without an edge *is* a chain.
//!
//! Small shapes that have two names take the first of: pairs, all-to-all, ring, chain, star, hypercube. So
//! three guests in a triangle are all-to-all, three in a row a chain, and four by four in a torus a hypercube.

mod fit;
mod graph;
mod plain;

use vreserve_sdk::model::Pattern;

use crate::report::Pair;
use graph::Graph;

/// Past so many edges only the whole is looked at: what is that large is no array of guests with noise.
const MAX_CUT_EDGES: usize = 50_000;
/// Edges may be left out as noise below this share of the typical one that stays.
const WEAK: f64 = 0.42;
/// By how much the weakest that stays must be above the strongest that goes.
const GAP: f64 = 1.1;
/// From such a gap on it is more likely that what is below it is noise than that it belongs to the shape.
const CLEAR_GAP: f64 = 1.8;
/// The most sets of edges that are looked at.
const MAX_CUTS: usize = 6;
/// The least guests of a shape in which edges may be wrong: smaller ones turn into one another.
const TOLERANT_FROM: usize = 9;

/// Names the shape of `edges` with their strengths. Guests without an edge do not take part.
pub(crate) fn name(edges: impl Iterator<Item = (Pair, f64)>) -> Pattern {
    let graph = Graph::new(edges);
    if graph.edges.is_empty() {
        return Pattern::Silent;
    }
    let mut best: Option<(usize, Pattern)> = None;
    for kept in cuts(&graph) {
        let part = graph.strongest(kept);
        let found = plain::name(&part).or_else(|| fit::name(&part));
        if let Some((wrong, pattern)) = found
            && best.is_none_or(|(least, _)| wrong < least)
        {
            best = Some((wrong, pattern));
            if wrong == 0 {
                break;
            }
        }
    }
    best.map_or(Pattern::Irregular, |(_, pattern)| pattern)
}

/// How many of the strongest edges to look at, the likeliest first: above clear gaps, all, above others.
fn cuts(graph: &Graph) -> Vec<usize> {
    let all = graph.edges.len();
    if all > MAX_CUT_EDGES {
        return vec![all];
    }
    let strength = |nth: usize| graph.edges[nth].strength;
    let mut gaps: Vec<(f64, usize)> = ((all * 2).div_ceil(3)..all)
        .filter(|kept| *kept > 0 && strength(*kept) < WEAK * strength(kept / 2))
        .map(|kept| (strength(kept - 1) / strength(kept).max(f64::MIN_POSITIVE), kept))
        .filter(|(gap, _)| *gap >= GAP)
        .collect();
    gaps.sort_by(|one, other| other.0.total_cmp(&one.0));
    gaps.truncate(MAX_CUTS - 1);
    let clear = gaps.iter().take_while(|(gap, _)| *gap >= CLEAR_GAP).count();
    let mut cuts: Vec<_> = gaps.into_iter().map(|(_, kept)| kept).collect();
    cuts.insert(clear, all);
    cuts
}

/// How many edges of a shape may be wrong.
fn tolerance(guests: usize, edges: usize) -> usize {
    if guests < TOLERANT_FROM { 0 } else { edges / 8 }
}

#[cfg(test)]
mod tests;
