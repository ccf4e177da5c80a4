//! A node's data plane: the core's forwarder, liveness, proofs and cut-overs, put together as the daemon's
//! worker puts them together (framework/host/src/dataplane), without slots, queues, threads and offload.
//!
//! What it wants sent, and what it tells its agent, is left in an [`Outbox`].

mod cutover;
mod signals;

use std::collections::BTreeMap;

use vreserve_core::counters::{Cell, Weight};
use vreserve_core::drops::{DropCounters, DropReason};
use vreserve_core::forward::{Forwarder, ForwarderConfig, Verdict};
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId, SwitchId};
use vreserve_core::learn::LearnEvent;
use vreserve_core::liveness::{Degradation, LinkHealth, Liveness, LivenessConfig};
use vreserve_core::probe::{CircuitProof, LoadCounter, ProofOutcome};
use vreserve_core::rules::Target;
use vreserve_core::signal::is_signal;
use vreserve_core::switch::SwitchOutcome;
use vreserve_model::{MacAddr, Timestamp};

use crate::frame::Frame;
use crate::topology::NetId;
use cutover::Cutover;

/// One link as its worker has it.
pub(crate) struct Link {
    pub(crate) class: LinkClass,
    /// The underlay that it crosses, and the node at its far end.
    pub(crate) net: NetId,
    pub(crate) far: usize,
    liveness: Liveness,
    proof: Option<CircuitProof>,
    loads: LoadCounter,
    sent: Weight,
    received: Weight,
    rest: Option<(u32, u64)>,
    /// When its timer goes off.
    timer_at: Option<Timestamp>,
}

/// A frame to a far node.
pub(crate) struct Sent {
    pub(crate) net: NetId,
    pub(crate) far: usize,
    pub(crate) frame: Frame,
}

/// What a worker tells its agent.
pub(crate) enum News {
    Guest(LearnEvent),
    Health(LinkId, LinkHealth),
    Degraded(LinkId, Degradation),
    CutoverEnded(SwitchId, SwitchOutcome),
    Proof(LinkId, Option<ProofOutcome>),
}

/// What came of a call.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) sent: Vec<Sent>,
    pub(crate) delivered: Vec<(InterfaceId, Frame)>,
    pub(crate) news: Vec<News>,
    /// Links whose timer is to go off.
    pub(crate) timers: Vec<(LinkId, Timestamp)>,
}

/// The worker of one run of one node.
pub(crate) struct Worker {
    pub(crate) forwarder: Forwarder,
    links: BTreeMap<LinkId, Link>,
    /// By what a datagram shows: the underlay that it came over, and from whom.
    by_far: BTreeMap<(NetId, usize), LinkId>,
    cutovers: BTreeMap<SwitchId, Cutover>,
    nonces: fastrand::Rng,
    idle: u64,
    /// What local guests have sent and was not dropped.
    pub(crate) counted: Weight,
    pub(crate) drops: DropCounters,
}

impl Worker {
    pub(crate) fn new(seed: u64) -> Self {
        // Small tables: thousands of workers live in one process.
        let config =
            ForwarderConfig { cache_capacity: 64, spill_capacity: 256, seed, ..ForwarderConfig::default() };
        Worker {
            forwarder: Forwarder::new(config),
            links: BTreeMap::new(),
            by_far: BTreeMap::new(),
            cutovers: BTreeMap::new(),
            nonces: fastrand::Rng::with_seed(seed),
            idle: 0,
            counted: Weight::ZERO,
            drops: DropCounters::default(),
        }
    }

    pub(crate) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    pub(crate) fn link_over(&self, net: NetId, far: usize) -> Option<LinkId> {
        self.by_far.get(&(net, far)).copied()
    }

