//! Why a planner did with one pair of nodes what it did: the question, and its answer for people and programs.

use serde::{Deserialize, Serialize};

use crate::BitsPerSecond;

/// The pair of nodes to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairQuestion {
    /// One end, by node name; `a` sorts before `z`.
    pub a: String,
    /// The other end.
    pub z: String,
}

/// What a planner made of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It is given a circuit by this plan.
    Chosen,
    /// It keeps the circuit that it has or waits for.
    Kept,
    /// It keeps its circuit until something that holds it has passed.
    Held,
    /// Its circuit was given back a while ago.
    Released,
    /// It would deserve a circuit and has none.
    LeftOut,
    /// It does not deserve one: the star carries it.
    Star,
}

/// One link that the pair could have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateLink {
    /// The network that it would be reserved on.
    pub network: String,
    /// The rate that would be asked for.
    pub rate: BitsPerSecond,
    /// The backend's time to set it up, in milliseconds.
    pub setup_ms: u64,
    /// And to tear it down.
    pub teardown_ms: u64,
    /// The share of its paid time that would carry traffic, 0 to 1.
    pub share: f64,
    /// What it would cost, in the operator's own unit; none where no costs are set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Why it is out of the question; none if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// One limit, and how much of it the plan uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetUse {
    /// Which, as the configuration calls it.
    pub limit: String,
    /// What is used of it.
    pub used: String,
    /// What there is.
    pub most: String,
}

/// The answer to a [`PairQuestion`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The pair.
    pub pair: PairQuestion,
    /// What flows between the nodes, the larger direction.
    pub demand: BitsPerSecond,
    /// Guest pairs that send large frames, as many as they can.
    pub bulk_pairs: usize,
    /// Guest pairs that send small frames and wait for each other.
    pub latency_pairs: usize,
    /// For how long demand has been there, in milliseconds; none while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_ms: Option<u64>,
    /// For how much longer it is expected to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms: Option<u64>,
    /// How long it was there before, the last times, oldest first.
    #[serde(default)]
    pub history_ms: Vec<u64>,
    /// The share of paid time that must carry traffic; none if that is not tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_share: Option<f64>,
    /// The links it could have, in the order in which networks are preferred.
    #[serde(default)]
    pub candidates: Vec<CandidateLink>,
    /// The limits that all circuits share.
    #[serde(default)]
    pub budgets: Vec<BudgetUse>,
    /// What was decided.
    pub decision: Decision,
    /// Why, in one line.
    pub why: String,
    /// Why not otherwise, one line for each other thing that could have been done.
    #[serde(default)]
    pub otherwise: Vec<String>,
}
