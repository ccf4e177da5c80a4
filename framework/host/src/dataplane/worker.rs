//! The worker: the loop that every frame of this node passes through.
//!
//! One turn: commands, then a batch from each capture instance and each endpoint, each frame asked of the
//! core's `forward` once and queued, the queues sent; then cut-overs and probes that are due. A turn that
//! moved nothing sleeps until something is ready.

use std::os::fd::RawFd;
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;
use vreserve_abi::{Offload, Slot};
use vreserve_core::drops::{DropCounters, DropReason};
use vreserve_core::forward::{Forwarder, ForwarderConfig, Verdict};
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId};
use vreserve_core::rules::Target;
use vreserve_core::signal::is_signal;
use vreserve_model::Timestamp;

use super::cutover::Cutovers;
use super::dispatch::{Dispatch, Stock, ToGuests, ToNodes};
use super::egress::{EgressQueue, weight_of};
use super::ingress::is_sound;
use super::links::LinkTable;
use super::mailbox::{Command, Event, Mailbox, MailboxSender, mailbox};
use super::nonces::Nonces;
use super::pool::{BATCH, FIRST_CUT, SCRATCH, SlotPool};
use super::ports::{CapturePort, EndpointPort, Instance, PortChange};
use super::sleep::Sleep;
use crate::clock::Clock;

/// What a worker is made of.
pub struct DataPlaneConfig {
    /// The slots; plugins know them already.
    pub pool: SlotPool,
    /// The capture instances.
    pub captures: Vec<CapturePort>,
    /// The endpoints.
    pub endpoints: Vec<EndpointPort>,
    /// The daemon's clock.
    pub clock: Clock,
    /// A random secret.
    pub seed: u64,
}

/// A running worker.
pub struct DataPlane {
    mailbox: MailboxSender,
    thread: Option<JoinHandle<()>>,
}

impl DataPlane {
    /// Starts the worker's thread. Events go to `events`.
    ///
    /// # Errors
    /// If the system gives no thread or event descriptor.
    pub fn start(config: DataPlaneConfig, events: UnboundedSender<Event>) -> std::io::Result<Self> {
        let (sender, mailbox) = mailbox()?;
        let thread = std::thread::Builder::new()
            .name("data-0".to_owned())
            .spawn(move || Worker::new(config, mailbox, events).run())?;
        Ok(DataPlane { mailbox: sender, thread: Some(thread) })
    }

    /// The way to tell it something.
    pub fn mailbox(&self) -> MailboxSender {
        self.mailbox.clone()
    }

    /// Ends the worker and closes its instances; returns when that is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.mailbox.send(Command::Stop);
            if thread.join().is_err() {
                tracing::error!("the data plane's worker panicked");
            }
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) struct Worker {
    pub(super) pool: SlotPool,
    batch: Vec<Slot>,
    /// The next scratch slot that is free until the queues are sent.
    scratch: usize,
    pub(super) captures: Vec<CapturePort>,
    capture_queues: Vec<EgressQueue>,
    /// Positions of capture instances by interface number.
    interface_index: Vec<Option<usize>>,
    pub(super) endpoints: Vec<EndpointPort>,
    endpoint_queues: Vec<EgressQueue>,
    pub(super) links: LinkTable,
    pub(super) forwarder: Forwarder,
    pub(super) cutovers: Cutovers,
    pub(super) dispatch: Dispatch,
    pub(super) drops: DropCounters,
    announced_drops: DropCounters,
    pub(super) nonces: Nonces,
    clock: Clock,
    mailbox: Mailbox,
    pub(super) events: UnboundedSender<Event>,
    sleep: Sleep,
    /// When the next probe or reopening is due.
    timers_at: Timestamp,
}

fn index_interfaces(captures: &[CapturePort]) -> Vec<Option<usize>> {
    let mut index = Vec::new();
    for (position, capture) in captures.iter().enumerate() {
        let id = usize::from(capture.id.0);
        index.resize(index.len().max(id + 1), None);
        index[id] = Some(position);
    }
    index
}

