//! The protocol, version 1: verbs, documents and exit codes. README.md is its specification.
//!
//! What is asked and answered is in the words of `vreserve-model`; only times are put as a script can read them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use vreserve_sdk::Handle;
use vreserve_sdk::model::duration::{self, DurationText};
use vreserve_sdk::model::{BitsPerSecond, Capabilities, Flow, Observed, Request, RequestKey};

/// The versions of the protocol that this plugin speaks.
pub(crate) const PROTOCOLS: [u32; 1] = [1];

macro_rules! verbs {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// What a program can be asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
        pub enum Verb { $($(#[$doc])+ #[serde(rename = $name)] $variant,)+ }

        impl Verb {
            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(Verb::$variant => $name,)+ }
            }
        }
    };
}

verbs! {
    /// Which protocols it speaks, and what its reservation system can do.
    Version = "VERSION",
    /// Whether the reservation system can be reached.
    Status = "STATUS",
    /// Asks for capacity.
    Submit = "SUBMIT",
    /// Turns a hold into a promise.
    Commit = "COMMIT",
    /// Drops a hold.
    Abort = "ABORT",
    /// Switches a reservation through.
    Activate = "ACTIVATE",
    /// Takes a reservation out of use without giving it back.
    Deactivate = "DEACTIVATE",
    /// Changes rate or end in place.
    Modify = "MODIFY",
    /// Gives a reservation back.
    Cancel = "CANCEL",
    /// The state of one reservation.
    Query = "QUERY",
    /// Every reservation made under a key.
    Find = "FIND",
    /// Every reservation of an owner.
    List = "LIST",
    /// Cancels what nobody knows any more.
    Gc = "GC",
    /// Waits for changes.
    Events = "EVENTS",
}

impl Verb {
    /// True if the call leaves everything as it was: an answer that never came is then no loss.
    pub(crate) fn only_looks(self) -> bool {
        matches!(self, Verb::Version | Verb::Status | Verb::Query | Verb::Find | Verb::List | Verb::Events)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The exit codes that mean something. Those of crashing interpreters and shells (1, 2, 126 to 165) do not: the
/// work may have been half done.
pub(crate) mod exit {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const REFUSED: i32 = 10;
    pub(crate) const INVALID: i32 = 11;
    pub(crate) const AGAIN: i32 = 12;
    pub(crate) const UNAVAILABLE: i32 = 13;
    pub(crate) const NO_SUCH: i32 = 14;
    pub(crate) const UNSUPPORTED: i32 = 15;
    pub(crate) const UNKNOWN: i32 = 16;
}

/// What a program reads on its standard input. README.md says which verb has which member.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Question {
    /// The operator's table `options`, as it stands in the configuration.
    pub(crate) options: Map<String, Value>,
    /// The versions of the protocol that the caller speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocols: Option<Vec<u32>>,
    /// What is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Asked>,
    /// The reservation that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handle: Option<Named>,
    /// The key that is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<RequestKey>,
    /// The installation whose reservations are to be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The keys that somebody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) valid: Option<Vec<RequestKey>>,
    /// The number that the last answer gave, 0 at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<u64>,
}

/// A request for capacity between two endpoint addresses.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Asked {
    /// The idempotency key, unique for ever.
    key: RequestKey,
    /// Who asks: the installation, a slash, and the epoch of its lead.
    owner: String,
    /// One end.
    a: String,
    /// The other end.
    z: String,
    /// Bits per second in the larger direction.
    rate: u64,
    /// The datagrams that it is for; null means all between the two ends.
    flow: Option<Flow>,
    /// The latency bound in milliseconds, if one is asked for.
    max_latency_ms: Option<f64>,
    /// Start in milliseconds since the Unix epoch; null means now.
    start_ms: Option<u64>,
    /// End in milliseconds since the Unix epoch; null means until cancelled.
    end_ms: Option<u64>,
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        let Request { key, owner, a, z, rate, flow, max_latency, start_ms, end_ms } = request;
        let max_latency_ms = max_latency.map(|latency| latency.as_secs_f64() * 1000.0);
        Asked { key, owner, a, z, rate: rate.0, flow, max_latency_ms, start_ms, end_ms }
    }
}

/// Names one reservation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Named {
    /// The key it was requested under.
    key: RequestKey,
    /// The id that the program gave it, if that has come through.
    native_id: Option<String>,
}

impl From<Handle> for Named {
    fn from(handle: Handle) -> Self {
        Named { key: handle.key, native_id: handle.native_id }
    }
}

