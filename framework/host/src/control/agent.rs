//! The agent: keeps one node's data plane as its part of the overlay says.
//!
//! It compares a new revision with what is in force, adds links, begins an ordered cut-over for every pair
//! whose way changes, removes links, and answers. By itself it does one thing only: when a circuit dies, its
//! pairs go back to the star at once, before anybody is asked.

mod memory;
mod pairs;
mod report;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use vreserve_core::ids::{InterfaceId, LinkClass, LinkId, SwitchId};
use vreserve_core::lead::{PairOutcome, ProbeOutcome};
use vreserve_core::learn::LearnEvent;
use vreserve_core::liveness::LinkHealth;
use vreserve_core::matrix::TrafficMatrix;
use vreserve_core::overlay::{NodeOverlay, OverlayLink};
use vreserve_core::rules::{RuleSet, StarRole};
use vreserve_model::MacAddr;

use super::events::{EventLog, NodeEvent};
use super::messages::{DownMessage, InForce, UpMessage};
use super::revive::Revived;
use crate::clock::Clock;
use crate::dataplane::{Collected, Event, Events, LinkSpec, Workers};
use crate::keys::PublicKey;
use crate::plugin::InferInstance;

pub(crate) use report::record_of;
pub use report::{AgentView, CacheView, LinkView, MatrixView, PortView, RuleView, TooBigView};

/// How long after a change of guests the list is sent: guests come in groups.
const GUEST_DELAY: Duration = Duration::from_millis(20);
/// Pairs in the node's own matrix.
const MATRIX_PAIRS: usize = 100_000;

/// What an agent is made of.
pub struct AgentConfig {
    /// Its node's place in the star.
    pub role: StarRole,
    /// The proxy's key as this node's configuration has it; none at the proxy.
    pub proxy_key: Option<PublicKey>,
    /// Its interfaces with their instances' names.
    pub interfaces: Vec<(InterfaceId, String)>,
    /// Its links to devices outside the overlay, with their names.
    pub static_links: Vec<(LinkSpec, String)>,
    /// Turns counts into reports.
    pub infer: Revived<InferInstance>,
    /// Time between reports.
    pub report_interval: Duration,
    /// The data plane.
    pub workers: Workers,
    /// The event log.
    pub events: EventLog,
    /// The daemon's clock.
    pub clock: Clock,
    /// Where the last known overlay is kept.
    pub state_dir: std::path::PathBuf,
    /// Where it says what is in force, once it has begun: a session starts with that.
    pub in_force: watch::Sender<Option<InForce>>,
}

/// A question to the agent.
pub type Question = oneshot::Sender<AgentView>;

/// The channels of an agent.
pub struct AgentChannels {
    /// From the lead.
    pub down: mpsc::Receiver<DownMessage>,
    /// From the data plane.
    pub data: Events,
    /// From the control API.
    pub questions: mpsc::Receiver<Question>,
}

/// The state of a running agent.
pub struct Agent {
    config: AgentConfig,
    up: mpsc::UnboundedSender<UpMessage>,
    /// The revision in force, with the links as they are set up.
    overlay: NodeOverlay,
    /// Every pair that is not at rest on the star.
    pairs: BTreeMap<pairs::PairId, pairs::PairState>,
    moving: BTreeMap<SwitchId, pairs::Moving>,
    last_switch: u32,
    /// Circuits that no longer answer, or are degraded.
    dead: BTreeSet<LinkId>,
    generation: u64,
    rules: Arc<RuleSet>,
    guests: BTreeSet<MacAddr>,
    /// When a changed list of guests is sent.
    guests_due: Option<Instant>,
    matrix: TrafficMatrix,
    last: Collected,
    memory: memory::Memory,
}

impl Agent {
    /// An agent whose node has no link yet.
    pub fn new(config: AgentConfig, up: mpsc::UnboundedSender<UpMessage>) -> Self {
        let memory = memory::Memory::new(&config.state_dir);
        Agent {
            config,
            up,
            overlay: NodeOverlay::default(),
            pairs: BTreeMap::new(),
            moving: BTreeMap::new(),
            last_switch: 0,
            dead: BTreeSet::new(),
            generation: 0,
            rules: Arc::new(RuleSet::empty()),
            guests: BTreeSet::new(),
            guests_due: None,
            matrix: TrafficMatrix::new(MATRIX_PAIRS),
            last: Collected::default(),
            memory,
        }
    }

