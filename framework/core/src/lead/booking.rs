//! Advance reservations, from the wish to the window's end: those that operators make, and the planner's own (see
//! `recurring`).
//!
//! A booking is on record from the moment it is accepted. Its circuit is asked for at once where the backend
//! takes requests ahead of time, else shortly before the window; pairs use it while the window is open.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vreserve_model::{BitsPerSecond, MacAddr, RequestKey, Timestamp};

use super::budget::Window;
use super::circuit::Circuit;
use super::outcome::Setback;
use super::{CircuitId, Event, Lead};
use crate::plan::LinkKey;

/// One booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BookingId(pub u64);

/// Who wants a booking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An operator.
    #[default]
    Operator,
    /// The planner, ahead of demand that recurs.
    Planner,
}

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
    /// The ends by node name, and the network.
    pub link: LinkKey,
    /// Who wants it.
    #[serde(default)]
    pub origin: Origin,
    /// The wish, with the start filled in.
    pub wish: BookingWish,
    /// When the window opens, in milliseconds since the Unix epoch.
    pub start_ms: u64,
    /// When it closes.
    pub end_ms: u64,
}

impl Booking {
    /// True if some of `window` is in its own; windows that touch do not overlap.
    pub(super) fn overlaps(&self, window: Window) -> bool {
        self.start_ms < window.1 && window.0 < self.end_ms
    }
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
    /// The same two ends have a booking on that network already, for some of that time.
    #[error("booked already as {0} for some of that time")]
    Taken(BookingId),
    /// This lead only shows what it would reserve.
    #[error("in shadow mode nothing is reserved")]
    Shadow,
    /// The journal does not take it.
    #[error("the journal cannot be written: {0}")]
    Journal(String),
    /// There is no such booking.
    #[error("no booking {0}")]
    UnknownBooking(BookingId),
}

impl std::fmt::Display for BookingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A booking, and what has come of it.
#[derive(Clone, Debug)]
pub(super) struct BookingState {
    pub(super) booking: Booking,
    pub(super) circuit: Option<CircuitId>,
    pub(super) setback: Option<Setback>,
    pub(super) is_cancelled: bool,
    pub(super) is_open: bool,
}

impl BookingState {
    pub(super) fn new(booking: Booking) -> Self {
        BookingState { booking, circuit: None, setback: None, is_cancelled: false, is_open: false }
    }
}

impl Lead {
    /// Accepts an advance reservation. It leaves at once as a record, and is good once that is on disk; if it
    /// cannot be put there, `cancel_booking` takes it back.
    ///
    /// # Errors
    /// If it makes no sense, or there is no room within the budget.
    pub fn book(&mut self, now: Timestamp, wish: BookingWish) -> Result<BookingId, BookingError> {
        self.advance_clock(now);
        let id = self.book_for(Origin::Operator, wish)?;
        self.settle();
        Ok(id)
    }

    pub(super) fn book_for(&mut self, origin: Origin, wish: BookingWish) -> Result<BookingId, BookingError> {
        if self.config.shadow {
            return Err(BookingError::Shadow);
        }
        if let Some(reason) = &self.journal_failure {
            return Err(BookingError::Journal(reason.clone()));
        }
        let link = self.link_of_wish(&wish)?;
        let wall = self.wall_ms().ok_or_else(|| invalid("the lead knows no wall clock"))?;
        let start_ms = wish.start_ms.unwrap_or(wall);
        if wish.end_ms <= start_ms || wish.end_ms <= wall {
            return Err(invalid("the window is over before it begins"));
        }
        if wish.rate == BitsPerSecond(0) {
            return Err(invalid("a rate of nothing"));
        }
        let giving_way = self.room_for(origin, &link, wish.rate, (start_ms, wish.end_ms))?;
        giving_way.into_iter().for_each(|id| self.withdraw(id, "it gives way to an operator's booking"));
        let id = BookingId(self.new_id());
        let booking = Booking { id, link, origin, start_ms, end_ms: wish.end_ms, wish };
        self.publish(Event::Booked {
            booking: id,
            origin,
            link: booking.link.clone(),
            rate: booking.wish.rate,
            start_ms,
            end_ms: booking.end_ms,
        });
        self.journal_booking(booking.clone());
        self.bookings.insert(id, BookingState::new(booking));
        Ok(id)
    }

