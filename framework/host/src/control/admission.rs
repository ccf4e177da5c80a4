//! Lets nodes in at the proxy: only those whose key is admitted, under the name it is admitted by.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use vreserve_core::lead::{NodeDescription, NodeRole};

use super::lead::{Input, SessionId};
use super::messages::{DownMessage, InForce, UpMessage, VERSION};
use super::session::{self, Receiver, Sender};
use super::uplink::chain;
use crate::config::Admitted;
use crate::keys::{KeyPair, PublicKey};

/// Handshakes under way at once: strangers cannot take all of the proxy's descriptors.
const HANDSHAKES: usize = 64;
/// A node must say who it is within this time.
const HELLO_TIME: Duration = Duration::from_secs(5);

/// What admission is made of.
pub struct Admission {
    /// The proxy's keys.
    pub keys: KeyPair,
    /// The proxy's name.
    pub name: String,
    /// Whom it admits now. A node that is taken off the list loses its session.
    pub admit: watch::Receiver<Vec<Admitted>>,
    /// The lead.
    pub lead: mpsc::Sender<Input>,
}

impl Admission {
    /// Accepts nodes until the lead is gone.
    pub async fn run(self, listener: TcpListener) {
        let (shared, handshakes) = (Arc::new(self), Arc::new(Semaphore::new(HANDSHAKES)));
        let mut last_session = 0;
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, as a rule: it passes.
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if shared.lead.is_closed() {
                return;
            }
            let Ok(permit) = handshakes.clone().try_acquire_owned() else { continue };
            last_session += 1;
            let (shared, session) = (shared.clone(), SessionId(last_session));
            tokio::spawn(async move {
                let admitted = shared.handshake(stream).await;
                drop(permit);
                if let Some((node, sender, receiver)) = admitted {
                    shared.serve(session, node, sender, receiver).await;
                }
            });
        }
    }

    fn admitted(&self, key: PublicKey) -> Option<Admitted> {
        self.admit.borrow().iter().find(|node| node.public_key == key).cloned()
    }

    /// A stranger is not worth more than a line at debug level, and gets no answer.
    async fn handshake(&self, stream: TcpStream) -> Option<(Admitted, Sender, Receiver)> {
        let peer = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        match session::accept(stream, &self.keys, |key| self.admitted(key).is_some()).await {
            Ok((key, sender, receiver)) => Some((self.admitted(key)?, sender, receiver)),
            Err(error) => {
                tracing::debug!(peer, error = chain(&error), "stranger turned away");
                None
            }
        }
    }

    async fn serve(&self, session: SessionId, node: Admitted, mut sender: Sender, mut receiver: Receiver) {
        let (mut admit, entry) = (self.admit.clone(), node.clone());
        let removed = async move { admit.wait_for(|admitted| !admitted.contains(&entry)).await.is_ok() };
        let Admitted { name: node, public_key: key } = node;
        let (description, in_force) = match hello(&node, &mut receiver).await {
            Ok(said) => said,
            Err(reason) => return tracing::warn!(node, reason, "session ended"),
        };
        let (down, mut messages) = mpsc::channel::<DownMessage>(1024);
        let joined = Input::Joined { session, node: description, key, in_force, down };
        if self.lead.send(joined).await.is_err() {
            return;
        }
        let welcome = DownMessage::Welcome { version: VERSION, proxy: self.name.clone() };
        let sending = async {
            sender.send(&welcome.encode()).await?;
            while let Some(message) = messages.recv().await {
                sender.send(&message.encode()).await?;
            }
            Ok::<_, session::SessionError>(())
        };
        let receiving = async {
            loop {
                let wire = receiver.recv().await.map_err(|error| chain(&error))?;
                let message = UpMessage::decode(&wire).map_err(|error| chain(&error))?;
                let input = Input::Message { session, node: node.clone(), message };
                self.lead.send(input).await.map_err(|_| "the lead has ended".to_owned())?;
            }
        };
        let reason: Result<(), String> = tokio::select! {
            sent = sending => sent.map_err(|error| chain(&error)),
            received = receiving => received,
            // The list is not changed any more: whoever is in stays.
            true = removed => Err("no longer admitted".to_owned()),
        };
        let reason = reason.err().unwrap_or_else(|| "closed by the lead".to_owned());
        tracing::info!(node, reason, "session ended");
        drop(self.lead.send(Input::Left { session, node }).await);
    }
}

