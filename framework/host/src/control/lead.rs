//! The shell of the core's lead: feeds it what happens, carries out what it decides.
//!
//! Owns the lead's inference and adaptation instances, the reservation backends and the journal. Calls to
//! backends run as tasks of their own and come back as inputs (`calls`, `backends`); records go to a thread of
//! their own (`journal`), and what depends on them waits for it (the core's ledger, `durable`). A changed configuration comes as an
//! input too (`reload`), and a circuit stays with the backend that it was asked of (`generations`).

mod backends;
mod bookings;
mod calls;
mod durable;
mod generations;
mod inputs;
mod journal;
mod planning;
mod reload;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use vreserve_core::ids::LinkId;
use vreserve_core::lead::{
    Action, BookingId, BookingWish, CalendarEntry, CircuitId, Event, Lead, NodeDescription,
};
use vreserve_core::ledger::Ledger;
use vreserve_model::{Changes, Failure, Observed, RequestKey, Timestamp};

use super::events::EventLog;
use super::messages::{DownMessage, InForce, UpMessage};
use super::revive::Revived;
use crate::clock::Clock;
use crate::keys::PublicKey;
use crate::plugin::{AdaptInstance, Backend, InferInstance};
use crate::store::Store;

use backends::Watch;
use bookings::Promise;
use generations::Backends;
use journal::Journal;

pub use generations::Generation;
pub use journal::JournalAnswer;
pub use planning::{ExplainView, PlannedChange, SupposedDemand, WhatIfView};
pub use reload::{BackendChange, FormerBackend, LeadChanges};
pub use view::{BackendStatus, ReservationsView, TopologyView};
pub use vreserve_core::ledger::{JournalState, JournalStatus, Loaded};

/// A node whose session ended is given this long to come back before it counts as gone.
const ABSENCE: Duration = Duration::from_secs(5);
/// How often the lead is told the wall clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

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
        /// What it has in force.
        in_force: InForce,
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
        /// Which of the network's backends it is.
        generation: Generation,
        /// Why it cannot be used, if it cannot.
        outcome: Result<(), Failure>,
    },
    /// A backend tells of changes by itself.
    Changes {
        /// Its network.
        network: String,
        /// What changed.
        changes: Changes,
    },
    /// The journal has answered.
    Journal(JournalAnswer),
    /// The control API asks.
    Question(Question),
    /// The configuration has changed; the sender is told once all of it is in effect.
    Changed(LeadChanges, oneshot::Sender<()>),
    /// The daemon stops: give everything back, then say so.
    Stop(oneshot::Sender<()>),
}

/// A backend's answer.
pub enum Answer {
    /// To a submit.
    Submitted(CircuitId, Result<Observed, Failure>),
    /// To a commit.
    Committed(CircuitId, Result<Observed, Failure>),
    /// To an abort.
    Aborted(CircuitId, Result<(), Failure>),
    /// To an activation.
    Activated(CircuitId, Result<Observed, Failure>),
    /// To a deactivation.
    Deactivated(CircuitId, Result<Observed, Failure>),
    /// To a modification.
    Modified(CircuitId, Result<Observed, Failure>),
    /// To a cancel.
    Cancelled(CircuitId, Result<(), Failure>),
    /// To a find: everything that is held under the key.
    Found(CircuitId, Result<Vec<Observed>, Failure>),
    /// What the backend of a network holds for us.
    Listed(String, Result<Vec<Observed>, Failure>),
    /// To the cancel of an orphan on a network.
    OrphanCancelled(String, RequestKey, Result<(), Failure>),
    /// What the backend of a network gave back as stale.
    Collected(String, Result<Vec<RequestKey>, Failure>),
}

/// A question of the control API.
pub enum Question {
    /// What is believed of the traffic.
    Topology(oneshot::Sender<TopologyView>),
    /// What is reserved.
    Reservations(oneshot::Sender<ReservationsView>),
    /// How the journal does.
    Journal(oneshot::Sender<JournalStatus>),
    /// What is booked and reserved.
    Calendar(oneshot::Sender<Vec<CalendarEntry>>),
    /// An advance reservation is wanted; answered when it is on disk.
    Reserve(BookingWish, oneshot::Sender<Result<CalendarEntry, String>>),
    /// One is no longer wanted.
    Cancel(BookingId, oneshot::Sender<Result<(), String>>),
    /// Why two nodes, or those of two guests, are served as they are.
    Explain(String, String, oneshot::Sender<Result<ExplainView, String>>),
    /// What the planner would do with this matrix.
    WhatIf(Vec<SupposedDemand>, oneshot::Sender<Result<WhatIfView, String>>),
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
    /// Backends that an earlier run replaced, of networks that have none now.
    pub former: Vec<FormerBackend>,
    /// Networks whose backend did not start, with the reason.
    pub failed_backends: BTreeMap<String, String>,
    /// Where its records are kept.
    pub store: Box<dyn Store>,
    /// The event log.
    pub events: EventLog,
    /// The daemon's clock.
    pub clock: Clock,
}

