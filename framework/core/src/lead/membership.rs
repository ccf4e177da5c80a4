//! Nodes, guests and the star; and how each node is told its part of the overlay.

use std::collections::BTreeMap;

use vreserve_model::{MacAddr, Timestamp};

use super::switching::Pair;
use super::{Action, Attachment, CircuitId, Event, Lead, NodeDescription, NodeRole};
use crate::ids::{LinkClass, LinkId};
use crate::key::PublicKey;
use crate::overlay::{GuestWay, NodeOverlay, OverlayLink, PairWay};
use crate::plan::PairKey;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) role: NodeRole,
    /// What its session proved, never what the node says of itself.
    pub(super) key: PublicKey,
    pub(super) star: Attachment,
    pub(super) networks: BTreeMap<String, Attachment>,
    /// The link to the proxy; none for the proxy itself and while there is no proxy.
    pub(super) star_link: Option<LinkId>,
    /// What this node last said of its star link.
    pub(super) is_star_up: Option<bool>,
    /// The newest revision of its part, sent or about to be.
    pub(super) revision: u64,
    /// The newest revision it has been sent, and the newest it has set up.
    pub(super) sent: u64,
    pub(super) applied: u64,
    pub(super) failed_applies: u32,
    pub(super) resend_at: Option<Timestamp>,
}

impl Lead {
    /// A node has joined, or joined again, and proved `key` in doing so. One that joins again unchanged is
    /// sent its part once more; one that comes back with other endpoints or another key has left in between.
    pub fn handle_node_joined(&mut self, now: Timestamp, node: NodeDescription, key: PublicKey) {
        self.advance_clock(now);
        let name = node.name.clone();
        let known = self.nodes.get(&name);
        let is_same = known.is_some_and(|known| {
            known.key == key
                && known.role == node.role
                && known.star == node.star
                && known.networks == node.networks
        });
        if is_same {
            self.touch(&name);
        } else {
            if known.is_some() {
                self.remove_node(&name);
            }
            self.add_node(node, key);
        }
        self.settle();
    }

    /// A node is gone. Its circuits are given up, and the other ends go back to the star at once.
    pub fn handle_node_left(&mut self, now: Timestamp, node: &str) {
        self.advance_clock(now);
        if self.nodes.contains_key(node) {
            self.remove_node(node);
        }
        self.settle();
    }

    /// The guests behind a node, all of them. One that another node listed before is this node's now.
    pub fn handle_guests(&mut self, now: Timestamp, node: &str, guests: &[MacAddr]) {
        self.advance_clock(now);
        if self.nodes.contains_key(node) {
            let change = self.guests.replace(node, guests, self.config.guests_per_node);
            let (ignored, listed) = (change.ignored, guests.len().saturating_sub(change.ignored));
            if change.is_changed {
                self.publish(Event::GuestsChanged { node: node.into(), guests: listed, ignored });
                self.touch_all();
            }
            for (guest, from) in change.moved {
                self.publish(Event::GuestMoved { guest, from, to: node.into() });
            }
            self.review_windows();
        }
        self.settle();
    }

    /// A node has set up this revision of its part, or could not.
    pub fn handle_applied(&mut self, now: Timestamp, node: &str, revision: u64, outcome: Result<(), String>) {
        self.advance_clock(now);
        if let Some(known) = self.nodes.get_mut(node).filter(|known| revision <= known.sent) {
            match outcome {
                Ok(()) => {
                    known.applied = known.applied.max(revision);
                    (known.failed_applies, known.resend_at) = (0, None);
                }
                Err(reason) => self.retry_apply(node, revision, reason),
            }
        }
        self.settle();
    }

