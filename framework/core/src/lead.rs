//! The lead: the state machine that closes the loop infer → adapt → plan → reserve → link → probe → cut
//! over → (demand ends) → cut back → unlink → release (VADAPT and VRESERVE, 2005).
//!
//! The host hands in what happened through `handle_*(now, …)` and carries out what `poll_action` gives,
//! until there is nothing more; at `poll_timeout` it calls `tick`. Nothing here blocks, asks for the time or
//! draws an id from anywhere but the configuration, so a seed reproduces a run exactly.
//!
//! Every event ends in `Lead::settle`, which compares what is with what is wanted and takes each step
//! that may be taken now. What must hold at any time:
//!
//! - a joined node has its star link, whatever is planned;
//! - a pair is only told to take a link that both its ends have set up and that has passed its probe;
//! - nothing is removed while something new is still on its way (H∪H′ before H−H′);
//! - what a backend may hold for us is carried, looked up or cancelled until it says that it is gone.
//!
//! The modules follow the way of a circuit: `membership` and `demand` (what is there, what is wanted),
//! `hours` and `recurring` (what is wanted day after day), `booking`, `windows`, `budget`, `reserving`, `stepping`,
//! `linking`, `switching`, `relaying`, `resizing`, then `outcome` (failure and the end). `record`, `journalling` and
//! `restoring` carry it over a restart, `reports` compares it with what backends hold; `swap` is about a backend's
//! successor; `view` and `calendar` show it all.

mod action;
mod booking;
mod budget;
mod calendar;
mod circuit;
mod config;
mod degraded;
mod demand;
mod event;
mod guests;
mod hours;
mod journalling;
mod linking;
mod membership;
mod outcome;
mod record;
mod recurring;
mod relaying;
mod reports;
mod reserving;
mod resizing;
mod restoring;
mod stepping;
mod swap;
mod switching;
mod verb;
mod view;
mod windows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vreserve_model::{Capabilities, Timestamp, TopologyReport};

pub use action::{Action, Attachment, Call, NodeDescription, NodeRole, PairOutcome, ProbeOutcome};
pub use booking::{Booking, BookingError, BookingId, BookingWish, Origin};
pub use calendar::{BookingPhase, CalendarEntry};
pub use circuit::{CircuitId, Phase, PhaseTimes};
pub use config::{BackOff, Budget, LeadConfig, Patience};
pub use event::{CircuitName, Event};
pub use hours::DemandRecord;
pub use record::{CircuitRecord, Record, RecordBody, RecordedPair, Stage};
pub use recurring::Recurring;
pub use reports::OrphanStatus;
pub use view::{CircuitStatus, NodeStatus};

use crate::ids::LinkId;
use crate::plan::{Layout, LinkKey, PairKey};
use booking::BookingState;
use circuit::Circuit;
use guests::GuestDirectory;
use hours::DemandHistory;
use membership::Node;
use outcome::Setback;
use reports::{Holdings, Orphan, OrphanKey};
use switching::Pair;

/// The lead's whole state.
#[derive(Clone, Debug)]
pub struct Lead {
    config: LeadConfig,
    /// The latest time handed in.
    now: Timestamp,
    last_id: u64,
    last_revision: u64,
    nodes: BTreeMap<String, Node>,
    proxy: Option<String>,
    guests: GuestDirectory,
    topology: TopologyReport,
    backends: BTreeMap<String, Capabilities>,
    /// Networks whose backend was taken away.
    withdrawn: BTreeSet<String>,
    /// Whether each backend's own list agrees with ours.
    holdings: BTreeMap<String, Holdings>,
    orphans: BTreeMap<OrphanKey, Orphan>,
    /// The wall clock when it was told last.
    wall: Option<(Timestamp, u64)>,
    journal_failure: Option<String>,
    is_stopping: bool,
    /// Records of a newer version than ours.
    left_alone: Vec<Record>,
    /// Star links that the proxy had before this lead, by the far node.
    known_stars: BTreeMap<String, LinkId>,
    bookings: BTreeMap<BookingId, BookingState>,
    /// When circuits were wanted, and when what is booked ahead of that is looked at next.
    demand_history: DemandHistory,
    review_at: Timestamp,
    /// What the planner wants.
    planned: Layout,
    /// What is wanted: by the planner, since when, and by open bookings.
    goal: Layout,
    wanted_since: BTreeMap<LinkKey, Timestamp>,
    /// Every attempt that is not over.
    circuits: BTreeMap<CircuitId, Circuit>,
    /// The one that has, or is to have, the link between two ends. A successor or a booking is beside it until
    /// it takes the link over.
    circuit_of: BTreeMap<LinkKey, CircuitId>,
    pairs: BTreeMap<PairKey, Pair>,
    setbacks: BTreeMap<LinkKey, Setback>,
    history: VecDeque<CircuitStatus>,
    actions: VecDeque<Action>,
    /// Nodes whose part of the overlay has changed since it was last sent.
    stale: BTreeSet<String>,
}

