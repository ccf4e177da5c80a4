//! The proof that each end of a TLS connection holds its node's static key (X25519): Noise IK inside the connection,
//! through the crate snow. Pure.
//!
//! ```text
//!  dials    ── 96 bytes: ephemeral, its static key sealed, empty payload ──▶  admitted? else the connection is closed
//!           ◀── 48 bytes: ephemeral, empty payload ─────────────────────────
//!           ── 16 bytes: an empty message under the session's key ─────────▶  proved
//! ```
//! The prologue holds what only this connection has (`tls`), so that nobody can carry a proof from one connection to
//! another: a man in the middle of TLS ends up with two connections and a proof that fits neither. The third message is
//! there because the first alone could be made by whoever has stolen the listening node's key.

use snow::{Builder, HandshakeState, TransportState};
use zeroize::Zeroizing;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const CONTEXT: &[u8] = b"vreserve link-tcp 1";
const OPENING: usize = 96;
const ANSWER: usize = 48;
const CONFIRMATION: usize = 16;

/// This node's static key.
pub(crate) struct Identity {
    secret: Zeroizing<[u8; 32]>,
}

/// One end's proof, as far as it has come.
pub(crate) struct Proof {
    state: State,
}

enum State {
    /// Has sent the opening.
    Opened(Box<HandshakeState>),
    /// Waits for the opening.
    Awaiting(Box<HandshakeState>),
    /// Has answered, and knows whose key it is if the confirmation is right.
    Answered(Box<TransportState>, [u8; 32]),
    Over,
}

/// What a message led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// To be sent.
    pub(crate) reply: Vec<u8>,
    /// The far end's key, once it is proved.
    pub(crate) proved: Option<[u8; 32]>,
}

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unproved {
    /// The message is not one that the right node would have sent.
    Forged,
    /// It holds a key that is nobody's here.
    Stranger,
}

impl From<snow::Error> for Unproved {
    fn from(_: snow::Error) -> Self {
        Unproved::Forged
    }
}

impl Identity {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Identity { secret: Zeroizing::new(secret) }
    }

    fn builder<'a>(&'a self, prologue: &'a [u8]) -> Result<Builder<'a>, snow::Error> {
        let pattern = PATTERN.parse().expect("the pattern is well formed");
        Builder::new(pattern).prologue(prologue)?.local_private_key(self.secret.as_slice())
    }
}

impl Proof {
    /// The dialling end's, and its first message. `binding` is what only this connection has.
    ///
    /// # Errors
    /// `Forged` if the far node's key is none.
    pub(crate) fn open(
        identity: &Identity,
        far_key: &[u8; 32],
        binding: &[u8],
    ) -> Result<(Self, Vec<u8>), Unproved> {
        let prologue = [CONTEXT, binding].concat();
        let mut state = identity.builder(&prologue)?.remote_public_key(far_key)?.build_initiator()?;
        let message = written(OPENING, |message| state.write_message(&[], message))?;
        Ok((Proof { state: State::Opened(Box::new(state)) }, message))
    }

    /// The listening end's.
    ///
    /// # Errors
    /// `Forged` if this node's own key is none.
    pub(crate) fn await_opening(identity: &Identity, binding: &[u8]) -> Result<Self, Unproved> {
        let prologue = [CONTEXT, binding].concat();
        let state = identity.builder(&prologue)?.build_responder()?;
        Ok(Proof { state: State::Awaiting(Box::new(state)) })
    }

    /// Bytes of the message that comes next.
    pub(crate) fn next_length(&self) -> usize {
        match self.state {
            State::Opened(_) => ANSWER,
            State::Awaiting(_) => OPENING,
            State::Answered(..) => CONFIRMATION,
            State::Over => usize::MAX,
        }
    }

