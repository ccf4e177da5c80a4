//! The windows of bookings: when they open and close, when the backend is asked, and who uses them meanwhile.

use vreserve_model::{MacAddr, ReservationState, Timestamp};

use super::booking::BookingState;
use super::circuit::Circuit;
use super::{Booking, BookingId, CircuitId, Event, Lead, Phase};
use crate::plan::{Layout, LinkKey, PairKey, PlannedLink, Way};

/// Pairs of one booking between nodes: more stay on the star.
const PAIRS: usize = 1024;

impl Lead {
    /// True if nothing of it may be used any more.
    pub(super) fn is_over(&self, state: &BookingState) -> bool {
        state.is_cancelled || self.wall_ms().is_some_and(|now| now >= self.closes_at(&state.booking))
    }

    /// When its pairs go back to the star: a little before the window's end.
    fn closes_at(&self, booking: &Booking) -> u64 {
        let margin = u64::try_from(self.config.close_before.as_millis()).unwrap_or(0);
        let length = booking.end_ms.saturating_sub(booking.start_ms);
        booking.end_ms.saturating_sub(margin.min(length / 10))
    }

    /// When the backend is to be asked: at once if it takes requests ahead of time.
    fn asks_at(&self, booking: &Booking) -> Option<u64> {
        let backend = self.backends.get(&booking.link.network)?;
        let ahead = if backend.advance { 0 } else { booking.start_ms };
        let lead = backend.setup_time + backend.lead_time;
        Some(ahead.saturating_sub(u64::try_from(lead.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Opens and closes windows, asks for circuits whose time has come, and forgets what is over.
    pub(super) fn advance_bookings(&mut self) -> bool {
        let Some(wall) = self.wall_ms() else { return false };
        let ids: Vec<_> = self.bookings.keys().copied().collect();
        let mut changed = false;
        for id in ids {
            changed |= self.advance_booking(id, wall);
        }
        changed
    }

    fn advance_booking(&mut self, id: BookingId, wall: u64) -> bool {
        let Some(state) = self.bookings.get(&id) else { return false };
        let is_over = self.is_over(state);
        let is_open = !is_over && wall >= state.booking.start_ms;
        let (was_open, circuit) = (state.is_open, state.circuit);
        let is_due = self.asks_at(&state.booking).is_some_and(|at| wall >= at);
        let may_ask = state.setback.as_ref().is_none_or(|setback| setback.until <= self.now);
        let mut changed = is_open != was_open;
        if changed {
            if let Some(state) = self.bookings.get_mut(&id) {
                state.is_open = is_open;
            }
            if is_open {
                self.publish(Event::BookingOpened { booking: id });
                circuit.into_iter().for_each(|circuit| self.call_at_once(circuit));
            }
            self.goal = self.with_bookings(self.planned.clone());
        }
        if is_over && circuit.is_none() {
            self.close_booking(id);
            changed = true;
        } else if !is_over && circuit.is_none() && is_due && may_ask && self.may_ask() {
            changed |= self.want_booked(id);
        }
        changed
    }

    fn may_ask(&self) -> bool {
        self.journal_failure.is_none() && !self.is_stopping
    }

    /// Guests may have come, or moved, while windows are open.
    pub(super) fn review_windows(&mut self) {
        if self.bookings.values().any(|state| state.is_open) {
            self.goal = self.with_bookings(self.planned.clone());
        }
    }

    fn want_booked(&mut self, id: BookingId) -> bool {
        let Some(booking) = self.bookings.get(&id).map(|state| state.booking.clone()) else { return false };
        let circuit = CircuitId(self.new_id());
        let mut new = Circuit::new(circuit, booking.link, 0, booking.wish.rate, self.now);
        new.booking = Some(id);
        self.circuits.insert(circuit, new);
        if let Some(state) = self.bookings.get_mut(&id) {
            state.circuit = Some(circuit);
        }
        true
    }

    fn close_booking(&mut self, id: BookingId) {
        let Some(state) = self.bookings.remove(&id) else { return };
        self.forget(self.booking_key(id));
        self.publish(Event::BookingClosed { booking: id, cancelled: state.is_cancelled });
    }

    /// True if the window of a booking between these ends is open, and its circuit asked for and not given up.
    pub(super) fn is_brought_by_booking(&self, link: &LinkKey) -> bool {
        let is_on_its_way = |circuit: &Circuit| {
            let is_asked_for = circuit.phase > Phase::Wanted && !circuit.phase.is_ending();
            is_asked_for && !circuit.is_doomed && circuit.state() != ReservationState::Unknown
        };
        let open = self.bookings.values().filter(|state| state.is_open && state.booking.link == *link);
        open.filter_map(|state| self.circuits.get(&state.circuit?)).any(is_on_its_way)
    }

    /// A circuit whose booking is over goes back in good order, whoever else may want one between its ends.
    pub(super) fn close_in_time(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let is_over = circuit.booking.is_some() && self.booking_of(circuit).is_none();
        let closes = is_over && circuit.phase.takes_pairs() && !circuit.is_kept(self.now);
        if closes {
            self.cut_back(id, "its booking is over");
        }
        closes
    }

    /// What the planner wants, and in open windows what is booked.
    pub(super) fn with_bookings(&self, mut goal: Layout) -> Layout {
        for state in self.bookings.values().filter(|state| state.is_open) {
            let booking = &state.booking;
            let planned = PlannedLink { rate: booking.wish.rate, rank: 0 };
            goal.links.entry(booking.link.clone()).or_insert(planned);
            for (pair, node) in self.booked_pairs(booking) {
                goal.ways.insert(pair, Way::direct(&node, booking.link.clone()));
            }
        }
        goal
    }

    /// The pairs of guests that a booking is for, both ways, each with its ingress node.
    fn booked_pairs(&self, booking: &Booking) -> Vec<(PairKey, String)> {
        let guests_of = |end: &str| -> Vec<(MacAddr, String)> {
            match end.parse::<MacAddr>() {
                Ok(guest) => {
                    let node = self.guests.node_of(guest);
                    node.map(|node| (guest, node.to_owned())).into_iter().collect()
                }
                Err(_) => {
                    let own = self.guests.iter().filter(|(_, node)| *node == end);
                    own.map(|(guest, node)| (guest, node.to_owned())).collect()
                }
            }
        };
        let (from, to) = (guests_of(&booking.wish.from), guests_of(&booking.wish.to));
        let is_end = |node: &String| booking.link.ends().contains(&node.as_str());
        let both = from.iter().flat_map(|one| to.iter().map(move |other| (one, other)));
        let between = both.filter(|((_, at), (_, far))| at != far && is_end(at) && is_end(far));
        let pairs = between.flat_map(|((one, at), (other, far))| {
            let there = PairKey { source: *one, destination: *other };
            let back = PairKey { source: *other, destination: *one };
            [(there, at.clone()), (back, far.clone())]
        });
        pairs.take(PAIRS).collect()
    }

    /// When windows open and close, and when the backend is to be asked.
    pub(super) fn booking_times(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let waiting = |state: &BookingState| state.circuit.is_none();
        self.bookings.values().flat_map(move |state| {
            let asks_at = self.asks_at(&state.booking).filter(|_| waiting(state));
            let clock = [asks_at, Some(state.booking.start_ms), Some(self.closes_at(&state.booking))];
            let again = state.setback.as_ref().filter(|_| waiting(state)).map(|setback| setback.until);
            clock.into_iter().flatten().filter_map(|ms| self.time_of(ms)).chain(again)
        })
    }
}
