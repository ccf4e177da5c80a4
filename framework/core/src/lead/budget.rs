//! Room: how much may be held on one network at once, by the backend's own word and by the operator's budget.
//!
//! What is booked ahead counts only where its window overlaps, and there the worst instant counts, not the sum
//! over all that overlap.

use vreserve_model::{BitsPerSecond, Timestamp};

use super::circuit::Circuit;
use super::demand::Obstacle;
use super::{Booking, BookingId, Budget, Lead};
use crate::plan::LinkKey;

/// From when to when, in milliseconds since the Unix epoch.
pub(super) type Window = (u64, u64);

const ALWAYS: Window = (0, u64::MAX);

/// The most circuits, and the most capacity, that `held` comes to at one instant of `window`.
pub(super) fn worst_instant(held: &[(Window, BitsPerSecond)], window: Window) -> (u32, u64) {
    let starts = held.iter().map(|((start, _), _)| (*start).max(window.0));
    let at = |instant: u64| {
        let there = held.iter().filter(|((start, end), _)| *start <= instant && instant < *end);
        there.fold((0, 0_u64), |(count, rate), (_, own)| (count + 1, rate.saturating_add(own.0)))
    };
    let instants = starts.filter(|instant| *instant < window.1).chain([window.0]);
    instants.map(at).fold((0, 0), |worst: (u32, u64), now| (worst.0.max(now.0), worst.1.max(now.1)))
}

impl Lead {
    /// Another budget for a network, from now on; what is held beyond it stays.
    pub fn handle_budget(&mut self, now: Timestamp, network: &str, budget: Budget) {
        self.advance_clock(now);
        self.config.budgets.insert(network.into(), budget);
        self.settle();
    }

    /// Why there is no room for another circuit; none if there is.
    pub(super) fn room_obstacle(
        &self,
        link: &LinkKey,
        rate: BitsPerSecond,
        window: Option<Window>,
    ) -> Option<Obstacle> {
        // What a former backend holds is on its way back, and leaves its room at the new one.
        let held = self.held_on(&link.network, |circuit| !circuit.is_superseded);
        let (circuits, total) = worst_instant(&held, window.unwrap_or(self.open_ended()));
        let limit = self.backends.get(&link.network).and_then(|backend| backend.max_concurrent);
        if limit.is_some_and(|room| circuits >= room) {
            return Some(Obstacle::NoRoom);
        }
        let fits = self.fits_budget(&link.network, circuits, total, rate);
        (!fits).then_some(Obstacle::OverBudget)
    }

    /// True if the budget takes `rate` on top of what is booked in `window`, but for some that give way.
    pub(super) fn fits_bookings(
        &self,
        network: &str,
        rate: BitsPerSecond,
        window: Window,
        giving_way: &[BookingId],
    ) -> bool {
        let counts = |booking: &Booking| booking.link.network == network && !giving_way.contains(&booking.id);
        let on_network = self.bookings.values().filter(|state| counts(&state.booking));
        let held: Vec<_> = on_network
            .map(|state| ((state.booking.start_ms, state.booking.end_ms), state.booking.wish.rate))
            .collect();
        let (circuits, total) = worst_instant(&held, window);
        self.fits_budget(network, circuits, total, rate)
    }

    /// True if backend and budget take one more circuit in `window` on top of all that is booked and of all that is
    /// held for other reasons.
    pub(super) fn fits_ahead(&self, network: &str, rate: BitsPerSecond, window: Window) -> bool {
        let on_network = self.bookings.values().filter(|state| state.booking.link.network == network);
        let booked = on_network.map(|state| &state.booking);
        let mut held =
            self.held_on(network, |circuit| self.booking_of(circuit).is_none() && !circuit.is_superseded);
        held.extend(booked.map(|booking| ((booking.start_ms, booking.end_ms), booking.wish.rate)));
        let (circuits, total) = worst_instant(&held, window);
        let most = self.backends.get(network).and_then(|backend| backend.max_concurrent);
        most.is_none_or(|most| circuits < most) && self.fits_budget(network, circuits, total, rate)
    }

    /// True if the budget takes a circuit at another rate.
    pub(super) fn fits_instead(&self, circuit: &Circuit, rate: BitsPerSecond) -> bool {
        let others = self.held_on(&circuit.link.network, |other| other.id != circuit.id);
        let (circuits, total) = worst_instant(&others, self.open_ended());
        self.fits_budget(&circuit.link.network, circuits, total, rate)
    }

    fn fits_budget(&self, network: &str, circuits: u32, total: u64, rate: BitsPerSecond) -> bool {
        let Budget { circuits: most, rate: sum } =
            self.config.budgets.get(network).copied().unwrap_or_default();
        most.is_none_or(|most| circuits < most) && sum.is_none_or(|sum| total.saturating_add(rate.0) <= sum.0)
    }

    /// What a backend may hold for us, with when it does.
    fn held_on(&self, network: &str, is_counted: impl Fn(&Circuit) -> bool) -> Vec<(Window, BitsPerSecond)> {
        let holding = self.circuits.values().filter(|circuit| {
            circuit.link.network == network && circuit.state().may_hold_capacity() && is_counted(circuit)
        });
        holding.map(|circuit| (self.window_of(circuit), circuit.rate_held())).collect()
    }

    /// When a circuit holds capacity: always, except that what is asked for ahead holds it in its window.
    fn window_of(&self, circuit: &Circuit) -> Window {
        let Some(request) = &circuit.request else { return ALWAYS };
        let start = circuit.window.0.or(request.start_ms).unwrap_or(0);
        let end = circuit.window.1.or(request.end_ms);
        // What has not been given back when its window is over is still held.
        (start, end.filter(|end| self.wall_ms().is_some_and(|now| now < *end)).unwrap_or(u64::MAX))
    }

    /// From this moment on, and without an end.
    fn open_ended(&self) -> Window {
        (self.wall_ms().unwrap_or(0), u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_instant_counts_and_not_the_sum() {
        let held = |windows: &[(u64, u64)]| -> Vec<_> {
            windows.iter().map(|window| (*window, BitsPerSecond(10))).collect()
        };
        let apart = held(&[(0, 10), (10, 20), (20, 30)]);
        assert_eq!(worst_instant(&apart, (0, 30)), (1, 10), "intervals that touch do not overlap");
        let twins = held(&[(5, 15), (5, 15), (0, 6)]);
        assert_eq!(worst_instant(&twins, (0, 30)), (3, 30));
        assert_eq!(worst_instant(&twins, (6, 30)), (2, 20));
        assert_eq!(worst_instant(&twins, (15, 30)), (0, 0));
        assert_eq!(worst_instant(&held(&[(0, u64::MAX)]), (7, 8)), (1, 10));
    }
}
