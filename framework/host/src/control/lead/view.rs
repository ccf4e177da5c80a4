//! The lead's state as the control API shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vreserve_core::lead::{CircuitStatus, NodeStatus, OrphanStatus};
use vreserve_model::{Guest, TopologyReport};

use super::{JournalStatus, LeadShell, Running};
use crate::clock::Clock;

/// What the lead believes of the traffic, and whom it knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopologyView {
    /// Pattern and demands.
    #[serde(flatten)]
    pub report: TopologyReport,
    /// The guests with their nodes.
    pub guests: Vec<Guest>,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// Reports that could not be read, ever.
    pub refused_reports: u64,
}

/// What is reserved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReservationsView {
    /// The lead's clock now, in nanoseconds: the circuits' times are on it.
    pub now: u64,
    /// The wall clock now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The backends.
    pub backends: Vec<BackendStatus>,
    /// Backends that were replaced and still hold circuits.
    #[serde(default)]
    pub former_backends: usize,
    /// The journal.
    #[serde(default)]
    pub journal: JournalStatus,
    /// What backends hold for us that is on no record.
    #[serde(default)]
    pub orphans: Vec<OrphanStatus>,
    /// Circuits that are not over, oldest first.
    pub circuits: Vec<CircuitStatus>,
    /// Circuits that are over, oldest first.
    pub history: Vec<CircuitStatus>,
    /// What the planner considered last and left out.
    pub notes: Vec<String>,
}

/// One reservation backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    /// The network it reserves on.
    pub network: String,
    /// True if it can be used.
    pub up: bool,
    /// Why it cannot.
    pub reason: Option<String>,
    /// False until it has been asked.
    #[serde(skip)]
    pub(super) is_known: bool,
}

impl BackendStatus {
    /// It is not asked anything before the journal was read, which does not work for `reason`.
    pub(super) fn wait_for(&mut self, reason: &str) {
        if !self.is_known {
            self.reason = Some(format!("waits for the journal: {reason}"));
        }
    }
}

/// What is known of the backends before the first is asked.
pub(super) fn initial_states(shell: &LeadShell) -> BTreeMap<String, BackendStatus> {
    let state = |network: &String, reason: &str| {
        let status = BackendStatus {
            network: network.clone(),
            up: false,
            reason: Some(reason.to_owned()),
            is_known: false,
        };
        (network.clone(), status)
    };
    let started = shell.backends.keys().map(|network| state(network, "not asked yet"));
    let failed = shell.failed_backends.iter().map(|(network, reason)| state(network, reason));
    started.chain(failed).collect()
}

impl Running {
    pub(super) fn topology_view(&self) -> TopologyView {
        TopologyView {
            report: self.shell.lead.topology().clone(),
            guests: self.shell.lead.guests().collect(),
            nodes: self.shell.lead.nodes().collect(),
            refused_reports: self.refused_reports,
        }
    }

    pub(super) fn reservations_view(&self) -> ReservationsView {
        ReservationsView {
            now: self.shell.clock.now().0,
            now_ms: Clock::wall_ms(),
            backends: self.backend_states.values().cloned().collect(),
            former_backends: self.shell.backends.former(),
            journal: self.ledger.status().clone(),
            orphans: self.shell.lead.orphans().collect(),
            circuits: self.shell.lead.circuits().collect(),
            history: self.shell.lead.history().cloned().collect(),
            notes: self.last_notes.clone(),
        }
    }
}
