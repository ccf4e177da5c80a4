//! At most so many changes in a period, where the operator wants that: a reservation that is asked for, or one that is
//! given back.

use vreserve_sdk::model::Timestamp;

use crate::config::Config;

/// When the last changes were made.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    at: Vec<Timestamp>,
}

impl Pace {
    /// Forgets what is a period ago.
    pub(crate) fn forget(&mut self, config: &Config, now: Timestamp) {
        self.at.retain(|at| now.since(*at) < config.change_period);
    }

    /// True if so many changes may be made now.
    pub(crate) fn allows(&self, changes: usize, config: &Config) -> bool {
        config.max_changes.is_none_or(|most| self.at.len() + changes <= most)
    }

    /// Takes one that was made, whether or not it was allowed: some cannot wait.
    pub(crate) fn count(&mut self, config: &Config, now: Timestamp) {
        if config.max_changes.is_some() {
            self.at.push(now);
        }
    }

    /// How many were made in this period.
    pub(crate) fn used(&self) -> usize {
        self.at.len()
    }
}
