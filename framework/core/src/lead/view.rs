//! The lead's state to look at: for the planner, the control API and people. Nothing here changes anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vreserve_model::{
    BackendView, BitsPerSecond, CircuitView, Guest, MacAddr, NodeView, RequestKey, ReservationState,
    Snapshot, Timestamp,
};

use super::circuit::Circuit;
use super::{BookingId, CircuitId, Lead, NodeRole, Phase, PhaseTimes, ProbeOutcome, Setback};
use crate::ids::LinkId;
use crate::overlay::{NodeOverlay, PairWay};
use crate::plan::LinkKey;

/// So many circuits a pair takes at most, one after the other: [`Route`](crate::route::Route).
const MAX_HOPS: u32 = 2;

/// One circuit as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircuitStatus {
    /// Its identity.
    pub circuit: CircuitId,
    /// The link over it: its own number, or that of the circuit whose link it took over.
    pub link_id: LinkId,
    /// What it is for.
    #[serde(flatten)]
    pub link: LinkKey,
    /// How far it has come.
    pub phase: Phase,
    /// Where its reservation stands.
    pub state: ReservationState,
    /// What the provider calls that.
    pub native_state: String,
    /// The provider's id.
    pub native_id: Option<String>,
    /// What the provider chose, such as the lambda.
    pub labels: BTreeMap<String, String>,
    /// The key it was requested under.
    pub key: Option<RequestKey>,
    /// The booking it is for; none for what the planner wants.
    pub booking: Option<BookingId>,
    /// The window as granted, in milliseconds since the Unix epoch.
    pub start_ms: Option<u64>,
    /// See `start_ms`.
    pub end_ms: Option<u64>,
    /// The rate asked for.
    pub rate: BitsPerSecond,
    /// The rate granted, where the backend tells.
    pub granted: Option<BitsPerSecond>,
    /// When it reached each phase.
    pub times: PhaseTimes,
    /// What the probe found.
    pub probe: Option<ProbeOutcome>,
    /// The pairs that take it, as their nodes are told.
    pub pairs: Vec<PairWay>,
    /// What it waits for, if nothing was asked yet.
    pub waits_for: Option<String>,
    /// Why it, or else the attempt before it, failed.
    pub last_failure: Option<String>,
    /// No attempt is made before; none if it may be made now, or never again with this backend.
    pub back_off_until: Option<Timestamp>,
    /// Failed attempts in succession before this one.
    pub failed_attempts: u32,
}

/// One joined node as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its place in the star.
    pub role: NodeRole,
    /// Its star link.
    pub star_link: Option<LinkId>,
    /// What it last said of that link.
    pub is_star_up: Option<bool>,
    /// Its endpoint address per reservable network.
    pub networks: BTreeMap<String, String>,
    /// The revision it was sent last, and the one it has set up.
    pub sent: u64,
    /// See `sent`.
    pub applied: u64,
}

