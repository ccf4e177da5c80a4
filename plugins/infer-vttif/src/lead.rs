//! The lead's side: reports of all nodes in, topology out. No clock and no host, so that tests and
//! simulations drive it.

use vreserve_sdk::Failure;
use vreserve_sdk::model::{Timestamp, TopologyReport};

use crate::believe;
use crate::config::Config;
use crate::edges::Edges;
use crate::matrix::{Matrix, Merged};
use crate::pattern;
use crate::report::{Pair, Report, Volume};

/// Merges reports and infers.
pub struct Lead {
    window: std::time::Duration,
    matrix: Matrix,
    edges: Edges,
    began: Option<Timestamp>,
}

impl Lead {
    /// Starts with empty history.
    pub fn new(config: &Config) -> Self {
        Lead {
            window: config.window,
            matrix: Matrix::new(config.window, config.silent_after, config.max_pairs),
            edges: Edges::new(config.threshold, config.min_rate, config.hold),
            began: None,
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
        let demands = self.edges.step(now, &self.matrix.rates());
        let edges = demands.iter().filter(|demand| demand.confidence > 0.0);
        let edges = edges.map(|demand| Pair { source: demand.source, destination: demand.destination });
        let pattern = pattern::name(edges);
        let seen_a_window = self.began.is_some_and(|began| now.since(began) >= self.window);
        let settled = seen_a_window && now.since(self.edges.changed()) >= self.window;
        TopologyReport { pattern, settled, silent_nodes, demands }
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
mod tests;