impl Lead {
    /// A lead that knows of nobody yet.
    pub fn new(config: LeadConfig) -> Self {
        let base = u64::from(config.epoch) << 32;
        Lead {
            config,
            now: Timestamp::ZERO,
            last_id: base,
            last_revision: base,
            nodes: BTreeMap::new(),
            proxy: None,
            guests: GuestDirectory::default(),
            topology: TopologyReport::silent(),
            backends: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            holdings: BTreeMap::new(),
            orphans: BTreeMap::new(),
            wall: None,
            journal_failure: None,
            is_stopping: false,
            left_alone: Vec::new(),
            known_stars: BTreeMap::new(),
            bookings: BTreeMap::new(),
            demand_history: DemandHistory::default(),
            review_at: Timestamp::ZERO,
            planned: Layout::default(),
            goal: Layout::default(),
            wanted_since: BTreeMap::new(),
            circuits: BTreeMap::new(),
            circuit_of: BTreeMap::new(),
            pairs: BTreeMap::new(),
            setbacks: BTreeMap::new(),
            history: VecDeque::new(),
            actions: VecDeque::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.settle();
    }

    /// The next effect to carry out. Changes of a node's part that came together leave as one revision.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        let node = self.stale.pop_first()?;
        Some(self.configure(node))
    }

    /// When `tick` must be called if nothing happens before; always later than the last time handed in.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let circuits = self.circuits.values().flat_map(Circuit::next_times);
        let setbacks = self.setbacks.iter().filter(|(link, _)| self.goal.links.contains_key(link));
        circuits
            .chain(self.pairs.values().filter_map(Pair::next_time))
            .chain(setbacks.map(|(_, setback)| setback.until))
            .chain(self.nodes.values().filter_map(|node| node.resend_at))
            .chain(self.booking_times())
            .chain(self.holding_times())
            .filter(|at| *at > self.now && *at != Setback::NEVER)
            .min()
    }

    /// Times of different threads may arrive out of order; the lead's own time does not run backwards.
    fn advance_clock(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Takes every step that may be taken now, until none is left. Each step leads a circuit further in its
    /// life, starts a wait for an answer, or drops something, so there is a last one.
    fn settle(&mut self) {
        self.resend_overlays();
        self.expire_switches();
        self.review_holdings();
        loop {
            let booked = self.advance_bookings();
            let advanced = self.advance_circuits();
            let planned = self.follow_plan();
            let relayed = self.follow_relays();
            let submitted = self.submit_wanted();
            if !(booked || advanced || planned || relayed || submitted) {
                break;
            }
        }
        self.forget_idle_pairs();
        self.forget_old_setbacks();
        self.journal_changes();
    }

    fn advance_circuits(&mut self) -> bool {
        let ids: Vec<_> = self.circuits.keys().copied().collect();
        let mut changed = false;
        for id in ids {
            changed |= self.advance_circuit(id);
        }
        changed
    }

    /// Leads one circuit into its next phase if its present one is over; true if anything changed.
    fn advance_circuit(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let phase = circuit.phase;
        if phase.has_link() && !circuit.is_upheld() {
            return self.lose_reservation(id);
        }
        if self.end_grace(id) || self.close_in_time(id) {
            return true;
        }
        let advanced = match phase {
            Phase::Wanted => self.drop_unwanted(id),
            Phase::Reserving => self.advance_reserving(id),
            Phase::Linking => self.advance_linking(id),
            Phase::Probing => self.advance_probing(id),
            Phase::Switching => self.advance_switching(id),
            Phase::CuttingBack => self.advance_cutting_back(id),
            Phase::Unlinking => self.advance_unlinking(id),
            Phase::Releasing => self.advance_releasing(id),
            Phase::Carrying => !self.config.shadow && self.resize(id),
            Phase::Gone => false,
        };
        advanced || self.call_backend(id)
    }

    fn publish(&mut self, event: Event) {
        self.actions.push_back(Action::Publish { at: self.now, event });
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// True if the planner or a booking wants this circuit, and both its ends have been there all the time.
    fn is_wanted(&self, circuit: &Circuit) -> bool {
        if circuit.is_doomed {
            return false;
        }
        let is_current = self.circuit_of.get(&circuit.link) == Some(&circuit.id);
        circuit.is_kept(self.now)
            || match (circuit.booking, circuit.replaces) {
                (Some(_), _) => self.booking_of(circuit).is_some(),
                (None, Some(_)) => self.is_successor_wanted(circuit),
                (None, None) => is_current && self.goal.links.contains_key(&circuit.link),
            }
    }
}

#[cfg(test)]
mod tests;
