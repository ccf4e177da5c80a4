//! The daemon: a node's configuration turned into running parts, in an order in which nothing is started
//! before everything that can be checked has been.

mod epoch;
mod former;
mod places;
mod ports;
mod reload;
mod start;
mod wrapping;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use vreserve_core::lead::{BackOff, Budget, Lead, LeadConfig, Recurring};
use vreserve_core::rules::StarRole;

use crate::api::server::{self, Api};
use crate::clock::Clock;
use crate::config::{Admitted, Config, Role};
use crate::control::admission::Admission;
use crate::control::agent::{Agent, AgentChannels, AgentConfig};
use crate::control::events::EventLog;
use crate::control::lead::{FormerBackend, Input, LeadShell, SessionId};
use crate::control::messages::{DownMessage, InForce, UpMessage};
use crate::control::uplink::{Uplink, in_force};
use crate::dataplane::{DataPlane, DataPlaneConfig};
use crate::keys::{KeyPair, PublicKey};
use crate::loader::Registry;
use crate::store::RedbStore;

use former::FormerBackends;
use reload::LeadHandles;
pub use reload::{ConfigStatus, Reloader};
use start::{LeadParts, Parts};
pub use start::{StartFailure, check};

/// A lead that is told to stop gives its circuits back within this time, or leaves them to its successor.
const RELEASE_TIME: Duration = Duration::from_secs(30);
/// Messages to a node and inputs of the lead that may wait.
const QUEUE: usize = 4096;

/// Runs a node until SIGTERM or SIGINT. A second signal ends it at once.
///
/// # Errors
/// If it cannot start; nothing is left behind then.
pub async fn run(config: Config) -> Result<(), StartFailure> {
    let keys = KeyPair::load(&config.node.key).map_err(StartFailure::other)?;
    let registry = Arc::new(Registry::new(config.plugin_dirs.clone()));
    for reason in check(&config, &registry)? {
        tracing::warn!("{reason}");
    }
    let clock = Clock::start();
    let events = EventLog::default();
    let listener = server::bind(&config.node.socket).map_err(StartFailure::other)?;
    let control = bind_control(&config).await?;
    let parts = Parts::open(&config, &registry, &events, &keys)?;

    let description = parts.describe(&config);
    let workers = parts.workers.len();
    let (plane, data) = DataPlane::start(DataPlaneConfig {
        workers: parts.workers,
        clock,
        seed: start::random_seed().map_err(StartFailure::other)?,
        spin: config.node.spin,
        rate_terms: config.node.rate_terms,
    })
    .map_err(StartFailure::other)?;

    let (up, up_receiver) = mpsc::unbounded_channel();
    let (down, down_receiver) = mpsc::channel(QUEUE);
    let (questions, question_receiver) = mpsc::channel(16);
    let (says_in_force, in_force) = watch::channel(None);
    let is_proxy = control.is_some();
    let agent = Agent::new(
        AgentConfig {
            role: if is_proxy { StarRole::Hub } else { StarRole::Leaf },
            proxy_key: proxy_key(&config),
            interfaces: parts.interfaces,
            static_links: parts.static_links,
            infer: parts.infer,
            report_interval: config.infer.report_interval,
            workers: plane.workers(),
            events: events.clone(),
            clock,
            state_dir: config.node.state_dir.clone(),
            in_force: says_in_force,
        },
        up,
    );
    let channels = AgentChannels { down: down_receiver, data, questions: question_receiver };
    let agent = tokio::spawn(agent.run(channels));

    let lead = match (control, parts.lead) {
        (Some(control), Some(lead)) => {
            let (inputs, receiver) = mpsc::channel(QUEUE);
            let epoch = epoch::next(&config.node.state_dir).map_err(StartFailure::other)?;
            let former = FormerBackends {
                places: Arc::new(Mutex::new(lead.places.clone())),
                registry: registry.clone(),
                services: parts.services.clone(),
                lead: inputs.clone(),
                owner: format!("{}/{epoch}", config.node.name),
                deadline: config.lead.reserve_timeout,
            };
            let taken_up = former.take_up(&config);
            let shell = lead_shell(&config, lead, taken_up, epoch, events.clone(), clock);
            tokio::spawn(shell.run(inputs.clone(), receiver));
            let local = Local { node: description, key: keys.public, in_force };
            tokio::spawn(local.pass(inputs.clone(), up_receiver, down));
            let (admit, admitted) = watch::channel(admitted(&config));
            tokio::spawn(admission(&config, &keys, admitted, inputs.clone()).run(control));
            Some(LeadHandles { inputs, admit, former })
        }
        _ => {
            if let Role::Node { proxy } = &config.node.role {
                let uplink = Uplink {
                    keys: keys.clone(),
                    proxy: proxy.clone(),
                    node: description,
                    in_force,
                    events: events.clone(),
                };
                tokio::spawn(uplink.run(up_receiver, down));
            }
            None
        }
    };
    let inputs = lead.as_ref().map(|lead| lead.inputs.clone());
    let socket = config.node.socket.clone();
    let (name, services) = (config.node.name.clone(), parts.services);
    let reloader = Reloader::new(config, registry.clone(), services.clone(), events.clone(), lead);
    let reloader = Arc::new(reloader);
    tokio::spawn(reloader.clone().follow_signals());
    let api = Api {
        name: name.clone(),
        role: if is_proxy { "proxy" } else { "node" },
        public_key: keys.public.to_string(),
        workers,
        registry,
        services,
        agent: questions,
        lead: inputs.clone(),
        reloader,
        events,
        clock,
    };
    tokio::spawn(api.run(listener));
    tracing::info!(node = name, workers, "started");

    let outcome = wait_for_stop(inputs, agent).await;
    drop(std::fs::remove_file(&socket));
    plane.stop();
    outcome
}

