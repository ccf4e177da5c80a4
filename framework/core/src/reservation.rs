//! The reservation machine: one transition table for every backend.
//!
//! What a backend is capable of picks among the rows of a grant (ODIN's answer means active, NSI's means
//! held); everything else is common. An event that has no row is reported as [`IllegalTransition`] and
//! changes nothing: a provider that contradicts itself is an operator's business, not a panic. When to
//! ask, cancel or look up is decided in [`lead`](crate::lead).

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vreserve_model::{Capabilities, ReservationState};

use ReservationEvent::{
    Abandon, Abort, Activate, Cancel, Cancelled, Committed, Deactivated, Gone, Granted, HoldExpired,
    OutcomeUnknown, Refused, Reported, Submit,
};
use ReservationState::{
    Activating, Active, Booked, Degraded, Failed, Held, Intent, Released, Releasing, Submitted, Unknown,
};

/// What the provider's yes to a submit means; follows from [`Capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// The circuit carries traffic: no state between asked for and active (ODIN).
    Fused,
    /// The capacity is held until it is committed (NSI).
    TwoPhase,
    /// The capacity is promised, and switched through later (GARA).
    Stepwise,
}

impl From<&Capabilities> for Flow {
    fn from(capabilities: &Capabilities) -> Self {
        match (capabilities.two_phase, capabilities.fused_activation) {
            (true, _) => Flow::TwoPhase,
            (false, true) => Flow::Fused,
            (false, false) => Flow::Stepwise,
        }
    }
}

/// What happens to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationEvent {
    /// We ask.
    Submit,
    /// We no longer want what we never asked for.
    Abandon,
    /// The provider said yes to the submit.
    Granted,
    /// The provider said no for certain. To a submit or commit: nothing is held; to an activation or a
    /// cancel: all stays as it is.
    Refused,
    /// A call was cut off: it may or may not have taken effect.
    OutcomeUnknown,
    /// The provider has taken the commit.
    Committed,
    /// A hold was not committed in time.
    HoldExpired,
    /// We ask for the switching through.
    Activate,
    /// The provider has taken it out of use, and still keeps it for us.
    Deactivated,
    /// The provider reports this state.
    Reported(ReservationState),
    /// We drop a hold.
    Abort,
    /// We give it back.
    Cancel,
    /// The provider has taken it back.
    Cancelled,
    /// The provider knows of no such reservation.
    Gone,
}

impl fmt::Display for ReservationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Submit => f.write_str("submit"),
            Abandon => f.write_str("abandon"),
            Granted => f.write_str("granted"),
            Refused => f.write_str("refused"),
            OutcomeUnknown => f.write_str("outcome unknown"),
            Committed => f.write_str("committed"),
            HoldExpired => f.write_str("hold expired"),
            Activate => f.write_str("activate"),
            Deactivated => f.write_str("deactivated"),
            Abort => f.write_str("abort"),
            Reported(state) => write!(f, "reported {state}"),
            Cancel => f.write_str("cancel"),
            Cancelled => f.write_str("cancelled"),
            Gone => f.write_str("gone"),
        }
    }
}

/// One row of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: ReservationState,
    /// What happens.
    pub event: ReservationEvent,
    /// The only flow in which the row holds; none means all.
    pub flow: Option<Flow>,
    /// The state after.
    pub to: ReservationState,
}

const fn row(from: ReservationState, event: ReservationEvent, to: ReservationState) -> Transition {
    Transition { from, event, flow: None, to }
}

const fn grant(from: ReservationState, flow: Flow, to: ReservationState) -> Transition {
    Transition { from, event: Granted, flow: Some(flow), to }
}

