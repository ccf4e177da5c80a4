//! What the lead tells people: one value per thing that happened, for the event log and the timeline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vreserve_model::{BitsPerSecond, MacAddr, Pattern, RequestKey, ReservationState, Timestamp, WantedLink};

use super::{BookingId, CircuitId, NodeRole, Origin, Phase, Stage};
use crate::ids::LinkId;
use crate::plan::LinkKey;

/// Which circuit an event is about. The link over it has the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitName {
    /// Its identity.
    pub circuit: CircuitId,
    /// What it is for.
    #[serde(flatten)]
    pub link: LinkKey,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are documented by their names and units; the variants are")]
pub enum Event {
    /// A node is part of the star.
    NodeJoined { node: String, role: NodeRole, networks: Vec<String> },
    /// A node may not join.
    NodeRefused { node: String, reason: String },
    /// A node is gone; its circuits are given up.
    NodeLeft { node: String, circuits: usize },
    /// A node could not set up its part of the overlay.
    NodeApplyFailed { node: String, revision: u64, reason: String, retry_at: Timestamp },
    /// The guests behind a node are others than before.
    GuestsChanged { node: String, guests: usize, ignored: usize },
    /// A guest is now behind another node.
    GuestMoved { guest: MacAddr, from: String, to: String },
    /// Inference sees another topology.
    TopologyChanged { pattern: Pattern, edges: usize, settled: bool, silent_nodes: Vec<String> },
    /// Reservations can be made on a network.
    BackendUp { network: String },
    /// Reservations can no longer be made or given back on a network.
    BackendDown { network: String, reason: String },
    /// Another backend reserves on a network from now on, or none (`removed`); `circuits` are still the former one's.
    BackendReplaced { network: String, circuits: usize, removed: bool },
    /// The planner wants another overlay.
    Planned { add: Vec<WantedLink>, remove: Vec<LinkKey>, moves: usize, cut_backs: usize, notes: Vec<String> },
    /// More is wanted of a circuit than it was granted; it is kept as it is.
    Undersized {
        #[serde(flatten)]
        link: LinkKey,
        wanted: BitsPerSecond,
        granted: BitsPerSecond,
    },
    /// A circuit was found on record; it is looked up before anything else.
    Restored {
        #[serde(flatten)]
        name: CircuitName,
        stage: Stage,
        pairs: usize,
    },
    /// A circuit's rate was changed in place.
    Resized {
        #[serde(flatten)]
        name: CircuitName,
        from: BitsPerSecond,
        to: BitsPerSecond,
    },
    /// A circuit could not be resized; it is kept as it is.
    ResizeFailed {
        #[serde(flatten)]
        name: CircuitName,
        wanted: BitsPerSecond,
        reason: String,
    },
    /// A circuit carries the link, and the pairs, of an earlier one from now on; that one is given back.
    TookOver {
        #[serde(flatten)]
        name: CircuitName,
        from: CircuitId,
    },
    /// Capacity was booked ahead, by an operator or by the planner.
    Booked {
        booking: BookingId,
        origin: Origin,
        #[serde(flatten)]
        link: LinkKey,
        rate: BitsPerSecond,
        start_ms: u64,
        end_ms: u64,
    },
    /// A booking's window has opened.
    BookingOpened { booking: BookingId },
    /// The planner gives up a booking of its own that has not opened.
    BookingWithdrawn { booking: BookingId, reason: String },
    /// A booking is over, or was cancelled.
    BookingClosed { booking: BookingId, cancelled: bool },
    /// Records cannot be written: nothing new is asked for.
    JournalFailed { reason: String },
    /// Records can be written again.
    JournalRestored,
    /// A backend holds capacity for us that is on no record.
    OrphanFound { network: String, key: RequestKey, native_id: Option<String> },
    /// Such capacity is gone.
    OrphanGone { network: String, key: RequestKey, native_id: Option<String> },
    /// Capacity was asked for.
    ReservationSubmitted {
        #[serde(flatten)]
        name: CircuitName,
        rate: BitsPerSecond,
        key: RequestKey,
        attempt: u32,
    },
    /// The provider reports another state.
    ReservationChanged {
        #[serde(flatten)]
        name: CircuitName,
        from: ReservationState,
        to: ReservationState,
        native_state: String,
    },
    /// The provider says that the circuit carries traffic.
    ReservationActive {
        #[serde(flatten)]
        name: CircuitName,
        native_id: Option<String>,
        labels: BTreeMap<String, String>,
        rate: BitsPerSecond,
        took_ms: u64,
    },
    /// Nobody knows whether capacity is held; it is being looked up.
    ReservationUnknown {
        #[serde(flatten)]
        name: CircuitName,
        reason: String,
    },
    /// The provider contradicts itself; its word is ignored.
    ReservationContradicted {
        #[serde(flatten)]
        name: CircuitName,
        reason: String,
    },
    /// Looking up or giving back did not work; it is repeated.
    ReservationCallFailed {
        #[serde(flatten)]
        name: CircuitName,
        call: String,
        reason: String,
        retry_at: Timestamp,
    },
    /// Both ends have the link.
    Linked {
        #[serde(flatten)]
        name: CircuitName,
        took_ms: u64,
    },
    /// The link carries traffic.
    Probed {
        #[serde(flatten)]
        name: CircuitName,
        rtt_us: Option<u64>,
        loss: f64,
        took_ms: u64,
    },
    /// A pair took another way: `onto` the link over a circuit, or the star.
    PairSwitched {
        node: String,
        source: MacAddr,
        destination: MacAddr,
        onto: Option<LinkId>,
        held_frames: u64,
        held_bytes: u64,
        held_us: u64,
        dropped_frames: u64,
    },
    /// A pair stayed where it was.
    PairAborted {
        node: String,
        source: MacAddr,
        destination: MacAddr,
        onto: Option<LinkId>,
        held_frames: u64,
        held_us: u64,
        dropped_frames: u64,
        reason: String,
        retry_at: Option<Timestamp>,
    },
    /// Every pair that could be is on the circuit.
    Carrying {
        #[serde(flatten)]
        name: CircuitName,
        pairs: usize,
        since_wanted_ms: u64,
    },
    /// A circuit failed or died: its pairs are, or stay, on the star.
    CircuitFailed {
        #[serde(flatten)]
        name: CircuitName,
        phase: Phase,
        reason: String,
        retry_at: Option<Timestamp>,
    },
    /// A circuit is no longer wanted: its pairs go back to the star.
    CuttingBack {
        #[serde(flatten)]
        name: CircuitName,
        pairs: usize,
        reason: String,
    },
    /// No pair takes the circuit any more, and its link is being taken down.
    Unlinking {
        #[serde(flatten)]
        name: CircuitName,
    },
    /// The capacity is being given back.
    Releasing {
        #[serde(flatten)]
        name: CircuitName,
    },
    /// The provider holds nothing for the circuit any more.
    Released {
        #[serde(flatten)]
        name: CircuitName,
        since_ending_ms: u64,
    },
    /// A link's liveness changed at one of its ends.
    LinkChanged { node: String, link: LinkId, up: bool },
    /// An answer that nothing waits for; if it grants capacity, an operator must give that back.
    StrayAnswer { circuit: CircuitId, answer: String },
}
