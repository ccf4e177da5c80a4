//! The lines that a GARA client and `gara-server` exchange. These types are the specification; the testbed's
//! `gara::protocol` serves them, the plugin `reserve-gara` speaks them, neither depends on the other.
//!
//! **Transport.** TCP with TLS 1.3. Both sides show certificates of one CA (GSI's X.509 in the original); a
//! reservation belongs to the common name of the client's certificate, and nobody else sees it. One JSON
//! document per line, at most [`LONGEST_LINE`] bytes with its newline. Requests of a connection are answered
//! in their order; events come between answers. A line that is no request is answered with `invalid` and the
//! id 0, or its own id where that could be read; one that is too long ends the connection.
//!
//! **Request** ([`Request`]): `{"id": n, "op": …}`; the answer carries the same id.
//!
//! | op | with | `ok` is |
//! |---|---|---|
//! | `create` | `rsl`: [`NetworkRequest`](crate::NetworkRequest) | `{"handle": "…"}`; the owner's reservation of that label if it has one, whatever the rest says, unless that is over |
//! | `modify` | `handle`, `rsl`: [`Change`](crate::Change) | the reservation; declined: it is as it was |
//! | `cancel` | `handle` | the reservation; one that is over already stays what it is, which is no error |
//! | `status` | `handle` | the reservation |
//! | `bind` | `handle`, `rsl`: [`Binding`](crate::Binding) | the reservation; replaces an earlier binding |
//! | `unbind` | `handle` | the reservation |
//! | `list` | | `{"reservations": […]}`, all of this owner that hold capacity, and the last that are over as far as the line takes them; `"more": true`: there are more of these |
//! | `find` | `label` | `{"reservations": […]}`: none, or those with this label, the one that holds capacity first |
//! | `watch` | `since` | `{"seq": n, "lost": bool}`, then events from `since` + 1 on; `lost`: some of them are no longer there, ask `list` |
//! | `ping` | | `{"time": seconds, "seq": n}`: the server's clock and its last event |
//!
//! **Answer** ([`Reply`]): `{"id": n, "ok": {…}}` or `{"id": n, "error": {"code": "…", "text": "…"}}`.
//!
//! **Event**: `{"event": {"seq": n, "reservation": {…}}}` after each change of a reservation of this owner.
//! `seq` counts the changes of all owners, also over restarts of the server, so it has gaps for each of them.
//!
//! **Times** are seconds since the Unix epoch, with decimals down to a millisecond. A reservation becomes
//! `active` by itself at its start and `completed` at its end. What the network does for it (`enforced`) is
//! there only from start to end and while it is bound.
//!
//! After a request without an answer its outcome is unknown: `find` tells.

use serde::{Deserialize, Serialize};

/// Longest line, with its newline, in bytes.
pub const LONGEST_LINE: usize = 64 << 10;

/// From a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The client's number of it.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub operation: Operation,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the table above has every field")]
pub enum Operation {
    Create { rsl: String },
    Modify { handle: String, rsl: String },
    Cancel { handle: String },
    Status { handle: String },
    Bind { handle: String, rsl: String },
    Unbind { handle: String },
    List,
    Find { label: String },
    Watch { since: u64 },
    Ping,
}

/// From the server: an answer or an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    /// Something changed.
    Event {
        /// What.
        event: Event,
    },
    /// The answer to a request.
    Reply(Reply),
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's number.
    pub id: u64,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a request went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done; the content depends on the operation: see [`Handle`], [`Reservation`], [`Reservations`],
    /// [`Watching`], [`Pong`].
    Ok(serde_json::Value),
    /// Nothing was changed.
    Error(Refusal),
}

/// `ok` of `create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// Opaque; never given twice by one server.
    pub handle: String,
}

/// `ok` of `list` and `find`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reservations {
    /// `list`: in the order of their making.
    pub reservations: Vec<Reservation>,
    /// Whether some that are over found no room in the line. Those that hold capacity are all there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// `ok` of `watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// Number of the last event so far.
    pub seq: u64,
    /// Whether events after `since` are no longer there.
    #[serde(default)]
    pub lost: bool,
}

/// `ok` of `ping`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// The server's clock, in seconds since the Unix epoch.
    #[serde(with = "seconds")]
    pub time: u64,
    /// Number of the last event so far.
    pub seq: u64,
}

/// A change of a reservation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1, growing.
    pub seq: u64,
    /// The reservation after the change.
    pub reservation: Reservation,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people; one line.
    pub text: String,
}

/// Why nothing was changed, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Understood, and there is no room for it.
    Declined,
    /// Not understood; the same again will fare the same.
    Invalid,
    /// This owner has no such reservation.
    NoSuchHandle,
    /// The reservation is over, or has begun.
    WrongState,
    /// The server cannot, now: its disk, the network's routers, or it is ending.
    Unavailable,
    /// A code of another version.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Declined => "declined",
            Self::Invalid => "invalid",
            Self::NoSuchHandle => "no-such-handle",
            Self::WrongState => "wrong-state",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        })
    }
}

/// A reservation as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reservation {
    /// Its name at the server.
    pub handle: String,
    /// The client's own key, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it is doing.
    pub state: State,
    /// One end.
    pub endpoint_a: String,
    /// The other end.
    pub endpoint_b: String,
    /// Milliseconds since the Unix epoch; on the wire seconds.
    #[serde(with = "seconds")]
    pub start: u64,
    /// Milliseconds since the Unix epoch; on the wire seconds. Absent: until cancelled.
    #[serde(default, with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// Bandwidth in kbit/s.
    pub kbps: u64,
    /// Whether it has a flow.
    pub bound: bool,
    /// Whether the network gives the flow its bandwidth at this moment.
    pub enforced: bool,
}

/// What a reservation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its time has not come.
    Booked,
    /// Between start and end.
    Active,
    /// Over, at its end.
    Completed,
    /// Over, by its owner.
    Cancelled,
    /// Over, by the server or its administrator.
    Terminated,
    /// A state of another version.
    #[serde(other)]
    Unknown,
}

impl State {
    /// Whether it holds capacity, now or later.
    pub fn holds_capacity(self) -> bool {
        matches!(self, Self::Booked | Self::Active)
    }
}

/// Milliseconds here, seconds with decimals on the wire.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Beyond this a double no longer tells milliseconds apart; it is the year 9999.
    const LATEST: f64 = 253_402_300_799.0;

    pub(super) fn serialize<S: Serializer>(ms: &u64, to: S) -> Result<S::Ok, S::Error> {
        if ms.is_multiple_of(1000) {
            to.serialize_u64(ms / 1000)
        } else {
            to.serialize_f64(*ms as f64 / 1000.0)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let seconds = f64::deserialize(from)?;
        if !(0.0..=LATEST).contains(&seconds) {
            return Err(D::Error::custom("not a time: expected seconds since the epoch"));
        }
        Ok((seconds * 1000.0).round() as u64)
    }
}

mod optional_seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Seconds(#[serde(with = "super::seconds")] u64);

    pub(super) fn serialize<S: Serializer>(ms: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match ms {
            Some(ms) => super::seconds::serialize(ms, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Option::<Seconds>::deserialize(from).map(|seconds| seconds.map(|Seconds(ms)| ms))
    }
}

#[cfg(test)]
mod tests;
