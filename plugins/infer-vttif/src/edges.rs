//! From rates to edges: normalise by the largest, prune, and hold what unfolded lately (the union rule).
//!
//! ```text
//!  rate ──▁▇▇▁▁▁▁▁▁▁▇▇▁▁▁▁▁▁▁▇▇▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
//!  onset     1st      2nd      3rd = union_after, all within union_period
//!  edge   ──▁▇▇▇▇▁▁▁▁▇▇▇▇▁▁▁▁▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▁▁▁
//!               hold                  until no onset for union_period
//! ```
//! An edge that changes at a lower rate than the limit is followed, with `hold` after it was last over the
//! threshold. One that begins anew more often is part of the union of what unfolds: from then on it stays,
//! at the rate that it has when it is there, until it has not begun anew for a whole `union_period`.

use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use vreserve_sdk::model::{BitsPerSecond, Demand, Timestamp};

use crate::config::Config;
use crate::report::Pair;
use crate::window::Rate;

/// The edges of the application's topology over time.
pub(crate) struct Edges {
    limits: Limits,
    /// What is an edge, and what was one within `union_period`.
    edges: HashMap<Pair, Edge>,
    /// The last step, and its number.
    now: Timestamp,
    turn: u64,
    changed: Timestamp,
    /// Edges that are held as part of the union.
    in_union: usize,
}

#[derive(Clone, Copy)]
struct Limits {
    threshold: f64,
    min_rate: f64,
    hold: Duration,
    union_after: usize,
    union_period: Duration,
    /// Over how long the strength of an edge is averaged.
    memory: Duration,
    max_edges: usize,
}

struct Edge {
    /// The number of the step that saw it last.
    turn: u64,
    last_over: Timestamp,
    /// How long ago that was at the last step.
    idle: Duration,
    /// The last onset, and those before it within `union_period`.
    onset: Timestamp,
    earlier: Vec<Timestamp>,
    is_present: bool,
    is_in_union: bool,
    /// Bits per second: averaged since the onset, and the most since it came into the union.
    strength: f64,
    peak: f64,
}

/// What is believed of the pairs after a step.
pub(crate) struct Believed {
    /// Every pair's demand, fastest first.
    pub(crate) demands: Vec<Demand>,
    /// The edges with their strengths, in the order of `demands`.
    pub(crate) strengths: Vec<(Pair, f64)>,
}

impl Edges {
    /// No edges.
    pub(crate) fn new(config: &Config) -> Self {
        let limits = Limits {
            threshold: config.threshold,
            min_rate: (config.min_rate.0 as f64).max(1.0),
            hold: config.hold,
            union_after: config.union_after,
            union_period: config.union_period,
            memory: config.window * 2,
            max_edges: config.max_pairs,
        };
        let (now, changed) = (Timestamp::ZERO, Timestamp::ZERO);
        Edges { limits, edges: HashMap::new(), now, turn: 0, changed, in_union: 0 }
    }

    /// Takes all rates at one instant, by pair. An edge has a confidence over 0: from 0.5 at the threshold towards
    /// 1 far above it; while it is only held, falling from 0.5; and 0.5 as part of the union.
    pub(crate) fn step(&mut self, now: Timestamp, rates: &[(Pair, Rate)]) -> Believed {
        let limits = self.limits;
        let largest = rates.iter().map(|(_, rate)| rate.bits).fold(0.0, f64::max);
        let cut = (largest * limits.threshold).max(limits.min_rate);
        self.turn += 1;
        let step = Step { turn: self.turn, now, elapsed: now.since(self.now), cut, limits };
        self.now = now;
        let (mut all, mut has_changed) = (Vec::with_capacity(rates.len()), false);
        for (pair, rate) in rates {
            let edge = if rate.bits >= cut {
                step.over(&mut self.edges, *pair, *rate)
            } else {
                self.edges.get_mut(pair)
            };
            let Some(edge) = edge else {
                all.push((demand(*pair, *rate, 0.0), 0.0));
                continue;
            };
            has_changed |= edge.take(&step, *rate);
            all.push(edge.believed(&step, *pair, *rate));
        }
        has_changed |= self.take_unmeasured(&step, &mut all);
        if has_changed {
            self.changed = now;
        }
        all.sort_unstable_by_key(|(demand, _)| {
            (std::cmp::Reverse(demand.rate), demand.source, demand.destination)
        });
        let edges = all.iter().filter(|(demand, _)| demand.confidence > 0.0);
        let ends = |demand: &Demand| Pair { source: demand.source, destination: demand.destination };
        let strengths = edges.map(|(demand, strength)| (ends(demand), *strength)).collect();
        Believed { demands: all.into_iter().map(|(demand, _)| demand).collect(), strengths }
    }

    /// When the set of edges last changed.
    pub(crate) fn changed(&self) -> Timestamp {
        self.changed
    }

    /// How many edges stay as part of the union.
    pub(crate) fn in_union(&self) -> usize {
        self.in_union
    }