    /// Which of the planner's own windows give way to another booking so that there is room for it.
    fn room_for(
        &self,
        origin: Origin,
        link: &LinkKey,
        rate: BitsPerSecond,
        window: Window,
    ) -> Result<Vec<BookingId>, BookingError> {
        let overlapping = |state: &&BookingState| {
            let booking = &state.booking;
            booking.link.network == link.network && booking.overlaps(window) && !self.is_over(state)
        };
        let (mut giving_way, mut could) = (Vec::new(), Vec::new());
        for state in self.bookings.values().filter(overlapping) {
            let gives_way = origin == Origin::Operator && self.may_withdraw(state);
            match (state.booking.link == *link, gives_way) {
                // One link between two ends on one network: two bookings would take it from each other for ever.
                (true, false) => return Err(BookingError::Taken(state.booking.id)),
                (true, true) => giving_way.push(state.booking.id),
                (false, true) => could.push(state.booking.id),
                (false, false) => {}
            }
        }
        while !self.fits_bookings(&link.network, rate, window, &giving_way) {
            giving_way.push(could.pop().ok_or_else(|| BookingError::NoRoom(link.network.clone()))?);
        }
        Ok(giving_way)
    }

    /// Ends a booking, whatever it has come to: its circuit is cut back and released.
    ///
    /// # Errors
    /// If there is none.
    pub fn cancel_booking(&mut self, now: Timestamp, id: BookingId) -> Result<(), BookingError> {
        self.advance_clock(now);
        let state = self.bookings.get_mut(&id).filter(|state| !state.is_cancelled);
        let found = state.map(|state| state.is_cancelled = true).ok_or(BookingError::UnknownBooking(id));
        if found.is_ok() {
            self.note_declined(id);
        }
        self.settle();
        found
    }

    /// The booking that a circuit is for, as long as it is neither over nor cancelled.
    pub(super) fn booking_of(&self, circuit: &Circuit) -> Option<&Booking> {
        let state = self.bookings.get(&circuit.booking?)?;
        (!self.is_over(state)).then_some(&state.booking)
    }

    pub(super) fn booking_key(&self, id: BookingId) -> RequestKey {
        let (epoch, number) = (id.0 >> 32, id.0 & u64::from(u32::MAX));
        RequestKey(format!("{}-{epoch}-booking-{number}", self.config.installation))
    }

    fn link_of_wish(&self, wish: &BookingWish) -> Result<LinkKey, BookingError> {
        let node_of = |end: &String| {
            let guest = end.parse::<MacAddr>().ok().and_then(|guest| self.guests.node_of(guest));
            let node = self.nodes.contains_key(end).then_some(end.as_str()).or(guest);
            node.map(str::to_owned).ok_or_else(|| BookingError::UnknownEnd(end.clone()))
        };
        let (from, to) = (node_of(&wish.from)?, node_of(&wish.to)?);
        if from == to {
            return Err(BookingError::SameNode(from));
        }
        let joins = |network: &&String| {
            let is_at =
                |node: &String| self.nodes.get(node).is_some_and(|n| n.networks.contains_key(*network));
            is_at(&from) && is_at(&to)
        };
        let network = match &wish.network {
            Some(network) => Some(network).filter(joins),
            None => self.backends.keys().find(joins),
        };
        let network = network.ok_or_else(|| BookingError::NoNetwork(from.clone(), to.clone()))?;
        Ok(LinkKey::new(&from, &to, network))
    }
}

fn invalid(reason: &str) -> BookingError {
    BookingError::Invalid(reason.into())
}
