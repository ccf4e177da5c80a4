//! What client and server say: one JSON document per line, one request and one reply per connection.

use std::fmt;
use std::io::{BufRead, Write};
use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest line either side accepts, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// The server's number of a path: from 1, growing, never used twice by one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathId(pub u64);

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// From a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// `oclient -c`: set up a path.
    Create {
        /// One end, by its address on the optical network.
        source: Ipv4Addr,
        /// The other end.
        destination: Ipv4Addr,
        /// Lambda on every fibre of the path, from 1.
        lambda: u16,
        /// The original's flags; their meaning was not published, so they are carried and not acted on. A server
        /// that defers knows two of its own: `start=SECONDS` and `end=SECONDS` since the epoch.
        flags: Vec<String>,
    },
    /// `oclient -t`: tear down a path.
    Teardown {
        /// The path.
        path: PathId,
    },
    /// The administrator's question, answered at once; not in the original.
    List,
}

/// From the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The path carries traffic.
    Up {
        /// The path.
        path: PathReport,
        /// Time spent configuring switches.
        software_seconds: f64,
        /// Time until the light was stable.
        hardware_seconds: f64,
    },
    /// The path will carry traffic from its start on.
    Booked {
        /// The path.
        path: PathReport,
    },
    /// The path carries nothing and its lambda is free.
    Down {
        /// The path.
        path: PathId,
        /// Time the switches took.
        hardware_seconds: f64,
    },
    /// Nothing was changed.
    Refused(Refusal),
    /// Every path, by id, and then what waits to become one.
    Paths(Vec<PathReport>),
}

/// A path as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// Its number; 0 while it waits.
    pub id: PathId,
    /// One end.
    pub source: Ipv4Addr,
    /// The other end.
    pub destination: Ipv4Addr,
    /// Its lambda.
    pub lambda: u16,
    /// The switches on its way, from the source.
    pub switches: Vec<String>,
    /// What it is doing.
    pub state: PathState,
    /// When it carries traffic, in milliseconds since the epoch; none: as soon as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// When it is torn down; none: when somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
}

/// What a path is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathState {
    /// A request in the queue: nothing has been decided.
    Waiting,
    /// Its lambda is promised to it, and dark until it is due.
    Booked,
    /// Switches are being configured, or the light is not stable yet: carries nothing.
    SettingUp,
    /// Carries traffic.
    Up,
    /// Carries nothing any more; its lambda is still taken.
    TearingDown,
}

impl fmt::Display for PathState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathState::Waiting => "waiting",
            PathState::Booked => "booked",
            PathState::SettingUp => "setting-up",
            PathState::Up => "up",
            PathState::TearingDown => "tearing-down",
        })
    }
}

/// Milliseconds as seconds, as command lines have them.
pub fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Why a request was refused. The name of the variant, in kebab case, is what `oclient` prints first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Source and destination are the same.
    #[error("same-address: {address} is both source and destination")]
    SameAddress {
        /// The address.
        address: Ipv4Addr,
    },
    /// No port of the network has this address.
    #[error("address-unknown: {address} is not on this network")]
    AddressUnknown {
        /// The address.
        address: Ipv4Addr,
    },
    /// The fibres have no such lambda.
    #[error("lambda-unknown: lambda {lambda} is not one of 1 to {lambdas}")]
    LambdaUnknown {
        /// The lambda asked for.
        lambda: u16,
        /// How many there are.
        lambdas: u16,
    },
    /// The two ends have a path.
    #[error("pair-connected: path {path} joins these two")]
    PairConnected {
        /// That path.
        path: PathId,
    },
    /// No fibres lead from one switch to the other.
    #[error("no-route: no fibres lead from switch {from} to switch {to}")]
    NoRoute {
        /// Switch of the source.
        from: String,
        /// Switch of the destination.
        to: String,
    },
    /// The lambda carries another path somewhere on the way.
    #[error("lambda-busy: lambda {lambda} carries path {path} between {from} and {to}")]
    LambdaBusy {
        /// The lambda.
        lambda: u16,
        /// The path it carries.
        path: PathId,
        /// One end of the fibre.
        from: String,
        /// Its other end.
        to: String,
    },
    /// The times asked for are none that can be served.
    #[error("bad-window: {reason}")]
    BadWindow {
        /// What is wrong with them.
        reason: String,
    },
    /// There is no such path, or it is being torn down already.
    #[error("no-such-path: there is no path {path}")]
    NoSuchPath {
        /// The number asked for.
        path: PathId,
    },
    /// A switch did not do as told; what had been done was undone.
    #[error("switch-failed: {reason}")]
    SwitchFailed {
        /// The switch's words.
        reason: String,
    },
    /// The server is on its way out.
    #[error("shutting-down: the server is shutting down")]
    ShuttingDown,
    /// The request could not be understood.
    #[error("bad-request: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
}

/// Writes one document and the end of its line.
pub fn write_line(to: &mut impl Write, document: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads one line and the document on it. A line that never ends, ends before its document does, or holds
/// something else is [`std::io::ErrorKind::InvalidData`]; nothing at all is `UnexpectedEof`.
pub fn read_line<T: DeserializeOwned>(from: impl BufRead) -> std::io::Result<T> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}
