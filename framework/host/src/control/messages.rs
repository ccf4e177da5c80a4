//! What a node and the lead tell each other.
//!
//! A message on the wire is one octet of form and the rest: JSON for everything but reports, which are the
//! inference plugin's own octets.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vreserve_core::ids::LinkId;
use vreserve_core::lead::{NodeDescription, PairOutcome, ProbeOutcome};
use vreserve_core::overlay::{NodeOverlay, OverlayLink, PairWay};
use vreserve_model::{BitsPerSecond, MacAddr};

/// The version of these messages; both ends must speak the same.
pub const VERSION: u32 = 3;

/// What a node has in force when it joins: a lead that takes over leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its links; not the circuits that it knows to be dead.
    pub links: Vec<OverlayLink>,
    /// The pairs that take a circuit, or are being switched onto one.
    pub pairs: Vec<PairWay>,
}

/// From a node to the lead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpMessage {
    /// The first message of a session.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// Who it is; the name must be the one that its key was admitted under.
        node: NodeDescription,
    },
    /// The second message of a session, and only there.
    InForce(InForce),
    /// All guests behind the node.
    Guests(Vec<MacAddr>),
    /// An inference report. Lossy: the last one counts.
    #[serde(skip)]
    Report(Vec<u8>),
    /// A revision of the node's part of the overlay was set up, or could not be.
    Applied {
        /// Which.
        revision: u64,
        /// Why not.
        error: Option<String>,
    },
    /// How cut-overs ended.
    Switched {
        /// The revision that asked for them.
        revision: u64,
        /// One per pair.
        outcomes: Vec<PairOutcome>,
    },
    /// What a proof found.
    Proved {
        /// The link.
        link: LinkId,
        /// What.
        outcome: ProbeOutcome,
    },
    /// A circuit that was proven is no longer worth its place; its pairs are on the star already.
    LinkDegraded {
        /// The link.
        link: LinkId,
        /// Why, in one line.
        reason: String,
    },
    /// A link came up or went down.
    LinkState {
        /// The link.
        link: LinkId,
        /// Which of both.
        up: bool,
    },
}

/// From the lead to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownMessage {
    /// The session stands.
    Welcome {
        /// [`VERSION`].
        version: u32,
        /// The proxy's name.
        proxy: String,
    },
    /// The whole of the node's part of the overlay.
    Overlay(NodeOverlay),
    /// Prove a link.
    Prove {
        /// The link.
        link: LinkId,
        /// The rate that it should deliver; zero if none is known.
        rate: BitsPerSecond,
    },
    /// A guest is behind another node now.
    ForgetGuest(MacAddr),
}

/// A message that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not even one octet.
    #[error("empty message")]
    Empty,
    /// The first octet is none that this version knows.
    #[error("message of unknown form {0}")]
    UnknownForm(u8),
    /// The JSON is wrong.
    #[error("malformed message")]
    Malformed(#[from] serde_json::Error),
}

const JSON: u8 = 0;
const REPORT: u8 = 1;

impl UpMessage {
    /// The message on the wire.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            UpMessage::Report(report) => tagged(REPORT, report),
            message => json(message),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// If it is not one.
    pub fn decode(wire: &[u8]) -> Result<Self, MessageError> {
        match wire.split_first() {
            Some((&JSON, text)) => Ok(serde_json::from_slice(text)?),
            Some((&REPORT, report)) => Ok(UpMessage::Report(report.to_vec())),
            Some((form, _)) => Err(MessageError::UnknownForm(*form)),
            None => Err(MessageError::Empty),
        }
    }
}

impl DownMessage {
    /// The message on the wire.
    pub fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// If it is not one.
    pub fn decode(wire: &[u8]) -> Result<Self, MessageError> {
        match wire.split_first() {
            Some((&JSON, text)) => Ok(serde_json::from_slice(text)?),
            Some((form, _)) => Err(MessageError::UnknownForm(*form)),
            None => Err(MessageError::Empty),
        }
    }
}

fn json(message: &impl Serialize) -> Vec<u8> {
    tagged(JSON, &serde_json::to_vec(message).expect("messages are plain JSON"))
}

fn tagged(form: u8, body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(1 + body.len());
    wire.push(form);
    wire.extend_from_slice(body);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_nonsense_is_refused() {
        let up = UpMessage::Applied { revision: 7, error: None };
        assert_eq!(UpMessage::decode(&up.encode()).unwrap(), up);
        let joined = UpMessage::InForce(InForce::default());
        assert_eq!(UpMessage::decode(&joined.encode()).unwrap(), joined);
        let report = UpMessage::Report(vec![0, 255]);
        assert_eq!(UpMessage::decode(&report.encode()).unwrap(), report);
        let down = DownMessage::Overlay(NodeOverlay::default());
        assert_eq!(DownMessage::decode(&down.encode()).unwrap(), down);
        for wire in [&b""[..], b"\x09{}", b"\x00{\"applied\":3}", b"\x00"] {
            assert!(UpMessage::decode(wire).is_err(), "{wire:?}");
        }
    }
}