    /// Runs until the lead's side or the data plane is gone.
    pub async fn run(mut self, mut channels: AgentChannels) {
        for (link, name) in self.config.static_links.clone() {
            if let Err(reason) = self.add_link(link).await {
                tracing::error!(link = name, reason, "static link not set up");
            }
        }
        let last_known = self.memory.recall();
        self.handle_overlay(last_known).await;
        let mut report = tokio::time::interval(self.config.report_interval);
        report.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.show_in_force();
            tokio::select! {
                message = channels.down.recv() => match message {
                    Some(message) => self.handle_message(message).await,
                    None => return,
                },
                event = channels.data.recv() => match event {
                    Some(event) => self.handle_event(event),
                    None => return,
                },
                Some(question) = channels.questions.recv() => {
                    self.collect().await;
                    drop(question.send(self.view()));
                }
                _ = report.tick() => self.report().await,
                () = until(self.guests_due) => self.announce_guests(),
            }
        }
    }

    async fn handle_message(&mut self, message: DownMessage) {
        match message {
            DownMessage::Welcome { .. } => {
                // Revisions grow within a session; a lead that lost its state may begin anew. What is in
                // force stays until the lead says otherwise.
                self.overlay.revision = 0;
                self.announce_guests();
            }
            DownMessage::Overlay(overlay) => self.handle_overlay(overlay).await,
            DownMessage::Prove { link, rate } => self.config.workers.prove(link, rate),
            DownMessage::ForgetGuest(guest) => self.config.workers.forget_guest(guest),
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Guest(event) => self.handle_guest(event),
            Event::Health(link, health) => self.handle_health(link, health),
            Event::Degraded(link, why) => {
                self.avoid(link);
                self.tell(UpMessage::LinkDegraded { link, reason: why.to_string() });
            }
            Event::CutoverEnded(id, outcome) => self.handle_cutover_ended(id, &outcome),
            Event::Proof(link, outcome) => {
                let outcome = match outcome {
                    Some(outcome) => ProbeOutcome {
                        passed: outcome.is_proven(),
                        rtt: outcome.rtt_median,
                        loss: outcome.loss,
                        reason: if outcome.is_proven() { String::new() } else { outcome.to_string() },
                    },
                    None => ProbeOutcome {
                        passed: false,
                        rtt: None,
                        loss: 1.0,
                        reason: "the node has no such link".to_owned(),
                    },
                };
                self.tell(UpMessage::Proved { link, outcome });
            }
            Event::PortFailed { name, reason, retry_in } => {
                let retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                self.config.events.node(NodeEvent::PluginFailed { instance: name, reason, retry_in_ms });
            }
            Event::PortReopened(instance) => {
                self.config.events.node(NodeEvent::PluginReopened { instance });
            }
            Event::FirstDrop(reason) => {
                self.config.events.node(NodeEvent::FirstDrop { reason: reason.label().to_owned() });
            }
        }
    }

    fn handle_guest(&mut self, event: LearnEvent) {
        let is_changed = match event {
            LearnEvent::Learned { guest, .. } => self.guests.insert(guest),
            LearnEvent::Expired { guest, .. } => self.guests.remove(&guest),
            LearnEvent::Moved { .. } => false,
            LearnEvent::LimitReached { at } => {
                tracing::warn!(ingress = ?at, "as many guests as may be; further ones are not learned");
                false
            }
        };
        if is_changed {
            self.guests_due.get_or_insert_with(|| Instant::now() + GUEST_DELAY);
        }
    }

    fn announce_guests(&mut self) {
        self.guests_due = None;
        self.tell(UpMessage::Guests(self.guests.iter().copied().collect()));
    }

    fn handle_health(&mut self, link: LinkId, health: LinkHealth) {
        let up = health == LinkHealth::Up;
        if up {
            self.dead.remove(&link);
        } else {
            self.avoid(link);
        }
        self.tell(UpMessage::LinkState { link, up });
    }

    /// Puts a circuit's pairs on the star at once.
    fn avoid(&mut self, link: LinkId) {
        let is_circuit = self.rules.class_of(link) == Some(LinkClass::Circuit);
        if is_circuit && self.dead.insert(link) {
            self.leave_link(link);
            self.install(Vec::new(), Vec::new());
        }
    }

    /// Puts a new revision in force.
    async fn handle_overlay(&mut self, overlay: NodeOverlay) {
        let revision = overlay.revision;
        if revision < self.overlay.revision {
            return;
        }
        let old = std::mem::replace(&mut self.overlay, overlay);
        let gone: Vec<LinkId> = missing(&old.links, &self.overlay.links);
        let added: Vec<OverlayLink> =
            self.overlay.links.iter().filter(|link| !old.links.contains(link)).cloned().collect();
        for link in &gone {
            self.leave_link(*link);
            self.dead.remove(link);
        }
        // An address that comes back under another identity must be free before it is taken again.
        let (now, later): (Vec<LinkId>, Vec<LinkId>) = gone.into_iter().partition(|id| {
            old.links.iter().any(|link| {
                link.id == *id && added.iter().any(|new| same_far_end(link, new) || new.id == link.id)
            })
        });
        if !now.is_empty() {
            let kept: Vec<OverlayLink> =
                old.links.iter().filter(|link| !now.contains(&link.id)).cloned().collect();
            let wanted = std::mem::replace(&mut self.overlay.links, kept);
            self.install(Vec::new(), Vec::new());
            self.overlay.links = wanted;
            now.into_iter().for_each(|id| self.config.workers.remove_link(id));
        }
        let errors = self.add_links(added).await;
        let begin = self.reconcile_all();
        self.install(begin, Vec::new());
        later.into_iter().for_each(|id| self.config.workers.remove_link(id));
        self.memory.keep(&self.overlay);
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        self.tell(UpMessage::Applied { revision, error });
    }

    async fn add_links(&mut self, links: Vec<OverlayLink>) -> Vec<String> {
        let mut errors = Vec::new();
        for link in links {
            let spec = LinkSpec {
                id: link.id,
                class: link.class,
                far_key: Some(self.far_key(&link)),
                endpoint: link.endpoint,
                far_address: link.far_address,
            };
            let far_node = link.far_node;
            if let Err(reason) = self.add_link(spec).await {
                errors.push(format!("link {} to {far_node}: {reason}", link.id));
                self.overlay.links.retain(|kept| kept.id != link.id);
            }
        }
        errors
    }

    /// The star leads to the proxy that the operator named, also when the last known overlay is older than
    /// the configuration; who is at the end of a circuit only the lead knows.
    fn far_key(&self, link: &OverlayLink) -> PublicKey {
        let configured = self.config.proxy_key.filter(|_| link.class == LinkClass::Star);
        configured.unwrap_or(link.far_key)
    }

    async fn add_link(&mut self, link: LinkSpec) -> Result<(), String> {
        self.config.workers.add_link(&link).await
    }

    async fn collect(&mut self) {
        if let Some(collected) = self.config.workers.collect().await {
            self.matrix.merge(&collected.cells, collected.other);
            self.last = collected;
        }
    }

    async fn report(&mut self) {
        self.collect().await;
        let delta = self.matrix.take_delta();
        let cells: Vec<_> = delta.cells.iter().map(report::record_of).collect();
        let now = self.config.clock.now();
        match self.config.infer.call(now, |infer| infer.observe(now, &cells)) {
            Ok(report) if report.is_empty() => {}
            Ok(report) => self.tell(UpMessage::Report(report)),
            Err(failure) => tracing::warn!(%failure, "inference took no counts"),
        }
    }

    fn tell(&self, message: UpMessage) {
        // The receiver outlives the agent, or the daemon is stopping.
        drop(self.up.send(message));
    }

    fn tell_switched(&self, revision: u64, outcome: PairOutcome) {
        self.tell(UpMessage::Switched { revision, outcomes: vec![outcome] });
    }
}

/// Waits until `due`; for ever if there is nothing to wait for.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The links of `old` that are not, or not the same, in `new`.
fn missing(old: &[OverlayLink], new: &[OverlayLink]) -> Vec<LinkId> {
    old.iter().filter(|link| !new.contains(link)).map(|link| link.id).collect()
}

fn same_far_end(one: &OverlayLink, other: &OverlayLink) -> bool {
    one.endpoint == other.endpoint && one.far_address == other.far_address
}