/// The first two messages of a session: who `node` is, under the name that its key is admitted by, and what
/// it has in force.
async fn hello(node: &str, receiver: &mut Receiver) -> Result<(NodeDescription, InForce), String> {
    let description = match first(receiver).await? {
        UpMessage::Hello { version, .. } if version != VERSION => {
            return Err(format!("speaks version {version}"));
        }
        UpMessage::Hello { node: description, .. } if description.name != node => {
            return Err(format!("calls itself {}", description.name));
        }
        // There is one proxy, and it is here.
        UpMessage::Hello { node: description, .. } => {
            NodeDescription { role: NodeRole::Spoke, ..description }
        }
        _ => return Err("did not say who it is first".to_owned()),
    };
    match first(receiver).await? {
        UpMessage::InForce(in_force) => Ok((description, in_force)),
        _ => Err("did not say what it has in force".to_owned()),
    }
}

/// One of the messages that a session must begin with.
async fn first(receiver: &mut Receiver) -> Result<UpMessage, String> {
    let wire = timeout(HELLO_TIME, receiver.recv()).await.map_err(|_| "did not say who it is".to_owned())?;
    UpMessage::decode(&wire.map_err(|error| chain(&error))?).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use vreserve_core::ids::LinkId;
    use vreserve_core::lead::Attachment;
    use vreserve_core::overlay::PairWay;
    use vreserve_model::MacAddr;

    fn in_force() -> InForce {
        let (source, destination) = (MacAddr([2; 6]), MacAddr([4; 6]));
        let pair = PairWay { source, destination, link: LinkId(7), onward: Some(LinkId(8)) };
        InForce { links: Vec::new(), pairs: vec![pair] }
    }

    /// Says hello to an admission that admits `alpha`, and returns what the lead hears next.
    async fn greet(name: &str, version: u32, node: &KeyPair) -> Option<Input> {
        let proxy = KeyPair::generate();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lead, mut inputs) = mpsc::channel(4);
        let admit = vec![Admitted { name: "alpha".into(), public_key: node.public }];
        let (_list, admit) = watch::channel(admit);
        let admission = Admission { keys: proxy.clone(), name: "hub".into(), admit, lead };
        let serving = tokio::spawn(admission.run(listener));
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, mut receiver) = session::connect(stream, node, proxy.public).await.unwrap();
        let description = NodeDescription {
            name: name.into(),
            role: NodeRole::Proxy,
            star: Attachment { endpoint: "internet".into(), address: "192.0.2.2:4789".into() },
            networks: BTreeMap::new(),
        };
        sender.send(&UpMessage::Hello { version, node: description }.encode()).await.unwrap();
        let _ended = sender.send(&UpMessage::InForce(in_force()).encode()).await;
        // Either a welcome, which is said after the lead was told, or the end of the session.
        let heard = match receiver.recv().await {
            Ok(_welcome) => inputs.recv().await,
            Err(_) => None,
        };
        serving.abort();
        heard
    }

    #[tokio::test]
    async fn an_admitted_node_joins_and_cannot_call_itself_the_proxy() {
        let keys = KeyPair::generate();
        let Some(Input::Joined { node, key, in_force: heard, .. }) = greet("alpha", VERSION, &keys).await
        else {
            panic!("it may join");
        };
        assert_eq!((node.name.as_str(), node.role), ("alpha", NodeRole::Spoke));
        assert_eq!(key, keys.public, "the lead hears the key that was proved");
        assert_eq!(heard, in_force(), "and what the node has in force, with it");
    }

    #[tokio::test]
    async fn another_name_or_version_is_no_way_in() {
        let keys = KeyPair::generate();
        assert!(greet("beta", VERSION, &keys).await.is_none());
        assert!(greet("alpha", VERSION + 1, &keys).await.is_none());
    }
}
