//! Cut-overs under way at this worker: frames held, barriers sent, held frames let go in order.
//!
//! Each worker has its own part of a pair's cut-over: it holds the frames of its own flows, and sends its own
//! barrier behind them on its own lane of the old path.

use std::collections::BTreeMap;

use vreserve_abi::{Offload, Slot};
use vreserve_core::drops::DropReason;
use vreserve_core::ids::{LinkId, SwitchId};
use vreserve_core::signal::SIGNAL_LENGTH;
use vreserve_core::switch::{Admission, Path, Switch, SwitchLimits};
use vreserve_model::Timestamp;

use super::dispatch::{Stock, ToNodes};
use super::egress::weight_of;
use super::mailbox::{CutoverSpec, Event};
use super::pool::{BATCH, SCRATCH};
use super::worker::Worker;

struct Cutover {
    switch: Switch<Offload>,
    star: LinkId,
    is_announced: bool,
}

/// This worker's parts of the cut-overs by identity: few, and only while pairs move.
pub(super) struct Cutovers {
    running: BTreeMap<SwitchId, Cutover>,
    limits: SwitchLimits,
}

impl Cutover {
    fn link_of(&self, path: Path) -> LinkId {
        match path {
            Path::Star => self.star,
            Path::Link(link) => link,
        }
    }
}

impl Cutovers {
    /// For one of `workers` workers, which share the room for held frames.
    pub(super) fn new(workers: usize) -> Self {
        let whole = SwitchLimits::default();
        let limits = SwitchLimits { hold_bytes: whole.hold_bytes / workers.max(1), ..whole };
        Cutovers { running: BTreeMap::new(), limits }
    }

    pub(super) fn begin(&mut self, specs: Vec<CutoverSpec>, now: Timestamp) {
        for spec in specs {
            let switch = Switch::begin(spec.switch, self.limits, now);
            let cutover = Cutover { switch, star: spec.star, is_announced: false };
            self.running.insert(spec.switch.id, cutover);
        }
    }

    pub(super) fn retire(&mut self, ids: &[SwitchId]) {
        for id in ids {
            self.running.remove(id);
        }
    }

    pub(super) fn release(&mut self, id: SwitchId, now: Timestamp) {
        if let Some(cutover) = self.running.get_mut(&id) {
            cutover.switch.release(now);
        }
    }

    pub(super) fn abandon(&mut self, id: SwitchId, now: Timestamp) {
        if let Some(cutover) = self.running.get_mut(&id) {
            cutover.switch.abandon(now);
        }
    }

    /// An acknowledgement that came over `circuit`, or as a frame between guests; false if nobody waits for it.
    pub(super) fn handle_ack(&mut self, circuit: Option<LinkId>, nonce: u64, now: Timestamp) -> bool {
        self.running
            .values_mut()
            .filter(|cutover| cutover.switch.spec().circuit == circuit)
            .any(|cutover| cutover.switch.handle_ack(nonce, now))
    }

    pub(super) fn poll_at(&self) -> Option<Timestamp> {
        self.running.values().filter_map(|cutover| cutover.switch.poll_at()).min()
    }
}

impl Worker {
    /// A frame of a pair that is being moved.
    pub(super) fn hold(&mut self, id: SwitchId, slot: Slot, now: Timestamp) {
        match self.admit(id, &slot, now) {
            Some(Admission::Held) => {}
            Some(Admission::Pass(path)) => self.pass(id, path, slot),
            Some(Admission::Full) => {
                self.let_go(id, now);
                match self.admit(id, &slot, now) {
                    Some(Admission::Held) => {}
                    Some(Admission::Pass(path)) => self.pass(id, path, slot),
                    Some(Admission::Full) | None => self.drop_held(id, &slot),
                }
            }
            None => self.drop_held(id, &slot),
        }
    }

    fn admit(&mut self, id: SwitchId, slot: &Slot, now: Timestamp) -> Option<Admission> {
        let cutover = self.cutovers.running.get_mut(&id)?;
        Some(cutover.switch.admit(self.pool.frame(slot), slot.offload, now))
    }

    fn pass(&mut self, id: SwitchId, path: Path, slot: Slot) {
        if let Some(link) = self.cutovers.running.get(&id).map(|cutover| cutover.link_of(path)) {
            self.queue_to_link(link, slot);
        }
    }

    fn drop_held(&mut self, id: SwitchId, slot: &Slot) {
        let frames = weight_of(slot).frames;
        if let Some(cutover) = self.cutovers.running.get_mut(&id) {
            cutover.switch.count_dropped(frames);
        }
        self.drops.count(DropReason::HoldOverflow, frames);
    }

    pub(super) fn poll_cutovers(&mut self, now: Timestamp) {
        if self.cutovers.running.is_empty() {
            return;
        }
        let ids: Vec<SwitchId> = self.cutovers.running.keys().copied().collect();
        for id in ids {
            let nonces = &mut self.nonces;
            let Some(cutover) = self.cutovers.running.get_mut(&id) else { continue };
            let barrier = cutover.switch.poll(now, || nonces.fresh());
            let old = cutover.link_of(cutover.switch.spec().old);
            if let Some(barrier) = barrier {
                self.send_signal(old, &barrier, SIGNAL_LENGTH, now);
                self.flush(now);
            }
            self.let_go(id, now);
            self.announce(id);
        }
    }

    fn announce(&mut self, id: SwitchId) {
        let Some(cutover) = self.cutovers.running.get_mut(&id) else { return };
        if let Some(outcome) = cutover.switch.outcome().filter(|_| !cutover.is_announced) {
            cutover.is_announced = true;
            self.tell(Event::CutoverEnded(id, outcome));
        }
    }

    /// Sends frames out of the hold, in order, until none may go or the link has no room; the rest goes at a
    /// later turn.
    fn let_go(&mut self, id: SwitchId, now: Timestamp) {
        loop {
            // What was queued before must leave before, and all scratch slots must be free.
            self.flush(now);
            let Some(cutover) = self.cutovers.running.get(&id) else { return };
            let mut slots = Vec::new();
            let mut link = None;
            for (index, held) in cutover.switch.waiting().take(SCRATCH).enumerate() {
                link = Some(cutover.link_of(held.path));
                slots.push(self.pool.fill(BATCH + index, held.frame, held.meta));
            }
            let Some(link) = link else { return };
            let taken = self.send_now(link, &mut slots, now);
            let Some(cutover) = self.cutovers.running.get_mut(&id) else { return };
            cutover.switch.pop(taken, now);
            if taken < slots.len() {
                return;
            }
        }
    }

    /// Sends frames to a link at once; returns how many of the first ones are done with (sent, or refused for
    /// good and counted).
    fn send_now(&mut self, link: LinkId, slots: &mut [Slot], now: Timestamp) -> usize {
        let Some(entry) = self.links.find_mut(link) else {
            let frames = slots.iter().map(|slot| weight_of(slot).frames).sum();
            self.drops.count(DropReason::UnknownLink, frames);
            return slots.len();
        };
        for slot in slots.iter_mut() {
            slot.far = entry.far;
        }
        let endpoint = entry.endpoint;
        let mut way = ToNodes(&mut self.endpoints[endpoint], &mut self.links);
        let guests = self.forwarder.guests();
        let mut stock = Stock { pool: &mut self.pool, guests, drops: &mut self.drops };
        let (done, change) = self.dispatch.send(slots, &mut way, &mut stock, now);
        if let Some(change) = change {
            self.handle_endpoint_change(endpoint, change);
        }
        done
    }
}
