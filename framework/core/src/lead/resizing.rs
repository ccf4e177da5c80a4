//! More or less capacity for a link that stays: in place where the system can, else by a successor that takes
//! the link over, else not at all.

use vreserve_model::{Failure, Observed, Timestamp};

use super::{CircuitId, Lead};

impl Lead {
    /// The backend has answered a modification; refused, the circuit is as it was.
    pub fn handle_modified(&mut self, now: Timestamp, id: CircuitId, answer: Result<Observed, Failure>) {
        self.advance_clock(now);
        let _ = (id, answer);
        self.settle();
    }
}
