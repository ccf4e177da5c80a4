//! What goes out on its own: replies, initiations, keep-alives, probes of the path.

use std::time::{Duration, Instant};

use vreserve_sdk::FarId;

use super::answer::{KEEPALIVE, PROBE};
use super::cookie::mac2;
use super::entropy;
use super::far::Pending;
use super::handshake::{self, Opening};
use super::index::Entry;
use super::protocol::{Event, Secure, Transmit};
use super::wire::{FRONT, HEADER, INITIATION, Kind, MAC, NOISE_1, OVERHEAD, front};

/// The longest time between two looks, even if nothing is due.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

impl Secure {
    /// When [`Secure::poll`] is to be called at the latest; anything else may move that to an earlier time.
    pub fn poll_at(&mut self, now: Instant) -> Instant {
        self.settle(now);
        if self.outbox.is_empty() { self.due } else { now }
    }

    /// Writes the next datagram that is due to `out`, which must be as long as the largest that the endpoint
    /// may send. To be called until there is none.
    pub fn poll(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        self.settle(now);
        if let Some(reply) = self.outbox.pop_front() {
            out[..reply.length].copy_from_slice(&reply.bytes[..reply.length]);
            return Some(Transmit { to: reply.to, length: reply.length, far: None });
        }
        if now < self.due {
            return None;
        }
        let mut from = self.at.take().unwrap_or(FarId(0));
        while let Some((&id, _)) = self.fars.range(from..).next() {
            self.expire(now, id);
            if let Some(transmit) = self.drive(now, id, out) {
                self.at = Some(id);
                return Some(transmit);
            }
            let Some(next) = id.0.checked_add(1) else { break };
            from = FarId(next);
        }
        let indices = &self.indices;
        let due = self.fars.values_mut().filter_map(|far| far.due(now, indices)).min();
        self.due = due.unwrap_or(now + AT_LEAST_EVERY).min(now + AT_LEAST_EVERY);
        None
    }

    fn expire(&mut self, now: Instant, id: FarId) {
        let was_up = self.is_up(id);
        if let Some(far) = self.fars.get_mut(&id) {
            far.expire(now, &mut self.indices);
        }
        if was_up && !self.is_up(id) {
            self.tell(Event::Down(id));
        }
    }

    fn drive(&mut self, now: Instant, id: FarId, out: &mut [u8]) -> Option<Transmit> {
        let length = self
            .drive_handshake(now, id, out)
            .or_else(|| self.drive_keepalive(now, id, out))
            .or_else(|| self.drive_path(now, id, out))?;
        Some(Transmit { to: self.fars.get(&id)?.address?, length, far: Some(id) })
    }

    /// An initiation, if one is due.
    fn drive_handshake(&mut self, now: Instant, id: FarId, out: &mut [u8]) -> Option<usize> {
        if self.fars.get(&id)?.initiation_at(&self.indices)? > now {
            return None;
        }
        let seed = entropy::bytes(self.entropy.as_mut());
        let [jitter] = entropy::bytes(self.entropy.as_mut());
        let random = self.random_half();
        let opening =
            Opening { timestamp: self.timestamp(now), lanes: self.lane.count(), preference: self.preference };
        let far = self.fars.get_mut(&id)?;
        far.attempt.cancel(&mut self.indices);
        let index = self.indices.insert(random, |_| Entry::Pending(id))?;

        let front = front(Kind::Initiation, self.lane.index(), index);
        let started = handshake::initiate(&self.identity, &far.key, &front, opening, seed);
        let (state, noise) = started.expect("keys and lengths are right by their types");
        let (covered, rest) = out[..INITIATION].split_at_mut(FRONT + NOISE_1);
        covered[..FRONT].copy_from_slice(&front);
        covered[FRONT..].copy_from_slice(&noise);
        let mac1 = far.door.mac1(covered);
        rest[..MAC].copy_from_slice(&mac1);
        let proof = far.cookie(now).map(|cookie| mac2(cookie, &out[..FRONT + NOISE_1 + MAC]));
        out[FRONT + NOISE_1 + MAC..INITIATION].copy_from_slice(&proof.unwrap_or_default());
        let pending = Pending { state, index, mac1, had_cookie: proof.is_some() };
        far.attempt.note_sent(now, pending, jitter);
        Some(INITIATION)
    }

    /// A keep-alive on a session that has sent nothing for long.
    fn drive_keepalive(&mut self, now: Instant, id: FarId, out: &mut [u8]) -> Option<usize> {
        let far = self.fars.get_mut(&id)?;
        far.address?;
        for index in far.peerings().filter_map(|peering| peering.current) {
            if let Some(session) = self.indices.session_mut(index)
                && session.keepalive_at() <= now
            {
                session.note_sent(now);
                let datagram = &mut out[..OVERHEAD + 1];
                datagram[HEADER] = KEEPALIVE;
                session.seal(Kind::Control, datagram);
                return Some(datagram.len());
            }
        }
        None
    }

    /// A probe of the path, as long as is to be found out.
    fn drive_path(&mut self, now: Instant, id: FarId, out: &mut [u8]) -> Option<usize> {
        let far = self.fars.get(&id)?;
        let (index, _) = (far.sending()?, far.address?);
        let length = self.on_path(id, |path| path.poll(now))??.min(out.len());
        let session = self.indices.session_mut(index)?;
        let datagram = &mut out[..length];
        datagram[HEADER..].fill(0);
        datagram[HEADER] = PROBE;
        session.seal(Kind::Control, datagram);
        Some(length)
    }
}
