//! The shell of the core's agent: feeds it what the lead and the data plane say, carries out what it decides;
//! and collects and reports what guests send.

mod memory;
mod report;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use vreserve_core::agent::{self, Action};
use vreserve_core::ids::{InterfaceId, LinkClass};
use vreserve_core::lead::ProbeOutcome;
use vreserve_core::learn::LearnEvent;
use vreserve_core::matrix::TrafficMatrix;
use vreserve_core::overlay::OverlayLink;
use vreserve_core::rules::StarRole;

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
    core: agent::Agent,
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
        let interfaces = config.interfaces.iter().map(|(id, _)| *id).collect();
        let static_links = config.static_links.iter().map(|(link, _)| link.id).collect();
        let core = agent::Agent::new(config.role, interfaces, static_links);
        Agent {
            config,
            up,
            core,
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
        self.core.handle_overlay(last_known);
        let mut report = tokio::time::interval(self.config.report_interval);
        report.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.carry_out().await;
            self.show_in_force();
            tokio::select! {
                message = channels.down.recv() => match message {
                    Some(message) => self.handle_message(message),
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

    fn handle_message(&mut self, message: DownMessage) {
        match message {
            DownMessage::Welcome { .. } => {
                self.core.handle_welcome();
                self.announce_guests();
            }
            DownMessage::Overlay(overlay) => self.core.handle_overlay(overlay),
            DownMessage::Prove { link, rate } => self.config.workers.prove(link, rate),
            DownMessage::ForgetGuest(guest) => self.config.workers.forget_guest(guest),
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Guest(event) => self.handle_guest(event),
            Event::Health(link, health) => self.core.handle_health(link, health),
            Event::Degraded(link, why) => self.core.handle_degraded(link, why),
            Event::CutoverEnded(id, outcome) => self.core.handle_cutover_ended(id, &outcome),
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
        if let LearnEvent::LimitReached { at } = event {
            tracing::warn!(ingress = ?at, "as many guests as may be; further ones are not learned");
        }
        if self.core.handle_learned(event) {
            self.guests_due.get_or_insert_with(|| Instant::now() + GUEST_DELAY);
        }
    }

    fn announce_guests(&mut self) {
        self.guests_due = None;
        self.tell(UpMessage::Guests(self.core.guests().collect()));
    }

    /// Carries out what the core has decided.
    async fn carry_out(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Install { rules, begin, retire } => {
                    self.config.workers.install(&rules, &begin, &retire);
                }
                Action::NotInstalled(error) => tracing::error!(%error, "rules not installed"),
                Action::AddLink(link) => {
                    let id = link.id;
                    let outcome = self.add_overlay_link(link).await;
                    self.core.handle_link_added(id, outcome);
                }
                Action::RemoveLink(link) => self.config.workers.remove_link(link),
                Action::Release(switch) => self.config.workers.release(switch),
                Action::Abandon(switch) => self.config.workers.abandon(switch),
                Action::Keep => self.memory.keep(self.core.overlay()),
                Action::Applied { revision, error } => self.tell(UpMessage::Applied { revision, error }),
                Action::Switched { revision, outcome } => {
                    self.tell(UpMessage::Switched { revision, outcomes: vec![outcome] });
                }
                Action::LinkState { link, up } => self.tell(UpMessage::LinkState { link, up }),
                Action::LinkDegraded { link, reason } => {
                    self.tell(UpMessage::LinkDegraded { link, reason });
                }
            }
        }
    }

    /// Says what is in force, if that has changed.
    fn show_in_force(&self) {
        let (links, pairs) = self.core.in_force();
        let now = Some(InForce { links, pairs });
        self.config.in_force.send_if_modified(|before| {
            let is_other = *before != now;
            *before = now;
            is_other
        });
    }

    async fn add_overlay_link(&mut self, link: OverlayLink) -> Result<(), String> {
        let far_key = Some(self.far_key(&link));
        let OverlayLink { id, class, endpoint, far_address, .. } = link;
        self.add_link(LinkSpec { id, class, endpoint, far_address, far_key }).await
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
        let cells: Vec<_> =
            delta.cells.iter().map(report::record_of).chain(report::record_of_rest(delta.other)).collect();
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
}

/// Waits until `due`; for ever if there is nothing to wait for.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
