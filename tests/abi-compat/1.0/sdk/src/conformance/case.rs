//! A case: a name, a sentence of what it shows, and a function that tries it.

use std::sync::Arc;

use serde_json::Value;
use vreserve_abi::PluginRef;
use vreserve_model::Failure;

use super::surroundings::Surroundings;

/// What is under test.
pub(super) struct Subject {
    pub(super) plugin: PluginRef,
    /// The kind's name.
    pub(super) kind: &'static str,
    pub(super) surroundings: Arc<dyn Surroundings>,
}

impl Subject {
    /// The configuration of instance `number`.
    pub(super) fn config(&self, number: u32) -> Result<Value, Unmet> {
        self.surroundings.config(number).map_err(Unmet::Skipped)
    }
}

/// One case of a kit.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What it shows if it passes, in one sentence.
    pub(super) shows: &'static str,
    pub(super) run: fn(&Subject) -> Verdict,
}

/// `Ok` if the case passed.
pub(super) type Verdict = Result<(), Unmet>;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    /// The plugin broke its contract.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
}

impl Unmet {
    /// The same, with what was being done in front.
    pub(super) fn during(self, what: &str) -> Self {
        match self {
            Unmet::Failed(reason) => Unmet::Failed(format!("{what}: {reason}")),
            skipped @ Unmet::Skipped(_) => skipped,
        }
    }
}

impl From<String> for Unmet {
    fn from(reason: String) -> Self {
        Unmet::Failed(reason)
    }
}

impl From<Failure> for Unmet {
    fn from(failure: Failure) -> Self {
        Unmet::Failed(said(&failure))
    }
}

/// A failure as reports have it: its kind and its words.
pub(super) fn said(failure: &Failure) -> String {
    format!("{:?}: {failure}", failure.kind)
}

/// The case fails for this reason.
macro_rules! fail {
    ($($reason:tt)+) => {
        return Err($crate::conformance::case::Unmet::Failed(format!($($reason)+)))
    };
}

/// The case fails for this reason unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            $crate::conformance::case::fail!($($reason)+);
        }
    };
}

pub(super) use {ensure, fail};
