//! The way that a frame would take now, by the rules in force at every node that it would cross. Nothing is sent,
//! counted or learned.

use std::collections::BTreeSet;

use vreserve_core::frame::EthernetHeader;
use vreserve_core::ids::{Ingress, LinkId};
use vreserve_core::rules::{Resolution, Target};
use vreserve_model::MacAddr;

use crate::frame::{Frame, Mark};
use crate::topology::COMMODITY;
use crate::world::World;

/// What would become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// It reaches the guest that it is for.
    Delivered,
    /// It waits for the cut-over of its pair.
    Held,
    /// It ends on a circuit that does not carry it.
    DeadCircuit(String),
    /// It ends elsewhere.
    Nowhere(String),
    /// It comes by twice at one place.
    Loop(String),
}

/// Everything that one frame reaches.
pub(crate) struct Reach {
    /// Nodes that it comes to, as often as it does, the first not among them.
    pub(crate) nodes: Vec<usize>,
    /// Guests' interfaces that it leaves on: node and position.
    pub(crate) delivered: Vec<(usize, usize)>,
    is_held: bool,
    dead_circuit: Option<String>,
    nowhere: Option<String>,
    looped: Option<String>,
}

impl World {
    /// The way of a frame from one guest to another.
    pub(crate) fn path(&self, from: usize, source: MacAddr, to: usize, destination: MacAddr) -> Path {
        let reach = self.reach(from, source, destination);
        let guest = self.guest_at(to, destination);
        if let Some(at) = reach.looped {
            Path::Loop(at)
        } else if reach.delivered.contains(&(to, guest)) {
            Path::Delivered
        } else if reach.is_held {
            Path::Held
        } else if let Some(what) = reach.dead_circuit {
            Path::DeadCircuit(what)
        } else {
            Path::Nowhere(reach.nowhere.unwrap_or_else(|| "it is delivered to others only".to_owned()))
        }
    }

    /// Where a frame of a guest comes to.
    pub(crate) fn reach(&self, from: usize, source: MacAddr, destination: MacAddr) -> Reach {
        let frame = Frame::of_guest(source, destination, Mark { stream: 0, number: 0 }, 0);
        let header = EthernetHeader::parse(&frame.octets).expect("a guest's frame has a header and a sender");
        let first = (from, Ingress::Interface(crate::world::interface(self.guest_at(from, source))));
        let mut reach = Reach {
            nodes: Vec::new(),
            delivered: Vec::new(),
            is_held: false,
            dead_circuit: None,
            nowhere: None,
            looped: None,
        };
        let (mut to_do, mut seen, mut targets) = (vec![first], BTreeSet::new(), Vec::new());
        while let Some((node, ingress)) = to_do.pop() {
            if !seen.insert((node, ingress)) {
                reach.looped = Some(format!("twice at {} from {ingress:?}", self.name(node)));
                break;
            }
            let forwarder = &self.nodes[node].worker.forwarder;
            let learned = forwarder.guests().locate(destination);
            match forwarder.rules().resolve(ingress, &header, learned, &mut targets) {
                Resolution::Hold(_) => reach.is_held = true,
                Resolution::Drop(reason) => {
                    let what = format!("{} drops it: {}", self.name(node), reason.label());
                    reach.nowhere.get_or_insert(what);
                }
                Resolution::Targets => {
                    for target in &targets {
                        match target {
                            Target::Interface(id) => reach.delivered.push((node, usize::from(id.0))),
                            Target::Link(link) => self.cross(node, *link, &mut to_do, &mut reach),
                        }
                    }
                }
            }
        }
        reach
    }

    /// Crosses a link, if it leads somewhere.
    fn cross(&self, node: usize, id: LinkId, to_do: &mut Vec<(usize, Ingress)>, reach: &mut Reach) {
        let Some(link) = self.nodes[node].worker.link(id) else {
            let what = format!("{} has no link {id}", self.name(node));
            reach.nowhere.get_or_insert(what);
            return;
        };
        let (net, far) = (link.net, link.far);
        let is_star = net == COMMODITY;
        let back = self.nodes[far].worker.link_over(net, node).filter(|_| self.nodes[far].is_up);
        let carries = if is_star { !self.is_cut(node, far) } else { self.carries(net, node, far) };
        match back.filter(|_| carries) {
            Some(back) => {
                reach.nodes.push(far);
                to_do.push((far, Ingress::Link(back)));
            }
            None => {
                let end = if back.is_none() { "its far end is not there" } else { "it carries nothing" };
                let what = format!("link {id} from {} to {}: {end}", self.name(node), self.name(far));
                if is_star {
                    reach.nowhere.get_or_insert(what);
                } else {
                    reach.dead_circuit.get_or_insert(what);
                }
            }
        }
    }

    /// True while a node has its star: link and hub are there, and nothing cuts them apart.
    pub(crate) fn has_star(&self, node: usize) -> bool {
        let hub = crate::world::HUB;
        let is_up = self.nodes[node].is_up && self.nodes[hub].is_up;
        is_up
            && (node == hub
                || !self.is_cut(node, hub)
                    && self.nodes[node].worker.link_over(COMMODITY, hub).is_some()
                    && self.nodes[hub].worker.link_over(COMMODITY, node).is_some())
    }
}
