//! One attempt to have a circuit between two nodes, from wanted to gone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vreserve_model::{BitsPerSecond, Request, RequestKey, ReservationState, Timestamp};

use super::resizing::Resizing;
use super::verb::Verb;
use super::{BookingId, CircuitName, CircuitRecord, ProbeOutcome};
use crate::ids::LinkId;
use crate::overlay::OverlayLink;
use crate::plan::LinkKey;
use crate::reservation::{Flow, Reservation};

/// One attempt to have a circuit. A further attempt for the same ends is another circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CircuitId(pub u64);

impl CircuitId {
    /// The link made for this circuit: it has the circuit's number, which it keeps when a successor takes it
    /// over.
    pub fn link(self) -> LinkId {
        LinkId(self.0)
    }
}

impl fmt::Display for CircuitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How far a circuit has come, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for room, a back-off, a node or a backend.
    Wanted,
    /// Asked for, and not active yet.
    Reserving,
    /// Both ends are setting up the link.
    Linking,
    /// A probe crosses the link.
    Probing,
    /// The first pairs are being switched onto it.
    Switching,
    /// Traffic runs over it.
    Carrying,
    /// Its pairs are being switched back to the star.
    CuttingBack,
    /// Both ends are taking down the link.
    Unlinking,
    /// Being given back.
    Releasing,
    /// Nothing is held; kept for display.
    Gone,
}

impl Phase {
    /// True once the circuit is on its way out.
    pub fn is_ending(self) -> bool {
        self >= Phase::CuttingBack
    }

    /// True while both ends should have the link.
    pub fn has_link(self) -> bool {
        (Phase::Linking..=Phase::CuttingBack).contains(&self)
    }

    /// True while pairs may be switched onto it: it has passed its probe and is not ending.
    pub fn takes_pairs(self) -> bool {
        matches!(self, Phase::Switching | Phase::Carrying)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Wanted => "wanted",
            Phase::Reserving => "reserving",
            Phase::Linking => "linking",
            Phase::Probing => "probing",
            Phase::Switching => "switching",
            Phase::Carrying => "carrying",
            Phase::CuttingBack => "cutting back",
            Phase::Unlinking => "unlinking",
            Phase::Releasing => "releasing",
            Phase::Gone => "gone",
        })
    }
}

/// When each phase was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTimes {
    /// This attempt began to be wanted.
    pub wanted_at: Timestamp,
    /// Capacity was asked for.
    pub submitted_at: Option<Timestamp>,
    /// The provider said it carries traffic.
    pub active_at: Option<Timestamp>,
    /// Both ends had the link.
    pub linked_at: Option<Timestamp>,
    /// The probe had passed.
    pub probed_at: Option<Timestamp>,
    /// The first pairs were on it.
    pub switched_at: Option<Timestamp>,
    /// It was decided to end it.
    pub ending_at: Option<Timestamp>,
    /// The last pair was off it.
    pub cut_back_at: Option<Timestamp>,
    /// Both ends had taken down the link.
    pub unlinked_at: Option<Timestamp>,
    /// Nothing was held any more.
    pub released_at: Option<Timestamp>,
}

/// How long something has lasted, also across a restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    /// Since when in this lead's time.
    pub(super) at: Timestamp,
    /// For how long before that; none if the wall clock could not tell.
    pub(super) before: Option<Duration>,
}

impl Age {
    pub(super) fn since(at: Timestamp) -> Self {
        Age { at, before: Some(Duration::ZERO) }
    }

