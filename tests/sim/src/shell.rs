//! The lead at work: the core's lead and ledger, infer-vttif's lead and adapt-vadapt's planner, put together as the
//! daemon's shell puts them together (framework/host/src/control/lead), with the same times.
//!
//! What it wants done by others is left in `outgoing`: messages to nodes, calls to providers, changes for the disk.

use std::collections::BTreeMap;
use std::time::Duration;

use vreserve_core::ids::LinkId;
use vreserve_core::key::PublicKey;
use vreserve_core::lead::{Action, CircuitId, Event, Lead, NodeDescription};
use vreserve_core::ledger::{Change, Ledger, Loaded, Step, Turn};
use vreserve_core::overlay::{OverlayLink, PairWay};
use vreserve_model::{Capabilities, Failure, RequestKey, Timestamp};

use crate::calls::{self, Answer};
use crate::parts::{Inference, Planning};
use crate::scenario::Settings;
use crate::session::{Down, SessionId, Up};

/// A node whose session ended is given this long to come back before it counts as gone.
const ABSENCE: Duration = Duration::from_secs(5);
/// The wall clock when the simulation's begins, in milliseconds since the Unix epoch.
const WALL: u64 = 1_700_000_000_000;

/// What others are to do.
pub(crate) enum Outgoing {
    /// Tell a node.
    Tell(String, Down),
    /// Make a call to a provider.
    Call(Action),
    /// Write to the disk; `handle_written` says how it went.
    Write(Vec<Change>),
    /// Show people what happened.
    Publish(Event),
}

/// One lead, from taking office to its death.
pub(crate) struct Shell {
    pub(crate) lead: Lead,
    pub(crate) epoch: u32,
    inference: Inference,
    planning: Planning,
    ledger: Ledger,
    sessions: BTreeMap<String, SessionId>,
    absent: BTreeMap<String, Timestamp>,
    /// Probes under way: who answers for which circuit.
    probes: BTreeMap<LinkId, CircuitId>,
    backends: BTreeMap<String, bool>,
    outgoing: Vec<Outgoing>,
    pub(crate) refused_reports: u64,
}

impl Shell {
    /// A lead that takes over what is on disk.
    pub(crate) fn take_over(
        settings: &Settings,
        epoch: u32,
        records: Vec<vreserve_core::lead::Record>,
        now: Timestamp,
    ) -> Self {
        let mut shell = Shell {
            lead: Lead::new(settings.lead(epoch)),
            epoch,
            inference: Inference::new(&settings.infer),
            planning: Planning::new(&settings.adapt),
            ledger: Ledger::default(),
            sessions: BTreeMap::new(),
            absent: BTreeMap::new(),
            probes: BTreeMap::new(),
            backends: BTreeMap::new(),
            outgoing: Vec::new(),
            refused_reports: 0,
        };
        shell.handle_clock(now);
        shell.ledger.begin_load();
        let loaded = Loaded { records, unreadable: BTreeMap::new() };
        shell.ledger.handle_loaded(now, Ok(&loaded));
        let left_alone = shell.lead.restore(now, loaded.records);
        debug_assert!(left_alone.is_empty(), "all records are of this version");
        shell
    }

