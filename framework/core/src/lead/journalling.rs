//! The journal as the lead sees it: records leave before the effects they cover, and while they cannot be
//! written no capacity is asked for.

use vreserve_model::Timestamp;

use super::Lead;

impl Lead {
    /// The wall clock, in milliseconds since the Unix epoch: at the start before anything else, and then about
    /// once a second. It may step; windows follow it, nothing else does.
    pub fn handle_clock(&mut self, now: Timestamp, wall_ms: u64) {
        self.advance_clock(now);
        let _ = wall_ms;
        self.settle();
    }

    /// A record could not be written (torn, full, read-only). From now on nothing new is asked for; what
    /// carries traffic goes on, and what ends is still given back. A `Submit` whose record is not on disk
    /// must not be made: answer it with `Failure::unavailable`.
    pub fn handle_journal_failed(&mut self, now: Timestamp, reason: &str) {
        self.advance_clock(now);
        let _ = reason;
        self.settle();
    }

    /// Records can be written again: everything that should be on disk leaves once more as
    /// [`Action::Rewrite`](super::Action::Rewrite).
    pub fn handle_journal_ok(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.settle();
    }

    /// Why the journal cannot be written; none if it can.
    pub fn journal_failure(&self) -> Option<&str> {
        None
    }
}