impl Worker {
    fn new(config: DataPlaneConfig, mailbox: Mailbox, events: UnboundedSender<Event>) -> Self {
        let DataPlaneConfig { pool, captures, endpoints, clock, seed } = config;
        let queue = || EgressQueue::new(BATCH + SCRATCH);
        Worker {
            batch: (0..BATCH).map(|index| pool.slot(index)).collect(),
            pool,
            scratch: 0,
            capture_queues: captures.iter().map(|_| queue()).collect(),
            interface_index: index_interfaces(&captures),
            captures,
            endpoint_queues: endpoints.iter().map(|_| queue()).collect(),
            endpoints,
            links: LinkTable::default(),
            forwarder: Forwarder::new(ForwarderConfig { seed, ..ForwarderConfig::default() }),
            cutovers: Cutovers::default(),
            dispatch: Dispatch::new(),
            drops: DropCounters::default(),
            announced_drops: DropCounters::default(),
            nonces: Nonces::new(seed.rotate_left(32)),
            clock,
            mailbox,
            events,
            sleep: Sleep::new(),
            timers_at: Timestamp::ZERO,
        }
    }

    fn run(mut self) {
        self.watch();
        loop {
            let now = self.clock.now();
            while let Some(command) = self.mailbox.poll() {
                if matches!(command, Command::Stop) {
                    return;
                }
                self.handle_command(command, now);
                self.timers_at = now;
            }
            let moved = self.turn(now);
            let now = self.clock.now();
            self.finish_turn(now);
            if now >= self.timers_at {
                self.poll_timers(now);
                self.timers_at = self.next_timer();
            }
            if moved == 0 {
                let cutover = self.cutovers.poll_at().unwrap_or(self.timers_at);
                self.sleep.sleep(self.timers_at.min(cutover).since(now));
            }
        }
    }

    /// One batch from everywhere; returns how many frames came.
    fn turn(&mut self, now: Timestamp) -> usize {
        let mut moved = 0;
        for index in 0..self.captures.len() {
            self.empty_batch();
            let port = &mut self.captures[index];
            let ingress = Ingress::Interface(port.id);
            match port.port.recv(&mut self.batch, now) {
                Ok(n) => {
                    moved += n;
                    for slot in 0..n {
                        let slot = self.batch[slot];
                        self.captures[index].port.received += weight_of(&slot);
                        if self.is_let_in(&slot) {
                            self.handle_frame(ingress, slot, now);
                        }
                    }
                    self.flush(now);
                }
                Err(change) => self.handle_capture_change(index, change),
            }
        }
        for index in 0..self.endpoints.len() {
            self.empty_batch();
            match self.endpoints[index].port.recv(&mut self.batch, now) {
                Ok(n) => {
                    moved += n;
                    for slot in 0..n {
                        let slot = self.batch[slot];
                        if self.is_let_in(&slot) {
                            self.handle_datagram(index, slot, now);
                        }
                    }
                    self.flush(now);
                }
                Err(change) => self.handle_endpoint_change(index, change),
            }
        }
        moved
    }

    fn empty_batch(&mut self) {
        for (index, slot) in self.batch.iter_mut().enumerate() {
            *slot = self.pool.slot(index);
        }
    }

    /// False for a frame that goes no further, wherever it came from, as its offload metadata are wrong.
    #[inline]
    fn is_let_in(&mut self, slot: &Slot) -> bool {
        let is_sound = is_sound(slot);
        if !is_sound {
            self.drops.count(DropReason::BogusOffload, 1);
        }
        is_sound
    }

