//! One worker's secure endpoint: who its far nodes are, and what its owner calls.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vreserve_sdk::{Failure, FarId};
use zeroize::Zeroize;

use super::cipher::Preference;
use super::cookie::Door;
use super::entropy::{self, Entropy};
use super::far::Far;
use super::gate::Gate;
use super::handshake::Identity;
use super::index::Indices;
use super::lanes::Lane;
use super::pmtu::{PathLimits, PathMtu};
use super::wire::{INITIATION, OVERHEAD};

/// Replies that wait to be sent; more are not made.
const OUTBOX: usize = 256;
/// Events that wait to be read; older ones are forgotten.
const EVENTS: usize = 1024;

/// What an endpoint is, for good.
#[derive(Clone)]
pub struct Setup {
    /// The node's private key (X25519).
    pub secret: [u8; 32],
    /// The node's public key.
    pub public: [u8; 32],
    /// Which of the node's workers this is.
    pub lane: Lane,
    /// Which cipher it would rather use.
    pub preference: Preference,
    /// How large its datagrams may be.
    pub limits: PathLimits,
    /// The time.
    pub now: Instant,
    /// The same time since 1970. A node whose clock went back is answered again once it has caught up;
    /// until then its far nodes start the handshakes.
    pub since_1970: Duration,
}

/// Something that the operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Frames can be sent to this far node.
    Up(FarId),
    /// They no longer can.
    Down(FarId),
    /// The far node has another address.
    Moved(FarId, SocketAddr),
    /// The largest frame that the path to the far node takes has changed.
    LargestFrame(FarId, usize),
}

/// A datagram that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// Its length.
    pub length: usize,
    /// The far node that it is for, unless its sender is not one yet; name it to [`Secure::handle_refusal`].
    pub far: Option<FarId>,
}

/// A short datagram that waits to be sent.
pub(super) struct Reply {
    pub(super) to: SocketAddr,
    pub(super) bytes: [u8; INITIATION],
    pub(super) length: usize,
}

/// An authentic datagram said something new of its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    pub(super) index: u32,
    pub(super) source: SocketAddr,
}

/// One worker's secure endpoint.
pub struct Secure {
    pub(super) identity: Identity,
    pub(super) door: Door,
    pub(super) lane: Lane,
    pub(super) preference: Preference,
    limits: PathLimits,
    began: Instant,
    began_since_1970: Duration,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) fars: BTreeMap<FarId, Far>,
    pub(super) keys: BTreeMap<[u8; 32], FarId>,
    pub(super) indices: Indices,
    pub(super) gate: Gate,
    pub(super) outbox: VecDeque<Reply>,
    events: VecDeque<Event>,
    pub(super) news: Option<News>,
    /// Nothing is due before.
    pub(super) due: Instant,
    /// The far node that `poll` goes on with.
    pub(super) at: Option<FarId>,
}

impl Secure {
    /// An endpoint without far nodes.
    pub fn new(mut setup: Setup, mut entropy: Box<dyn Entropy>) -> Self {
        let identity = Identity::new(setup.secret, setup.public);
        setup.secret.zeroize();
        Secure {
            identity,
            door: Door::of(&setup.public),
            lane: setup.lane,
            preference: setup.preference,
            limits: setup.limits,
            began: setup.now,
            began_since_1970: setup.since_1970,
            gate: Gate::new(setup.now, entropy.as_mut()),
            entropy,
            fars: BTreeMap::new(),
            keys: BTreeMap::new(),
            indices: Indices::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            news: None,
            due: setup.now,
            at: None,
        }
    }

    /// Admits a far node. With an address, handshakes with it are made from now on, and a session is kept;
    /// without one, the far node must come first.
    ///
    /// # Errors
    /// `Invalid` if the number or key is taken, or the key cannot be a far node's.
    pub fn add_far(
        &mut self,
        now: Instant,
        far: FarId,
        key: [u8; 32],
        address: Option<SocketAddr>,
    ) -> Result<(), Failure> {
        if key == self.identity.public || key == [0; 32] {
            return Err(Failure::invalid("key", "the key is this node's own, or none"));
        }
        if self.fars.contains_key(&far) {
            return Err(Failure::invalid("address", format!("far node {} is admitted already", far.0)));
        }
        if let Some(other) = self.keys.get(&key) {
            return Err(Failure::invalid(
                "key",
                format!("the key is admitted already, as far node {}", other.0),
            ));
        }
        self.keys.insert(key, far);
        self.fars.insert(far, Far::new(key, address, self.limits, now));
        self.wake(now);
        Ok(())
    }

