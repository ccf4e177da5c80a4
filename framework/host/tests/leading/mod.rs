//! A lead's shell in a world in memory: a provider, a disk, and nodes that do what they are told.
//!
//!  test ──Question──▶ lead's shell ──▶ provider (in memory, told what to do by the test)
//!                     ▲     │    └──▶ disk (in memory, fails as the test says)
//!                     └ hub, n1, n2: tasks that set up what they are told and say so

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use vreserve::clock::Clock;
use vreserve::control::events::EventLog;
use vreserve::control::lead::{Input, LeadShell, Question, ReservationsView, SessionId};
use vreserve::control::messages::{DownMessage, InForce, UpMessage};
use vreserve::control::revive::Revived;
use vreserve::keys::PublicKey;
use vreserve::plugin::{Backend, HostServices, InferInstance, PluginKind};
use vreserve::store::{FailingStore, Faults, MemoryStore};
use vreserve_core::lead::{
    Attachment, BookingWish, CalendarEntry, Lead, LeadConfig, NodeDescription, NodeRole, PairOutcome,
    ProbeOutcome, Recurring,
};
use vreserve_core::overlay::NodeOverlay;
use vreserve_model::{BitsPerSecond, MacAddr};

use crate::provider::Provider;

pub(crate) const NET: &str = "omninet";
/// Nothing here takes longer than a few seconds; a test that waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What outlives a lead: the disk, the provider, and what each node has in force.
#[derive(Clone, Default)]
pub(crate) struct Ground {
    pub(crate) store: MemoryStore,
    pub(crate) faults: Faults,
    pub(crate) provider: Arc<Provider>,
    pub(crate) in_force: Arc<Mutex<BTreeMap<String, NodeOverlay>>>,
    /// Whether leads book ahead of demand that recurs.
    pub(crate) recurring: Option<Recurring>,
    /// Whether the provider is asked all the time what it holds; else once.
    pub(crate) is_listed_often: bool,
}

/// A lead in office.
pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Every overlay that a node was sent by this lead, in order.
    pub(crate) sent: watch::Receiver<Vec<(String, NodeOverlay)>>,
    lead: JoinHandle<()>,
    _state: tempfile::TempDir,
}

pub(crate) fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

impl World {
    /// A lead of this epoch on this ground, with all nodes.
    pub(crate) async fn start(ground: &Ground, epoch: u32) -> Self {
        let state = tempfile::tempdir().expect("a temporary directory");
        let services = HostServices::new(state.path());
        let host = services.instance(PluginKind::Infer, "vttif", None);
        let open = move || InferInstance::open(vreserve_infer_vttif::plugin(), &host, "{}");
        let infer = open().expect("it opens");
        let mut settings = LeadConfig::new("lab", epoch);
        settings.orphan_grace = Duration::from_millis(300);
        settings.restore_grace = Duration::from_secs(1);
        settings.recurring = ground.recurring;
        // Unless a test says otherwise, nothing is looked up just because time has passed.
        let never = Duration::from_secs(3600);
        settings.poll_every = never;
        settings.list_every = if ground.is_listed_often { Duration::from_millis(100) } else { never };
        let (inputs, receiver) = mpsc::channel(256);
        ground.provider.watches(ground.store.clone());
        let shell = LeadShell {
            lead: Lead::new(settings),
            infer: Revived::new("infer.vttif".into(), infer, Box::new(open), EventLog::default()),
            infer_interval: Duration::from_secs(3600),
            adapt: None,
            backends: BTreeMap::from([(NET.to_owned(), ground.provider.clone() as Arc<dyn Backend>)]),
            former: Vec::new(),
            failed_backends: BTreeMap::new(),
            store: Box::new(FailingStore::new(ground.store.clone(), ground.faults.clone())),
            events: EventLog::default(),
            clock: Clock::start(),
        };
        let lead = tokio::spawn(shell.run(inputs.clone(), receiver));
        let (seen, sent) = watch::channel(Vec::new());
        let seen = Arc::new(seen);
        for (number, name) in ["hub", "n1", "n2"].into_iter().enumerate() {
            join(ground, &inputs, &seen, name, number as u8).await;
        }
        World { ground: ground.clone(), inputs, sent, lead, _state: state }
    }

    /// Ends the lead as `kill -9` would.
    pub(crate) async fn kill(self) -> Ground {
        self.lead.abort();
        assert!(self.lead.await.is_err(), "it had not ended by itself");
        self.ground
    }

