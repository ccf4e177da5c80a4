//! What a kit found: every case by name, and how it ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reason")]
pub enum Outcome {
    /// The plugin keeps this part of its contract.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// It could not be tried, for this reason.
    Skipped(String),
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// What it shows, in one sentence.
    pub shows: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All cases of one kind, in the order in which they ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The kind of plugin.
    pub kind: String,
    /// The cases.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// True if no case failed.
    pub fn is_ok(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The names of the cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Failed(_)));
        failed.map(|case| case.name.as_str())
    }

    /// How many cases passed, failed and were skipped.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.cases.iter().fold((0, 0, 0), |(passed, failed, skipped), case| match case.outcome {
            Outcome::Passed => (passed + 1, failed, skipped),
            Outcome::Failed(_) => (passed, failed + 1, skipped),
            Outcome::Skipped(_) => (passed, failed, skipped + 1),
        })
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "passed   {}", self.name),
            Outcome::Failed(reason) => write!(f, "FAILED   {}: {reason}", self.name),
            Outcome::Skipped(reason) => write!(f, "skipped  {}: {reason}", self.name),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cases.iter().try_for_each(|case| writeln!(f, "  {case}"))?;
        let (passed, failed, skipped) = self.counts();
        writeln!(f, "{}: {passed} passed, {failed} failed, {skipped} skipped", self.kind)
    }
}
