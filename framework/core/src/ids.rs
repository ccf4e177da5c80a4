//! Identities of the things a frame passes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An interface of this node: where frames of local guests enter and leave. Local to one daemon run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InterfaceId(pub u16);

/// A link, by the identity that both its ends know it by: the lead gives it out and never reuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub u64);

/// One cut-over of one (source, destination) pair at its ingress node. Local to one daemon run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SwitchId(pub u32);

/// Where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ingress {
    /// Captured from a guest on this interface.
    Interface(InterfaceId),
    /// Received from the far node of this link.
    Link(LinkId),
}

/// What a link is for; decides where floods may go and who is trusted with signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkClass {
    /// Between a node and the proxy over the commodity network; never removed.
    Star,
    /// Between two nodes over a reserved circuit; carries only the pairs that rules send there.
    Circuit,
    /// To a device outside the overlay that speaks the link's wire format (a VXLAN switch, a kernel
    /// device); its stations count as guests of this node.
    Static,
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for LinkClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkClass::Star => "star",
            LinkClass::Circuit => "circuit",
            LinkClass::Static => "static",
        })
    }
}
