//! The lead's side: reports of all nodes in, topology out. No clock and no host, so that tests and
//! simulations drive it.

use vreserve_sdk::Failure;
use vreserve_sdk::model::{Pattern, Timestamp, TopologyReport};

use crate::believe;
use crate::config::Config;
use crate::edges::{Believed, Edges};
use crate::matrix::{Matrix, Merged};
use crate::pattern;
use crate::report::{Pair, Report, Volume};

/// So few edges are named anew every time.
const CHEAP_EDGES: usize = 512;

/// Merges reports and infers.
pub struct Lead {
    window: std::time::Duration,
    matrix: Matrix,
    edges: Edges,
    began: Option<Timestamp>,
    pattern: Pattern,
    named_at: Timestamp,
}

impl Lead {
    /// Starts with empty history.
    pub fn new(config: &Config) -> Self {
        Lead {
            window: config.window,
            matrix: Matrix::new(config.window, config.silent_after, config.max_pairs),
            edges: Edges::new(config),
            began: None,
            pattern: Pattern::Silent,
            named_at: Timestamp::ZERO,
        }
    }

    /// Takes the bytes of a report of `node`.
    ///
    /// # Errors
    /// `Invalid` with the field for what cannot be read or believed; nothing has changed then.
    pub fn merge(&mut self, now: Timestamp, node: &str, bytes: &[u8]) -> Result<Merged, Failure> {
        let report = Report::decode(bytes)?;
        believe::check(&report)?;
        self.began.get_or_insert(now);
        Ok(self.matrix.merge(now, node, report))
    }

    /// What is believed now.
    pub fn infer(&mut self, now: Timestamp) -> TopologyReport {
        let silent_nodes = self.matrix.expire(now);
        let Believed { demands, strengths } = self.edges.step(now, &self.matrix.rates());
        let pattern = self.name(now, strengths);
        let seen_a_window = self.began.is_some_and(|began| now.since(began) >= self.window);
        let settled = seen_a_window && now.since(self.edges.changed()) >= self.window;
        TopologyReport { pattern, settled, silent_nodes, demands }
    }

    /// The pattern, which for many edges is looked for only when some came or went, and once in a window.
    fn name(&mut self, now: Timestamp, strengths: Vec<(Pair, f64)>) -> Pattern {
        let is_cheap = strengths.len() <= CHEAP_EDGES;
        let is_same = self.edges.changed() < self.named_at && now.since(self.named_at) < self.window;
        if is_cheap || !is_same {
            self.named_at = now;
            self.pattern = pattern::name(strengths.into_iter());
        }
        self.pattern
    }

    /// How many edges stay because they come and go too often.
    pub fn in_union(&self) -> usize {
        self.edges.in_union()
    }

    /// Volume in the window that is not attributed to a pair of guests.
    pub fn other(&self) -> Volume {
        self.matrix.other()
    }

    /// How many pairs have been folded into `other` so far.
    pub fn folded(&self) -> u64 {
        self.matrix.folded()
    }
}

#[cfg(test)]
mod churn_tests;
#[cfg(test)]
mod tests;
