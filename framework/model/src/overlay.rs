//! The documents of adaptation: what a planner is shown, and what it wants.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BitsPerSecond, Capabilities, Explanation, MacAddr, PairQuestion, Timestamp, TopologyReport};

/// One node as a planner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node's name.
    pub name: String,
    /// Its endpoint address per reservable network.
    pub networks: BTreeMap<String, String>,
}

/// One guest and the node it sits behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// The guest's address.
    pub mac: MacAddr,
    /// The node's name.
    pub node: String,
}

/// One reservation backend as a planner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// The network it reserves on.
    pub network: String,
    /// What it can do and how long it takes.
    pub capabilities: Capabilities,
    /// The most circuits that the operator lets it hold at once; none if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_circuits: Option<u32>,
    /// The most that all of them together may come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<BitsPerSecond>,
}

/// One circuit that is wanted, being set up or in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircuitView {
    /// One end, by node name; `a` sorts before `z`.
    pub a: String,
    /// The other end.
    pub z: String,
    /// The network it runs on.
    pub network: String,
    /// The rate it was asked for.
    pub rate: BitsPerSecond,
    /// Since when the pair has been wanted without a break.
    pub wanted_since: Timestamp,
    /// True once traffic runs over it.
    pub carries_traffic: bool,
    /// True if the backend refused it or it died; no new attempt is made before the host's back-off ends.
    pub backing_off: bool,
}

/// Everything a planner may know, at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Now, on the lead's clock.
    pub now: Timestamp,
    /// The nodes, the proxy among them, by name.
    pub nodes: Vec<NodeView>,
    /// The guests, by address.
    pub guests: Vec<Guest>,
    /// What inference believes.
    pub topology: TopologyReport,
    /// The reservation backends that are up.
    pub backends: Vec<BackendView>,
    /// The circuits in hand.
    pub circuits: Vec<CircuitView>,
    /// How many circuits in a row the host can have a pair's frames take; 1 where it does not say.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub max_hops: u32,
    /// The pair of nodes that somebody wants explained with this plan. A planner that cannot leaves
    /// [`Wanted::explanation`] empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<PairQuestion>,
}

fn one() -> u32 {
    1
}

fn is_one(hops: &u32) -> bool {
    *hops == 1
}

/// One link that a planner wants beside the star, with a circuit under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WantedLink {
    /// One end, by node name; `a` sorts before `z`.
    pub a: String,
    /// The other end.
    pub z: String,
    /// The network to reserve on.
    pub network: String,
    /// The rate to reserve.
    pub rate: BitsPerSecond,
    /// Why, in one line for a person.
    pub reason: String,
}

/// One rule that a planner wants: frames from `source` to `destination` leave `node` on the wanted link
/// to `next`. Two rules for a pair, of which the one begins where the other ends, are one way; the host takes it once
/// both links carry, if [`Snapshot::max_hops`] is 2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WantedRule {
    /// The node that holds the rule.
    pub node: String,
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// The node at the far end of the wanted link.
    pub next: String,
    /// The network of the wanted link.
    pub network: String,
}

/// The overlay a planner wants beside the star.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Links with circuits, most valuable first.
    pub links: Vec<WantedLink>,
    /// The rules that use them.
    pub rules: Vec<WantedRule>,
    /// What was considered and left out, and why, one line each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The answer to [`Snapshot::question`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// The two node names in order, so that a pair has one key whichever end is named first.
pub fn link_key<'a>(one: &'a str, other: &'a str) -> (&'a str, &'a str) {
    if one <= other { (one, other) } else { (other, one) }
}
