//! A worker: the loop that every frame of its queues passes through.
//!
//! One turn asks every port (capture instance or endpoint) that is due for a batch, asks the core's `forward`
//! once for each frame and queues it, and sends the queues when the batch's slots are used up or the turn
//! ends. Between two turns come cut-overs and timers that are due; then the worker looks which ports are due
//! next, and if none is, polls for a while or sleeps.

use std::sync::Arc;
use std::time::Duration;

use vreserve_abi::Slot;
use vreserve_core::counters::Weight;
use vreserve_core::drops::{DropCounters, DropReason};
use vreserve_core::forward::{Forwarder, ForwarderConfig};
use vreserve_core::ids::Ingress;
use vreserve_core::probe::RateTerms;
use vreserve_model::Timestamp;

use super::commands::Unread;
use super::cutover::Cutovers;
use super::dispatch::Dispatch;
use super::egress::weight_of;
use super::ingress::is_sound;
use super::links::LinkTable;
use super::mailbox::{Command, Mailbox};
use super::nonces::Nonces;
use super::outbox::Outbox;
use super::plane::WorkerConfig;
use super::pool::{BATCH, SlotPool};
use super::ports::{CapturePort, EndpointPort};
use super::readiness::Readiness;
use super::spin::Spin;
use super::watchdog::Pulse;
use super::workers::{PROBER, Teller, Workers};
use crate::clock::Clock;

/// A port's number: captures first, then endpoints, each in the configuration's order.
pub(super) type PortNumber = usize;

/// While some ports give frames, the others are looked at every so many turns: a system call less per turn.
const LOOK_EVERY: u32 = 4;
/// With fewer free slots than this the queues are sent first: a small batch costs as many calls as a full one.
const LEAST_BATCH: usize = BATCH / 4;
/// With so many bytes in hand the queues are sent, while the frames are still in the core's own cache.
const HOT_BYTES: u64 = 256 << 10;

/// A worker's place among the others.
pub(super) struct Place {
    /// Its number; also the number of its queues.
    pub(super) index: usize,
    pub(super) workers: Workers,
    pub(super) mailbox: Mailbox,
    pub(super) teller: Teller,
    pub(super) pulse: Arc<Pulse>,
}

/// What all workers have alike.
#[derive(Clone, Copy)]
pub(super) struct Habits {
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) spin: Duration,
    pub(super) rate_terms: RateTerms,
}

pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) workers: Workers,
    pub(super) pool: SlotPool,
    batch: Vec<Slot>,
    /// Slots of the batch that hold frames in hand, from the first; sent when the turn ends at the latest.
    in_hand: usize,
    bytes_in_hand: u64,
    /// The next scratch slot that is free until the queues are sent.
    pub(super) scratch: usize,
    pub(super) captures: Vec<CapturePort>,
    pub(super) endpoints: Vec<EndpointPort>,
    pub(super) outbox: Outbox,
    /// Ports by interface number.
    pub(super) interface_index: Vec<Option<PortNumber>>,
    pub(super) links: LinkTable,
    pub(super) forwarder: Forwarder,
    pub(super) cutovers: Cutovers,
    pub(super) dispatch: Dispatch,
    pub(super) unread: Unread,
    pub(super) drops: DropCounters,
    pub(super) announced_drops: DropCounters,
    pub(super) nonces: Nonces,
    clock: Clock,
    pub(super) pulse: Arc<Pulse>,
    pub(super) mailbox: Mailbox,
    pub(super) teller: Teller,
    pub(super) readiness: Readiness,
    spin: Spin,
    pub(super) rate_terms: RateTerms,
    /// Turns since all ports were looked at.
    unlooked: u32,
    /// How often no port had anything left, ever: while it does not grow, frames wait for this worker.
    pub(super) idle: u64,
    /// When the next probe or reopening is due.
    pub(super) timers_at: Timestamp,
    /// When every port is asked, ready or not.
    pub(super) beat_at: Timestamp,
}

fn index_interfaces(captures: &[CapturePort]) -> Vec<Option<PortNumber>> {
    let mut index = Vec::new();
    for (port, capture) in captures.iter().enumerate() {
        let id = usize::from(capture.id.0);
        index.resize(index.len().max(id + 1), None);
        index[id] = Some(port);
    }
    index
}

