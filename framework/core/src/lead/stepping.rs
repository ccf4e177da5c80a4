//! The steps between a promise and traffic: commit or abort a hold, activate and deactivate a booking.

use vreserve_model::{Failure, Observed, Timestamp};

use super::{CircuitId, Lead};

impl Lead {
    /// The backend has answered a commit.
    pub fn handle_committed(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        let _ = (id, answer);
        self.settle();
    }

    /// The backend has answered an abort; yes means that it holds nothing any more.
    pub fn handle_aborted(&mut self, now: Timestamp, id: CircuitId, answer: Result<(), Failure>) {
        self.advance_clock(now);
        let _ = (id, answer);
        self.settle();
    }

    /// The backend has answered an activation.
    pub fn handle_activated(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        let _ = (id, answer);
        self.settle();
    }

    /// The backend has answered a deactivation.
    pub fn handle_deactivated(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        let _ = (id, answer);
        self.settle();
    }
}
