//! What goes into the lead besides the model's documents, and what comes out of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vreserve_model::{BitsPerSecond, MacAddr, Request, RequestKey, Timestamp};

use super::{CircuitId, Event, Record};
use crate::ids::LinkId;
use crate::overlay::NodeOverlay;

/// What a node is in the star.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// The hub.
    Proxy,
    /// Any other.
    Spoke,
}

/// An endpoint of a node, as it announces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The endpoint's name in the node's configuration.
    pub endpoint: String,
    /// Its underlay address in the link plugin's own terms, such as `10.10.0.1:4789`.
    pub address: String,
}

impl Attachment {
    /// The address without a port: the name that a reservation backend knows the endpoint by. What is
    /// not an address with a port (an NSI STP, a device name) is taken whole.
    pub fn bare_address(&self) -> String {
        if let Ok(socket) = self.address.parse::<SocketAddr>() {
            return socket.ip().to_string();
        }
        match self.address.split_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => host.into(),
            _ => self.address.clone(),
        }
    }

    /// The port of the address, if it has one: by it a reservation system tells the link's datagrams from
    /// others between the same two addresses.
    pub fn port(&self) -> Option<u16> {
        if let Ok(socket) = self.address.parse::<SocketAddr>() {
            return Some(socket.port());
        }
        let (host, port) = self.address.split_once(':')?;
        port.parse().ok().filter(|_| !host.is_empty())
    }
}

/// A node as it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Its name.
    pub name: String,
    /// Its place in the star.
    pub role: NodeRole,
    /// Its end of the star link.
    pub star: Attachment,
    /// Its endpoint per reservable network.
    pub networks: BTreeMap<String, Attachment>,
}

/// What a probe over a circuit's link found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// True if the link carries what it should.
    pub passed: bool,
    /// The median round trip, if anything came back.
    pub rtt: Option<Duration>,
    /// The fraction of probes lost, 0 to 1.
    pub loss: f64,
    /// Why it did not pass, in one line; empty if it did.
    pub reason: String,
}

/// How switching one pair at its ingress node ended, over all of the node's workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairOutcome {
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
    /// Why the pair stayed where it was; none if it moved.
    pub aborted: Option<String>,
    /// Frames held back meanwhile.
    pub held_frames: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// For how long frames were held.
    pub held_for: Duration,
    /// Frames dropped because neither the hold nor the path had room.
    pub dropped_frames: u64,
}

/// Names one reservation to its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The circuit; the answer names it.
    pub circuit: CircuitId,
    /// Whose backend.
    pub network: String,
    /// The key it was requested under.
    pub key: RequestKey,
    /// The provider's id, if it is known.
    pub native_id: Option<String>,
}

/// One effect for the host to carry out, in the order given. Every call to a backend is answered exactly
/// once, also when the backend goes down meanwhile (then with `UnknownOutcome`). A `Submit` is only made
/// when every `Record` given before it is on disk; if one is not, it is answered with `Unavailable` and the
/// lead told through `handle_journal_failed`. All other effects are safe without.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write a record under its key, in place of the one before.
    Record(Record),
    /// Remove the record under this key: the provider holds nothing any more, or the booking is over.
    Forget(RequestKey),
    /// The journal is to hold exactly these records (after it could not be written for a while).
    Rewrite(Vec<Record>),
    /// Ask the backend of `network` for capacity; answer with `handle_submitted`.
    Submit {
        /// The circuit.
        circuit: CircuitId,
        /// Whose backend.
        network: String,
        /// What to ask for.
        request: Request,
    },
    /// Turn a hold into a promise; answer with `handle_committed`.
    Commit(Call),
    /// Drop a hold; done when the backend says it is gone. Answer with `handle_aborted`.
    Abort(Call),
    /// Switch a booked reservation through; answer with `handle_activated`.
    Activate {
        /// The reservation.
        call: Call,
        /// What it was requested with.
        request: Request,
    },
    /// Take a reservation out of use before it is given back; answer with `handle_deactivated`.
    Deactivate(Call),
    /// Change a reservation in place; answer with `handle_modified`.
    Modify {
        /// The reservation.
        call: Call,
        /// What it is to be.
        request: Request,
    },
    /// Give capacity back; done when the backend says it is gone. Answer with `handle_cancelled`.
    Cancel(Call),
    /// Look a request up by its key; answer with `handle_found`.
    Find(Call),
    /// List what the backend holds for this installation, whichever epoch asked for it; answer with
    /// `handle_listed`.
    ListOwned {
        /// Whose backend.
        network: String,
        /// The installation's name: all owners that are it, or begin with it and a slash.
        owner: String,
    },
    /// Give back what is on no record; answer with `handle_orphan_cancelled`.
    CancelOrphan {
        /// Whose backend.
        network: String,
        /// The key it was requested under.
        key: RequestKey,
        /// The provider's id, if it is known.
        native_id: Option<String>,
    },
    /// Have a backend that cannot list give back what is under none of these keys; answer with
    /// `handle_collected`.
    Gc {
        /// Whose backend.
        network: String,
        /// The keys to keep.
        valid: Vec<RequestKey>,
    },
    /// Send a node its part of the overlay; the node answers with the revision it applied, and later with
    /// the outcome of each pair whose way changed. A pair whose old link is gone from `links` in the same
    /// revision is moved at once, without a barrier and without an outcome.
    Configure {
        /// The node.
        node: String,
        /// The whole of its part.
        overlay: NodeOverlay,
    },
    /// Have a node probe a link towards its far end; answer with `handle_probed`.
    Probe {
        /// The circuit.
        circuit: CircuitId,
        /// The node that probes.
        node: String,
        /// The link.
        link: LinkId,
        /// The rate the circuit was granted.
        rate: BitsPerSecond,
    },
    /// Record what happened.
    Publish {
        /// When.
        at: Timestamp,
        /// What.
        event: Event,
    },
}