    /// Edges of which nothing was measured; what was an edge too long ago is forgotten. True if one is gone.
    fn take_unmeasured(&mut self, step: &Step, all: &mut Vec<(Demand, f64)>) -> bool {
        let silent = Rate { bits: 0.0, frames: 0.0 };
        let (mut has_changed, mut in_union) = (false, 0);
        self.edges.retain(|pair, edge| {
            if edge.turn != step.turn {
                has_changed |= edge.take(step, silent);
                if edge.is_present {
                    all.push(edge.believed(step, *pair, silent));
                }
            }
            in_union += usize::from(edge.is_in_union);
            edge.is_present || step.now.since(edge.onset) < step.limits.union_period
        });
        self.in_union = in_union;
        has_changed
    }
}

/// One instant.
struct Step {
    turn: u64,
    now: Timestamp,
    elapsed: Duration,
    /// The rate from which a pair is an edge.
    cut: f64,
    limits: Limits,
}

impl Step {
    /// A pair is over the threshold; none if there is no room to remember another.
    fn over<'a>(&self, edges: &'a mut HashMap<Pair, Edge>, pair: Pair, rate: Rate) -> Option<&'a mut Edge> {
        let has_room = edges.len() < self.limits.max_edges;
        let edge = match edges.entry(pair) {
            Entry::Vacant(_) if !has_room => return None,
            Entry::Vacant(free) => free.insert(Edge::new(self.now, rate)),
            Entry::Occupied(known) => known.into_mut(),
        };
        if !edge.idle.is_zero() && edge.idle >= self.limits.hold {
            edge.begin_anew(self);
        }
        edge.last_over = self.now;
        Some(edge)
    }
}

impl Edge {
    /// Not there yet: the step that it begins with is a change.
    fn new(now: Timestamp, rate: Rate) -> Self {
        Edge {
            turn: 0,
            last_over: now,
            idle: Duration::ZERO,
            onset: now,
            earlier: Vec::new(),
            is_present: false,
            is_in_union: false,
            strength: rate.bits,
            peak: rate.bits,
        }
    }

    fn begin_anew(&mut self, step: &Step) {
        let Limits { union_after, union_period, .. } = step.limits;
        self.earlier.push(self.onset);
        self.onset = step.now;
        self.earlier.retain(|onset| step.now.since(*onset) < union_period);
        self.is_in_union |= self.earlier.len() + 1 >= union_after;
        let too_many = self.earlier.len().saturating_sub(union_after);
        self.earlier.drain(..too_many);
    }

    /// Takes the rate at this instant; true if the edge came or went.
    fn take(&mut self, step: &Step, rate: Rate) -> bool {
        let Step { now, elapsed, limits, .. } = *step;
        self.turn = step.turn;
        self.idle = now.since(self.last_over);
        self.is_in_union &= now.since(self.onset) < limits.union_period;
        let age = now.since(self.onset) + elapsed;
        let memory = age.min(limits.memory).max(Duration::from_nanos(1));
        let share = (elapsed.as_secs_f64() / memory.as_secs_f64()).min(1.0);
        self.strength += (rate.bits - self.strength) * share;
        let before = if self.is_in_union { self.peak } else { self.peak_after(elapsed, limits) };
        self.peak = before.max(rate.bits);
        let is_held = self.idle < limits.hold || self.is_in_union;
        let is_present = self.last_over == now || self.is_present && is_held;
        std::mem::replace(&mut self.is_present, is_present) != is_present
    }

    /// Halves in each `union_period` in which it is not reached.
    fn peak_after(&self, elapsed: Duration, limits: Limits) -> f64 {
        let halvings = elapsed.as_secs_f64() / limits.union_period.as_secs_f64().max(1e-9);
        self.peak * 0.5_f64.powf(halvings)
    }

    /// Its demand and its strength. What is in the union has the rate that it has when it is there.
    fn believed(&self, step: &Step, pair: Pair, rate: Rate) -> (Demand, f64) {
        if !self.is_present {
            return (demand(pair, rate, 0.0), 0.0);
        }
        let confidence = if self.last_over == step.now {
            1.0 - step.cut / (2.0 * rate.bits.max(step.cut))
        } else if self.is_in_union {
            0.5
        } else {
            0.5 * (1.0 - self.idle.as_secs_f64() / step.limits.hold.as_secs_f64())
        };
        if self.is_in_union {
            (demand(pair, Rate { bits: self.peak, ..rate }, confidence), self.peak)
        } else {
            (demand(pair, rate, confidence), self.strength)
        }
    }
}

fn demand(pair: Pair, rate: Rate, confidence: f64) -> Demand {
    Demand {
        source: pair.source,
        destination: pair.destination,
        rate: BitsPerSecond(rate.bits as u64),
        frames_per_second: rate.frames,
        confidence,
    }
}

#[cfg(test)]
mod tests;
