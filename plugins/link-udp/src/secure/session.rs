//! A session: two keys, a counter, a replay window, and when what happened last.

use std::time::{Duration, Instant};

use vreserve_sdk::FarId;

use super::SecureDrop;
use super::cipher::DirectionKey;
use super::lanes::Lane;
use super::window::Window;
use super::wire::{HEADER, Kind, OVERHEAD, TAG, counter, front};

/// A session's initiator starts another one at this age, or up to `SPREAD` earlier.
pub(super) const REKEY_AFTER: Duration = Duration::from_secs(120);
const SPREAD: Duration = Duration::from_secs(10);
/// Its responder does, if the initiator has not by then.
pub(super) const RESPONDER_REKEY_AFTER: Duration = Duration::from_secs(135);
/// A session carries nothing at this age.
pub(super) const EXPIRE_AFTER: Duration = Duration::from_secs(180);
/// Datagrams after which another session is started. Far below what AES-GCM bears: 2^28 datagrams of 1,500
/// bytes are 2^35 blocks, which leaves an attacker an advantage of 2^-60.
pub(super) const REKEY_AFTER_DATAGRAMS: u64 = 1 << 28;
/// Datagrams after which a session carries nothing.
pub(super) const EXPIRE_AFTER_DATAGRAMS: u64 = 1 << 30;
/// A session that sends nothing sends a keep-alive, so that address translators on the way remember it.
pub(super) const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// An initiator that has not heard from its new session says again that it is there.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// A session that hears nothing for as long is taken for dead, and another one started.
pub(super) const SILENCE: Duration = Duration::from_secs(25);

/// Which side of the handshake a node was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Initiator,
    Responder,
}

/// What the handshake gave.
pub(super) struct Agreement {
    pub(super) far: FarId,
    pub(super) role: Role,
    /// The far node's index and lane.
    pub(super) far_index: u32,
    pub(super) far_lane: Lane,
    pub(super) seal: DirectionKey,
    pub(super) open: DirectionKey,
}

/// One session, on one lane of each node.
pub(super) struct Session {
    pub(super) agreement: Agreement,
    /// The next datagram's counter.
    pub(super) sent: u64,
    pub(super) window: Window,
    pub(super) established: Instant,
    /// So much earlier its keys are changed: many sessions that began together do not all change at once.
    spread: Duration,
    pub(super) last_sent: Instant,
    /// When an authentic datagram came last, if ever.
    pub(super) last_heard: Option<Instant>,
    /// A keep-alive is due at once: the far node must learn that this session works.
    pub(super) owes_keepalive: bool,
    /// The far node is known to have the keys.
    pub(super) is_confirmed: bool,
}

impl Session {
    /// `spread` is random.
    pub(super) fn new(agreement: Agreement, now: Instant, spread: u8) -> Self {
        let is_initiator = agreement.role == Role::Initiator;
        Session {
            agreement,
            sent: 0,
            window: Window::new(),
            established: now,
            spread: SPREAD * spread.into() / 256,
            last_sent: now,
            last_heard: None,
            owes_keepalive: is_initiator,
            is_confirmed: is_initiator,
        }
    }

    /// Whether it may still carry anything.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        now < self.established + EXPIRE_AFTER && self.sent < EXPIRE_AFTER_DATAGRAMS
    }

    /// When another one is to be started, as things stand.
    pub(super) fn rekey_at(&self) -> Instant {
        if self.sent >= REKEY_AFTER_DATAGRAMS {
            return self.established;
        }
        let age = match self.agreement.role {
            Role::Initiator => REKEY_AFTER,
            Role::Responder => RESPONDER_REKEY_AFTER,
        };
        let silent = self.last_heard.unwrap_or(self.established) + SILENCE;
        (self.established + age - self.spread).min(silent)
    }

    /// When a keep-alive is due.
    pub(super) fn keepalive_at(&self) -> Instant {
        let is_unheard = self.agreement.role == Role::Initiator && self.last_heard.is_none();
        match (self.owes_keepalive, is_unheard) {
            (true, _) => self.last_sent,
            (false, true) => self.last_sent + CONFIRM_EVERY,
            (false, false) => self.last_sent + KEEPALIVE_EVERY,
        }
    }

    /// Notes that datagrams are sent now.
    pub(super) fn note_sent(&mut self, now: Instant) {
        self.last_sent = now;
        self.owes_keepalive = false;
    }

    /// The header of the next datagram, and its counter.
    #[inline]
    pub(super) fn next_header(&mut self, kind: Kind) -> (u64, [u8; HEADER]) {
        let counter = self.sent;
        self.sent += 1;
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&front(kind, self.agreement.far_lane.index(), self.agreement.far_index));
        header[8..].copy_from_slice(&counter.to_le_bytes());
        (counter, header)
    }

    /// Seals the text that lies in `datagram` between room for the header and room for the tag.
    #[inline]
    pub(super) fn seal(&mut self, kind: Kind, datagram: &mut [u8]) {
        let (counter, header) = self.next_header(kind);
        let (front, rest) = datagram.split_at_mut(HEADER);
        front.copy_from_slice(&header);
        let (text, tag) = rest.split_at_mut(rest.len() - TAG);
        self.agreement.seal.seal(counter, &header, text, tag);
    }

    /// Opens a datagram of at least `OVERHEAD` bytes in place; the text lies between header and tag.
    #[inline]
    pub(super) fn open(&mut self, datagram: &mut [u8]) -> Result<(), SecureDrop> {
        let counter = self.admit(datagram)?;
        let (header, sealed) = datagram.split_at_mut(HEADER);
        self.agreement.open.open(counter, header, sealed)?;
        self.window.mark(counter);
        Ok(())
    }

    /// Opens a datagram of at least `OVERHEAD` bytes into `text`; returns the text's length.
    #[inline]
    pub(super) fn open_into(&mut self, datagram: &[u8], text: &mut [u8]) -> Result<usize, SecureDrop> {
        let counter = self.admit(datagram)?;
        let (header, sealed) = datagram.split_at(HEADER);
        let length = datagram.len() - OVERHEAD;
        let text = text.get_mut(..length).ok_or(SecureDrop::Malformed)?;
        self.agreement.open.open_into(counter, header, sealed, text)?;
        self.window.mark(counter);
        Ok(length)
    }

    /// What can be said before the cipher is asked.
    #[inline]
    fn admit(&self, datagram: &[u8]) -> Result<u64, SecureDrop> {
        let counter = counter(datagram);
        if counter >= EXPIRE_AFTER_DATAGRAMS {
            return Err(SecureDrop::Expired);
        }
        self.window.check(counter).map(|()| counter)
    }
}
