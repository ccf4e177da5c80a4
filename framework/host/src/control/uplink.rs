//! Joins a node to its proxy: keeps a session up, passes messages both ways, and tries again when it ends.
//! The data plane goes on without it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use vreserve_core::lead::NodeDescription;

use super::events::{EventLog, NodeEvent};
use super::messages::{DownMessage, InForce, UpMessage, VERSION};
use super::session::{self, Receiver, Sender, SessionError};
use crate::config::ProxyConfig;
use crate::keys::KeyPair;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// What an uplink is made of.
pub struct Uplink {
    /// The node's keys.
    pub keys: KeyPair,
    /// Its proxy.
    pub proxy: ProxyConfig,
    /// Who it is.
    pub node: NodeDescription,
    /// What it has in force; none before its agent has begun.
    pub in_force: watch::Receiver<Option<InForce>>,
    /// The event log.
    pub events: EventLog,
}

impl Uplink {
    /// Runs until the agent is gone.
    pub async fn run(self, mut up: mpsc::UnboundedReceiver<UpMessage>, down: mpsc::Sender<DownMessage>) {
        let mut retry_in = RETRY_MIN;
        let mut last_reason = String::new();
        loop {
            let reason = match self.join().await {
                Ok((sender, receiver)) => {
                    retry_in = RETRY_MIN;
                    last_reason.clear();
                    self.events.node(NodeEvent::ProxyJoined { proxy: self.proxy.name.clone() });
                    match pass(sender, receiver, &mut up, &down).await {
                        Some(reason) => reason,
                        None => return,
                    }
                }
                Err(error) => chain(&error),
            };
            if reason != last_reason {
                self.events.node(NodeEvent::ProxyLost { reason: reason.clone() });
                last_reason = reason;
            }
            tokio::time::sleep(retry_in).await;
            retry_in = (retry_in * 2).min(RETRY_MAX);
            // What was told while nobody listened is stale: the lead asks anew when the node joins.
            while up.try_recv().is_ok() {}
            if up.is_closed() {
                return;
            }
        }
    }

    async fn join(&self) -> Result<(Sender, Receiver), SessionError> {
        let stream = timeout(CONNECT_TIME, TcpStream::connect(&self.proxy.address))
            .await
            .map_err(|_| SessionError::TimedOut)??;
        let (mut sender, receiver) = session::connect(stream, &self.keys, self.proxy.public_key).await?;
        let hello = UpMessage::Hello { version: VERSION, node: self.node.clone() };
        sender.send(&hello.encode()).await?;
        let in_force = in_force(&mut self.in_force.clone()).await;
        sender.send(&UpMessage::InForce(in_force).encode()).await?;
        Ok((sender, receiver))
    }
}

/// What a node has in force, as soon as its agent says so.
pub(crate) async fn in_force(says: &mut watch::Receiver<Option<InForce>>) -> InForce {
    // An agent that ended before it said anything has nothing in force.
    let said = says.wait_for(Option::is_some).await;
    said.map(|said| said.clone().unwrap_or_default()).unwrap_or_default()
}

/// Passes messages both ways until the session ends (the reason) or the agent is gone (none).
async fn pass(
    mut sender: Sender,
    mut receiver: Receiver,
    up: &mut mpsc::UnboundedReceiver<UpMessage>,
    down: &mpsc::Sender<DownMessage>,
) -> Option<String> {
    let receiving = async {
        loop {
            let wire = match receiver.recv().await {
                Ok(wire) => wire,
                Err(error) => return Some(chain(&error)),
            };
            match DownMessage::decode(&wire) {
                Ok(DownMessage::Welcome { version, .. }) if version != VERSION => {
                    return Some(format!("the proxy speaks version {version}, this node {VERSION}"));
                }
                Ok(message) => {
                    if down.send(message).await.is_err() {
                        return None;
                    }
                }
                Err(error) => return Some(chain(&error)),
            }
        }
    };
    let sending = async {
        while let Some(message) = up.recv().await {
            if let Err(error) = sender.send(&message.encode()).await {
                return Some(chain(&error));
            }
        }
        None
    };
    tokio::select! {
        reason = receiving => reason,
        reason = sending => reason,
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
