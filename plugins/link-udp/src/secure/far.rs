//! A far node: its sessions, and the handshake that this node is making with it.
//!
//! Per pair of lanes there are up to three sessions: the current one, which sends; the previous one, on which
//! datagrams may still be on their way; and the next one, which this node has answered but not yet heard from.
//! The first authentic datagram of the next one makes it current, so nothing is ever sealed with keys that
//! the far node might not have, and a change of keys loses nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use snow::HandshakeState;

use super::cookie::{Door, Mac};
use super::gate::USE_COOKIE_FOR;
use super::index::Indices;
use super::lanes::Lane;
use super::pmtu::{PathLimits, PathMtu};
use super::session::{EXPIRE_AFTER, Session};
use super::wire::COOKIE;

/// The first initiation is sent again after this time, later ones after twice as long each, up to `SLOWEST`.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const SLOWEST: Duration = Duration::from_secs(5);
/// For so long the first initiation of the node with the greater key goes before that of the other.
const PRECEDENCE: Duration = Duration::from_millis(300);
/// After an answer the far node has so long to use the session, before this node starts a handshake itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// Initiations of one lane of a far node are answered at most that often.
pub(super) const LEAST_INTERVAL: Duration = Duration::from_millis(50);

/// The sessions with one lane of a far node, by index.
#[derive(Debug, Default)]
pub(super) struct Peering {
    pub(super) current: Option<u32>,
    pub(super) previous: Option<u32>,
    pub(super) next: Option<u32>,
}

impl Peering {
    /// This node's handshake was answered: sends on the new session from now on.
    pub(super) fn establish(&mut self, index: u32, indices: &mut Indices) {
        if let Some(old) = std::mem::replace(&mut self.previous, self.current.replace(index)) {
            indices.remove(old);
        }
    }

    /// This node has answered a handshake: waits for the far node to use the session.
    pub(super) fn expect(&mut self, index: u32, indices: &mut Indices) {
        if let Some(old) = self.next.replace(index) {
            indices.remove(old);
        }
    }

    /// The far node uses this session: if it was the next, it is the current now.
    pub(super) fn confirm(&mut self, index: u32, indices: &mut Indices) {
        if self.next == Some(index) {
            self.next = None;
            self.establish(index, indices);
        }
    }

    fn slots(&mut self) -> [&mut Option<u32>; 3] {
        [&mut self.current, &mut self.previous, &mut self.next]
    }

    /// Wipes sessions whose time is over.
    fn expire(&mut self, now: Instant, indices: &mut Indices) {
        for slot in self.slots() {
            if let Some(index) = *slot
                && indices.session(index).is_none_or(|session| !session.is_alive(now))
            {
                indices.remove(index);
                *slot = None;
            }
        }
    }

    fn clear(&mut self, indices: &mut Indices) {
        self.slots().into_iter().filter_map(Option::take).for_each(|index| indices.remove(index));
    }

    /// When something is due: the oldest session's end, the current one's keep-alive.
    fn due(&mut self, indices: &Indices) -> Option<Instant> {
        let keepalive = self.current.and_then(|index| indices.session(index)).map(Session::keepalive_at);
        let ends = self.slots().into_iter().filter_map(|slot| indices.session((*slot)?));
        ends.map(|session| session.established + EXPIRE_AFTER).chain(keepalive).min()
    }
}

/// A handshake that waits for its answer.
pub(super) struct Pending {
    pub(super) state: HandshakeState,
    pub(super) index: u32,
    /// The initiation's, to which a cookie is bound.
    pub(super) mac1: Mac,
    /// The initiation had a cookie.
    pub(super) had_cookie: bool,
}

/// This node's attempts at a handshake.
pub(super) struct Attempt {
    pub(super) pending: Option<Pending>,
    /// Initiations sent since the last success.
    sent: u32,
    first: Option<Instant>,
    /// Not before.
    pub(super) at: Instant,
}

impl Attempt {
    fn new(now: Instant) -> Self {
        Attempt { pending: None, sent: 0, first: None, at: now }
    }

    /// Notes an initiation; `jitter` of 0 to 255 spreads nodes that started together over a quarter of the pause.
    pub(super) fn note_sent(&mut self, now: Instant, pending: Pending, jitter: u8) {
        self.pending = Some(pending);
        self.first.get_or_insert(now);
        let pause = FIRST_RETRY.saturating_mul(1 << self.sent.min(5)).min(SLOWEST);
        self.at = now + pause + pause * u32::from(jitter) / 1024;
        self.sent += 1;
    }

    /// A session exists: the next attempt is for its successor.
    pub(super) fn succeed(&mut self, now: Instant, indices: &mut Indices) {
        self.cancel(indices);
        *self = Attempt::new(now);
    }

