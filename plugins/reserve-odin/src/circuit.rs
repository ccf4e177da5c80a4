//! One lightpath as this plugin knows it: the durable record of a request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vreserve_sdk::model::{BitsPerSecond, DataPlane, Observed, RequestKey, ReservationState};

/// A request and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Circuit {
    /// The key it was requested under.
    pub(crate) key: RequestKey,
    /// Who asked.
    pub(crate) owner: String,
    /// One end.
    pub(crate) a: IpAddr,
    /// The other end.
    pub(crate) z: IpAddr,
    /// The lambda that was asked for.
    pub(crate) lambda: u16,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// The switches on its way, if the client printed them.
    #[serde(default)]
    pub(crate) switches: Option<String>,
    /// Why it is in this stage, for a person.
    #[serde(default)]
    pub(crate) words: String,
    /// When the client was run, in milliseconds since the epoch.
    #[serde(default)]
    pub(crate) asked_ms: u64,
    /// From when on it is wanted, if later.
    #[serde(default)]
    pub(crate) start_ms: Option<u64>,
    /// Until when, if the server was told.
    #[serde(default)]
    pub(crate) end_ms: Option<u64>,
}

/// How far a request has come. Whoever has a path id in here holds a lightpath, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The client was about to be run, or runs.
    Asking,
    /// The client was run and nobody knows what it did: the lambda is quarantined.
    Unknown,
    /// The path carries traffic.
    Up {
        /// ODIN's id of it.
        path: String,
    },
    /// The path will carry traffic from its start on.
    Booked {
        /// ODIN's id of it.
        path: String,
    },
    /// The server no longer has it: there is nothing to tear down.
    Lost,
    /// The path is being torn down, or should have been.
    Releasing {
        /// ODIN's id of it.
        path: String,
    },
}

impl Circuit {
    /// ODIN's id of the path, if it was ever learned.
    pub(crate) fn path(&self) -> Option<&str> {
        match &self.stage {
            Stage::Asking | Stage::Unknown | Stage::Lost => None,
            Stage::Up { path } | Stage::Booked { path } | Stage::Releasing { path } => Some(path),
        }
    }

    /// Whether nobody knows what uses its lambda.
    pub(crate) fn is_quarantined(&self) -> bool {
        matches!(self.stage, Stage::Asking | Stage::Unknown)
    }

    /// The switches in order, as far as they are known.
    pub(crate) fn route(&self) -> Vec<String> {
        let switches = self.switches.as_deref().unwrap_or_default();
        switches.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// Whether it joins these two, whichever way round.
    pub(crate) fn joins(&self, a: IpAddr, z: IpAddr) -> bool {
        (self.a, self.z) == (a, z) || (self.a, self.z) == (z, a)
    }

    /// Whether it was made for this owner's installation. The lead's epoch, behind the last slash of an
    /// owner, does not count: a new lead must see what the one before it left behind.
    pub(crate) fn belongs_to(&self, owner: &str) -> bool {
        fn installation(owner: &str) -> &str {
            owner.rsplit_once('/').map_or(owner, |(installation, _)| installation)
        }
        installation(&self.owner) == installation(owner)
    }

    /// What it is at a time in milliseconds since the epoch, by the server's promise.
    fn state_at(&self, now_ms: u64) -> ReservationState {
        let is_past = |ms: Option<u64>| ms.is_some_and(|ms| ms <= now_ms);
        match self.stage {
            Stage::Asking => ReservationState::Submitted,
            Stage::Unknown => ReservationState::Unknown,
            Stage::Up { .. } | Stage::Booked { .. } if is_past(self.end_ms) => ReservationState::Released,
            Stage::Booked { .. } if !is_past(self.start_ms) => ReservationState::Booked,
            Stage::Up { .. } | Stage::Booked { .. } => ReservationState::Active,
            Stage::Releasing { .. } => ReservationState::Releasing,
            Stage::Lost if is_past(self.end_ms) => ReservationState::Released,
            Stage::Lost => ReservationState::Failed,
        }
    }

    /// What the host is told of it; `rate` is that of a lightpath.
    pub(crate) fn observed(&self, rate: BitsPerSecond, now_ms: u64) -> Observed {
        let state = self.state_at(now_ms);
        let mut labels = BTreeMap::from([("lambda".to_owned(), self.lambda.to_string())]);
        labels.extend(self.switches.clone().map(|switches| ("switches".to_owned(), switches)));
        Observed {
            key: self.key.clone(),
            native_id: self.path().map(str::to_owned),
            state,
            native_state: match self.stage {
                Stage::Unknown => format!("{}; lambda {} is quarantined", self.words, self.lambda),
                _ => self.words.clone(),
            },
            rate: self.path().map(|_| rate),
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            data_plane: DataPlane::Unknown,
            labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_lead_sees_what_the_one_before_it_left_behind() {
        let circuit = Circuit {
            key: RequestKey("k".into()),
            owner: "lab/7".into(),
            a: [10, 10, 0, 1].into(),
            z: [10, 10, 0, 2].into(),
            lambda: 2,
            stage: Stage::Up { path: "17".into() },
            switches: None,
            words: String::new(),
            asked_ms: 0,
            start_ms: None,
            end_ms: None,
        };
        assert!(circuit.belongs_to("lab/8") && circuit.belongs_to("lab"));
        assert!(!circuit.belongs_to("lab2/7") && !circuit.belongs_to(""));
        assert!(circuit.joins(circuit.z, circuit.a));
    }

    #[test]
    fn a_promise_goes_by_its_window() {
        let booked = Circuit {
            key: RequestKey("k".into()),
            owner: "lab/7".into(),
            a: [10, 10, 0, 1].into(),
            z: [10, 10, 0, 2].into(),
            lambda: 2,
            stage: Stage::Booked { path: "17".into() },
            switches: None,
            words: String::new(),
            asked_ms: 0,
            start_ms: Some(1000),
            end_ms: Some(2000),
        };
        let states = [999, 1000, 1999, 2000].map(|now| booked.observed(BitsPerSecond(1), now).state);
        use ReservationState::{Active, Booked, Released};
        assert_eq!(states, [Booked, Active, Active, Released]);
    }
}