impl Lead {
    /// What a planner is shown.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let nodes = self.nodes.iter().map(|(name, node)| NodeView {
            name: name.clone(),
            networks: node
                .networks
                .iter()
                .filter(|(net, _)| !self.withdrawn.contains(*net))
                .map(|(net, at)| (net.clone(), at.bare_address()))
                .collect(),
        });
        let backends = self.backends.iter().map(|(network, capabilities)| {
            let budget = self.config.budgets.get(network).copied().unwrap_or_default();
            BackendView {
                network: network.clone(),
                capabilities: capabilities.clone(),
                max_circuits: budget.circuits,
                max_rate: budget.rate,
            }
        });
        Snapshot {
            now,
            nodes: nodes.collect(),
            guests: self.guests().collect(),
            topology: self.topology.clone(),
            backends: backends.collect(),
            circuits: self.circuit_views(now),
            max_hops: MAX_HOPS,
            question: None,
        }
    }

    /// Live circuits, and links without one that back off.
    fn circuit_views(&self, now: Timestamp) -> Vec<CircuitView> {
        // A successor is the same circuit to a planner, and a booking is none of its own.
        let is_own = |circuit: &Circuit| circuit.replaces.is_none() && circuit.booking.is_none();
        let is_live = |c: &&Circuit| !c.phase.is_ending() && !c.is_doomed && !c.is_superseded && is_own(c);
        let view = |link: &LinkKey, rate, wanted_at, carries_traffic| CircuitView {
            a: link.a.clone(),
            z: link.z.clone(),
            network: link.network.clone(),
            rate,
            wanted_since: self.wanted_since.get(link).copied().unwrap_or(wanted_at),
            carries_traffic,
            backing_off: !carries_traffic && self.setbacks.get(link).is_some_and(|s| s.until > now),
        };
        let live = self.circuits.values().filter(is_live);
        let mut views: Vec<_> = live
            .clone()
            .map(|c| view(&c.link, c.rate, c.times.wanted_at, c.phase == Phase::Carrying))
            .collect();
        let has_circuit = |link: &LinkKey| live.clone().any(|circuit| circuit.link == *link);
        let alone = self.setbacks.iter().filter(|(link, s)| s.until > now && !has_circuit(link));
        views.extend(alone.map(|(link, setback)| view(link, setback.rate, now, false)));
        views
    }

    /// Every circuit that is not over, oldest first.
    pub fn circuits(&self) -> impl Iterator<Item = CircuitStatus> + '_ {
        self.circuits.values().map(|circuit| self.status_of(circuit))
    }

    /// One circuit that is not over.
    pub fn circuit(&self, id: CircuitId) -> Option<CircuitStatus> {
        self.circuits.get(&id).map(|circuit| self.status_of(circuit))
    }

    /// The last circuits that are over, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &CircuitStatus> {
        self.history.iter()
    }

    /// The joined nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeStatus> + '_ {
        self.nodes.iter().map(|(name, node)| NodeStatus {
            name: name.clone(),
            role: node.role,
            star_link: node.star_link,
            is_star_up: node.is_star_up,
            networks: node.networks.iter().map(|(net, at)| (net.clone(), at.address.clone())).collect(),
            sent: node.sent,
            applied: node.applied,
        })
    }

    /// The guests with their nodes, by address.
    pub fn guests(&self) -> impl Iterator<Item = Guest> + '_ {
        self.guests.iter().map(|(mac, node)| Guest { mac, node: node.into() })
    }

    /// The node that a guest sits behind.
    pub fn node_of(&self, guest: MacAddr) -> Option<&str> {
        self.guests.node_of(guest)
    }

    /// What inference last reported.
    pub fn topology(&self) -> &vreserve_model::TopologyReport {
        &self.topology
    }

    /// A node's part of the overlay, as it was told or is about to be.
    pub fn overlay_of(&self, node: &str) -> Option<NodeOverlay> {
        self.nodes.contains_key(node).then(|| self.compose(node))
    }

    pub(super) fn status_of(&self, circuit: &Circuit) -> CircuitStatus {
        let setback = self.setback_of(circuit);
        let told = self.pairs.iter().filter(|(_, pair)| pair.is_told(circuit.id));
        let is_future = |s: &&Setback| s.until > self.now && !s.is_for_ever();
        let waits_for = (circuit.phase == Phase::Wanted).then(|| self.obstacle(circuit)).flatten();
        CircuitStatus {
            circuit: circuit.id,
            link_id: circuit.link_id,
            booking: circuit.booking,
            start_ms: circuit.window.0,
            end_ms: circuit.window.1,
            link: circuit.link.clone(),
            phase: circuit.phase,
            state: circuit.state(),
            native_state: circuit.native_state.clone(),
            native_id: circuit.native_id.clone(),
            labels: circuit.labels.clone(),
            key: circuit.key().cloned(),
            rate: circuit.rate,
            granted: circuit.granted,
            times: circuit.times,
            probe: circuit.probe.clone(),
            pairs: told.filter_map(|(key, pair)| self.pair_way(key, pair)).collect(),
            waits_for: waits_for.map(|obstacle| obstacle.sentence().into()),
            last_failure: circuit.failure.clone().or(setback.map(|setback| setback.reason.clone())),
            back_off_until: setback.filter(is_future).map(|setback| setback.until),
            failed_attempts: setback.map_or(0, |setback| setback.failures),
        }
    }
}