    /// A frame from a far node: a signal for this node, or a frame like any other.
    fn handle_datagram(&mut self, endpoint: usize, slot: Slot, now: Timestamp) {
        let weight = weight_of(&slot);
        let port = &mut self.endpoints[endpoint];
        port.port.received += weight;
        let Some(link) = port.link_of(slot.far) else {
            return self.drops.count(DropReason::UnknownLink, weight.frames);
        };
        let Some(entry) = self.links.find_mut(link) else {
            return self.drops.count(DropReason::UnknownLink, weight.frames);
        };
        entry.received += weight;
        if is_signal(self.pool.frame(&slot)) {
            if entry.class == LinkClass::Static {
                return self.drops.count(DropReason::ReservedEtherType, weight.frames);
            }
            return self.handle_signal(link, slot, now);
        }
        self.handle_frame(Ingress::Link(link), slot, now);
    }

    /// Asks what happens to a frame, and does it.
    pub(super) fn handle_frame(&mut self, ingress: Ingress, slot: Slot, now: Timestamp) {
        let weight = weight_of(&slot);
        let verdict = self.forwarder.forward(ingress, self.pool.frame(&slot), weight, now);
        match verdict {
            Verdict::Deliver(interface) => self.queue_to_interface(interface, slot),
            Verdict::Send(link) => self.queue_to_link(link, slot),
            Verdict::Flood(fan_out) => {
                // A plugin may overwrite what it sends: every target but one gets a copy, and the frame itself
                // is queued last, when nothing more is copied from it.
                for index in (0..self.forwarder.targets(fan_out).len()).rev() {
                    let target = self.forwarder.targets(fan_out)[index];
                    let slot = if index == 0 { slot } else { self.copy(&slot, now) };
                    match target {
                        Target::Interface(interface) => self.queue_to_interface(interface, slot),
                        Target::Link(link) => self.queue_to_link(link, slot),
                    }
                }
            }
            Verdict::Hold(switch) => self.hold(switch, slot, now),
            Verdict::Drop(reason) => self.drops.count(reason, weight.frames),
        }
    }

    /// A copy in a scratch slot of a frame that is not queued yet.
    fn copy(&mut self, slot: &Slot, now: Timestamp) -> Slot {
        let index = self.take_scratch(now);
        self.pool.copy(slot, index)
    }

    /// A scratch slot; if none is free, the queues are sent first.
    pub(super) fn take_scratch(&mut self, now: Timestamp) -> usize {
        if self.scratch == SCRATCH {
            self.flush(now);
        }
        self.scratch += 1;
        BATCH + self.scratch - 1
    }

    fn queue_to_interface(&mut self, interface: InterfaceId, slot: Slot) {
        match self.interface_index.get(usize::from(interface.0)) {
            Some(Some(index)) => self.capture_queues[*index].push(slot),
            _ => self.drops.count(DropReason::NoTarget, weight_of(&slot).frames),
        }
    }

    pub(super) fn queue_to_link(&mut self, link: LinkId, slot: Slot) {
        match self.links.find(link) {
            Some(entry) => self.endpoint_queues[entry.endpoint].push(Slot { far: entry.far, ..slot }),
            None => self.drops.count(DropReason::UnknownLink, weight_of(&slot).frames),
        }
    }

    /// Sends everything queued. Scratch slots are free again afterwards.
    pub(super) fn flush(&mut self, now: Timestamp) {
        for index in 0..self.captures.len() {
            if !self.capture_queues[index].is_empty() {
                self.flush_capture(index, now);
            }
        }
        for index in 0..self.endpoints.len() {
            if !self.endpoint_queues[index].is_empty() {
                self.flush_endpoint(index, now);
            }
        }
        self.scratch = 0;
        if self.dispatch.too_big.is_pending() {
            self.deliver_answers(now);
        }
    }

    fn flush_capture(&mut self, index: usize, now: Timestamp) {
        let mut way = ToGuests(&mut self.captures[index].port);
        let guests = self.forwarder.guests();
        let stock = Stock { pool: &mut self.pool, guests, drops: &mut self.drops };
        if let Some(change) = self.dispatch.flush(&mut self.capture_queues[index], &mut way, stock, now) {
            self.handle_capture_change(index, change);
        }
    }