/// The whole machine. A report of the state a reservation is already in is no transition and needs no row.
pub const TRANSITIONS: &[Transition] = &[
    row(Intent, Submit, Submitted),
    row(Intent, Abandon, Released),
    // An answer to the submit; a late one is as good after the outcome was given up as unknown.
    grant(Submitted, Flow::Fused, Active),
    grant(Submitted, Flow::TwoPhase, Held),
    grant(Submitted, Flow::Stepwise, Booked),
    row(Submitted, Refused, Failed),
    row(Submitted, OutcomeUnknown, Unknown),
    row(Submitted, Gone, Failed),
    row(Submitted, Reported(Held), Held),
    row(Submitted, Reported(Booked), Booked),
    row(Submitted, Reported(Activating), Activating),
    row(Submitted, Reported(Active), Active),
    row(Submitted, Reported(Degraded), Degraded),
    row(Submitted, Reported(Releasing), Releasing),
    row(Submitted, Reported(Failed), Failed),
    row(Submitted, Reported(Unknown), Unknown),
    row(Held, Committed, Booked),
    row(Held, Refused, Failed),
    row(Held, HoldExpired, Failed),
    row(Held, OutcomeUnknown, Unknown),
    // A hold is dropped, a promise is given back.
    row(Held, Abort, Releasing),
    row(Held, Gone, Failed),
    row(Held, Reported(Booked), Booked),
    row(Held, Reported(Activating), Activating),
    row(Held, Reported(Active), Active),
    row(Held, Reported(Degraded), Degraded),
    row(Held, Reported(Releasing), Releasing),
    row(Held, Reported(Failed), Failed),
    row(Held, Reported(Unknown), Unknown),
    row(Booked, Activate, Activating),
    row(Booked, OutcomeUnknown, Unknown),
    row(Booked, Deactivated, Booked),
    row(Booked, Cancel, Releasing),
    row(Booked, Gone, Failed),
    row(Booked, Reported(Activating), Activating),
    row(Booked, Reported(Active), Active),
    row(Booked, Reported(Degraded), Degraded),
    row(Booked, Reported(Releasing), Releasing),
    row(Booked, Reported(Failed), Failed),
    row(Booked, Reported(Unknown), Unknown),
    row(Activating, Refused, Booked),
    row(Activating, OutcomeUnknown, Unknown),
    row(Activating, Deactivated, Booked),
    row(Activating, Cancel, Releasing),
    row(Activating, Gone, Failed),
    row(Activating, Reported(Booked), Booked),
    row(Activating, Reported(Active), Active),
    row(Activating, Reported(Degraded), Degraded),
    row(Activating, Reported(Releasing), Releasing),
    row(Activating, Reported(Failed), Failed),
    row(Activating, Reported(Unknown), Unknown),
    // A provider that falls back behind active no longer carries what it promised.
    row(Active, Reported(Booked), Degraded),
    row(Active, Reported(Activating), Degraded),
    row(Active, Reported(Degraded), Degraded),
    row(Active, Reported(Releasing), Releasing),
    row(Active, Reported(Failed), Failed),
    row(Active, Reported(Unknown), Unknown),
    row(Active, OutcomeUnknown, Unknown),
    row(Active, Deactivated, Booked),
    row(Active, Cancel, Releasing),
    row(Active, Gone, Failed),
    row(Degraded, Reported(Active), Active),
    row(Degraded, Reported(Booked), Degraded),
    row(Degraded, Reported(Activating), Degraded),
    row(Degraded, Reported(Releasing), Releasing),
    row(Degraded, Reported(Failed), Failed),
    row(Degraded, Reported(Unknown), Unknown),
    row(Degraded, OutcomeUnknown, Unknown),
    row(Degraded, Deactivated, Booked),
    row(Degraded, Cancel, Releasing),
    row(Degraded, Gone, Failed),
    // Cancelling is idempotent and repeated until the provider says gone; what it still shows before
    // that is only slow.
    row(Releasing, Abort, Releasing),
    row(Releasing, Cancel, Releasing),
    row(Releasing, Cancelled, Released),
    row(Releasing, Gone, Released),
    row(Releasing, OutcomeUnknown, Releasing),
    row(Releasing, Refused, Releasing),
    row(Releasing, Reported(Held), Releasing),
    row(Releasing, Reported(Booked), Releasing),
    row(Releasing, Reported(Activating), Releasing),
    row(Releasing, Reported(Active), Releasing),
    row(Releasing, Reported(Degraded), Releasing),
    row(Releasing, Reported(Unknown), Releasing),
    row(Releasing, Reported(Failed), Failed),
    // Looked up. There is no Cancel here: look before anything else.
    grant(Unknown, Flow::Fused, Active),
    grant(Unknown, Flow::TwoPhase, Held),
    grant(Unknown, Flow::Stepwise, Booked),
    row(Unknown, Refused, Failed),
    row(Unknown, OutcomeUnknown, Unknown),
    row(Unknown, Gone, Failed),
    row(Unknown, Reported(Held), Held),
    row(Unknown, Reported(Booked), Booked),
    row(Unknown, Reported(Activating), Activating),
    row(Unknown, Reported(Active), Active),
    row(Unknown, Reported(Degraded), Degraded),
    row(Unknown, Reported(Releasing), Releasing),
    row(Unknown, Reported(Failed), Failed),
];

/// An event has no row in the state it met; the state is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("\"{event}\" cannot happen to a reservation that is {from}")]
pub struct IllegalTransition {
    /// The state it met.
    pub from: ReservationState,
    /// What happened.
    pub event: ReservationEvent,
}

/// One reservation's place in the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    flow: Flow,
    state: ReservationState,
}

impl Reservation {
    /// An intent that nothing was asked for yet.
    pub fn new(flow: Flow) -> Self {
        Reservation { flow, state: Intent }
    }

    /// What the provider's yes means for it.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// A reservation found again in `state`, as after a restart.
    pub fn resume(flow: Flow, state: ReservationState) -> Self {
        Reservation { flow, state }
    }

    /// Where it stands.
    pub fn state(&self) -> ReservationState {
        self.state
    }

    /// Moves along the row for `event`, and returns the state reached.
    pub fn apply(&mut self, event: ReservationEvent) -> Result<ReservationState, IllegalTransition> {
        if event == Reported(self.state) {
            return Ok(self.state);
        }
        let matches = |row: &&Transition| {
            row.from == self.state && row.event == event && row.flow.is_none_or(|flow| flow == self.flow)
        };
        let row = TRANSITIONS.iter().find(matches);
        self.state = row.ok_or(IllegalTransition { from: self.state, event })?.to;
        Ok(self.state)
    }

    /// The provider said yes to the submit and reports `state`.
    ///
    /// A fused backend's yes means active whatever milder name it has for it; only a report that
    /// something is wrong counts more.
    pub fn grant(&mut self, state: ReservationState) -> Result<ReservationState, IllegalTransition> {
        self.apply(Granted)?;
        let is_trouble = matches!(state, Degraded | Releasing | Released | Failed | Unknown);
        if self.flow == Flow::Fused && !is_trouble { Ok(self.state) } else { self.observe(state) }
    }

    /// The provider reports `state`; a reservation that it has released is gone.
    pub fn observe(&mut self, state: ReservationState) -> Result<ReservationState, IllegalTransition> {
        match state {
            Released => self.apply(Gone),
            // A provider has no word for what we have not asked or what it has not answered yet.
            Intent | Submitted => Ok(self.state),
            reported => self.apply(Reported(reported)),
        }
    }
}

#[cfg(test)]
#[path = "reservation_document.rs"]
mod document;

#[cfg(test)]
#[path = "reservation_tests.rs"]
mod tests;
