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

/// Merges reports and infers.
pub struct Lead {
    window: std::time::Duration,
    matrix: Matrix,
    edges: Edges,
    began: Option<Timestamp>,
    pattern: Pattern,
    named_at: Option<Timestamp>,
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
            named_at: None,
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

    /// The pattern, which is looked for when edges came or went, and once in a window, as strengths change too.
    fn name(&mut self, now: Timestamp, strengths: Vec<(Pair, f64)>) -> Pattern {
        let is_known =
            self.named_at.is_some_and(|at| self.edges.changed() < at && now.since(at) < self.window);
        if !is_known {
            self.named_at = Some(now);
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