/// Waits for the first signal, gives everything back, and returns.
async fn wait_for_stop(
    lead: Option<mpsc::Sender<Input>>,
    agent: tokio::task::JoinHandle<()>,
) -> Result<(), StartFailure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartFailure::other)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartFailure::other)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = agent => return Err(StartFailure::Other(anyhow::anyhow!("the data plane or its agent has ended"))),
    }
    tracing::info!("stopping");
    let Some(lead) = lead else { return Ok(()) };
    let (done, released) = oneshot::channel();
    if lead.send(Input::Stop(done)).await.is_ok() {
        tokio::select! {
            _ = released => {}
            _ = terminate.recv() => tracing::warn!("stopped before all circuits were given back"),
            _ = interrupt.recv() => tracing::warn!("stopped before all circuits were given back"),
            () = tokio::time::sleep(RELEASE_TIME) => tracing::warn!("circuits are left to the next lead"),
        }
    }
    Ok(())
}

/// The key that the far end of a node's star must have; the proxy itself has none above it.
fn proxy_key(config: &Config) -> Option<PublicKey> {
    match &config.node.role {
        Role::Node { proxy } => Some(proxy.public_key),
        Role::Proxy { .. } => None,
    }
}

async fn bind_control(config: &Config) -> Result<Option<TcpListener>, StartFailure> {
    match &config.node.role {
        Role::Node { .. } => Ok(None),
        Role::Proxy { listen, .. } => {
            let listener = TcpListener::bind(listen).await.map_err(|error| {
                let message = format!("cannot listen at {listen}: {error}");
                StartFailure::Config(config.error(&["node"], "control", message, None))
            })?;
            Ok(Some(listener))
        }
    }
}

fn lead_shell(
    config: &Config,
    parts: LeadParts,
    former: Vec<FormerBackend>,
    epoch: u32,
    events: EventLog,
    clock: Clock,
) -> LeadShell {
    let mut settings = LeadConfig::new(config.node.name.clone(), epoch);
    settings.back_off = BackOff { min: config.lead.retry_min, max: config.lead.retry_max };
    settings.restore_grace = config.lead.restore_grace;
    settings.orphan_grace = config.lead.orphan_grace;
    settings.list_every = config.lead.list_every;
    settings.budgets = budgets(config);
    settings.shadow = config.lead.shadow;
    if settings.shadow {
        tracing::warn!("shadow mode: what would be reserved is shown, and nothing is reserved");
    }
    settings.recurring = config.lead.recurring.map(|ahead| Recurring { ahead });
    LeadShell {
        lead: Lead::new(settings),
        infer: parts.infer,
        infer_interval: config.infer.report_interval,
        adapt: parts.adapt,
        backends: parts.backends,
        former,
        failed_backends: parts.failed_backends,
        store: Box::new(RedbStore::at(config.node.state_dir.join("journal.redb"))),
        events,
        clock,
    }
}

/// What may be held on each network.
fn budgets(config: &Config) -> BTreeMap<String, Budget> {
    config.reserves.iter().map(|reserve| (reserve.network.clone(), reserve.budget)).collect()
}

fn admitted(config: &Config) -> Vec<Admitted> {
    match &config.node.role {
        Role::Proxy { admit, .. } => admit.clone(),
        Role::Node { .. } => Vec::new(),
    }
}

fn admission(
    config: &Config,
    keys: &KeyPair,
    admit: watch::Receiver<Vec<Admitted>>,
    lead: mpsc::Sender<Input>,
) -> Admission {
    Admission { keys: keys.clone(), name: config.node.name.clone(), admit, lead }
}

/// The proxy's own agent, as a node of the lead in the same process.
struct Local {
    node: vreserve_core::lead::NodeDescription,
    key: PublicKey,
    in_force: watch::Receiver<Option<InForce>>,
}

impl Local {
    /// Joins it, and passes on what it says.
    async fn pass(
        mut self,
        lead: mpsc::Sender<Input>,
        mut up: mpsc::UnboundedReceiver<UpMessage>,
        down: mpsc::Sender<DownMessage>,
    ) {
        let in_force = in_force(&mut self.in_force).await;
        let Local { node, key, .. } = self;
        let (session, name) = (SessionId(0), node.name.clone());
        if lead.send(Input::Joined { session, node, key, in_force, down }).await.is_err() {
            return;
        }
        while let Some(message) = up.recv().await {
            if lead.send(Input::Message { session, node: name.clone(), message }).await.is_err() {
                return;
            }
        }
    }
}
