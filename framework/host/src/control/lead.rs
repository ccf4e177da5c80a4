//! The shell of the core's lead: feeds it what happens, carries out what it decides.
//!
//! Owns the lead's inference and adaptation instances and the reservation backends. Calls to backends run as
//! tasks of their own and come back as inputs.

mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use vreserve_core::ids::LinkId;
use vreserve_core::lead::{Action, CircuitId, Event, Lead, NodeDescription};
use vreserve_model::{Failure, FailureKind, Observed, Timestamp, Wanted};
use vreserve_sdk::Handle;

use super::events::EventLog;
use super::messages::{DownMessage, UpMessage};
use super::revive::Revived;
use crate::clock::Clock;
use crate::keys::PublicKey;
use crate::plugin::{AdaptInstance, Backend, InferInstance};

pub use view::{BackendStatus, ReservationsView, TopologyView};

/// A node whose session ended is given this long to come back before it counts as gone.
const ABSENCE: Duration = Duration::from_secs(5);
/// How often backends are asked how they are.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// One session of one node; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What the lead is told.
pub enum Input {
    /// A node has joined.
    Joined {
        /// Its session.
        session: SessionId,
        /// Who it is.
        node: NodeDescription,
        /// The key that its session proved.
        key: PublicKey,
        /// The way to tell it something.
        down: mpsc::Sender<DownMessage>,
    },
    /// A node says something.
    Message {
        /// The session it says it in.
        session: SessionId,
        /// The node.
        node: String,
        /// What.
        message: UpMessage,
    },
    /// A session has ended.
    Left {
        /// Which.
        session: SessionId,
        /// Whose.
        node: String,
    },
    /// A backend has answered.
    Answered(Answer),
    /// A backend says how it is.
    Health {
        /// Its network.
        network: String,
        /// Why it cannot be used, if it cannot.
        outcome: Result<(), Failure>,
    },
    /// The control API asks.
    Question(Question),
    /// The daemon stops: give everything back, then say so.
    Stop(oneshot::Sender<()>),
}

/// A backend's answer.
pub enum Answer {
    /// To a submit.
    Submitted(CircuitId, Result<Observed, Failure>),
    /// To a cancel.
    Cancelled(CircuitId, Result<(), Failure>),
    /// To a find.
    Found(CircuitId, Result<Option<Observed>, Failure>),
}

/// A question of the control API.
pub enum Question {
    /// What is believed of the traffic.
    Topology(oneshot::Sender<TopologyView>),
    /// What is reserved.
    Reservations(oneshot::Sender<ReservationsView>),
}

/// What the lead's shell is made of.
pub struct LeadShell {
    /// The lead itself.
    pub lead: Lead,
    /// Merges reports and infers.
    pub infer: Revived<InferInstance>,
    /// How often.
    pub infer_interval: Duration,
    /// Plans; none leaves everything on the star.
    pub adapt: Option<Revived<AdaptInstance>>,
    /// The backends by network.
    pub backends: BTreeMap<String, Arc<dyn Backend>>,
    /// Networks whose backend did not start, with the reason.
    pub failed_backends: BTreeMap<String, String>,
    /// The event log.
    pub events: EventLog,
    /// The daemon's clock.
    pub clock: Clock,
}

/// The lead at work.
struct Running {
    shell: LeadShell,
    inputs: mpsc::Sender<Input>,
    sessions: BTreeMap<String, (SessionId, mpsc::Sender<DownMessage>)>,
    absent: BTreeMap<String, Timestamp>,
    /// Probes under way: who answers for which circuit.
    probes: BTreeMap<LinkId, CircuitId>,
    backend_states: BTreeMap<String, BackendStatus>,
    last_notes: Vec<String>,
    refused_reports: u64,
    stopping: Option<oneshot::Sender<()>>,
}

impl LeadShell {
    /// Runs until it is told to stop and has given everything back, or all inputs are gone.
    pub async fn run(self, sender: mpsc::Sender<Input>, mut inputs: mpsc::Receiver<Input>) {
        let mut infer = tokio::time::interval(self.infer_interval);
        infer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let clock = self.clock;
        let mut running = Running {
            backend_states: view::initial_states(&self),
            shell: self,
            inputs: sender,
            sessions: BTreeMap::new(),
            absent: BTreeMap::new(),
            probes: BTreeMap::new(),
            last_notes: Vec::new(),
            refused_reports: 0,
            stopping: None,
        };
        running.watch_backends();
        loop {
            running.carry_out();
            if running.is_done() {
                return;
            }
            let wait = running.next_timer().map_or(ABSENCE, |at| at.since(clock.now()));
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => running.handle(input),
                    None => return,
                },
                _ = infer.tick() => running.infer(),
                () = tokio::time::sleep(wait) => running.tick(),
            }
        }
    }
}

