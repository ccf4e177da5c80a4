//! One endpoint: all connections behind one epoll descriptor, and the way of a batch out and in.
//!
//! Everything happens in calls of the host, which come when the descriptor is readable, and at least every 100 ms.

mod life;

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use vreserve_offload::Offload;
use vreserve_packet::{check, refuse};
use vreserve_sdk::{Batch, Failure, FarId, FarNode, FrameSlot, Host, Refusal};

use crate::config::{Config, Format};
use crate::connection::{Connection, Stage};
use crate::counters::{Counters, Ended, FrameDrop};
use crate::deliver::Delivered;
use crate::fars::{Fars, Token};
use crate::introduction::Credentials;
use crate::record::{self, LARGEST_FRAME, LARGEST_SUPER_FRAME};
use crate::socket;

const LISTENER: Token = 0;
const MORE: Token = 1;
const FIRST: Token = 2;
/// Events taken in one call: a flood cannot hold the caller.
const EVENTS: usize = 64;
/// Timers are looked at this often.
const TICK: Duration = Duration::from_millis(10);

/// See the module.
pub(crate) struct Endpoint {
    epoll: Epoll,
    /// Readable while frames wait that the system does not know of any more.
    more: EventFd,
    says_more: bool,
    listener: TcpListener,
    paused_until: Option<Instant>,
    pub(crate) local: SocketAddr,
    config: Config,
    credentials: Credentials,
    fars: Fars,
    connections: BTreeMap<Token, Connection>,
    next: Token,
    /// Connections that frames may be taken from, the next one first.
    queue: VecDeque<Token>,
    /// Connections that frames were put into by the last call.
    touched: Vec<Token>,
    now: Instant,
    next_tick: Instant,
    counters: Counters,
}

