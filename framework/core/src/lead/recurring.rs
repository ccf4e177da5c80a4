//! Windows that the planner asks for by itself, ahead of demand that recurs (see `hours`).
//!
//! They are bookings like an operator's, on record and in the calendar, with another origin. A review once a minute
//! compares what is expected with what is booked: at most one window of a pair is booked and not open yet, and one
//! that is no longer founded is withdrawn, after which its pair rests. So whatever the wall clock does, there is no
//! flood of windows, neither at once nor one after another.

use std::time::Duration;

use vreserve_model::{BitsPerSecond, Timestamp};

use super::booking::BookingState;
use super::budget::Window;
use super::hours::{DemandHistory, Expected, NodePair, pair_of};
use super::{Booking, BookingId, BookingWish, DemandRecord, Event, Lead, Origin, Phase};
use crate::plan::LinkKey;

/// What is booked is compared this often with what is expected, and soon after a backend has come.
const REVIEW_EVERY: Duration = Duration::from_secs(60);
/// A pair whose window was withdrawn is left alone for this long.
const REST: Duration = Duration::from_secs(3600);
/// A window may lie this much further ahead than windows are booked: clocks are adjusted.
const SLACK_MS: u64 = 3_600_000;

/// Whether windows are booked ahead of demand that recurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurring {
    /// How long before a window opens it is booked; 23 h at most count.
    pub ahead: Duration,
}

impl Lead {
    /// From now on windows are booked ahead like this; none withdraws what has not opened and forgets all demand.
    pub fn handle_recurring(&mut self, now: Timestamp, recurring: Option<Recurring>) {
        self.advance_clock(now);
        self.config.recurring = recurring;
        if recurring.is_none() {
            let known: Vec<_> = self.demand_history.pairs().cloned().collect();
            self.demand_history = DemandHistory::default();
            known.iter().for_each(|pair| self.journal_demand(pair));
        }
        self.review_at = self.now;
        self.review_recurring();
        self.settle();
    }

    /// Keeps what the planner wants in mind, by the hour.
    pub(super) fn note_demand(&mut self) {
        let (Some(wall), true) = (self.wall_ms(), self.config.recurring.is_some()) else { return };
        let wanted = self.planned.links.iter().map(|(link, planned)| (link, planned.rate));
        let changed = self.demand_history.note(self.now, wall, wanted);
        changed.iter().for_each(|pair| self.journal_demand(pair));
    }

    /// Takes over what an earlier lead knew of a pair; false if it is not kept.
    pub(super) fn restore_demand(&mut self, record: DemandRecord) -> bool {
        self.config.recurring.is_some() && self.demand_history.restore(record)
    }

    /// Withdraws what is no longer founded, then books what is expected.
    pub(super) fn review_recurring(&mut self) {
        let is_due = self.now >= self.review_at && self.journal_failure.is_none() && !self.is_stopping;
        let (Some(wall), true) = (self.wall_ms(), is_due) else { return };
        self.review_at = self.now + REVIEW_EVERY;
        let ahead: Vec<_> = self.bookings.values().filter(|state| self.may_withdraw(state)).collect();
        let unfounded =
            |state: &&BookingState| Some((state.booking.id, self.unfounded(&state.booking, wall)?));
        let unfounded: Vec<_> = ahead.iter().filter_map(unfounded).collect();
        unfounded.into_iter().for_each(|(id, reason)| self.withdraw(id, reason));
        let Some(Recurring { ahead }) = self.config.recurring else { return };
        let mut expected = self.demand_history.expected(self.now, wall, ahead);
        // Where there is no room for all, the largest have it.
        expected.sort_by_key(|expected| std::cmp::Reverse(expected.rate));
        expected.into_iter().for_each(|expected| self.book_expected(expected));
    }