impl Running {
    fn handle(&mut self, input: Input) {
        let now = self.shell.clock.now();
        match input {
            Input::Joined { session, node, key, down } => {
                self.absent.remove(&node.name);
                self.sessions.insert(node.name.clone(), (session, down));
                self.shell.lead.handle_node_joined(now, node, key);
            }
            Input::Left { session, node } => {
                if self.sessions.get(&node).is_some_and(|(known, _)| *known == session) {
                    self.sessions.remove(&node);
                    self.absent.insert(node, now + ABSENCE);
                }
            }
            Input::Message { session, node, message } => {
                if self.sessions.get(&node).is_some_and(|(known, _)| *known == session) {
                    self.handle_message(now, &node, message);
                }
            }
            Input::Answered(answer) => self.handle_answer(now, answer),
            Input::Health { network, outcome } => self.handle_health(now, &network, outcome),
            Input::Question(Question::Topology(reply)) => drop(reply.send(self.topology_view())),
            Input::Question(Question::Reservations(reply)) => drop(reply.send(self.reservations_view())),
            Input::Stop(done) => {
                self.stopping = Some(done);
                self.shell.lead.handle_wanted(now, &Wanted::default());
            }
        }
    }

    fn handle_message(&mut self, now: Timestamp, node: &str, message: UpMessage) {
        let lead = &mut self.shell.lead;
        match message {
            // One per session, and admission has taken it.
            UpMessage::Hello { .. } => {}
            UpMessage::Guests(guests) => lead.handle_guests(now, node, &guests),
            UpMessage::Report(report) => {
                let merged = self.shell.infer.call(now, |infer| infer.merge(now, node, &report));
                if let Err(failure) = merged {
                    self.refused_reports += 1;
                    tracing::debug!(node, %failure, "report refused");
                }
            }
            UpMessage::Applied { revision, error } => {
                lead.handle_applied(now, node, revision, error.map_or(Ok(()), Err));
            }
            UpMessage::Switched { revision, outcomes } => {
                lead.handle_switched(now, node, revision, &outcomes);
            }
            UpMessage::Proved { link, outcome } => {
                if let Some(circuit) = self.probes.remove(&link) {
                    lead.handle_probed(now, circuit, outcome);
                }
            }
            UpMessage::LinkState { link, up } => lead.handle_link_state(now, node, link, up),
            UpMessage::LinkDegraded { link, reason } => {
                lead.handle_link_degraded(now, node, link, &reason);
            }
        }
    }

    fn handle_answer(&mut self, now: Timestamp, answer: Answer) {
        match answer {
            Answer::Submitted(circuit, answer) => self.shell.lead.handle_submitted(now, circuit, answer),
            Answer::Cancelled(circuit, answer) => self.shell.lead.handle_cancelled(now, circuit, answer),
            Answer::Found(circuit, answer) => self.shell.lead.handle_found(now, circuit, answer),
        }
    }

    fn handle_health(&mut self, now: Timestamp, network: &str, outcome: Result<(), Failure>) {
        let Some(backend) = self.shell.backends.get(network) else { return };
        let Some(state) = self.backend_states.get_mut(network) else { return };
        let failure = outcome.err().filter(|failure| failure.kind != FailureKind::Unsupported);
        let reason = failure.map(|failure| failure.to_string());
        if state.up == reason.is_none() && state.is_known {
            state.reason = reason;
            return;
        }
        (state.up, state.is_known) = (reason.is_none(), true);
        match &reason {
            None => self.shell.lead.handle_backend_up(now, network, backend.capabilities()),
            Some(reason) => {
                self.shell.lead.handle_backend_down(now, network, reason);
                tracing::warn!(network, reason, "reservation backend cannot be used");
            }
        }
        state.reason = reason;
    }

