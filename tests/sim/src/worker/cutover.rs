//! Cut-overs under way: frames held, barriers sent, held frames let go in order.

use std::sync::Arc;

use vreserve_core::agent::CutoverSpec;
use vreserve_core::counters::Weight;
use vreserve_core::drops::DropReason;
use vreserve_core::ids::{LinkId, SwitchId};
use vreserve_core::rules::RuleSet;
use vreserve_core::signal::SIGNAL_LENGTH;
use vreserve_core::switch::{Admission, Path, Switch, SwitchLimits};
use vreserve_model::Timestamp;

use super::{News, Outbox, Worker};
use crate::frame::Frame;

/// What goes through a hold with each frame.
type Load = (usize, Weight);

pub(super) struct Cutover {
    switch: Switch<Load>,
    star: LinkId,
    is_announced: bool,
}

impl Cutover {
    fn link_of(&self, path: Path) -> LinkId {
        match path {
            Path::Star => self.star,
            Path::Link(link) => link,
        }
    }
}

impl Worker {
    pub(crate) fn install(
        &mut self,
        rules: Arc<RuleSet>,
        begin: Vec<CutoverSpec>,
        retire: &[SwitchId],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        self.forwarder.install(rules);
        for id in retire {
            self.cutovers.remove(id);
        }
        for spec in begin {
            let switch = Switch::begin(spec.switch, SwitchLimits::default(), now);
            let cutover = Cutover { switch, star: spec.star, is_announced: false };
            self.cutovers.insert(spec.switch.id, cutover);
        }
        self.finish_turn(now, out);
    }

    pub(crate) fn release(&mut self, id: SwitchId, now: Timestamp, out: &mut Outbox) {
        if let Some(cutover) = self.cutovers.get_mut(&id) {
            cutover.switch.release(now);
        }
        self.poll_cutovers(now, out);
    }

    pub(crate) fn abandon(&mut self, id: SwitchId, now: Timestamp, out: &mut Outbox) {
        if let Some(cutover) = self.cutovers.get_mut(&id) {
            cutover.switch.abandon(now);
        }
        self.poll_cutovers(now, out);
    }

    /// An acknowledgement that came over `circuit`, or as a frame between guests; false if nobody waits for it.
    pub(super) fn handle_ack(&mut self, circuit: Option<LinkId>, nonce: u64, now: Timestamp) -> bool {
        self.cutovers
            .values_mut()
            .filter(|cutover| cutover.switch.spec().circuit == circuit)
            .any(|cutover| cutover.switch.handle_ack(nonce, now))
    }

    /// A frame of a pair that is being moved.
    pub(super) fn hold(&mut self, id: SwitchId, frame: Frame, now: Timestamp, out: &mut Outbox) {
        let meta = (frame.length, frame.weight);
        let Some(cutover) = self.cutovers.get_mut(&id) else {
            return self.drops.count(DropReason::HoldOverflow, frame.weight.frames);
        };
        let mut admission = cutover.switch.admit(&frame.octets, meta, now);
        if admission == Admission::Full {
            // Links here take everything: what is held can be let go, and then there is room.
            self.let_go(id, now, out);
            let Some(cutover) = self.cutovers.get_mut(&id) else { return };
            admission = cutover.switch.admit(&frame.octets, meta, now);
        }
        let Some(cutover) = self.cutovers.get_mut(&id) else { return };
        match admission {
            Admission::Held => {}
            Admission::Pass(path) => {
                let link = cutover.link_of(path);
                self.send(link, frame, out);
            }
            Admission::Full => {
                cutover.switch.count_dropped(frame.weight.frames);
                self.drops.count(DropReason::HoldOverflow, frame.weight.frames);
            }
        }
    }

    pub(crate) fn poll_cutovers(&mut self, now: Timestamp, out: &mut Outbox) {
        let ids: Vec<SwitchId> = self.cutovers.keys().copied().collect();
        for id in ids {
            let nonces = &mut self.nonces;
            let Some(cutover) = self.cutovers.get_mut(&id) else { continue };
            let barrier = cutover.switch.poll(now, || nonces.u64(..));
            let old = cutover.link_of(cutover.switch.spec().old);
            if let Some(barrier) = barrier {
                self.send(old, Frame::of_signal(&barrier, SIGNAL_LENGTH), out);
            }
            self.let_go(id, now, out);
            self.announce(id, out);
        }
    }

    /// When the next cut-over has something to do.
    pub(crate) fn next_cutover(&self) -> Option<Timestamp> {
        self.cutovers.values().filter_map(|cutover| cutover.switch.poll_at()).min()
    }

    /// How many are under way.
    pub(crate) fn cutovers(&self) -> usize {
        self.cutovers.len()
    }

    fn let_go(&mut self, id: SwitchId, now: Timestamp, out: &mut Outbox) {
        let Some(cutover) = self.cutovers.get_mut(&id) else { return };
        let held = cutover.switch.waiting().map(|held| {
            let (length, weight) = held.meta;
            let octets = std::array::from_fn(|at| held.frame.get(at).copied().unwrap_or_default());
            (held.path, Frame { octets, length, weight })
        });
        let held: Vec<_> = held.collect();
        let links: Vec<_> = held.iter().map(|(path, _)| cutover.link_of(*path)).collect();
        cutover.switch.pop(held.len(), now);
        for (link, (_, frame)) in links.into_iter().zip(held) {
            self.send(link, frame, out);
        }
    }

    fn announce(&mut self, id: SwitchId, out: &mut Outbox) {
        let Some(cutover) = self.cutovers.get_mut(&id) else { return };
        if let Some(outcome) = cutover.switch.outcome().filter(|_| !cutover.is_announced) {
            cutover.is_announced = true;
            out.news.push(News::CutoverEnded(id, outcome));
        }
    }
}