    fn book_expected(&mut self, expected: Expected) {
        let Expected { link, window, rate } = expected;
        let Some(backend) = self.backends.get(&link.network).filter(|backend| backend.advance) else {
            return;
        };
        let step = backend.granularity.0.max(1);
        let stepped = BitsPerSecond(rate.0.div_ceil(step).saturating_mul(step));
        let rate = backend.fixed_rate.unwrap_or(stepped);
        if self.is_covered(&link, window) || !self.fits_ahead(&link.network, rate, window) {
            return;
        }
        let wish = BookingWish {
            from: link.a,
            to: link.z,
            network: Some(link.network),
            rate,
            start_ms: Some(window.0),
            end_ms: window.1,
        };
        // A node that is away now may be there at the next review.
        drop(self.book_for(Origin::Planner, wish));
    }

    /// True if the two nodes have something booked at that time, hold a circuit that the planner wants, or have a
    /// window of the planner's own ahead of them.
    fn is_covered(&self, link: &LinkKey, window: Window) -> bool {
        let is_same = |other: &LinkKey| other.ends() == link.ends();
        let is_in_way = |state: &BookingState| {
            is_same(&state.booking.link)
                && !self.is_over(state)
                && (state.booking.overlaps(window) || self.may_withdraw(state))
        };
        let holds = self.circuits.values().any(|circuit| {
            let is_live = circuit.phase > Phase::Wanted && !circuit.phase.is_ending() && !circuit.is_doomed;
            circuit.booking.is_none() && is_live && is_same(&circuit.link)
        });
        holds || self.bookings.values().any(is_in_way)
    }

    /// True for the planner's own windows, as long as they have not opened.
    pub(super) fn may_withdraw(&self, state: &BookingState) -> bool {
        let is_ahead = self.wall_ms().is_some_and(|wall| wall < state.booking.start_ms);
        state.booking.origin == Origin::Planner && is_ahead && !self.is_over(state)
    }

    /// Why one of the planner's own windows should not be; none if it should.
    fn unfounded(&self, booking: &Booking, wall: u64) -> Option<&'static str> {
        let Some(Recurring { ahead }) = self.config.recurring else {
            return Some("recurring demand is no longer booked ahead");
        };
        let furthest = wall.saturating_add(u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX));
        let network = &booking.link.network;
        if booking.start_ms > furthest.saturating_add(SLACK_MS) {
            return Some("it lies further ahead than windows are booked");
        }
        let is_unable = self.backends.get(network).is_some_and(|backend| !backend.advance);
        if is_unable || self.withdrawn.contains(network) {
            return Some("no backend takes requests ahead of time there any more");
        }
        let window = (booking.start_ms, booking.end_ms);
        let is_expected = self.demand_history.is_expected(&pair_of(&booking.link), window, wall);
        (!is_expected).then_some("the demand no longer recurs")
    }

    /// Gives up one of the planner's own windows.
    pub(super) fn withdraw(&mut self, id: BookingId, reason: &str) {
        let Some(state) = self.bookings.get_mut(&id) else { return };
        state.is_cancelled = true;
        let pair = pair_of(&state.booking.link);
        self.demand_history.rest(&pair, self.now + REST);
        self.publish(Event::BookingWithdrawn { booking: id, reason: reason.into() });
    }

    /// An operator has cancelled a window of the planner's: it is not proposed again.
    pub(super) fn note_declined(&mut self, id: BookingId) {
        let declined = self.bookings.get(&id).filter(|state| state.booking.origin == Origin::Planner);
        if let Some(booking) = declined.map(|state| state.booking.clone()) {
            let pair = pair_of(&booking.link);
            self.demand_history.decline(&pair, booking.end_ms);
            self.journal_demand(&pair);
        }
    }

    /// Puts what is remembered of a pair on record, or takes it off.
    fn journal_demand(&mut self, pair: &NodePair) {
        match self.demand_history.record(pair) {
            Some(record) => self.journal_pair(record),
            None => self.forget(self.demand_key(pair)),
        }
    }
}
