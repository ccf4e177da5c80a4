//! What is reserved when: bookings and the planner's circuits in one list.

use serde::{Deserialize, Serialize};
use vreserve_model::{BitsPerSecond, RequestKey, ReservationState};

use super::booking::BookingState;
use super::circuit::Circuit;
use super::{BookingId, CircuitId, Lead, Origin, Phase};
use crate::plan::LinkKey;

/// Where a booking stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BookingPhase {
    /// On record; the backend is asked when the time has come.
    Waiting,
    /// The backend has been asked, and has not promised yet.
    Asked,
    /// Promised by the backend.
    Booked,
    /// The window is open.
    Open,
    /// Being given back.
    Ending,
}

/// One line of the calendar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalendarEntry {
    /// The booking; none for a circuit that the planner wants now.
    pub booking: Option<BookingId>,
    /// Who wants it.
    #[serde(default)]
    pub origin: Origin,
    /// The circuit that is, or was last, asked for.
    pub circuit: Option<CircuitId>,
    /// The key it was asked for under.
    pub key: Option<RequestKey>,
    /// What an operator named as the ends; for what the planner wants the nodes.
    pub from: String,
    /// See `from`.
    pub to: String,
    /// The ends by node name, and the network.
    #[serde(flatten)]
    pub link: LinkKey,
    /// The rate.
    pub rate: BitsPerSecond,
    /// When it begins, in milliseconds since the Unix epoch; none if it has no window.
    pub start_ms: Option<u64>,
    /// When it ends; none means until nobody wants it.
    pub end_ms: Option<u64>,
    /// Where a booking stands; none for the planner's circuits.
    pub phase: Option<BookingPhase>,
    /// Where the reservation stands.
    pub state: Option<ReservationState>,
    /// Why there is none yet, in one line.
    pub reason: Option<String>,
}

impl Lead {
    /// Everything that is booked or reserved, by start; what has no window comes first.
    pub fn calendar(&self) -> Vec<CalendarEntry> {
        let automatic = self.circuits.values().filter(|circuit| circuit.booking.is_none());
        let bookings = self.bookings.values().map(|state| self.entry_of_booking(state));
        let mut entries: Vec<_> = automatic.map(|c| self.entry_of_circuit(c)).chain(bookings).collect();
        entries.sort_by_key(|entry| (entry.start_ms, entry.booking, entry.circuit));
        entries
    }

    fn entry_of_circuit(&self, circuit: &Circuit) -> CalendarEntry {
        CalendarEntry {
            booking: None,
            origin: Origin::Planner,
            circuit: Some(circuit.id),
            key: circuit.key().cloned(),
            from: circuit.link.a.clone(),
            to: circuit.link.z.clone(),
            link: circuit.link.clone(),
            rate: circuit.rate_in_force(),
            start_ms: circuit.window.0,
            end_ms: circuit.window.1,
            phase: None,
            state: Some(circuit.state()),
            reason: self.reason_of(circuit),
        }
    }

    fn entry_of_booking(&self, state: &BookingState) -> CalendarEntry {
        let booking = &state.booking;
        let circuit = state.circuit.and_then(|id| self.circuits.get(&id));
        let setback = state.setback.as_ref().map(|setback| setback.reason.clone());
        CalendarEntry {
            booking: Some(booking.id),
            origin: booking.origin,
            circuit: state.circuit,
            key: circuit.and_then(Circuit::key).cloned(),
            from: booking.wish.from.clone(),
            to: booking.wish.to.clone(),
            link: booking.link.clone(),
            rate: circuit.map_or(booking.wish.rate, Circuit::rate_in_force),
            start_ms: Some(booking.start_ms),
            end_ms: Some(booking.end_ms),
            phase: Some(self.phase_of(state)),
            state: circuit.map(Circuit::state),
            reason: circuit.and_then(|circuit| self.reason_of(circuit)).or(setback),
        }
    }

    fn phase_of(&self, state: &BookingState) -> BookingPhase {
        use ReservationState::{Activating, Active, Booked, Degraded};
        let Some(circuit) = state.circuit.and_then(|id| self.circuits.get(&id)) else {
            return if state.is_open { BookingPhase::Open } else { BookingPhase::Waiting };
        };
        if circuit.phase.is_ending() || self.booking_of(circuit).is_none() {
            return BookingPhase::Ending;
        }
        match circuit.state() {
            _ if state.is_open => BookingPhase::Open,
            Booked | Activating | Active | Degraded => BookingPhase::Booked,
            _ => BookingPhase::Asked,
        }
    }

    fn reason_of(&self, circuit: &Circuit) -> Option<String> {
        let waits_for = (circuit.phase == Phase::Wanted).then(|| self.obstacle(circuit)).flatten();
        waits_for.map(|obstacle| obstacle.sentence().to_owned()).or_else(|| circuit.failure.clone())
    }
}
