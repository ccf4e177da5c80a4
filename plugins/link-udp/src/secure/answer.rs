//! What comes in, but for frames: handshakes, cookies, control datagrams.

use std::net::SocketAddr;
use std::time::Instant;

use vreserve_sdk::FarId;

use super::SecureDrop;
use super::cookie::is_same;
use super::entropy;
use super::far::{Accepted, Far, LEAST_INTERVAL};
use super::gate::Entrance;
use super::handshake::{self, Answer, Opening};
use super::index::Entry;
use super::lanes::Lane;
use super::protocol::{News, Secure};
use super::session::{Agreement, Role, Session};
use super::wire::{
    COOKIE, COOKIE_REPLY, FRONT, HEADER, Kind, MAC, NOISE_1, NOISE_2, OVERHEAD, RESPONSE, TAG, front, index,
};

/// The first byte of a control datagram's text: nothing to say.
pub(super) const KEEPALIVE: u8 = 0;
/// A probe of the path: as long as the datagram is.
pub(super) const PROBE: u8 = 1;
/// A probe came; its length follows in two bytes.
const PROBE_ACK: u8 = 2;
/// The text of an acknowledgement.
const ACK_TEXT: usize = 4;

impl Secure {
    /// Takes in a datagram that is not [`Kind::Data`]; it is opened in place. Replies are left to
    /// [`Secure::poll`].
    ///
    /// # Errors
    /// The name under which it is dropped.
    pub fn handle(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<(), SecureDrop> {
        self.settle(now);
        match Kind::of(datagram) {
            Some(Kind::Initiation) => self.handle_initiation(now, source, datagram),
            Some(Kind::Response) => self.handle_response(now, source, datagram),
            Some(Kind::Cookie) => self.handle_cookie(now, datagram),
            Some(Kind::Control) => self.handle_control(now, source, datagram),
            Some(Kind::Data) | None => Err(SecureDrop::Malformed),
        }
    }

    fn handle_initiation(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), SecureDrop> {
        let (covered, mac2) = datagram.split_at(FRONT + NOISE_1 + MAC);
        let (message, mac1) = covered.split_at(FRONT + NOISE_1);
        if !is_same(&self.door.mac1(message), mac1) {
            return Err(SecureDrop::Stranger);
        }
        if !self.lane.serves(message[1]) {
            return Err(SecureDrop::WrongLane);
        }
        match self.gate.judge(now, source, covered, mac2, self.entropy.as_mut())? {
            Entrance::Ask(cookie) => {
                self.ask_for_cookie(source, message, mac1, cookie);
                Err(SecureDrop::Limited)
            }
            Entrance::Open => self.answer(now, source, message),
        }
    }

    /// Has the sender of an initiation come again with this cookie.
    fn ask_for_cookie(&mut self, to: SocketAddr, message: &[u8], mac1: &[u8], cookie: [u8; COOKIE]) {
        let salt = entropy::bytes(self.entropy.as_mut());
        let mac1 = mac1.try_into().expect("split at the length of a code");
        let mut reply = [0; COOKIE_REPLY];
        reply[..FRONT].copy_from_slice(&front(Kind::Cookie, message[1], index(message)));
        reply[FRONT..FRONT + 16].copy_from_slice(&salt);
        reply[FRONT + 16..].copy_from_slice(&self.door.seal_cookie(&salt, mac1, cookie));
        self.reply(to, &reply);
    }

    /// Spends a key exchange on an initiation: front and Noise message.
    fn answer(&mut self, now: Instant, source: SocketAddr, message: &[u8]) -> Result<(), SecureDrop> {
        let (front, noise) = message.split_first_chunk::<FRONT>().expect("the kind's length was checked");
        let seed = entropy::bytes(self.entropy.as_mut());
        let (mut state, key, opening) = handshake::read_initiation(&self.identity, front, noise, seed)?;
        let id = *self.keys.get(&key).ok_or(SecureDrop::Stranger)?;
        let far_lane = Lane::new(front[1].into(), opening.lanes.into()).ok_or(SecureDrop::Malformed)?;
        let far = self.fars.get_mut(&id).expect("every key has its far node");
        accept(far, now, far_lane, opening)?;
        if self.lane.is_counterpart_of(far_lane) && far.goes_first(now, &self.identity.public) {
            return Err(SecureDrop::Simultaneous);
        }

        let random = self.random_half();
        let [spread] = entropy::bytes(self.entropy.as_mut());
        let (lane, preference) = (self.lane, self.preference);
        let mut response = Err(SecureDrop::Limited);
        let inserted = self.indices.insert(random, |own_index| {
            let answer = Answer { index: own_index, lane, preference };
            response = handshake::respond(&mut state, answer).ok_or(SecureDrop::Forged);
            let cipher = preference.agreed(opening.preference);
            let (seal, open) = handshake::keys(&mut state, Role::Responder, cipher);
            let role = Role::Responder;
            let agreement = Agreement { far: id, role, far_index: index(message), far_lane, seal, open };
            Entry::Session(Box::new(Session::new(agreement, now, spread)))
        });
        let (Some(own_index), Ok(noise)) = (inserted, response) else { return Err(SecureDrop::Limited) };
        self.send_response(source, id, far_lane, index(message), &noise);
        self.expect_session(now, id, far_lane, own_index);
        Ok(())
    }

    fn send_response(
        &mut self,
        to: SocketAddr,
        id: FarId,
        far_lane: Lane,
        far_index: u32,
        noise: &[u8; NOISE_2],
    ) {
        let mut response = [0; RESPONSE];
        response[..FRONT].copy_from_slice(&front(Kind::Response, far_lane.index(), far_index));
        response[FRONT..FRONT + NOISE_2].copy_from_slice(noise);
        if let Some(far) = self.fars.get(&id) {
            let mac1 = far.door.mac1(&response[..FRONT + NOISE_2]);
            response[FRONT + NOISE_2..].copy_from_slice(&mac1);
            self.reply(to, &response);
        }
    }

    /// Waits for the far node to use the session. Its address is believed only then: an initiation may have been
    /// recorded, and this node have forgotten it.
    fn expect_session(&mut self, now: Instant, id: FarId, far_lane: Lane, own_index: u32) {
        if let Some(far) = self.fars.get_mut(&id) {
            far.peering(far_lane, self.lane).expect(own_index, &mut self.indices);
            if self.lane.is_counterpart_of(far_lane) {
                far.yield_to_far(now, &self.identity.public, &mut self.indices);
            }
            self.wake(now);
        }
    }

    fn handle_response(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), SecureDrop> {
        let own_index = index(datagram);
        let id = self.indices.pending(own_index).ok_or(SecureDrop::UnknownIndex)?;
        let (message, mac1) = datagram.split_at(FRONT + NOISE_2);
        if !is_same(&self.door.mac1(message), mac1) {
            return Err(SecureDrop::Stranger);
        }
        let was_up = self.is_up(id);
        let [spread] = entropy::bytes(self.entropy.as_mut());
        let far = self.fars.get_mut(&id).ok_or(SecureDrop::UnknownIndex)?;
        let pending = far.attempt.pending.as_mut().filter(|pending| pending.index == own_index);
        let pending = pending.ok_or(SecureDrop::UnknownIndex)?;
        let answer = handshake::read_response(&mut pending.state, &message[FRONT..])?;
        let cipher = self.preference.agreed(answer.preference);
        let (seal, open) = handshake::keys(&mut pending.state, Role::Initiator, cipher);
        let agreement = Agreement {
            far: id,
            role: Role::Initiator,
            far_index: answer.index,
            far_lane: answer.lane,
            seal,
            open,
        };
        far.attempt.pending = None;
        far.attempt.succeed(now, &mut self.indices);
        self.indices.establish(own_index, Session::new(agreement, now, spread));
        far.primary.establish(own_index, &mut self.indices);
        self.note_up(now, id, was_up);
        self.relocate(now, id, source);
        Ok(())
    }

    fn handle_cookie(&mut self, now: Instant, datagram: &[u8]) -> Result<(), SecureDrop> {
        let id = self.indices.pending(index(datagram)).ok_or(SecureDrop::UnknownIndex)?;
        let far = self.fars.get_mut(&id).ok_or(SecureDrop::UnknownIndex)?;
        let pending = far.attempt.pending.as_ref().ok_or(SecureDrop::UnknownIndex)?;
        let (salt, sealed) = datagram[FRONT..].split_at(16);
        let sealed = sealed.try_into().expect("the kind's length was checked");
        let cookie = far.door.open_cookie(salt, &pending.mac1, sealed).ok_or(SecureDrop::Forged)?;
        far.set_cookie(cookie, now);
        self.wake(now);
        Ok(())
    }

    fn handle_control(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<(), SecureDrop> {
        let own_index = index(datagram);
        let session = self.indices.session_mut(own_index).ok_or(SecureDrop::UnknownIndex)?;
        if !session.is_alive(now) {
            return Err(SecureDrop::Expired);
        }
        session.open(datagram)?;
        session.last_heard = Some(now);
        let id = session.agreement.far;
        let length = datagram.len();
        match datagram[HEADER..length - TAG] {
            [KEEPALIVE, ..] => {}
            [PROBE, ..] => self.acknowledge(now, source, own_index, length),
            [PROBE_ACK, _, low, high] => {
                self.on_path(id, |path| path.handle_ack(now, u16::from_le_bytes([low, high]).into()));
            }
            _ => return Err(SecureDrop::Malformed),
        }
        self.wake(now);
        self.take_in(now, News { index: own_index, source });
        Ok(())
    }

    /// Tells the far node that its probe has come.
    fn acknowledge(&mut self, now: Instant, to: SocketAddr, own_index: u32, length: usize) {
        let Some(session) = self.indices.session_mut(own_index) else { return };
        let [low, high] = u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
        let mut datagram = [0; OVERHEAD + ACK_TEXT];
        datagram[HEADER..HEADER + ACK_TEXT].copy_from_slice(&[PROBE_ACK, 0, low, high]);
        session.seal(Kind::Control, &mut datagram);
        session.last_sent = now;
        self.reply(to, &datagram);
    }
}

/// Accepts an authentic initiation if it is newer than those before and not too soon after them.
fn accept(far: &mut Far, now: Instant, lane: Lane, opening: Opening) -> Result<(), SecureDrop> {
    if let Some(newest) = far.accepted.get(&lane.index()) {
        if opening.timestamp <= newest.timestamp {
            return Err(SecureDrop::StaleInitiation);
        }
        if now < newest.at + LEAST_INTERVAL {
            return Err(SecureDrop::Limited);
        }
    }
    far.accepted.insert(lane.index(), Accepted { timestamp: opening.timestamp, at: now });
    Ok(())
}
