//! The underlays: what passes between two nodes, how long it takes, what is lost and doubled.
//!
//! Everything from one node to another over one underlay arrives in the order in which it was sent, but for what
//! is doubled.

use std::collections::BTreeMap;
use std::time::Duration;

use vreserve_core::ids::InterfaceId;
use vreserve_core::signal::is_signal;
use vreserve_model::Timestamp;

use super::{Event, HUB, World};
use crate::frame::Frame;
use crate::topology::{COMMODITY, NetId, Topology};
use crate::worker::Sent;

/// What would have left a circuit's queue later than this is dropped: a queue of so many octets, in which a probe
/// finds room where a burst does not.
const QUEUE: Duration = Duration::from_millis(150);

/// The state of all ways.
pub(crate) struct Wires {
    addresses: BTreeMap<(NetId, String), usize>,
    /// Each node's name on each reservable network.
    names: BTreeMap<(NetId, usize), String>,
    /// By node: partitions that cut its way to the hub, and the share that it loses.
    pub(crate) cuts: Vec<u32>,
    pub(crate) losses: Vec<f64>,
    /// When the last datagram has left, and arrives, from one node to another.
    lanes: BTreeMap<(NetId, usize, usize), Lane>,
}

#[derive(Clone, Copy, Default)]
struct Lane {
    left: Timestamp,
    arrives: Timestamp,
}

impl Wires {
    pub(super) fn new(topology: &Topology) -> Self {
        let mut names = BTreeMap::new();
        for (number, place) in topology.nodes.iter().enumerate() {
            for (network, at) in &place.description.networks {
                if let Some(net) = topology.net_of(network) {
                    names.insert((net, number), at.bare_address());
                }
            }
        }
        Wires {
            addresses: topology.addresses(),
            names,
            cuts: vec![0; topology.nodes.len()],
            losses: vec![0.0; topology.nodes.len()],
            lanes: BTreeMap::new(),
        }
    }

    pub(crate) fn node_at(&self, net: NetId, address: &str) -> Option<usize> {
        self.addresses.get(&(net, address.to_owned())).copied()
    }
}

impl World {
    /// True if nothing passes between two nodes on the commodity network.
    pub(crate) fn is_cut(&self, one: usize, other: usize) -> bool {
        self.wires.cuts[one] > 0 || self.wires.cuts[other] > 0
    }

    /// True if a circuit carries frames between two nodes.
    pub(crate) fn carries(&self, net: NetId, one: usize, other: usize) -> bool {
        self.way(net, one, other).is_some_and(|way| !way.is_dark)
    }

    fn way(&self, net: NetId, one: usize, other: usize) -> Option<crate::provider::Way> {
        let names = &self.wires.names;
        let (one, other) = (names.get(&(net, one))?, names.get(&(net, other))?);
        self.lines.get(net.0.checked_sub(1)?)?.provider.way(one, other)
    }

    /// A node sends.
    pub(super) fn transmit(&mut self, from: usize, sent: Sent) {
        let Sent { net, far, frame } = sent;
        if net == COMMODITY {
            self.transmit_over_star(from, far, frame);
        } else {
            self.transmit_over_circuit(net, from, far, frame);
        }
    }

    fn transmit_over_star(&mut self, from: usize, far: usize, frame: Frame) {
        // One end is the hub; the other has a way of its own.
        let spoke = if from == HUB { far } else { from };
        let settings = &self.scenario.settings;
        let (delay, doubled) = (settings.delays[spoke], settings.doubled);
        let loss = settings.loss.max(self.wires.losses[spoke]);
        if self.is_cut(from, far) || self.chance(loss) {
            return;
        }
        let jitter = Duration::from_micros(self.rng.u64(0..500));
        let at = self.arrival((COMMODITY, from, far), self.now, delay + jitter);
        self.queue.push(at, Event::Datagram { net: COMMODITY, from, to: far, frame });
        if self.chance(doubled) {
            let later = self.millis(0, 60);
            self.queue.push(at + later, Event::Datagram { net: COMMODITY, from, to: far, frame });
        }
    }

    fn transmit_over_circuit(&mut self, net: NetId, from: usize, far: usize, frame: Frame) {
        let Some(way) = self.way(net, from, far).filter(|way| !way.is_dark) else { return };
        if self.chance(way.loss) {
            return;
        }
        let octets = frame.length as f64;
        let takes = Duration::from_secs_f64(octets * 8.0 / way.bits_per_second.max(1.0));
        let lane = self.wires.lanes.entry((net, from, far)).or_default();
        let begins = lane.left.max(self.now);
        if (begins + takes).since(self.now) > QUEUE {
            self.counts.overflows += 1;
            if !is_signal(&frame.octets) {
                self.excuse(&frame);
            }
            return;
        }
        lane.left = begins + takes;
        let (left, delay) = (lane.left, self.scenario.settings.providers[net.0 - 1].delay);
        let at = self.arrival((net, from, far), left, delay);
        self.queue.push(at, Event::Datagram { net, from, to: far, frame });
    }

    /// A circuit had no room for a guest's frame: that it is missing is its sender's doing.
    fn excuse(&mut self, frame: &Frame) {
        let mark = frame.mark();
        if let Some(stream) = self.streams.get_mut(mark.stream as usize) {
            stream.excused.insert(mark.number);
        }
    }

    fn arrival(&mut self, lane: (NetId, usize, usize), leaves: Timestamp, delay: Duration) -> Timestamp {
        let lane = self.wires.lanes.entry(lane).or_default();
        lane.arrives = lane.arrives.max(leaves + delay);
        lane.arrives
    }

    /// A frame reaches a guest.
    pub(super) fn handle_delivered(&mut self, node: usize, interface: InterfaceId, frame: &Frame) {
        let mark = frame.mark();
        let number = mark.stream as usize;
        let Some(flow) = self.scenario.flows.get(number) else { return };
        let is_meant =
            flow.to == node && interface == super::nodes::interface(self.guest_at(node, flow.destination));
        if !is_meant {
            return;
        }
        self.counts.arrived += 1;
        let stream = &mut self.streams[number];
        let before = stream.arrived;
        stream.arrived = before.max(mark.number);
        let mut next = before + 1;
        while stream.excused.remove(&next) {
            next += 1;
        }
        if self.scenario.is_faultless() && mark.number != next {
            let what = format!(
                "{} to {}: frame {} came after frame {before}",
                flow.source, flow.destination, mark.number
            );
            self.break_down("without faults no frame is lost, doubled or overtaken", what);
        }
    }
}