    pub(crate) async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> T {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Question(question(reply))).await.expect("the lead runs");
        tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer")
    }

    pub(crate) async fn reservations(&self) -> ReservationsView {
        self.ask(Question::Reservations).await
    }

    /// Books the two nodes' guests for an hour from now on.
    pub(crate) async fn reserve(&self) -> Result<CalendarEntry, String> {
        self.reserve_to("n2").await
    }

    /// Books `n1` and another for an hour from now on.
    pub(crate) async fn reserve_to(&self, to: &str) -> Result<CalendarEntry, String> {
        self.ask(|reply| Question::Reserve(BookingWish { to: to.into(), ..wish() }, reply)).await
    }

    /// The reservations, once they are as `expected`.
    pub(crate) async fn until(
        &self,
        what: &str,
        expected: impl Fn(&ReservationsView) -> bool,
    ) -> ReservationsView {
        let look = async {
            loop {
                let view = self.reservations().await;
                if expected(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(view) => view,
            Err(_) => panic!("never seen: {what}; last {:#?}", self.reservations().await),
        }
    }

    /// A lead whose backend is up.
    pub(crate) async fn ready(ground: &Ground, epoch: u32) -> Self {
        let world = World::start(ground, epoch).await;
        world.until("the backend is up", |view| view.backends.iter().all(|backend| backend.up)).await;
        world
    }

    /// A lead with a booking whose pairs are on its circuit.
    pub(crate) async fn carrying(ground: &Ground, epoch: u32) -> Self {
        let world = World::ready(ground, epoch).await;
        world.reserve().await.expect("it is booked");
        world.until("both pairs are on the circuit", |view| pairs_of(view) == 2).await;
        world
    }
}

pub(crate) fn pairs_of(view: &ReservationsView) -> usize {
    view.circuits
        .iter()
        .filter(|circuit| circuit.phase == vreserve_core::lead::Phase::Carrying)
        .map(|c| c.pairs.len())
        .sum()
}

pub(crate) fn wish() -> BookingWish {
    BookingWish {
        from: "n1".into(),
        to: "n2".into(),
        network: None,
        rate: BitsPerSecond(100_000_000),
        start_ms: None,
        end_ms: Clock::wall_ms() + 3_600_000,
    }
}

/// Joins a node with what it has in force, and lets it do what it is told.
async fn join(
    ground: &Ground,
    inputs: &mpsc::Sender<Input>,
    seen: &Arc<watch::Sender<Vec<(String, NodeOverlay)>>>,
    name: &str,
    number: u8,
) {
    let (down, mut told) = mpsc::channel(64);
    let session = SessionId(u64::from(number));
    let at =
        |net: u8| Attachment { endpoint: format!("ep{net}"), address: format!("10.{net}.0.{number}:4789") };
    let role = if name == "hub" { NodeRole::Proxy } else { NodeRole::Spoke };
    let networks = BTreeMap::from([(NET.to_owned(), at(1))]);
    let node = NodeDescription { name: name.into(), role, star: at(0), networks };
    let has = ground.in_force.lock().expect("no panic").get(name).cloned().unwrap_or_default();
    let in_force = InForce { links: has.links, pairs: has.pairs };
    let joined = Input::Joined { session, node, key: PublicKey([number + 1; 32]), in_force, down };
    inputs.send(joined).await.expect("the lead runs");
    let guests = if name == "hub" { Vec::new() } else { vec![mac(number)] };
    let (inputs, seen, all) = (inputs.clone(), seen.clone(), ground.in_force.clone());
    let name = name.to_owned();
    tokio::spawn(async move {
        let say = async |message: UpMessage| {
            let _ended = inputs.send(Input::Message { session, node: name.clone(), message }).await;
        };
        say(UpMessage::Guests(guests)).await;
        while let Some(message) = told.recv().await {
            match message {
                DownMessage::Overlay(overlay) => {
                    seen.send_modify(|sent| sent.push((name.clone(), overlay.clone())));
                    let revision = overlay.revision;
                    let before = all
                        .lock()
                        .expect("no panic")
                        .insert(name.clone(), overlay.clone())
                        .unwrap_or_default();
                    say(UpMessage::Applied { revision, error: None }).await;
                    let outcomes = switched(&before, &overlay);
                    if !outcomes.is_empty() {
                        say(UpMessage::Switched { revision, outcomes }).await;
                    }
                }
                DownMessage::Prove { link, .. } => {
                    let rtt = Some(Duration::from_micros(300));
                    let outcome = ProbeOutcome { passed: true, rtt, loss: 0.0, reason: String::new() };
                    say(UpMessage::Proved { link, outcome }).await;
                }
                DownMessage::Welcome { .. } | DownMessage::ForgetGuest(_) => {}
            }
        }
    });
}

/// The pairs whose way changes, as moved.
fn switched(before: &NodeOverlay, after: &NodeOverlay) -> Vec<PairOutcome> {
    let only_in = |one: &NodeOverlay, other: &NodeOverlay| -> Vec<_> {
        one.pairs.iter().filter(|pair| !other.pairs.contains(pair)).cloned().collect()
    };
    let changed = only_in(after, before).into_iter().chain(only_in(before, after));
    changed
        .map(|pair| PairOutcome {
            source: pair.source,
            destination: pair.destination,
            aborted: None,
            held_frames: 0,
            held_bytes: 0,
            held_for: Duration::ZERO,
            dropped_frames: 0,
        })
        .collect()
}