    fn flush_endpoint(&mut self, index: usize, now: Timestamp) {
        let mut way = ToNodes(&mut self.endpoints[index], &mut self.links);
        let guests = self.forwarder.guests();
        let stock = Stock { pool: &mut self.pool, guests, drops: &mut self.drops };
        if let Some(change) = self.dispatch.flush(&mut self.endpoint_queues[index], &mut way, stock, now) {
            self.handle_endpoint_change(index, change);
        }
    }

    /// Hands guests the answers that were made while the queues were sent.
    fn deliver_answers(&mut self, now: Timestamp) {
        while let Some(answer) = self.dispatch.too_big.poll() {
            let slot = self.pool.fill(FIRST_CUT, answer.frame(), Offload::default());
            self.queue_to_interface(answer.interface, slot);
            if let Some(Some(index)) = self.interface_index.get(usize::from(answer.interface.0)) {
                self.flush_capture(*index, now);
            }
        }
    }

    fn handle_capture_change(&mut self, index: usize, change: PortChange) {
        let name = self.captures[index].port.name().to_owned();
        self.announce_port(name, change);
    }

    pub(super) fn handle_endpoint_change(&mut self, index: usize, change: PortChange) {
        if change == PortChange::Reopened {
            for (link, failure) in self.endpoints[index].readmit() {
                tracing::warn!(%link, %failure, "far node not admitted to the reopened endpoint");
            }
        }
        let name = self.endpoints[index].port.name().to_owned();
        self.announce_port(name, change);
    }

    fn announce_port(&mut self, name: String, change: PortChange) {
        self.timers_at = Timestamp::ZERO;
        self.tell(match change {
            PortChange::Failed(reason, retry_in) => Event::PortFailed { name, reason, retry_in },
            PortChange::Reopened => Event::PortReopened(name),
        });
        self.watch();
    }

    /// Tells the control plane; it is gone only when the daemon stops.
    pub(super) fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }

    fn watch(&mut self) {
        let captures =
            self.captures.iter_mut().filter_map(|port| port.port.instance().map(Instance::ready_fd));
        let endpoints =
            self.endpoints.iter_mut().filter_map(|port| port.port.instance().map(Instance::ready_fd));
        let fds: Vec<Option<RawFd>> = captures.chain(endpoints).collect();
        self.sleep.watch(self.mailbox.bell(), fds.into_iter());
    }

    /// What every turn ends with: cut-overs, and news for the control plane.
    fn finish_turn(&mut self, now: Timestamp) {
        self.poll_cutovers(now);
        while let Some(event) = self.forwarder.poll_event() {
            self.tell(Event::Guest(event));
        }
        if self.drops != self.announced_drops {
            self.announce_drops();
        }
    }

    /// Probes that are due, and failed instances whose time has come.
    fn poll_timers(&mut self, now: Timestamp) {
        self.poll_probes(now);
        for index in 0..self.captures.len() {
            if let Some(change) = self.captures[index].port.poll(now) {
                self.handle_capture_change(index, change);
            }
        }
        for index in 0..self.endpoints.len() {
            if let Some(change) = self.endpoints[index].port.poll(now) {
                self.handle_endpoint_change(index, change);
            }
        }
        self.flush(now);
    }

    /// The first frame dropped for a reason is news; how many follow is a counter.
    fn announce_drops(&mut self) {
        for reason in DropReason::ALL {
            if self.announced_drops.of(*reason) == 0 && self.drops.of(*reason) > 0 {
                self.tell(Event::FirstDrop(*reason));
            }
        }
        self.announced_drops = self.drops.clone();
    }

    fn next_timer(&self) -> Timestamp {
        let ports = self.captures.iter().filter_map(|port| port.port.poll_at());
        let endpoints = self.endpoints.iter().filter_map(|port| port.port.poll_at());
        ports.chain(endpoints).chain(self.next_probe()).min().unwrap_or(Timestamp(u64::MAX))
    }
}