    /// Forgets a far node and wipes its keys; unknown numbers are ignored.
    pub fn remove_far(&mut self, far: FarId) {
        if let Some(mut gone) = self.fars.remove(&far) {
            gone.clear(&mut self.indices);
            self.keys.remove(&gone.key);
        }
    }

    /// Whether frames can be sent to this far node.
    pub fn is_up(&self, far: FarId) -> bool {
        self.fars.get(&far).is_some_and(|far| far.sending().is_some())
    }

    /// The largest frame that the path to this far node takes, as far as is known.
    pub fn largest_frame(&self, far: FarId) -> Option<usize> {
        self.fars.get(&far).map(|far| far.path.largest() - OVERHEAD)
    }

    /// The system refused a datagram of `length` bytes to this far node as too large (EMSGSIZE).
    pub fn handle_refusal(&mut self, now: Instant, far: FarId, length: usize) {
        self.on_path(far, |path| path.handle_refusal(now, length));
        self.wake(now);
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn tell(&mut self, event: Event) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Does something to a far node's path, and tells of a change.
    pub(super) fn on_path<T>(&mut self, id: FarId, act: impl FnOnce(&mut PathMtu) -> T) -> Option<T> {
        let far = self.fars.get_mut(&id)?;
        let before = far.path.largest();
        let given = act(&mut far.path);
        let after = far.path.largest();
        if before != after {
            self.tell(Event::LargestFrame(id, after - OVERHEAD));
        }
        Some(given)
    }

    /// Puts a short datagram into the outbox, if there is room.
    pub(super) fn reply(&mut self, to: SocketAddr, datagram: &[u8]) {
        if self.outbox.len() < OUTBOX {
            let mut bytes = [0; INITIATION];
            bytes[..datagram.len()].copy_from_slice(datagram);
            self.outbox.push_back(Reply { to, bytes, length: datagram.len() });
        }
    }

    /// Something may be due at that time.
    pub(super) fn wake(&mut self, at: Instant) {
        self.due = self.due.min(at);
    }

    /// The upper half of a new index.
    pub(super) fn random_half(&mut self) -> u16 {
        u16::from_le_bytes(entropy::bytes(self.entropy.as_mut()))
    }

    /// The time that initiations carry, in nanoseconds since 1970.
    pub(super) fn timestamp(&self, now: Instant) -> u64 {
        let since_1970 = self.began_since_1970 + now.saturating_duration_since(self.began);
        u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes in what authentic datagrams have said since the last call.
    #[inline]
    pub(super) fn settle(&mut self, now: Instant) {
        if let Some(news) = self.news.take() {
            self.take_in(now, news);
        }
    }

    #[cold]
    pub(super) fn take_in(&mut self, now: Instant, news: News) {
        let Some(session) = self.indices.session_mut(news.index) else { return };
        let (id, far_lane) = (session.agreement.far, session.agreement.far_lane);
        if !std::mem::replace(&mut session.is_confirmed, true) {
            session.owes_keepalive = true;
        }
        let was_up = self.is_up(id);
        if let Some(far) = self.fars.get_mut(&id) {
            let before = far.primary.current;
            far.peering(far_lane, self.lane).confirm(news.index, &mut self.indices);
            if far.primary.current != before {
                far.attempt.succeed(now, &mut self.indices);
            }
        }
        self.note_up(now, id, was_up);
        self.relocate(now, id, news.source);
    }

    /// Tells if a far node is up that was not before; its path is then looked at anew.
    pub(super) fn note_up(&mut self, now: Instant, far: FarId, was_up: bool) {
        if !was_up && self.is_up(far) {
            self.on_path(far, |path| path.restart(now));
            self.tell(Event::Up(far));
        }
        self.wake(now);
    }

    /// A far node has shown that it sends from `source`.
    pub(super) fn relocate(&mut self, now: Instant, id: FarId, source: SocketAddr) {
        let Some(far) = self.fars.get_mut(&id) else { return };
        if far.address.replace(source) != Some(source) {
            self.on_path(id, |path| path.restart(now));
            self.tell(Event::Moved(id, source));
            self.wake(now);
        }
    }
}