    /// What is to be done by others, in this order.
    pub(crate) fn poll_outgoing(&mut self, now: Timestamp) -> Vec<Outgoing> {
        loop {
            while let Some(action) = self.lead.poll_action() {
                if let Some(action) = self.ledger.handle_action(action) {
                    self.carry_out(action);
                }
            }
            match self.ledger.poll(now) {
                Some(Step::Carry(action)) => self.carry_out(action),
                Some(Step::Deny(action, reason)) => {
                    let failure = Failure::unavailable(format!("the journal does not take it: {reason}"));
                    if let Some(answer) = calls::fail(action, failure) {
                        answer.tell(&mut self.lead, now);
                    }
                }
                Some(Step::Load) => unreachable!("the journal was read when the lead took over"),
                Some(Step::Write(changes)) => self.outgoing.push(Outgoing::Write(changes)),
                None => break,
            }
        }
        std::mem::take(&mut self.outgoing)
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Configure { node, overlay } => {
                self.outgoing.push(Outgoing::Tell(node, Down::Overlay(overlay)));
            }
            Action::Probe { circuit, node, link, rate } => {
                self.probes.insert(link, circuit);
                self.outgoing.push(Outgoing::Tell(node, Down::Prove { link, rate }));
            }
            Action::Publish { event, .. } => {
                if let Event::GuestMoved { guest, from, .. } = &event {
                    self.outgoing.push(Outgoing::Tell(from.clone(), Down::ForgetGuest(*guest)));
                }
                self.outgoing.push(Outgoing::Publish(event));
            }
            call => self.outgoing.push(Outgoing::Call(call)),
        }
    }

    /// When `tick` is due.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        let lead = self.lead.poll_timeout();
        lead.into_iter().chain(self.ledger.poll_timeout()).chain(self.absent.values().copied()).min()
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        let gone: Vec<String> =
            self.absent.iter().filter(|(_, until)| now >= **until).map(|(node, _)| node.clone()).collect();
        for node in gone {
            self.absent.remove(&node);
            self.lead.handle_node_left(now, &node);
        }
        self.lead.tick(now);
    }

    pub(crate) fn handle_joined(
        &mut self,
        now: Timestamp,
        session: SessionId,
        node: NodeDescription,
        key: PublicKey,
        (links, pairs): &(Vec<OverlayLink>, Vec<PairWay>),
    ) {
        let name = node.name.clone();
        self.absent.remove(&name);
        self.sessions.insert(name.clone(), session);
        self.lead.handle_node_joined(now, node, key);
        self.lead.handle_present(now, &name, links, pairs);
    }

    pub(crate) fn handle_left(&mut self, now: Timestamp, session: SessionId, node: &str) {
        if self.session_of(node) == Some(session) {
            self.sessions.remove(node);
            self.absent.insert(node.to_owned(), now + ABSENCE);
        }
    }

    /// The session that a node has, as far as the lead knows.
    pub(crate) fn session_of(&self, node: &str) -> Option<SessionId> {
        self.sessions.get(node).copied()
    }

    pub(crate) fn handle_message(&mut self, now: Timestamp, session: SessionId, node: &str, message: Up) {
        if self.session_of(node) != Some(session) {
            return;
        }
        let lead = &mut self.lead;
        match message {
            Up::Guests(guests) => lead.handle_guests(now, node, &guests),
            Up::Report(report) => {
                if self.inference.merge(now, node, &report).is_err() {
                    self.refused_reports += 1;
                }
            }
            Up::Applied { revision, error } => {
                lead.handle_applied(now, node, revision, error.map_or(Ok(()), Err));
            }
            Up::Switched { revision, outcome } => lead.handle_switched(now, node, revision, &[outcome]),
            Up::Proved { link, outcome } => {
                if let Some(circuit) = self.probes.remove(&link) {
                    lead.handle_probed(now, circuit, outcome);
                }
            }
            Up::LinkState { link, up } => lead.handle_link_state(now, node, link, up),
            Up::LinkDegraded { link, reason } => lead.handle_link_degraded(now, node, link, &reason),
        }
    }

    pub(crate) fn handle_answer(&mut self, now: Timestamp, answer: Answer) {
        answer.tell(&mut self.lead, now);
    }

    /// A provider can be reached, or not.
    pub(crate) fn handle_health(
        &mut self,
        now: Timestamp,
        network: &str,
        capabilities: &Capabilities,
        is_up: bool,
    ) {
        if self.backends.insert(network.to_owned(), is_up) == Some(is_up) {
            return;
        }
        if is_up {
            self.lead.handle_backend_up(now, network, capabilities.clone());
        } else {
            self.lead.handle_backend_down(now, network, "the provider cannot be reached");
        }
    }

    pub(crate) fn handle_written(&mut self, now: Timestamp, outcome: Result<(), String>, took: Duration) {
        match self.ledger.handle_written(now, outcome, took) {
            Turn::None => {}
            Turn::Failed(reason) => self.lead.handle_journal_failed(now, &reason),
            Turn::Recovered => self.lead.handle_journal_ok(now),
        }
    }

    pub(crate) fn handle_clock(&mut self, now: Timestamp) {
        self.lead.handle_clock(now, WALL + now.0 / 1_000_000);
    }

    /// Infers, and plans on what was inferred.
    pub(crate) fn infer(&mut self, now: Timestamp) {
        let report = self.inference.infer(now);
        self.lead.handle_topology(now, report);
        let wanted = self.planning.plan(&self.lead.snapshot(now));
        self.lead.handle_wanted(now, &wanted);
    }

    /// True if `key` is the key of a circuit that the lead has in hand, or of an orphan that it knows of.
    pub(crate) fn knows(&self, key: &RequestKey) -> bool {
        let mut circuits = self.lead.circuits();
        circuits.any(|circuit| circuit.key.as_ref() == Some(key))
            || self.lead.orphans().any(|orphan| orphan.key == *key)
    }
}