    pub(crate) fn add_link(
        &mut self,
        id: LinkId,
        class: LinkClass,
        (net, far): (NetId, usize),
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), String> {
        if self.links.contains_key(&id) {
            return Err(format!("this node has a link {id} already"));
        }
        if self.by_far.contains_key(&(net, far)) {
            return Err("this endpoint has the far node already".to_owned());
        }
        let link = Link {
            class,
            net,
            far,
            liveness: Liveness::new(id, LivenessConfig::default(), now),
            proof: None,
            loads: LoadCounter::default(),
            sent: Weight::ZERO,
            received: Weight::ZERO,
            rest: None,
            timer_at: None,
        };
        self.by_far.insert((net, far), id);
        self.links.insert(id, link);
        self.arm(id, now, out);
        Ok(())
    }

    pub(crate) fn remove_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.remove(&id) {
            self.by_far.remove(&(link.net, link.far));
        }
    }

    /// A datagram that came over `net` from a node.
    pub(crate) fn handle_datagram(
        &mut self,
        (net, far): (NetId, usize),
        frame: Frame,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        self.idle += 1;
        let id = self.by_far.get(&(net, far)).copied();
        let Some((id, link)) = id.and_then(|id| Some((id, self.links.get_mut(&id)?))) else {
            return self.drops.count(DropReason::UnknownLink, frame.weight.frames);
        };
        link.received += frame.weight;
        if is_signal(&frame.octets) {
            self.handle_signal(id, &frame, now, out);
        } else {
            self.handle_frame(Ingress::Link(id), frame, now, out);
        }
        self.finish_turn(now, out);
    }

    /// A frame of a local guest.
    pub(crate) fn handle_guest(
        &mut self,
        interface: InterfaceId,
        frame: Frame,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        self.idle += 1;
        let verdict = self.handle_frame(Ingress::Interface(interface), frame, now, out);
        if !matches!(verdict, Verdict::Drop(_)) {
            self.counted += frame.weight;
        }
        self.finish_turn(now, out);
    }

    /// Asks what happens to a frame, and does it.
    fn handle_frame(&mut self, ingress: Ingress, frame: Frame, now: Timestamp, out: &mut Outbox) -> Verdict {
        let verdict = self.forwarder.forward(ingress, &frame.octets, frame.weight, now);
        match verdict {
            Verdict::Deliver(interface) => out.delivered.push((interface, frame)),
            Verdict::Send(link) => self.send(link, frame, out),
            Verdict::Flood(fan_out) => {
                for target in self.forwarder.targets(fan_out).to_vec() {
                    match target {
                        Target::Interface(interface) => out.delivered.push((interface, frame)),
                        Target::Link(link) => self.send(link, frame, out),
                    }
                }
            }
            Verdict::Hold(switch) => self.hold(switch, frame, now, out),
            Verdict::Drop(reason) => self.drops.count(reason, frame.weight.frames),
        }
        verdict
    }

    fn send(&mut self, id: LinkId, frame: Frame, out: &mut Outbox) {
        match self.links.get_mut(&id) {
            Some(link) => {
                link.sent += frame.weight;
                out.sent.push(Sent { net: link.net, far: link.far, frame });
            }
            None => self.drops.count(DropReason::UnknownLink, frame.weight.frames),
        }
    }

    /// What every turn of a worker ends with.
    fn finish_turn(&mut self, now: Timestamp, out: &mut Outbox) {
        self.poll_cutovers(now, out);
        while let Some(event) = self.forwarder.poll_event() {
            out.news.push(News::Guest(event));
        }
    }

    /// What guests have sent since the last call.
    pub(crate) fn collect(&mut self, now: Timestamp, out: &mut Outbox) -> (Vec<Cell>, Weight) {
        let mut cells = Vec::new();
        let other = self.forwarder.poll_counters(now, &mut cells);
        self.finish_turn(now, out);
        (cells, other)
    }

    pub(crate) fn forget_guest(&mut self, guest: MacAddr, now: Timestamp, out: &mut Outbox) {
        self.forwarder.forget_guest(guest);
        self.finish_turn(now, out);
    }
}