    /// Reads a message of `next_length` bytes. Nothing is answered to a key that `is_admitted` does not know.
    ///
    /// # Errors
    /// Why there is no proof; the connection is to be closed.
    pub(crate) fn handle(
        &mut self,
        message: &[u8],
        is_admitted: impl FnOnce(&[u8; 32]) -> bool,
    ) -> Result<Progress, Unproved> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Awaiting(mut state) => {
                state.read_message(message, &mut [])?;
                let key = remote(state.get_remote_static())?;
                if !is_admitted(&key) {
                    return Err(Unproved::Stranger);
                }
                let reply = written(ANSWER, |reply| state.write_message(&[], reply))?;
                self.state = State::Answered(Box::new(state.into_transport_mode()?), key);
                Ok(Progress { reply, proved: None })
            }
            State::Opened(mut state) => {
                state.read_message(message, &mut [])?;
                let key = remote(state.get_remote_static())?;
                let mut state = state.into_transport_mode()?;
                let reply = written(CONFIRMATION, |reply| state.write_message(&[], reply))?;
                Ok(Progress { reply, proved: Some(key) })
            }
            State::Answered(mut state, key) => {
                state.read_message(message, &mut [])?;
                Ok(Progress { reply: Vec::new(), proved: Some(key) })
            }
            State::Over => Err(Unproved::Forged),
        }
    }
}

fn remote(key: Option<&[u8]>) -> Result<[u8; 32], Unproved> {
    key.and_then(|key| key.try_into().ok()).ok_or(Unproved::Forged)
}

fn written(
    length: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, snow::Error>,
) -> Result<Vec<u8>, Unproved> {
    let mut message = vec![0; length];
    let written = write(&mut message)?;
    if written == length { Ok(message) } else { Err(Unproved::Forged) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snow::params::DHChoice;
    use snow::resolvers::{CryptoResolver, DefaultResolver};

    /// A node and its public key.
    fn node(seed: u8) -> (Identity, [u8; 32]) {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        dh.set(&[seed; 32]);
        (Identity::new([seed; 32]), dh.pubkey().try_into().unwrap())
    }

    #[test]
    fn both_ends_know_each_other_after_three_messages() {
        let ((a, a_key), (b, b_key)) = (node(1), node(2));
        let (mut dials, opening) = Proof::open(&a, &b_key, b"one connection").unwrap();
        let mut listens = Proof::await_opening(&b, b"one connection").unwrap();
        assert_eq!((opening.len(), listens.next_length()), (OPENING, OPENING));
        let answer = listens.handle(&opening, |key| *key == a_key).unwrap();
        assert_eq!((answer.proved, answer.reply.len()), (None, dials.next_length()));
        let confirmation = dials.handle(&answer.reply, |_| unreachable!("it chose whom to dial")).unwrap();
        assert_eq!((confirmation.proved, confirmation.reply.len()), (Some(b_key), listens.next_length()));
        let over = listens.handle(&confirmation.reply, |_| unreachable!("it was asked")).unwrap();
        assert_eq!(over, Progress { reply: vec![], proved: Some(a_key) });
    }

    #[test]
    fn a_proof_holds_for_its_connection_and_its_node_only() {
        let ((a, _), (b, b_key), (c, _)) = (node(1), node(2), node(3));
        let (_, opening) = Proof::open(&a, &b_key, b"one connection").unwrap();
        let forged = |node: &Identity, binding: &[u8]| {
            Proof::await_opening(node, binding).unwrap().handle(&opening, |_| true).unwrap_err()
        };
        assert_eq!(
            forged(&b, b"another connection"),
            Unproved::Forged,
            "carried over by a man in the middle"
        );
        assert_eq!(forged(&c, b"one connection"), Unproved::Forged, "it was meant for another node");
        let mut listens = Proof::await_opening(&b, b"one connection").unwrap();
        assert_eq!(listens.handle(&opening, |_| false).unwrap_err(), Unproved::Stranger);
        assert_eq!(listens.handle(&opening, |_| true).unwrap_err(), Unproved::Forged, "it is over");
    }

    #[test]
    fn an_opening_alone_proves_nothing() {
        let ((a, _), (b, b_key)) = (node(1), node(2));
        let (_, opening) = Proof::open(&a, &b_key, b"x").unwrap();
        let mut listens = Proof::await_opening(&b, b"x").unwrap();
        assert_eq!(listens.handle(&opening, |_| true).unwrap().proved, None);
        assert_eq!(listens.handle(&[0; CONFIRMATION], |_| true).unwrap_err(), Unproved::Forged);
    }
}
