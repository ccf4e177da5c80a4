//! The daemon: a node's configuration turned into running parts, in an order in which nothing is started
//! before everything that can be checked has been.

mod epoch;
mod ports;
mod start;
mod wrapping;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use vreserve_core::lead::{BackOff, Lead, LeadConfig};
use vreserve_core::rules::StarRole;

use crate::api::server::{self, Api};
use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::control::admission::Admission;
use crate::control::agent::{Agent, AgentChannels, AgentConfig};
use crate::control::events::EventLog;
use crate::control::lead::{Input, LeadShell, SessionId};
use crate::control::messages::{DownMessage, UpMessage};
use crate::control::uplink::Uplink;
use crate::dataplane::{DataPlane, DataPlaneConfig};
use crate::keys::{KeyPair, PublicKey};
use crate::loader::Registry;

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
    })
    .map_err(StartFailure::other)?;

    let (up, up_receiver) = mpsc::unbounded_channel();
    let (down, down_receiver) = mpsc::channel(QUEUE);
    let (questions, question_receiver) = mpsc::channel(16);
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
        },
        up,
    );
    let channels = AgentChannels { down: down_receiver, data, questions: question_receiver };
    let agent = tokio::spawn(agent.run(channels));

    let lead = match (control, parts.lead) {
        (Some(control), Some(lead)) => {
            let (inputs, receiver) = mpsc::channel(QUEUE);
            let shell = lead_shell(&config, lead, events.clone(), clock)?;
            tokio::spawn(shell.run(inputs.clone(), receiver));
            tokio::spawn(pass_locally(description, keys.public, inputs.clone(), up_receiver, down));
            tokio::spawn(admission(&config, &keys, inputs.clone()).run(control));
            Some(inputs)
        }
        _ => {
            if let Role::Node { proxy } = &config.node.role {
                let uplink = Uplink {
                    keys: keys.clone(),
                    proxy: proxy.clone(),
                    node: description,
                    events: events.clone(),
                };
                tokio::spawn(uplink.run(up_receiver, down));
            }
            None
        }
    };
    let api = Api {
        name: config.node.name.clone(),
        role: if is_proxy { "proxy" } else { "node" },
        public_key: keys.public.to_string(),
        workers,
        registry,
        services: parts.services,
        agent: questions,
        lead: lead.clone(),
        events,
        clock,
    };
    tokio::spawn(api.run(listener));
    tracing::info!(node = config.node.name, workers, "started");

    let outcome = wait_for_stop(lead, agent).await;
    drop(std::fs::remove_file(&config.node.socket));
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
    events: EventLog,
    clock: Clock,
) -> Result<LeadShell, StartFailure> {
    let epoch = epoch::next(&config.node.state_dir).map_err(StartFailure::other)?;
    let mut settings = LeadConfig::new(config.node.name.clone(), epoch);
    settings.back_off = BackOff { min: config.lead.retry_min, max: config.lead.retry_max };
    Ok(LeadShell {
        lead: Lead::new(settings),
        infer: parts.infer,
        infer_interval: config.infer.report_interval,
        adapt: parts.adapt,
        backends: parts.backends,
        failed_backends: parts.failed_backends,
        events,
        clock,
    })
}

fn admission(config: &Config, keys: &KeyPair, lead: mpsc::Sender<Input>) -> Admission {
    let admit = match &config.node.role {
        Role::Proxy { admit, .. } => admit.clone(),
        Role::Node { .. } => Vec::new(),
    };
    Admission { keys: keys.clone(), name: config.node.name.clone(), admit, lead }
}

/// Joins the proxy's own agent to the lead in the same process.
async fn pass_locally(
    node: vreserve_core::lead::NodeDescription,
    key: PublicKey,
    lead: mpsc::Sender<Input>,
    mut up: mpsc::UnboundedReceiver<UpMessage>,
    down: mpsc::Sender<DownMessage>,
) {
    let (session, name) = (SessionId(0), node.name.clone());
    if lead.send(Input::Joined { session, node, key, down }).await.is_err() {
        return;
    }
    while let Some(message) = up.recv().await {
        if lead.send(Input::Message { session, node: name.clone(), message }).await.is_err() {
            return;
        }
    }
}
