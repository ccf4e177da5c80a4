//! The life of connections: accepted or dialled, introduced, watched, closed; and what time brings.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Endpoint, LISTENER};
use crate::channel::Channel;
use crate::config::Format;
use crate::connection::{Connection, Stage};
use crate::counters::{Ended, FrameDrop};
use crate::fars::Token;
use crate::introduction::{Credentials, Introduction};
use crate::knock::Knock;
use crate::socket;

/// Connections accepted in one call: a flood cannot hold the caller.
const ACCEPTS: usize = 16;
/// An introduction takes a few round trips.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// Connections that came in and are being introduced at once.
const CROWD: usize = 64;
/// When the system has no descriptors left, nobody is accepted for this long.
const PAUSE: Duration = Duration::from_secs(1);
/// Keep-alives in the time after which silence is death.
const KEEP_ALIVES: u32 = 4;

impl Endpoint {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((socket, peer)) => self.handle_caller(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "nobody can be accepted for a moment");
                    self.paused_until = Some(self.now + PAUSE);
                    return self.listen(EpollFlags::empty());
                }
            }
        }
    }

    fn listen(&self, flags: EpollFlags) {
        // The listener is in the set for as long as the endpoint lives.
        let _ = self.epoll.modify(&self.listener, &mut EpollEvent::new(flags, LISTENER));
    }

    fn handle_caller(&mut self, socket: TcpStream, peer: SocketAddr) {
        let channel = match &self.credentials {
            Credentials::Clear { .. } if !self.fars.is_known(peer.ip()) => {
                return self.counters.end(Ended::Stranger);
            }
            Credentials::Clear { .. } => Channel::Clear(socket),
            Credentials::Secure { tls, knock, .. } => Channel::listen(socket, tls, knock.clone()),
        };
        if !self.has_room_for_caller() {
            return self.counters.end(Ended::Crowded);
        }
        let introduction = match self.config.format {
            Format::Secure => Introduction::Securing,
            Format::Clear => Introduction::Greeting,
        };
        if channel.socket().set_nonblocking(true).is_ok() {
            let token = self.insert(channel, Stage::Introducing(introduction), peer, None);
            self.introduce(token);
        }
    }

    /// Whether one more may be introduced; makes room by closing the oldest of those that have not knocked.
    fn has_room_for_caller(&mut self) -> bool {
        let is_caller = |connection: &Connection| connection.far().is_none() && connection.dialled.is_none();
        let callers = || self.connections.iter().filter(|(_, connection)| is_caller(connection));
        if callers().count() < CROWD {
            return true;
        }
        let silent = callers().find(|(_, connection)| connection.channel.awaits_knock());
        match silent.map(|(token, _)| *token) {
            Some(token) => {
                self.close(token, Ended::Crowded);
                true
            }
            None => false,
        }
    }

    fn insert(&mut self, channel: Channel, stage: Stage, peer: SocketAddr, dialled: Option<u32>) -> Token {
        let token = self.next;
        self.next += 1;
        let is_connecting = matches!(stage, Stage::Connecting);
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, is_connecting);
        let connection =
            Connection::new(channel, stage, peer, dialled, self.config.buffer as usize, self.now);
        let added = self.epoll.add(connection.socket(), EpollEvent::new(flags, token));
        let tuned = socket::tune(connection.socket(), self.config.timeout);
        self.connections.insert(token, connection);
        if let Err(errno) = added.and(tuned) {
            tracing::debug!(reason = errno.desc(), "a connection cannot be set up");
            self.close(token, Ended::Lost);
        }
        token
    }

    pub(super) fn introduce(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        match connection.introduce(&self.credentials, &self.fars, self.now) {
            Ok(far) => {
                self.watch(token);
                if let Some(far) = far {
                    self.handle_introduced(token, far);
                }
            }
            Err(reason) => self.close(token, reason),
        }
    }

    /// Both ends of a connection know each other. Of two with one far node the later one stays, as the far node may have
    /// forgotten the other; if each end has dialled one, both keep the same.
    fn handle_introduced(&mut self, token: Token, number: u32) {
        if !self.connections.contains_key(&token) {
            return;
        }
        let Some(far) = self.fars.find_mut(number) else { return self.close(token, Ended::Removed) };
        let is_ours = |token: &Token| self.connections.get(token).is_some_and(|one| one.dialled.is_some());
        if far.dialing == Some(token) {
            far.dialing = None;
        }
        if let Some(other) = far.up {
            if is_ours(&other) != is_ours(&token) && is_ours(&other) == far.ours_stays {
                return self.close(token, Ended::Replaced);
            }
            far.up = Some(token);
            self.close(other, Ended::Replaced);
        } else {
            far.up = Some(token);
        }
        self.counters.connections.add(1);
        tracing::info!(far = number, "connection with far node");
        // What came behind the introduction is in the inbox already.
        self.enqueue(token);
    }

    pub(super) fn close(&mut self, token: Token, reason: Ended) {
        let Some(connection) = self.connections.remove(&token) else { return };
        // The descriptor's end takes it out of the epoll set.
        self.counters.end(reason);
        self.counters.drop_frames(FrameDrop::Disconnected, connection.outbox.frames_left());
        let number = connection.far().or(connection.dialled);
        if connection.far().is_some() {
            tracing::info!(far = number, reason = reason.reason(), "no connection with far node any more");
        } else {
            let peer = connection.peer;
            tracing::debug!(%peer, far = number, reason = reason.reason(), "introduction ended");
        }
        if let Some(far) = number.and_then(|number| self.fars.find_mut(number))
            && (far.up == Some(token) || far.dialing == Some(token))
        {
            far.handle_end(token, connection.began, self.now);
        }
    }

    /// What is due: silence, keep-alives, dialling, listening again.
    pub(super) fn tick(&mut self) {
        let (now, timeout) = (self.now, self.config.timeout);
        let is_silent = |connection: &Connection| match connection.stage {
            Stage::Up(_) => now.saturating_duration_since(connection.heard) >= timeout,
            _ => now.saturating_duration_since(connection.began) >= INTRODUCTION,
        };
        let silent: Vec<_> =
            self.connections.iter().filter(|(_, one)| is_silent(one)).map(|(t, _)| *t).collect();
        silent.into_iter().for_each(|token| self.close(token, Ended::Silent));
        let is_quiet = |connection: &Connection| {
            connection.far().is_some()
                && now.saturating_duration_since(connection.said) >= timeout / KEEP_ALIVES
        };
        let quiet: Vec<_> =
            self.connections.iter().filter(|(_, one)| is_quiet(one)).map(|(t, _)| *t).collect();
        for token in quiet {
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.keep_alive(now);
            }
            self.drain(token);
        }
        self.dial_due();
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
            self.listen(EpollFlags::EPOLLIN);
        }
    }

    pub(super) fn dial_due(&mut self) {
        while let Some(number) = self.fars.due(self.now) {
            let Some(far) = self.fars.find_mut(number) else { return };
            let (address, key) = (far.address, far.key);
            match self.dial(address, key) {
                Ok(channel) => {
                    let token = self.next;
                    if let Some(far) = self.fars.find_mut(number) {
                        far.dialing = Some(token);
                    }
                    self.insert(channel, Stage::Connecting, address, Some(number));
                }
                Err(reason) => {
                    tracing::debug!(far = number, %address, reason, "cannot be dialled");
                    if let Some(far) = self.fars.find_mut(number) {
                        far.put_off(self.now);
                    }
                }
            }
        }
    }

    fn dial(&self, address: SocketAddr, key: Option<[u8; 32]>) -> Result<Channel, String> {
        let socket = socket::dial(self.local, address, self.config.device.as_deref())
            .map_err(|errno| errno.desc().to_owned())?;
        match (&self.credentials, key) {
            (Credentials::Secure { tls, .. }, Some(key)) => {
                let mut random = [0; 16];
                aws_lc_rs::rand::fill(&mut random).map_err(|_| "no randomness".to_owned())?;
                Channel::dial(socket, tls, Knock::on(&key).name(random)).map_err(|error| error.to_string())
            }
            _ => Ok(Channel::Clear(socket)),
        }
    }
}
