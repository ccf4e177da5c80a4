//! What the lead has on disk: one record for everything that must outlive it.
//!
//! A record is written before the effect that it covers and replaced as a whole whenever what it says has
//! changed; it is forgotten when the provider has said that nothing is held any more. Until then a circuit
//! that is being given back stays on record as [`Stage::Releasing`], its tombstone. Records are plain
//! documents: readers ignore fields they do not know, and refuse a [`Record::version`] above their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vreserve_model::{BitsPerSecond, MacAddr, Request, RequestKey, ReservationState};

use super::{Booking, BookingId, CircuitId, DemandRecord};
use crate::ids::LinkId;
use crate::plan::LinkKey;
use crate::reservation::Flow;

/// One thing that must outlive the lead, under its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this document; see [`Record::VERSION`].
    pub version: u32,
    /// What it is found under: a circuit's request key, or the key of a booking or of two nodes. Unique for ever.
    pub key: RequestKey,
    /// The epoch of the lead that wrote it.
    pub epoch: u32,
    /// When it was written, in milliseconds since the Unix epoch; 0 if the lead knew no wall clock.
    pub at_ms: u64,
    /// What it is about.
    #[serde(flatten)]
    pub body: RecordBody,
}

impl Record {
    /// The version that this lead writes.
    pub const VERSION: u32 = 1;
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum RecordBody {
    /// Capacity that was asked for, or is about to be.
    Circuit(Box<CircuitRecord>),
    /// An advance reservation that is wanted.
    Booking(Booking),
    /// When two nodes needed a circuit.
    Demand(DemandRecord),
}

/// How far a recorded circuit had come: what must be done with it after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Asked for; no pair has used it.
    Reserving,
    /// Its link has passed its probe, and pairs may be on it.
    InUse,
    /// Being given back: a tombstone until the provider says that nothing is held.
    Releasing,
}

/// A pair of guests that is told to take a circuit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordedPair {
    /// The ingress node.
    pub node: String,
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// The circuit that it takes after this one, if it does not end where this one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onward: Option<CircuitId>,
}

/// Capacity that a provider may hold for us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircuitRecord {
    /// The circuit's identity.
    pub circuit: CircuitId,
    /// The link over it; another number than the circuit's if it took over its predecessor's link.
    pub link_id: LinkId,
    /// Its ends by node name, and the network.
    pub link: LinkKey,
    /// What was asked for, whole: enough to activate or modify it.
    pub request: Request,
    /// How far it had come.
    pub stage: Stage,
    /// Where the reservation stood by the last answer.
    pub state: ReservationState,
    /// The provider's id, once known.
    pub native_id: Option<String>,
    /// The rate as granted, where known.
    pub granted: Option<BitsPerSecond>,
    /// The window as granted, in milliseconds since the Unix epoch, where known.
    pub start_ms: Option<u64>,
    /// See `start_ms`.
    pub end_ms: Option<u64>,
    /// What the provider chose, such as the lambda.
    pub labels: BTreeMap<String, String>,
    /// The pairs that are told to leave their ingress node by it.
    pub pairs: Vec<RecordedPair>,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub submitted_ms: Option<u64>,
    /// When the provider began to hold it without a commit, likewise.
    pub held_since_ms: Option<u64>,
    /// True once it was committed, or if it needed no commit.
    pub is_committed: bool,
    /// What the provider's yes means.
    pub flow: Flow,
    /// True if the provider switches it through by itself once it is promised.
    pub is_fused: bool,
    /// The rate that the provider was asked to change it to, and has not answered.
    pub modifying: Option<BitsPerSecond>,
    /// The booking it is for; none for what the planner wants.
    pub booking: Option<BookingId>,
    /// The how-manieth attempt in succession it is.
    pub attempt: u32,
}
