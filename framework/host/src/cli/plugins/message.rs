//! What the child process tells: one JSON document a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vreserve_sdk::conformance::CaseReport;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The plugin is not loaded, for this reason.
    Refused(String),
    /// What a plugin says of itself.
    Inspected(Box<Inspection>),
    /// A kit begins.
    Kit(KitHead),
    /// A case begins: its name.
    Begun(String),
    /// A case has ended.
    Ended(CaseReport),
    /// That was all.
    Finished,
}

/// What a kit is run on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KitHead {
    pub(super) plugin: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// What is known of a loaded plugin.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Inspection {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) abi: String,
    pub(super) panic: String,
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    pub(super) kinds: Vec<KindInspection>,
}

/// What a plugin says of one kind that it serves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KindInspection {
    pub(super) kind: String,
    /// The JSON Schema of its configuration.
    pub(super) schema: Value,
}
