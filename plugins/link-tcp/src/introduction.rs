//! How a connection comes to belong to a far node: TLS and the proof of both keys, or in clear text a greeting.
//!
//! Nothing is said to anybody who is no far node: sealed, not before a knock, and behind TLS not before the proof; in
//! clear text, not before a greeting from an address that is known.

use std::net::SocketAddr;
use std::sync::Arc;

use vreserve_sdk::{Failure, Identity};

use crate::channel::Channel;
use crate::counters::Ended;
use crate::fars::Fars;
use crate::inbox::Inbox;
use crate::knock::Knock;
use crate::outbox::Outbox;
use crate::proof::{self, Proof, Unproved};
use crate::tls::Tls;

const GREETING: usize = 16;
/// What both ends begin with in clear text; the port that the node listens on follows.
const MAGIC: [u8; GREETING - 2] = *b"vreserve tcp 1";
/// Room for whatever an introduction reads.
pub(crate) const INBOX: usize = 4096;

/// What this node shows of itself.
pub(crate) enum Credentials {
    /// By its key.
    Secure { tls: Tls, identity: proof::Identity, knock: Arc<Knock> },
    /// By the port that it listens on.
    Clear { port: u16 },
}

/// How far an introduction has come.
pub(crate) enum Introduction {
    /// The far end's greeting is awaited.
    Greeting,
    /// TLS is shaking hands.
    Securing,
    /// The keys are being proved.
    Proving(Proof),
}

/// The connection that is introduced.
pub(crate) struct Party<'a> {
    pub(crate) channel: &'a mut Channel,
    pub(crate) inbox: &'a mut Inbox,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) peer: SocketAddr,
    /// The far node that this node has dialled, if it has.
    pub(crate) dialled: Option<u32>,
}

impl From<Unproved> for Ended {
    fn from(unproved: Unproved) -> Self {
        match unproved {
            Unproved::Forged => Ended::Forged,
            Unproved::Stranger => Ended::Stranger,
        }
    }
}

impl Credentials {
    /// With the node's key pair.
    ///
    /// # Errors
    /// `Internal` if the library cannot make a key.
    pub(crate) fn secure(identity: Identity) -> Result<Self, Failure> {
        let tls = Tls::new().map_err(|error| Failure::internal(format!("TLS: {error}")))?;
        let knock = Arc::new(Knock::on(&identity.public));
        Ok(Credentials::Secure { tls, identity: proof::Identity::new(identity.secret), knock })
    }

    fn greeting(port: u16) -> [u8; GREETING] {
        let mut greeting = [0; GREETING];
        greeting[..MAGIC.len()].copy_from_slice(&MAGIC);
        greeting[MAGIC.len()..].copy_from_slice(&port.to_be_bytes());
        greeting
    }
}

impl Introduction {
    /// Takes it as far as what has come allows; returns the far node once both ends know each other.
    ///
    /// # Errors
    /// Why the connection is to be closed, without a word.
    pub(crate) fn advance(
        &mut self,
        party: &mut Party<'_>,
        credentials: &Credentials,
        fars: &Fars,
    ) -> Result<Option<u32>, Ended> {
        match credentials {
            Credentials::Clear { port } => greet(party, *port, fars),
            Credentials::Secure { tls, identity, .. } => {
                if let Introduction::Greeting | Introduction::Securing = self {
                    let Some(session) = party.channel.established() else { return Ok(None) };
                    let binding = tls.binding(session).ok_or(Ended::Forged)?;
                    *self = Introduction::Proving(begin_proof(party, identity, &binding, fars)?);
                }
                let Introduction::Proving(proof) = self else { return Ok(None) };
                prove(proof, party, fars)
            }
        }
    }

    /// What a dialling node says first in clear text.
    pub(crate) fn open_in_clear(credentials: &Credentials, outbox: &mut Outbox) {
        if let Credentials::Clear { port } = credentials {
            outbox.push_own(&Credentials::greeting(*port));
        }
    }
}

fn greet(party: &mut Party<'_>, own_port: u16, fars: &Fars) -> Result<Option<u32>, Ended> {
    let Some(greeting) = party.inbox.filled().first_chunk::<GREETING>() else { return Ok(None) };
    let (magic, port) = greeting.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(Ended::Forged);
    }
    let port = u16::from_be_bytes([port[0], port[1]]);
    party.inbox.consume(GREETING);
    if party.dialled.is_some() {
        return Ok(party.dialled);
    }
    let far = fars.by_address(party.peer.ip(), port).ok_or(Ended::Stranger)?;
    party.outbox.push_own(&Credentials::greeting(own_port));
    Ok(Some(far))
}

fn begin_proof(
    party: &mut Party<'_>,
    identity: &proof::Identity,
    binding: &[u8],
    fars: &Fars,
) -> Result<Proof, Ended> {
    let Some(far) = party.dialled else { return Ok(Proof::await_opening(identity, binding)?) };
    let key = fars.find(far).and_then(|far| far.key).ok_or(Ended::Removed)?;
    let (proof, opening) = Proof::open(identity, &key, binding)?;
    party.outbox.push_own(&opening);
    Ok(proof)
}

fn prove(proof: &mut Proof, party: &mut Party<'_>, fars: &Fars) -> Result<Option<u32>, Ended> {
    loop {
        let length = proof.next_length();
        let Some(message) = party.inbox.filled().get(..length) else { return Ok(None) };
        let progress = proof.handle(message, |key| fars.by_key(key).is_some())?;
        party.inbox.consume(length);
        if !progress.reply.is_empty() {
            party.outbox.push_own(&progress.reply);
        }
        if let Some(key) = progress.proved {
            let far = fars.by_key(&key).ok_or(Ended::Removed)?;
            // Whom we dialled has another key now, as the host says.
            let is_right = party.dialled.is_none_or(|dialled| dialled == far);
            return if is_right { Ok(Some(far)) } else { Err(Ended::Removed) };
        }
    }
}