/// Each worker's nonces are its own.
fn secret_of(seed: u64, worker: usize) -> u64 {
    seed.rotate_left(32) ^ (worker as u64).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

impl Worker {
    pub(super) fn new(config: WorkerConfig, place: Place, habits: Habits) -> Self {
        let Habits { clock, seed, spin, rate_terms } = habits;
        let WorkerConfig { pool, captures, endpoints, .. } = config;
        let Place { index, workers, mailbox, teller, pulse } = place;
        let ports = captures.len() + endpoints.len();
        Worker {
            index,
            batch: (0..BATCH).map(|index| pool.slot(index)).collect(),
            in_hand: 0,
            bytes_in_hand: 0,
            pool,
            scratch: 0,
            interface_index: index_interfaces(&captures),
            captures,
            endpoints,
            outbox: Outbox::new(ports),
            links: LinkTable::new(index == PROBER),
            forwarder: Forwarder::new(ForwarderConfig { seed, ..ForwarderConfig::default() }),
            cutovers: Cutovers::new(workers.count()),
            dispatch: Dispatch::new(),
            unread: Unread::default(),
            drops: DropCounters::default(),
            announced_drops: DropCounters::default(),
            nonces: Nonces::new(secret_of(seed, index), index),
            clock,
            pulse,
            mailbox,
            teller,
            workers,
            readiness: Readiness::new(ports),
            spin: Spin::new(spin),
            rate_terms,
            unlooked: 0,
            idle: 0,
            timers_at: Timestamp::ZERO,
            beat_at: Timestamp::ZERO,
        }
    }

    pub(super) fn run(mut self) {
        self.pulse.begin();
        self.watch();
        loop {
            self.pulse.turn();
            let now = self.clock.now();
            while let Some(command) = self.mailbox.poll() {
                if matches!(command, Command::Stop) {
                    return;
                }
                self.handle_command(command, now);
                self.timers_at = now;
            }
            self.turn(now);
            self.finish_turn(now);
            self.look(now);
        }
    }

    /// One batch from every port that is due.
    fn turn(&mut self, now: Timestamp) {
        let due = self.readiness.begin_turn();
        let mut moved = 0;
        for port in &due {
            moved += self.receive(*port, now);
        }
        self.send_off(now);
        if moved > 0 {
            self.spin.handle_frames(now);
        }
        self.readiness.end_turn(due, moved > 0);
    }

    /// Takes a batch from one port and handles it; returns how many frames came. Only a port that gave none is
    /// not asked again: batches may be short because frames are long.
    fn receive(&mut self, port: PortNumber, now: Timestamp) -> usize {
        if self.in_hand + LEAST_BATCH > BATCH || self.bytes_in_hand >= HOT_BYTES {
            self.send_off(now);
        }
        self.pulse.call(port);
        let frames = match port.checked_sub(self.captures.len()) {
            None => self.receive_from_guests(port, now),
            Some(endpoint) => self.receive_from_nodes(endpoint, now),
        };
        if frames > 0 {
            self.readiness.ask_again(port);
        }
        frames
    }

    fn receive_from_guests(&mut self, index: usize, now: Timestamp) -> usize {
        let capture = &mut self.captures[index];
        let ingress = Ingress::Interface(capture.id);
        let frames = match capture.port.recv(&mut self.batch[self.in_hand..], now) {
            Ok(frames) => frames,
            Err(change) => {
                self.handle_capture_change(index, change);
                return 0;
            }
        };
        let batch = self.in_hand..self.in_hand + frames;
        let weight: Weight = self.batch[batch.clone()].iter().map(weight_of).sum();
        capture.port.received += weight;
        self.take_in_hand(frames, weight);
        let pool = &self.pool;
        self.forwarder.anticipate(self.batch[batch.clone()].iter().map(|slot| (ingress, pool.frame(slot))));
        for slot in batch {
            if self.is_let_in(slot) {
                self.handle_frame(ingress, self.batch[slot], now);
            }
        }
        frames
    }

    fn receive_from_nodes(&mut self, index: usize, now: Timestamp) -> usize {
        let endpoint = &mut self.endpoints[index];
        let frames = match endpoint.port.recv(&mut self.batch[self.in_hand..], now) {
            Ok(frames) => frames,
            Err(change) => {
                self.handle_endpoint_change(index, change);
                return 0;
            }
        };
        let batch = self.in_hand..self.in_hand + frames;
        let weight: Weight = self.batch[batch.clone()].iter().map(weight_of).sum();
        endpoint.port.received += weight;
        let (pool, endpoint) = (&self.pool, &self.endpoints[index]);
        self.forwarder.anticipate(self.batch[batch.clone()].iter().filter_map(|slot| {
            let (link, _) = endpoint.link_of(slot.far)?;
            Some((Ingress::Link(link), pool.frame(slot)))
        }));
        self.take_in_hand(frames, weight);
        for slot in batch {
            if self.is_let_in(slot) {
                self.handle_datagram(index, self.batch[slot], now);
            }
        }
        frames
    }

    /// False for a frame that goes no further, wherever it came from, as its offload metadata are wrong.
    #[inline]
    fn is_let_in(&mut self, slot: usize) -> bool {
        let is_sound = is_sound(&self.batch[slot]);
        if !is_sound {
            self.drops.count(DropReason::BogusOffload, 1);
        }
        is_sound
    }

    fn take_in_hand(&mut self, frames: usize, weight: Weight) {
        self.in_hand += frames;
        self.bytes_in_hand += weight.bytes;
    }

    /// Sends what is in hand, and frees the slots that held it.
    fn send_off(&mut self, now: Timestamp) {
        self.flush(now);
        for index in 0..self.in_hand {
            self.batch[index] = self.pool.slot(index);
        }
        (self.in_hand, self.bytes_in_hand) = (0, 0);
    }

    /// Finds out which ports are due next. A worker whose ports give frames looks at the others now
    /// and then; one that is done looks again for as long as that is likely to pay, then sleeps.
    fn look(&mut self, now: Timestamp) {
        self.unlooked += 1;
        if self.readiness.is_any_due() {
            if self.unlooked < LOOK_EVERY {
                return;
            }
            self.readiness.poll();
            self.unlooked = 0;
            return;
        }
        self.idle += 1;
        if self.spin.is_on(now) && now < self.wake_at() {
            self.readiness.poll();
            if !self.readiness.is_any_due() {
                // A guest that waits for this core goes first.
                std::thread::yield_now();
            }
        } else {
            self.readiness.wait(self.wake_at().since(now));
        }
        self.unlooked = 0;
    }
}
