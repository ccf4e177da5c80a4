//! The handshake: Noise IK with the nodes' static keys (X25519), through the crate snow.
//!
//! The initiator knows the responder's key beforehand and proves its own in the first message, encrypted. The
//! front of the initiation is bound into the prologue, and the payloads say lanes and cipher, so nobody on the
//! way can change any of it. The control session has the same pattern (docs/decisions/003-control-session.md);
//! the prologue keeps the two apart.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::SecureDrop;
use super::cipher::{DirectionKey, Preference};
use super::lanes::Lane;
use super::session::Role;
use super::wire::{FRONT, INITIATION_PAYLOAD, NOISE_1, NOISE_2, RESPONSE_PAYLOAD};

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
/// Binds the handshake to this protocol and its version.
const PROLOGUE: &[u8] = b"vreserve link 1";

/// This node's static key pair.
pub(super) struct Identity {
    secret: Zeroizing<[u8; 32]>,
    pub(super) public: [u8; 32],
}

impl Identity {
    pub(super) fn new(secret: [u8; 32], public: [u8; 32]) -> Self {
        Identity { secret: Zeroizing::new(secret), public }
    }
}

/// What an initiator says. Its lane stands in the initiation's front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// Nanoseconds since 1970 by the initiator's clock: greater than in any initiation before.
    pub(super) timestamp: u64,
    /// The initiator's number of lanes.
    pub(super) lanes: u8,
    pub(super) preference: Preference,
}

/// What a responder says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// By which index it knows the session.
    pub(super) index: u32,
    pub(super) lane: Lane,
    pub(super) preference: Preference,
}

impl Opening {
    fn encode(self) -> [u8; INITIATION_PAYLOAD] {
        let mut bytes = [0; INITIATION_PAYLOAD];
        bytes[..8].copy_from_slice(&self.timestamp.to_le_bytes());
        bytes[8] = self.lanes;
        bytes[9] = self.preference as u8;
        bytes
    }

    fn decode(bytes: &[u8; INITIATION_PAYLOAD]) -> Option<Self> {
        let (timestamp, rest) = bytes.split_first_chunk()?;
        let preference = Preference::from_byte(rest[1])?;
        Some(Opening { timestamp: u64::from_le_bytes(*timestamp), lanes: rest[0], preference })
    }
}

impl Answer {
    fn encode(self) -> [u8; RESPONSE_PAYLOAD] {
        let [a, b, c, d] = self.index.to_le_bytes();
        [a, b, c, d, self.lane.index(), self.lane.count(), self.preference as u8, 0]
    }

    fn decode(bytes: &[u8; RESPONSE_PAYLOAD]) -> Option<Self> {
        let (index, rest) = bytes.split_first_chunk()?;
        let lane = Lane::new(rest[0].into(), rest[1].into())?;
        Some(Answer { index: u32::from_le_bytes(*index), lane, preference: Preference::from_byte(rest[2])? })
    }
}

/// Starts a handshake: its state, and the first message. `seed` becomes the ephemeral key.
pub(super) fn initiate(
    identity: &Identity,
    far_key: &[u8; 32],
    front: &[u8; FRONT],
    opening: Opening,
    seed: [u8; 32],
) -> Option<(HandshakeState, [u8; NOISE_1])> {
    let prologue = [PROLOGUE, front].concat();
    let mut state = builder(identity, &prologue, seed)
        .and_then(|builder| builder.remote_public_key(far_key)?.build_initiator())
        .ok()?;
    let mut message = [0; NOISE_1];
    let length = state.write_message(&opening.encode(), &mut message).ok()?;
    (length == NOISE_1).then_some((state, message))
}

/// Reads a first message: the state to answer with, who sent it, and what it says.
pub(super) fn read_initiation(
    identity: &Identity,
    front: &[u8; FRONT],
    message: &[u8],
    seed: [u8; 32],
) -> Result<(HandshakeState, [u8; 32], Opening), SecureDrop> {
    let prologue = [PROLOGUE, front].concat();
    let mut state = builder(identity, &prologue, seed)
        .and_then(|builder| builder.build_responder())
        .map_err(|_| SecureDrop::Forged)?;
    let mut payload = [0; INITIATION_PAYLOAD];
    let length = state.read_message(message, &mut payload).map_err(|_| SecureDrop::Forged)?;
    let opening = Opening::decode(&payload).filter(|_| length == INITIATION_PAYLOAD);
    let key = state.get_remote_static().and_then(|key| key.try_into().ok());
    Ok((state, key.ok_or(SecureDrop::Forged)?, opening.ok_or(SecureDrop::Malformed)?))
}

/// Writes the second message.
pub(super) fn respond(state: &mut HandshakeState, answer: Answer) -> Option<[u8; NOISE_2]> {
    let mut message = [0; NOISE_2];
    let length = state.write_message(&answer.encode(), &mut message).ok()?;
    (length == NOISE_2).then_some(message)
}

/// Reads the second message. A forged one leaves the state as it was.
pub(super) fn read_response(state: &mut HandshakeState, message: &[u8]) -> Result<Answer, SecureDrop> {
    let mut payload = [0; RESPONSE_PAYLOAD];
    let length = state.read_message(message, &mut payload).map_err(|_| SecureDrop::Forged)?;
    Answer::decode(&payload).filter(|_| length == RESPONSE_PAYLOAD).ok_or(SecureDrop::Malformed)
}

/// The keys to seal and open with, of a finished handshake.
pub(super) fn keys(
    state: &mut HandshakeState,
    role: Role,
    cipher: Preference,
) -> (DirectionKey, DirectionKey) {
    let (first, second) = state.dangerously_get_raw_split();
    let (first, second) = (Zeroizing::new(first), Zeroizing::new(second));
    let (of_initiator, of_responder) =
        (DirectionKey::new(cipher, &first), DirectionKey::new(cipher, &second));
    match role {
        Role::Initiator => (of_initiator, of_responder),
        Role::Responder => (of_responder, of_initiator),
    }
}

fn builder<'a>(
    identity: &'a Identity,
    prologue: &'a [u8],
    seed: [u8; 32],
) -> Result<Builder<'a>, snow::Error> {
    let pattern = PATTERN.parse().expect("the pattern is well formed");
    Builder::with_resolver(pattern, Box::new(Seeded(Zeroizing::new(seed))))
        .prologue(prologue)?
        .local_private_key(identity.secret.as_slice())
}

/// snow's primitives, with randomness from us.
struct Seeded(Zeroizing<[u8; 32]>);

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives its bytes once: a handshake draws one ephemeral key. Never the same bytes twice.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        let seed = self.0.take().filter(|seed| seed.len() == bytes.len()).ok_or(snow::Error::Rng)?;
        bytes.copy_from_slice(seed.as_slice());
        Ok(())
    }
}