    /// Forgets the handshake that waits.
    pub(super) fn cancel(&mut self, indices: &mut Indices) {
        if let Some(pending) = self.pending.take() {
            indices.remove(pending.index);
        }
    }

    /// Whether a handshake of this node is under way that goes before the far node's.
    fn has_precedence(&self, now: Instant) -> bool {
        self.pending.is_some() && self.first.is_some_and(|first| now < first + PRECEDENCE)
    }
}

/// The newest initiation of one lane of a far node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) timestamp: u64,
    pub(super) at: Instant,
}

/// A far node.
pub(super) struct Far {
    pub(super) key: [u8; 32],
    pub(super) door: Door,
    pub(super) address: Option<SocketAddr>,
    /// With the counterpart of this node's lane.
    pub(super) primary: Peering,
    /// With other lanes that have started handshakes.
    others: BTreeMap<u8, Peering>,
    pub(super) accepted: BTreeMap<u8, Accepted>,
    pub(super) attempt: Attempt,
    cookie: Option<([u8; COOKIE], Instant)>,
    pub(super) path: PathMtu,
}

impl Far {
    pub(super) fn new(key: [u8; 32], address: Option<SocketAddr>, limits: PathLimits, now: Instant) -> Self {
        Far {
            key,
            door: Door::of(&key),
            address,
            primary: Peering::default(),
            others: BTreeMap::new(),
            accepted: BTreeMap::new(),
            attempt: Attempt::new(now),
            cookie: None,
            path: PathMtu::new(limits, now),
        }
    }

    /// The sessions with this lane of the far node.
    pub(super) fn peering(&mut self, far: Lane, own: Lane) -> &mut Peering {
        if own.is_counterpart_of(far) {
            &mut self.primary
        } else {
            self.others.entry(far.index()).or_default()
        }
    }

    pub(super) fn peerings(&mut self) -> impl Iterator<Item = &mut Peering> {
        std::iter::once(&mut self.primary).chain(self.others.values_mut())
    }

    /// The session to send on.
    #[inline]
    pub(super) fn sending(&self) -> Option<u32> {
        self.primary.current.or_else(|| self.others.values().find_map(|peering| peering.current))
    }

    /// Whether this node's own handshake goes before the one that the far node has just begun. Else both
    /// would be answered, and each node might send on another session.
    pub(super) fn goes_first(&self, now: Instant, own_key: &[u8; 32]) -> bool {
        *own_key > self.key && self.attempt.has_precedence(now)
    }

    /// An initiation of the far node was answered: its handshake is the one that counts.
    pub(super) fn yield_to_far(&mut self, now: Instant, own_key: &[u8; 32], indices: &mut Indices) {
        if *own_key < self.key {
            self.attempt.cancel(indices);
        }
        self.attempt.at = self.attempt.at.max(now + PATIENCE);
    }

    /// The far node wants this cookie. The initiation is sent again at once, unless it had one: a far node that
    /// is not content with its own cookie must not set the pace.
    pub(super) fn set_cookie(&mut self, cookie: [u8; COOKIE], now: Instant) {
        self.cookie = Some((cookie, now + USE_COOKIE_FOR));
        if self.attempt.pending.as_ref().is_some_and(|pending| !pending.had_cookie) {
            self.attempt.at = now;
        }
    }

    pub(super) fn cookie(&self, now: Instant) -> Option<&[u8; COOKIE]> {
        self.cookie.as_ref().filter(|(_, until)| now < *until).map(|(cookie, _)| cookie)
    }

    /// When an initiation is due; `None` if the far node must come first.
    pub(super) fn initiation_at(&self, indices: &Indices) -> Option<Instant> {
        self.address?;
        let rekey = self.primary.current.and_then(|index| indices.session(index)).map(Session::rekey_at);
        Some(rekey.map_or(self.attempt.at, |rekey| rekey.max(self.attempt.at)))
    }

    /// Wipes sessions whose time is over.
    pub(super) fn expire(&mut self, now: Instant, indices: &mut Indices) {
        self.peerings().for_each(|peering| peering.expire(now, indices));
    }

    /// Forgets everything that has an index.
    pub(super) fn clear(&mut self, indices: &mut Indices) {
        self.attempt.cancel(indices);
        self.peerings().for_each(|peering| peering.clear(indices));
    }

    /// When something is due next.
    pub(super) fn due(&mut self, now: Instant, indices: &Indices) -> Option<Instant> {
        let probe = self.sending().map(|_| self.path.poll_at().unwrap_or(now));
        let initiation = self.initiation_at(indices);
        self.peerings().filter_map(|peering| peering.due(indices)).chain(probe).chain(initiation).min()
    }
}
