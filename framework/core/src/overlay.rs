//! The overlay as one node must realise it: its links and the ways of pairs and guests.
//!
//! The lead sends each node the whole of its part under a growing revision; the node compares it with
//! what it has and applies the difference. Nothing here says how.

use serde::{Deserialize, Serialize};
use vreserve_model::MacAddr;

use crate::ids::{LinkClass, LinkId};
use crate::key::PublicKey;
use crate::route::Route;

/// One link as one of its two nodes must set it up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OverlayLink {
    /// The identity that both ends use.
    pub id: LinkId,
    /// What the link is for.
    pub class: LinkClass,
    /// The name of the node at the far end.
    pub far_node: String,
    /// The local endpoint, by its name in this node's configuration.
    pub endpoint: String,
    /// The far endpoint's underlay address in the link plugin's own terms, such as `10.10.0.2:4789`.
    pub far_address: String,
    /// The far node's public key, as it proved it to the lead: by it the link knows its far end.
    pub far_key: PublicKey,
}

/// The way one (source, destination) pair of guests takes out of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PairWay {
    /// The sending guest, local to this node.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// The circuit link its frames take instead of the star.
    pub link: LinkId,
    /// The circuit link that the node at the far end relays them to; none if the receiving guest is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onward: Option<LinkId>,
}

/// What this node does for a pair of which neither guest is here: it passes frames on from circuit to circuit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PairRelay {
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// The circuit link that its frames come from.
    pub from: LinkId,
    /// The circuit link that they leave on.
    pub to: LinkId,
}

/// Where a remote guest is found from this node (the proxy's directory of the star).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuestWay {
    /// The guest.
    pub guest: MacAddr,
    /// The star link towards its node.
    pub link: LinkId,
}

/// The whole of one node's part in the overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOverlay {
    /// Grows with every change; a node ignores a revision that is older than its own.
    pub revision: u64,
    /// The links, by id.
    pub links: Vec<OverlayLink>,
    /// Pairs that take a circuit.
    pub pairs: Vec<PairWay>,
    /// Pairs that this node relays. It is told before their frames come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<PairRelay>,
    /// The guests of other nodes, each with the star link towards it.
    pub guests: Vec<GuestWay>,
}

impl PairWay {
    /// The circuit links that the pair's frames take.
    pub fn route(&self) -> Route<LinkId> {
        Route { first: self.link, onward: self.onward }
    }
}

impl NodeOverlay {
    /// Its star links and its directory, under no revision: what a node that boots while no proxy answers can
    /// forward by. Whether a circuit still exists only the lead can say.
    pub fn star(&self) -> NodeOverlay {
        let links = self.links.iter().filter(|link| link.class == LinkClass::Star);
        NodeOverlay {
            revision: 0,
            links: links.cloned().collect(),
            pairs: Vec::new(),
            relays: Vec::new(),
            guests: self.guests.clone(),
        }
    }
}