    /// Infers, and plans on what was inferred.
    fn infer(&mut self) {
        let now = self.shell.clock.now();
        match self.shell.infer.call(now, |infer| infer.infer(now)) {
            Ok(report) => self.shell.lead.handle_topology(now, report),
            Err(failure) => return tracing::warn!(%failure, "no topology inferred"),
        }
        if self.stopping.is_some() {
            return;
        }
        let Some(adapt) = &mut self.shell.adapt else { return };
        let snapshot = self.shell.lead.snapshot(now);
        match adapt.call(now, |adapt| adapt.adapt(&snapshot)) {
            Ok(wanted) => {
                self.last_notes.clone_from(&wanted.notes);
                self.shell.lead.handle_wanted(now, &wanted);
            }
            Err(failure) => tracing::warn!(%failure, "no overlay planned; it stays as it is"),
        }
    }

    fn tick(&mut self) {
        let now = self.shell.clock.now();
        let gone: Vec<String> =
            self.absent.iter().filter(|(_, until)| now >= **until).map(|(node, _)| node.clone()).collect();
        for node in gone {
            self.absent.remove(&node);
            self.shell.lead.handle_node_left(now, &node);
        }
        self.shell.lead.tick(now);
    }

    fn next_timer(&self) -> Option<Timestamp> {
        self.shell.lead.poll_timeout().into_iter().chain(self.absent.values().copied()).min()
    }

    fn is_done(&mut self) -> bool {
        if self.stopping.is_none() || self.shell.lead.circuits().next().is_some() {
            return false;
        }
        if let Some(done) = self.stopping.take() {
            // Nobody waits any more: fine.
            let _ = done.send(());
        }
        true
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.shell.lead.poll_action() {
            match action {
                Action::Submit { circuit, network, request } => {
                    self.call(&network, move |backend| async move {
                        Answer::Submitted(
                            circuit,
                            match backend {
                                Ok(backend) => backend.submit(request).await,
                                Err(failure) => Err(failure),
                            },
                        )
                    });
                }
                Action::Cancel { circuit, network, key, native_id } => {
                    self.call(&network, move |backend| async move {
                        Answer::Cancelled(
                            circuit,
                            match backend {
                                Ok(backend) => backend.cancel(Handle { key, native_id }).await,
                                Err(failure) => Err(failure),
                            },
                        )
                    });
                }
                Action::Find { circuit, network, key } => {
                    self.call(&network, move |backend| async move {
                        Answer::Found(
                            circuit,
                            match backend {
                                Ok(backend) => backend.find(key).await.map(|found| found.into_iter().next()),
                                Err(failure) => Err(failure),
                            },
                        )
                    });
                }
                Action::Configure { node, overlay } => self.tell(&node, DownMessage::Overlay(overlay)),
                Action::Probe { circuit, node, link, rate } => {
                    self.probes.insert(link, circuit);
                    self.tell(&node, DownMessage::Prove { link, rate });
                }
                Action::Publish { event, .. } => {
                    if let Event::GuestMoved { guest, from, .. } = &event {
                        self.tell(from, DownMessage::ForgetGuest(*guest));
                    }
                    self.shell.events.lead(event);
                }
            }
        }
    }

    /// Runs one call to a backend as a task; its answer comes back as an input.
    fn call<F: Future<Output = Answer> + Send + 'static>(
        &self,
        network: &str,
        call: impl FnOnce(Result<Arc<dyn Backend>, Failure>) -> F,
    ) {
        let missing = || Failure::unavailable(format!("no reservation backend for {network}"));
        let backend = self.shell.backends.get(network).cloned().ok_or_else(missing);
        let (work, inputs) = (call(backend), self.inputs.clone());
        tokio::spawn(async move {
            drop(inputs.send(Input::Answered(work.await)).await);
        });
    }

    /// Tells a node. One that does not listen is told again when it joins anew.
    fn tell(&self, node: &str, message: DownMessage) {
        if let Some((_, down)) = self.sessions.get(node)
            && let Err(error) = down.try_send(message)
        {
            tracing::warn!(node, %error, "message not sent");
        }
    }

    /// Gives back what an earlier lead left behind, then watches each backend.
    fn watch_backends(&self) {
        for (network, backend) in &self.shell.backends {
            let (network, backend, inputs) = (network.clone(), backend.clone(), self.inputs.clone());
            tokio::spawn(async move {
                match backend.gc(Vec::new()).await {
                    Ok(keys) if !keys.is_empty() => {
                        tracing::warn!(network, count = keys.len(), "gave back circuits of an earlier lead");
                    }
                    Ok(_) => {}
                    Err(failure) => tracing::warn!(network, %failure, "left-over circuits not cleared"),
                }
                loop {
                    let outcome = backend.health().await;
                    if inputs.send(Input::Health { network: network.clone(), outcome }).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(HEALTH_INTERVAL).await;
                }
            });
        }
    }
}