/// All of the shell but the store, which its thread has.
struct Parts {
    lead: Lead,
    infer: Revived<InferInstance>,
    adapt: Option<Revived<AdaptInstance>>,
    backends: Backends,
    events: EventLog,
    clock: Clock,
}

/// The lead at work.
struct Running {
    shell: Parts,
    inputs: mpsc::Sender<Input>,
    journal: Journal,
    ledger: Ledger,
    /// True once what an earlier lead left is known: only then are backends asked anything.
    is_restored: bool,
    sessions: BTreeMap<String, (SessionId, mpsc::Sender<DownMessage>)>,
    absent: BTreeMap<String, Timestamp>,
    /// Probes under way: who answers for which circuit.
    probes: BTreeMap<LinkId, CircuitId>,
    /// What watches each backend; ends when it is dropped.
    watches: BTreeMap<String, Watch>,
    backend_states: BTreeMap<String, BackendStatus>,
    /// Of an earlier run, until what it left on record is known.
    former: Vec<FormerBackend>,
    /// Whom to tell when a former backend is closed.
    closing: BTreeMap<Generation, oneshot::Sender<()>>,
    /// Bookings whose records are on their way to the disk.
    promises: Vec<Promise>,
    last_notes: Vec<String>,
    refused_reports: u64,
    stopping: Option<oneshot::Sender<()>>,
}

impl LeadShell {
    /// Runs until it is told to stop and has given everything back, or all inputs are gone.
    pub async fn run(self, sender: mpsc::Sender<Input>, mut inputs: mpsc::Receiver<Input>) {
        let mut infer = interval(self.infer_interval);
        let mut wall_clock = interval(CLOCK_INTERVAL);
        let backend_states = view::initial_states(&self);
        let LeadShell { lead, infer: inference, adapt, backends, former, store, events, clock, .. } = self;
        let journal = match Journal::start(store, sender.clone()) {
            Ok(journal) => journal,
            Err(error) => return tracing::error!(%error, "the lead has no thread for its journal"),
        };
        let mut running = Running {
            shell: Parts { lead, infer: inference, adapt, backends: Backends::new(backends), events, clock },
            inputs: sender,
            journal,
            ledger: Ledger::default(),
            is_restored: false,
            sessions: BTreeMap::new(),
            absent: BTreeMap::new(),
            probes: BTreeMap::new(),
            watches: BTreeMap::new(),
            backend_states,
            former,
            closing: BTreeMap::new(),
            promises: Vec::new(),
            last_notes: Vec::new(),
            refused_reports: 0,
            stopping: None,
        };
        running.handle_clock();
        running.take_over(&mut inputs).await;
        loop {
            running.carry_out();
            running.close_former_backends();
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
                _ = wall_clock.tick() => running.handle_clock(),
                () = tokio::time::sleep(wait) => running.tick(),
            }
        }
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Running {
    fn now(&self) -> Timestamp {
        self.shell.clock.now()
    }

    fn tick(&mut self) {
        let now = self.now();
        let gone: Vec<String> =
            self.absent.iter().filter(|(_, until)| now >= **until).map(|(node, _)| node.clone()).collect();
        for node in gone {
            self.absent.remove(&node);
            self.shell.lead.handle_node_left(now, &node);
        }
        self.shell.lead.tick(now);
    }

    fn next_timer(&self) -> Option<Timestamp> {
        let lead = self.shell.lead.poll_timeout();
        lead.into_iter().chain(self.ledger.poll_timeout()).chain(self.absent.values().copied()).min()
    }

    /// True when it was told to stop, has nothing left to give back, and that is on record.
    fn is_done(&mut self) -> bool {
        if self.stopping.is_none() || !self.shell.lead.is_stopped() || !self.ledger.is_idle() {
            return false;
        }
        if let Some(done) = self.stopping.take() {
            // Nobody waits any more: fine.
            let _ = done.send(());
        }
        true
    }

    /// Carries out what the lead has decided, as far as the disk allows.
    fn carry_out(&mut self) {
        loop {
            while let Some(action) = self.shell.lead.poll_action() {
                if let Some(action) = self.ledger.handle_action(action) {
                    self.carry_out_one(action);
                }
            }
            if !self.advance_ledger() {
                break;
            }
        }
        self.keep_promises();
    }

    fn carry_out_one(&mut self, action: Action) {
        match action {
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
            call => self.call_backend(call),
        }
    }

    /// Tells a node. One that does not listen is told again when it joins anew.
    fn tell(&self, node: &str, message: DownMessage) {
        if let Some((_, down)) = self.sessions.get(node)
            && let Err(error) = down.try_send(message)
        {
            tracing::warn!(node, %error, "message not sent");
        }
    }
}