    pub(super) fn until(self, now: Timestamp) -> Option<Duration> {
        Some(self.before? + now.since(self.at))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Circuit {
    pub(super) id: CircuitId,
    pub(super) link: LinkKey,
    /// The link over it: its own number, or that of the circuit whose link it took over.
    pub(super) link_id: LinkId,
    pub(super) rank: usize,
    pub(super) rate: BitsPerSecond,
    pub(super) granted: Option<BitsPerSecond>,
    /// The window as granted, in milliseconds since the Unix epoch.
    pub(super) window: (Option<u64>, Option<u64>),
    pub(super) phase: Phase,
    /// True if it must end although it may be wanted: an end of it has left.
    pub(super) is_doomed: bool,
    /// True if the backend that holds it has been replaced.
    pub(super) is_superseded: bool,
    /// Found on record: not dropped before, though nobody may want it yet.
    pub(super) kept_until: Option<Timestamp>,
    /// The link as ends of a restored circuit say they have it: so it stays while the other end is not back.
    pub(super) present: BTreeMap<String, OverlayLink>,
    /// The booking it is for.
    pub(super) booking: Option<BookingId>,
    /// The circuit whose link it is to take over, being larger.
    pub(super) replaces: Option<CircuitId>,
    pub(super) reservation: Reservation,
    /// True if the provider switches it through by itself once it is promised.
    pub(super) is_fused: bool,
    /// What was asked for, whole.
    pub(super) request: Option<Request>,
    pub(super) attempt: u32,
    pub(super) native_id: Option<String>,
    pub(super) native_state: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) call: Option<Verb>,
    /// Not before this time is the backend called again.
    pub(super) retry_at: Option<Timestamp>,
    pub(super) failed_calls: u32,
    /// To be looked up as soon as no other call is outstanding.
    pub(super) look_up: bool,
    pub(super) submitted: Option<Age>,
    /// Since when the provider has held it without a commit.
    pub(super) held: Option<Age>,
    /// True if it was committed, or needed no commit.
    pub(super) is_committed: bool,
    /// True if it was taken out of use, or at least asked to be.
    pub(super) is_deactivated: bool,
    pub(super) resizing: Resizing,
    /// When the phase is given up.
    pub(super) deadline: Option<Timestamp>,
    /// The revision that each end must have applied before the phase is over.
    pub(super) awaiting: BTreeMap<String, u64>,
    pub(super) probe: Option<ProbeOutcome>,
    pub(super) times: PhaseTimes,
    pub(super) failure: Option<String>,
    /// What is on record, or on its way there.
    pub(super) recorded: Option<CircuitRecord>,
}

impl Circuit {
    pub(super) fn new(
        id: CircuitId,
        link: LinkKey,
        rank: usize,
        rate: BitsPerSecond,
        now: Timestamp,
    ) -> Self {
        Circuit {
            id,
            link,
            link_id: id.link(),
            rank,
            rate,
            granted: None,
            window: (None, None),
            phase: Phase::Wanted,
            is_doomed: false,
            is_superseded: false,
            kept_until: None,
            present: BTreeMap::new(),
            booking: None,
            replaces: None,
            reservation: Reservation::new(Flow::Stepwise),
            is_fused: false,
            request: None,
            attempt: 0,
            native_id: None,
            native_state: String::new(),
            labels: BTreeMap::new(),
            call: None,
            retry_at: None,
            failed_calls: 0,
            look_up: false,
            submitted: None,
            held: None,
            is_committed: false,
            is_deactivated: false,
            resizing: Resizing::default(),
            deadline: None,
            awaiting: BTreeMap::new(),
            probe: None,
            times: PhaseTimes { wanted_at: now, ..PhaseTimes::default() },
            failure: None,
            recorded: None,
        }
    }

    pub(super) fn name(&self) -> CircuitName {
        CircuitName { circuit: self.id, link: self.link.clone() }
    }

    pub(super) fn key(&self) -> Option<&RequestKey> {
        self.request.as_ref().map(|request| &request.key)
    }

    pub(super) fn state(&self) -> ReservationState {
        self.reservation.state()
    }

    /// What it was granted, or before that what is asked for.
    pub(super) fn rate_in_force(&self) -> BitsPerSecond {
        self.granted.unwrap_or(self.rate)
    }

    /// The most that the provider may hold for it.
    pub(super) fn rate_held(&self) -> BitsPerSecond {
        let changing = [self.resizing.asked, self.resizing.unsure].into_iter().flatten();
        changing.fold(self.rate_in_force(), BitsPerSecond::max)
    }

    /// True if the provider still stands by it, or has at least not said otherwise.
    pub(super) fn is_upheld(&self) -> bool {
        matches!(
            self.state(),
            ReservationState::Active | ReservationState::Degraded | ReservationState::Unknown
        )
    }

    /// True while it is spared although nobody may want it.
    pub(super) fn is_kept(&self, now: Timestamp) -> bool {
        self.kept_until.is_some_and(|until| now < until)
    }

    /// True if the backend may be called: no answer is outstanding and no delay is running.
    pub(super) fn may_call(&self, now: Timestamp) -> bool {
        self.call.is_none() && self.retry_at.is_none_or(|at| at <= now)
    }

    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }

    /// When something is to be done about it if nothing happens before.
    pub(super) fn next_times(&self) -> impl Iterator<Item = Timestamp> {
        let retry_at = self.retry_at.filter(|_| self.call.is_none());
        [self.deadline, retry_at, self.kept_until, self.resizing.next_time(self.call)].into_iter().flatten()
    }
}