    fn retry_apply(&mut self, name: &str, revision: u64, reason: String) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.failed_applies += 1;
        let retry_at = self.now + self.config.back_off.delay(node.failed_applies);
        node.resend_at = Some(retry_at);
        self.fail_linking_at(name, revision, &reason);
        self.publish(Event::NodeApplyFailed { node: name.into(), revision, reason, retry_at });
    }

    fn add_node(&mut self, node: NodeDescription, key: PublicKey) {
        if node.role == NodeRole::Proxy && self.proxy.is_some() {
            let reason = "there is a proxy already".into();
            return self.publish(Event::NodeRefused { node: node.name, reason });
        }
        let NodeDescription { name, role, star, networks } = node;
        self.publish(Event::NodeJoined {
            node: name.clone(),
            role,
            networks: networks.keys().cloned().collect(),
        });
        let node = Node {
            role,
            key,
            star,
            networks,
            star_link: None,
            is_star_up: None,
            revision: 0,
            sent: 0,
            applied: 0,
            failed_applies: 0,
            resend_at: None,
        };
        self.nodes.insert(name.clone(), node);
        if role == NodeRole::Proxy {
            self.proxy = Some(name.clone());
        }
        self.complete_star();
        self.touch(&name);
    }

    /// Gives every node that lacks it its star link, once there is a proxy.
    fn complete_star(&mut self) {
        if self.proxy.is_none() {
            return;
        }
        let lacks = |node: &Node| node.role == NodeRole::Spoke && node.star_link.is_none();
        let names: Vec<_> =
            self.nodes.iter().filter(|(_, n)| lacks(n)).map(|(name, _)| name.clone()).collect();
        for name in &names {
            let id = self.known_stars.remove(name).unwrap_or_else(|| LinkId(self.new_id()));
            if let Some(node) = self.nodes.get_mut(name) {
                node.star_link = Some(id);
            }
            self.touch(name);
        }
        if !names.is_empty() {
            self.touch_proxy();
        }
    }

    fn remove_node(&mut self, name: &str) {
        let circuits = self.doom_circuits_of(name);
        self.nodes.remove(name);
        self.stale.remove(name);
        self.guests.remove_node(name);
        self.pairs.retain(|_, pair| pair.node != name);
        if self.proxy.as_deref() == Some(name) {
            self.proxy = None;
            self.nodes.values_mut().for_each(|node| node.star_link = None);
        }
        self.touch_all();
        self.publish(Event::NodeLeft { node: name.into(), circuits });
    }

    /// Notes that a node's part has changed, and returns the revision that will carry the change.
    pub(super) fn touch(&mut self, name: &str) -> u64 {
        let Some(node) = self.nodes.get_mut(name) else { return 0 };
        if self.stale.insert(name.into()) {
            self.last_revision += 1;
            node.revision = self.last_revision;
        }
        node.revision
    }

    /// Notes that every node's part has changed: each has the directory of guests.
    fn touch_all(&mut self) {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| {
            self.touch(name);
        });
    }

    pub(super) fn touch_proxy(&mut self) {
        if let Some(proxy) = self.proxy.clone() {
            self.touch(&proxy);
        }
    }

    pub(super) fn resend_overlays(&mut self) {
        let is_due = |node: &Node| node.resend_at.is_some_and(|at| at <= self.now);
        let due: Vec<_> =
            self.nodes.iter().filter(|(_, n)| is_due(n)).map(|(name, _)| name.clone()).collect();
        for name in due {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.resend_at = None;
            }
            self.touch(&name);
        }
    }

    pub(super) fn configure(&mut self, node: String) -> Action {
        let overlay = self.compose(&node);
        if let Some(known) = self.nodes.get_mut(&node) {
            known.sent = overlay.revision;
        }
        Action::Configure { node, overlay }
    }

    /// A node's part of the overlay as it is now.
    pub(super) fn compose(&self, name: &str) -> NodeOverlay {
        let Some(node) = self.nodes.get(name) else { return NodeOverlay::default() };
        let mut links = self.star_links(name, node);
        links.extend(self.circuits.keys().filter_map(|id| self.circuit_link(*id, name)));
        links.sort_by_key(|link| link.id);
        let own_pairs = self.pairs.iter().filter(|(_, pair)| pair.node == name);
        let pairs = own_pairs.filter_map(|(key, pair)| {
            let way = self.pair_way(key, pair)?;
            links.iter().any(|own| own.id == way.link).then_some(way)
        });
        let pairs = pairs.collect();
        let relays = self.relays_at(name);
        NodeOverlay { revision: node.revision, links, pairs, relays, guests: self.directory_of(name, node) }
    }

    /// The way that a pair was told to take, by its links.
    pub(super) fn pair_way(&self, key: &PairKey, pair: &Pair) -> Option<PairWay> {
        let route = pair.told?.map(|id| self.circuits.get(id).map(|circuit| circuit.link_id))?;
        let PairKey { source, destination } = *key;
        Some(PairWay { source, destination, link: route.first, onward: route.onward })
    }

    fn star_links(&self, name: &str, node: &Node) -> Vec<OverlayLink> {
        let link = |id, far_name: &str, far: &Node| OverlayLink {
            id,
            class: LinkClass::Star,
            far_node: far_name.into(),
            endpoint: node.star.endpoint.clone(),
            far_address: far.star.address.clone(),
            far_key: far.key,
        };
        let Some(proxy) = &self.proxy else { return Vec::new() };
        if proxy == name {
            self.nodes.iter().filter_map(|(spoke, far)| Some(link(far.star_link?, spoke, far))).collect()
        } else {
            let hub = self.nodes.get(proxy).zip(node.star_link);
            hub.map(|(hub, id)| link(id, proxy, hub)).into_iter().collect()
        }
    }

    fn circuit_link(&self, id: CircuitId, name: &str) -> Option<OverlayLink> {
        let circuit = self.circuits.get(&id).filter(|circuit| circuit.phase.has_link())?;
        let far_node = circuit.link.far_end(name)?;
        let Some(far) = self.nodes.get(far_node) else { return circuit.present.get(name).cloned() };
        let network = &circuit.link.network;
        Some(OverlayLink {
            id: circuit.link_id,
            class: LinkClass::Circuit,
            far_node: far_node.into(),
            endpoint: self.nodes.get(name)?.networks.get(network)?.endpoint.clone(),
            far_address: far.networks.get(network)?.address.clone(),
            far_key: far.key,
        })
    }

    /// The guests of other nodes with the star links towards them. A node without it would flood what is for a
    /// remote guest, to its own guests as well.
    fn directory_of(&self, name: &str, node: &Node) -> Vec<GuestWay> {
        let way_to = |at: &str| match node.role {
            NodeRole::Proxy => self.nodes.get(at)?.star_link,
            NodeRole::Spoke => node.star_link,
        };
        let remote = self.guests.iter().filter(|(_, at)| *at != name);
        remote.filter_map(|(guest, at)| Some(GuestWay { guest, link: way_to(at)? })).collect()
    }
}