/// The answer to VERSION.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct VersionAnswer {
    /// The versions of the protocol that the program speaks.
    pub(crate) protocols: Vec<u32>,
    /// The program's name, for the log.
    #[serde(default)]
    pub(crate) name: String,
    /// The program's own version, for the log.
    #[serde(default)]
    pub(crate) version: String,
    /// What the reservation system can do.
    #[serde(default)]
    pub(crate) capabilities: Abilities,
}

/// What a reservation system can do; what is left out it cannot.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Abilities {
    /// SUBMIT only holds; COMMIT or ABORT follows.
    two_phase: bool,
    /// SUBMIT, or the commit, leads to active by itself; there is no ACTIVATE and DEACTIVATE.
    fused_activation: bool,
    /// Requests may start in the future.
    advance: bool,
    /// There is MODIFY.
    modify: bool,
    /// There is LIST.
    list: bool,
    /// There is FIND.
    find: bool,
    /// There is EVENTS.
    events: bool,
    /// The reservation system takes our key as its own id.
    client_chosen_id: bool,
    /// It works off one request at a time.
    serial: bool,
    /// Each direction is reserved on its own.
    per_direction: bool,
    /// How long a hold lives without a commit.
    #[serde(with = "duration::option")]
    #[schemars(with = "Option<DurationText>")]
    hold_time: Option<Duration>,
    /// How far ahead a request must be made.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    lead_time: Duration,
    /// Typical time from request to carrying traffic.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    setup_time: Duration,
    /// Typical time from cancel to gone.
    #[serde(with = "duration")]
    #[schemars(with = "DurationText")]
    teardown_time: Duration,
    /// Rates are rounded up to a multiple of this.
    granularity: BitsPerSecond,
    /// The rate of one circuit where it is fixed.
    fixed_rate: Option<BitsPerSecond>,
    /// How many circuits may exist at once.
    max_concurrent: Option<u32>,
    /// What we do not know.
    #[serde(flatten)]
    #[schemars(skip)]
    others: BTreeMap<String, Value>,
}

impl Abilities {
    /// The names that mean nothing to us: of a later protocol, or misspelt.
    pub(crate) fn unknown_names(&self) -> impl Iterator<Item = &str> {
        self.others.keys().map(String::as_str)
    }
}

impl From<&Abilities> for Capabilities {
    fn from(abilities: &Abilities) -> Self {
        let Abilities { two_phase, fused_activation, advance, modify, list, find, events, .. } = *abilities;
        let Abilities { client_chosen_id, serial, per_direction, hold_time, lead_time, .. } = *abilities;
        let Abilities { setup_time, teardown_time, granularity, fixed_rate, max_concurrent, .. } = *abilities;
        Capabilities {
            two_phase,
            fused_activation,
            advance,
            modify,
            list,
            find,
            events,
            client_chosen_id,
            serial,
            per_direction,
            hold_time,
            lead_time,
            setup_time,
            teardown_time,
            granularity,
            fixed_rate,
            max_concurrent,
        }
    }
}

/// The answer to SUBMIT, COMMIT, ACTIVATE, DEACTIVATE and MODIFY.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct One {
    /// The reservation as it is now.
    pub(crate) observed: Observed,
}

/// The answer to QUERY.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Perhaps {
    /// The reservation as it is now; null if it is gone.
    #[serde(deserialize_with = "present")]
    pub(crate) observed: Option<Observed>,
}

/// An optional value whose key must be there: an answer that says nothing is not one that says "gone".
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Observed>, D::Error> {
    Option::deserialize(deserializer)
}

/// The answer to FIND and LIST.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Several {
    /// The reservations as they are now.
    pub(crate) observed: Vec<Observed>,
}

/// The answer to GC.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Removed {
    /// The keys of what has been cancelled.
    pub(crate) cancelled: Vec<RequestKey>,
}

/// The answer to CANCEL, ABORT and STATUS: an object, empty or not.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Done {}

/// What may come with an exit code other than 0.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Complaint {
    /// One line for a person; without it the last line of the standard error.
    pub(crate) reason: Option<String>,
    /// With code 11: the path of what is wrong in the question, such as `request.a` or `options.capacity`.
    pub(crate) key: Option<String>,
    /// With code 12: not before so many milliseconds have passed.
    pub(crate) retry_after_ms: Option<u64>,
}

#[cfg(test)]
mod tests;
