//! Sealing and opening frames: the fast path. No allocation, no lock, no clock.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use vreserve_sdk::FarId;

use super::SecureDrop;
use super::protocol::{News, Secure};
use super::session::{REKEY_AFTER_DATAGRAMS, Session};
use super::wire::{HEADER, Kind, OVERHEAD, TAG, index};

/// Seals frames for one far node. Taken once per far node and batch.
pub struct Sealer<'a> {
    session: &'a mut Session,
    address: SocketAddr,
    largest_frame: usize,
}

impl Sealer<'_> {
    /// Where the datagrams go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The largest frame that the path takes, as far as is known.
    pub fn largest_frame(&self) -> usize {
        self.largest_frame
    }

    /// Writes the datagram of one frame, of which `head` and `payload` are the parts, to the front of `out`,
    /// and returns its length: that of the frame and `OVERHEAD`.
    ///
    /// # Panics
    /// If `out` is shorter.
    #[inline]
    pub fn seal(&mut self, head: &[u8], payload: &[u8], out: &mut [u8]) -> usize {
        let length = head.len() + payload.len() + OVERHEAD;
        let datagram = &mut out[..length];
        let (text, payload_room) = datagram[HEADER..length - TAG].split_at_mut(head.len());
        text.copy_from_slice(head);
        payload_room.copy_from_slice(payload);
        self.session.seal(Kind::Data, datagram);
        length
    }

    /// Makes a datagram of the frame that lies in it: `HEADER` bytes of room, the frame, `TAG` bytes of room.
    ///
    /// # Panics
    /// If it is shorter than `OVERHEAD`.
    #[inline]
    pub fn seal_in_place(&mut self, datagram: &mut [u8]) {
        self.session.seal(Kind::Data, datagram);
    }
}

/// Opens data datagrams of one session that came from one address. Taken once per run of them.
pub struct Opener<'a> {
    session: &'a mut Session,
    news: &'a mut Option<News>,
    index: u32,
    source: SocketAddr,
    /// The source is not the far node's address as it is known.
    has_moved: bool,
    /// An authentic datagram was opened.
    has_heard: bool,
    now: Instant,
}

impl Opener<'_> {
    /// The far node that sends on this session.
    pub fn far(&self) -> FarId {
        self.session.agreement.far
    }

    /// Whether a datagram is this session's; if not, another opener must be asked for.
    #[inline]
    pub fn serves(&self, datagram: &[u8]) -> bool {
        Kind::of(datagram) == Some(Kind::Data) && index(datagram) == self.index
    }

    /// Opens a datagram that [`Opener::serves`] is true for into the front of `frame`, and returns the frame's
    /// length: that of the datagram less `OVERHEAD`.
    ///
    /// # Errors
    /// The name under which it is dropped. `frame` holds nothing of use then.
    #[inline]
    pub fn open_into(&mut self, datagram: &[u8], frame: &mut [u8]) -> Result<usize, SecureDrop> {
        if !self.serves(datagram) {
            return Err(SecureDrop::UnknownIndex);
        }
        let length = self.session.open_into(datagram, frame)?;
        self.note_heard();
        Ok(length)
    }

    /// Opens a datagram in place, and returns where the frame lies.
    ///
    /// # Errors
    /// The name under which it is dropped. The datagram's bytes are then of no use.
    #[inline]
    pub fn open_in_place(&mut self, datagram: &mut [u8]) -> Result<Range<usize>, SecureDrop> {
        if !self.serves(datagram) {
            return Err(SecureDrop::UnknownIndex);
        }
        self.session.open(datagram)?;
        self.note_heard();
        Ok(HEADER..datagram.len() - TAG)
    }

    #[inline]
    fn note_heard(&mut self) {
        if !self.has_heard {
            self.has_heard = true;
            self.session.last_heard = Some(self.now);
            if self.has_moved || !self.session.is_confirmed {
                *self.news = Some(News { index: self.index, source: self.source });
            }
        }
    }
}

impl Secure {
    /// What seals frames for this far node; `None` if there is no session with it, or nobody knows where it
    /// is. A handshake is then under way.
    #[inline]
    pub fn sealer(&mut self, now: Instant, far: FarId) -> Option<Sealer<'_>> {
        self.settle(now);
        let far = self.fars.get(&far)?;
        let (index, address) = (far.sending()?, far.address?);
        let session = self.indices.session_mut(index)?;
        if !session.is_alive(now) {
            return None;
        }
        if session.sent >= REKEY_AFTER_DATAGRAMS {
            self.due = self.due.min(now);
        }
        session.note_sent(now);
        Some(Sealer { session, address, largest_frame: far.path.largest() - OVERHEAD })
    }

    /// What opens the data datagrams that came from `source` on the session of `datagram`.
    ///
    /// # Errors
    /// The name under which the datagram is dropped.
    #[inline]
    pub fn opener(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<Opener<'_>, SecureDrop> {
        self.settle(now);
        if Kind::of(datagram) != Some(Kind::Data) {
            return Err(SecureDrop::Malformed);
        }
        let index = index(datagram);
        let session = self.indices.session_mut(index).ok_or(SecureDrop::UnknownIndex)?;
        if !session.is_alive(now) {
            return Err(SecureDrop::Expired);
        }
        let address = self.fars.get(&session.agreement.far).and_then(|far| far.address);
        let has_moved = address != Some(source);
        Ok(Opener { session, news: &mut self.news, index, source, has_moved, has_heard: false, now })
    }
}