impl Endpoint {
    pub(crate) fn open(config: Config, host: &Host) -> Result<Self, Failure> {
        let identity = host.identity();
        let public = identity.map_or([0; 32], |identity| identity.public);
        let (listener, local) = socket::open(&config)?;
        let credentials = match (config.format, identity) {
            (Format::Clear, _) => Credentials::Clear { port: local.port() },
            (Format::Secure, Some(identity)) => Credentials::secure(identity)?,
            (Format::Secure, None) => {
                return Err(Failure::unavailable("the secure format needs the node's key pair"));
            }
        };
        let cannot_wait = |errno: nix::Error| Failure::unavailable(format!("epoll: {}", errno.desc()));
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(cannot_wait)?;
        let more =
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(cannot_wait)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).map_err(cannot_wait)?;
        epoll.add(&more, EpollEvent::new(EpollFlags::EPOLLIN, MORE)).map_err(cannot_wait)?;
        let now = Instant::now();
        tracing::debug!(%local, format = ?config.format, "endpoint open");
        Ok(Endpoint {
            epoll,
            more,
            says_more: false,
            listener,
            paused_until: None,
            local,
            fars: Fars::new(config.format, config.dial, local, public),
            config,
            credentials,
            connections: BTreeMap::new(),
            next: FIRST,
            queue: VecDeque::new(),
            touched: Vec::new(),
            now,
            next_tick: now,
            counters: Counters::new(host),
        })
    }

    pub(crate) fn ready_fd(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }

    /// Admits a far node, and dials it if that is for us to do.
    pub(crate) fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        self.now = Instant::now();
        self.fars.add(far, node, self.now)?;
        self.dial_due();
        Ok(())
    }

    /// Forgets a far node, and closes its connections.
    pub(crate) fn remove_far(&mut self, far: FarId) {
        let Some(removed) = self.fars.remove(far) else { return };
        for token in [removed.up, removed.dialing].into_iter().flatten() {
            self.close(token, Ended::Removed);
        }
    }

    /// Fills slots with what has come; on the way, sends what waits, goes on with introductions, and dials.
    pub(crate) fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        self.now = Instant::now();
        self.handle_events();
        let delivered = self.deliver(batch);
        if self.now >= self.next_tick {
            self.next_tick = self.now + TICK;
            self.tick();
        }
        self.say_more();
        self.counters.frames_received.add(delivered.frames);
        self.counters.drop_frames(FrameDrop::Malformed, delivered.malformed);
        self.counters.drop_frames(FrameDrop::Oversized, delivered.oversized);
        delivered.slots
    }

    /// Puts frames into their far nodes' queues, and sends what goes.
    pub(crate) fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        self.now = Instant::now();
        for index in 0..batch.len() {
            let mut slot = batch.slot(index);
            if let Err(refusal) = self.push(&mut slot) {
                slot.refuse(refusal);
            }
        }
        for at in 0..self.touched.len() {
            self.drain(self.touched[at]);
        }
        self.touched.clear();
        batch.len()
    }

    /// Puts the frame in a slot into its queue. One that is too large is refused here, as more is to be said of it.
    fn push(&mut self, slot: &mut FrameSlot<'_>) -> Result<(), Refusal> {
        let raw = slot.offload();
        let offload = Offload::try_from(raw).map_err(|_| Refusal::Malformed)?;
        let frames = match check(slot.frame(), &offload, LARGEST_FRAME) {
            Ok(checked) => checked.frames as u64,
            Err(unusable) => {
                refuse(slot, unusable, LARGEST_FRAME);
                return Ok(());
            }
        };
        if slot.len() > LARGEST_SUPER_FRAME {
            return Err(Refusal::Malformed);
        }
        let token = self.fars.find(slot.far()).and_then(|far| far.up).ok_or(Refusal::Down)?;
        let header = record::encode(slot.len(), &raw);
        let connection = self.connections.get_mut(&token).ok_or(Refusal::Down)?;
        if !connection.outbox.push_frame(&header, slot.frame(), frames) {
            // The socket may take what the queue does not.
            self.drain(token);
            let connection = self.connections.get_mut(&token).ok_or(Refusal::Down)?;
            if !connection.outbox.push_frame(&header, slot.frame(), frames) {
                return Err(Refusal::Busy);
            }
        }
        if !self.touched.contains(&token) {
            self.touched.push(token);
        }
        Ok(())
    }

    fn handle_events(&mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                LISTENER => self.accept(),
                MORE => {}
                token => self.handle_event(token, event.events()),
            }
        }
    }

    fn handle_event(&mut self, token: Token, events: EpollFlags) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.far().is_none() {
            return self.introduce(token);
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.drain(token);
        }
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            self.enqueue(token);
        }
    }

    fn enqueue(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(&token)
            && !std::mem::replace(&mut connection.is_queued, true)
        {
            self.queue.push_back(token);
        }
    }

    /// Takes frames from connection after connection, half of what is left of the batch from each, so that none waits
    /// for another to have nothing more.
    fn deliver(&mut self, batch: &mut Batch<'_>) -> Delivered {
        let mut delivered = Delivered::default();
        while !delivered.is_full(batch.len()) {
            let Some(token) = self.queue.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            connection.is_queued = false;
            let Some(far) = connection.far() else { continue };
            let until = delivered.slots + (batch.len() - delivered.slots).div_ceil(2);
            match connection.deliver(far, batch, until, &mut delivered, self.now) {
                Ok(true) => self.enqueue(token),
                Ok(false) => {}
                Err(reason) => self.close(token, reason),
            }
        }
        delivered
    }

    /// Keeps the descriptor readable while frames wait that the system does not know of.
    fn say_more(&mut self) {
        let has_more = !self.queue.is_empty();
        if has_more == self.says_more {
            return;
        }
        // A counter of one event fits whatever else happens.
        let result = if has_more { self.more.write(1).map(drop) } else { self.more.read().map(drop) };
        debug_assert!(result.is_ok(), "{result:?}");
        self.says_more = has_more;
    }

    fn drain(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let (awaited, now) = (connection.awaits_room, self.now);
        match connection.drain() {
            Ok(frames) => {
                connection.said = now;
                self.counters.frames_sent.add(frames);
                if connection.awaits_room != awaited {
                    self.watch(token);
                }
            }
            Err(reason) => self.close(token, reason),
        }
    }

    /// Tells the system what a connection waits for.
    fn watch(&mut self, token: Token) {
        let Some(connection) = self.connections.get(&token) else { return };
        let is_connecting = matches!(connection.stage, Stage::Connecting);
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, connection.awaits_room || is_connecting);
        if self.epoll.modify(connection.socket(), &mut EpollEvent::new(flags, token)).is_err() {
            self.close(token, Ended::Lost);
        }
    }
}
