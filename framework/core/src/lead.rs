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
//! `reserving`, `linking`, `switching`, then `outcome` (failure and the end); `view` shows it all.

mod action;
mod circuit;
mod config;
mod degraded;
mod demand;
mod event;
mod guests;
mod linking;
mod membership;
mod outcome;
mod reserving;
mod switching;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vreserve_model::{Capabilities, Timestamp, TopologyReport};

pub use action::{Action, Attachment, NodeDescription, NodeRole, PairOutcome, ProbeOutcome};
pub use circuit::{CircuitId, Phase, PhaseTimes};
pub use config::{BackOff, LeadConfig, Patience};
pub use event::{CircuitName, Event};
pub use view::{CircuitStatus, NodeStatus};

use crate::plan::{Layout, LinkKey, PairKey};
use circuit::Circuit;
use guests::GuestDirectory;
use membership::Node;
use outcome::Setback;
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
    /// What the planner wants, and since when.
    goal: Layout,
    wanted_since: BTreeMap<LinkKey, Timestamp>,
    /// Every attempt that is not over, at most one for the same ends and network.
    circuits: BTreeMap<CircuitId, Circuit>,
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
        let circuits = self.circuits.values().flat_map(|circuit| {
            [circuit.deadline, circuit.retry_at.filter(|_| circuit.call.is_none())].into_iter().flatten()
        });
        let setbacks = self.setbacks.iter().filter(|(link, _)| self.goal.links.contains_key(link));
        circuits
            .chain(self.pairs.values().filter_map(Pair::next_time))
            .chain(setbacks.map(|(_, setback)| setback.until))
            .chain(self.nodes.values().filter_map(|node| node.resend_at))
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
        loop {
            let advanced = self.advance_circuits();
            let planned = self.follow_plan();
            let submitted = self.submit_wanted();
            if !(advanced || planned || submitted) {
                break;
            }
        }
        self.forget_idle_pairs();
        self.forget_old_setbacks();
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
        if circuit.phase.has_link() && !circuit.is_upheld() {
            return self.lose_reservation(id);
        }
        let phase = circuit.phase;
        let advanced = match phase {
            Phase::Wanted => self.drop_unwanted(id),
            Phase::Reserving => self.advance_reserving(id),
            Phase::Linking => self.advance_linking(id),
            Phase::Probing => self.advance_probing(id),
            Phase::Switching => self.advance_switching(id),
            Phase::CuttingBack => self.advance_cutting_back(id),
            Phase::Unlinking => self.advance_unlinking(id),
            Phase::Releasing => self.advance_releasing(id),
            Phase::Carrying | Phase::Gone => false,
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

    /// True if the planner wants this circuit and both its ends have been there all the time.
    fn is_wanted(&self, circuit: &Circuit) -> bool {
        !circuit.is_doomed && self.goal.links.contains_key(&circuit.link)
    }
}

#[cfg(test)]
mod tests;
