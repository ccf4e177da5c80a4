//! The documents of reservation: what a backend can do, what is asked of it, what it answers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BitsPerSecond;

/// The idempotency key of one reservation generation: chosen by the host, unique for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RequestKey(pub String);

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a reservation backend can do. The reservation machine is driven by these flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Submit only holds; commit or abort must follow.
    pub two_phase: bool,
    /// Submit already activates: there is no state between asked for and carrying.
    pub fused_activation: bool,
    /// Reservations may start in the future.
    pub advance: bool,
    /// The rate or end of a reservation can be changed in place.
    pub modify: bool,
    /// The backend, or the plugin's own durable record, can list what this owner holds.
    pub list: bool,
    /// A reservation can be found by its request key.
    pub find: bool,
    /// The backend tells of changes by itself (the verb `events`).
    pub events: bool,
    /// The provider takes the client's id as its own.
    pub client_chosen_id: bool,
    /// Requests are worked off one at a time.
    pub serial: bool,
    /// Each direction is reserved on its own.
    pub per_direction: bool,
    /// How long a hold lives without a commit.
    pub hold_time: Option<Duration>,
    /// How far ahead a request must be made.
    pub lead_time: Duration,
    /// Typical time from request to carrying traffic.
    pub setup_time: Duration,
    /// Typical time from cancel to gone.
    pub teardown_time: Duration,
    /// Rates are rounded up to a multiple of this; zero means any rate.
    pub granularity: BitsPerSecond,
    /// The rate of one circuit where it is fixed, as that of a lightpath.
    pub fixed_rate: Option<BitsPerSecond>,
    /// How many circuits may exist at once, if known.
    pub max_concurrent: Option<u32>,
}

/// The datagrams that a reservation is for, where a provider tells flows apart: those of one link between
/// the two endpoint addresses of a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// `udp` or `tcp`.
    pub protocol: String,
    /// The port that end `a` listens on: the destination port of what `z` sends.
    pub a_port: u16,
    /// The port that end `z` listens on: the destination port of what `a` sends.
    pub z_port: u16,
}

/// One request for capacity between two endpoint addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The idempotency key.
    pub key: RequestKey,
    /// Who asks: one name per installation, with the epoch of the lead that acts for it.
    pub owner: String,
    /// One end: an endpoint address in the backend's own terms (for ODIN and GARA an IP address).
    pub a: String,
    /// The other end.
    pub z: String,
    /// The capacity in the larger direction.
    pub rate: BitsPerSecond,
    /// The datagrams it is for; none means all between the two addresses.
    #[serde(default)]
    pub flow: Option<Flow>,
    /// The latency bound, if one is asked for.
    #[serde(default)]
    pub max_latency: Option<Duration>,
    /// Start in milliseconds since the Unix epoch; none means now.
    #[serde(default)]
    pub start_ms: Option<u64>,
    /// End in milliseconds since the Unix epoch; none means until cancelled.
    #[serde(default)]
    pub end_ms: Option<u64>,
}

/// The state of one reservation (the transition table is in `vreserve-core`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// Wanted and recorded, nothing asked yet.
    Intent,
    /// Asked; no answer yet.
    Submitted,
    /// Held by the provider until committed.
    Held,
    /// Promised; not yet carrying.
    Booked,
    /// Being switched through.
    Activating,
    /// The provider says it carries traffic.
    Active,
    /// Active, but it does not carry what was promised.
    Degraded,
    /// Being given back.
    Releasing,
    /// Gone at the provider's word.
    Released,
    /// Refused or broken for good; nothing is held.
    Failed,
    /// Nobody knows whether something is held; it must be looked up before anything else.
    Unknown,
}

/// A state's name is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownState;

impl ReservationState {
    /// Every state, in the order of a reservation's life, with its text form.
    pub const ALL: [(ReservationState, &'static str); 11] = [
        (ReservationState::Intent, "intent"),
        (ReservationState::Submitted, "submitted"),
        (ReservationState::Held, "held"),
        (ReservationState::Booked, "booked"),
        (ReservationState::Activating, "activating"),
        (ReservationState::Active, "active"),
        (ReservationState::Degraded, "degraded"),
        (ReservationState::Releasing, "releasing"),
        (ReservationState::Released, "released"),
        (ReservationState::Failed, "failed"),
        (ReservationState::Unknown, "unknown"),
    ];

    /// True if the provider may hold something for us in this state.
    pub fn may_hold_capacity(self) -> bool {
        !matches!(self, ReservationState::Intent | ReservationState::Released | ReservationState::Failed)
    }
}

impl fmt::Display for ReservationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(state, _)| state == self).map_or("unknown", |(_, name)| name);
        f.write_str(name)
    }
}

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a reservation state")
    }
}

impl std::error::Error for UnknownState {}

impl FromStr for ReservationState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(state, _)| *state)
            .ok_or(UnknownState)
    }
}

/// What the provider knows of the data plane of a reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataPlane {
    /// It says frames pass.
    Up,
    /// It says frames do not pass.
    Down,
    /// It does not say.
    #[default]
    Unknown,
}

/// Changes that a backend tells of by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// What to ask with next time, to get what came after these.
    pub next: u64,
    /// Changes may have been missed: everything is to be looked up.
    #[serde(default)]
    pub missed: bool,
    /// The reservations that changed, as they are now.
    pub observed: Vec<Observed>,
}

/// What a backend reports of one reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// The key it was requested under.
    pub key: RequestKey,
    /// The provider's own id, if it has given one.
    #[serde(default)]
    pub native_id: Option<String>,
    /// The state in our terms.
    pub state: ReservationState,
    /// What the provider itself called the state, for a person.
    #[serde(default)]
    pub native_state: String,
    /// The rate as granted, where known.
    #[serde(default)]
    pub rate: Option<BitsPerSecond>,
    /// The start as granted, in milliseconds since the Unix epoch, where known.
    #[serde(default)]
    pub start_ms: Option<u64>,
    /// The end as granted, in milliseconds since the Unix epoch, where known.
    #[serde(default)]
    pub end_ms: Option<u64>,
    /// The provider's word on the data plane.
    #[serde(default)]
    pub data_plane: DataPlane,
    /// What the provider chose for us, such as `lambda = 2`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back_in_any_case_and_unknown_names_are_refused() {
        for (state, name) in ReservationState::ALL {
            assert_eq!(name.to_uppercase().parse(), Ok(state));
            assert_eq!(state.to_string(), name);
        }
        assert!("provisioned".parse::<ReservationState>().is_err());
    }

    #[test]
    fn documents_ignore_fields_of_newer_versions() {
        let text = r#"{"key":"k","state":"active","colour":"green"}"#;
        let observed: Observed = serde_json::from_str(text).unwrap();
        assert_eq!(observed.state, ReservationState::Active);
        assert_eq!(observed.data_plane, DataPlane::Unknown);
    }
}
