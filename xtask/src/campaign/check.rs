//! A number that was found, and what it must be.

use serde::Serialize;

/// Something that must be so.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) found: u64,
    pub(super) wanted: Wanted,
    pub(super) holds: bool,
}

/// How a number must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    AtMost(u64),
    AtLeast(u64),
}

impl Check {
    pub(super) fn at_most(what: &'static str, found: u64, most: u64) -> Self {
        Self { what, found, wanted: Wanted::AtMost(most), holds: found <= most }
    }

    pub(super) fn at_least(what: &'static str, found: u64, least: u64) -> Self {
        Self { what, found, wanted: Wanted::AtLeast(least), holds: found >= least }
    }

    pub(super) fn none(what: &'static str, found: u64) -> Self {
        Self::at_most(what, found, 0)
    }

    pub(super) fn some(what: &'static str, found: u64) -> Self {
        Self::at_least(what, found, 1)
    }

    /// A row of a table in Markdown.
    pub(super) fn row(&self) -> String {
        let wanted = match self.wanted {
            Wanted::AtMost(0) => "0".to_owned(),
            Wanted::AtMost(most) => format!("≤ {most}"),
            Wanted::AtLeast(least) => format!("≥ {least}"),
        };
        let mark = if self.holds { "✓" } else { "✗" };
        format!("| {} | {} | {wanted} | {mark} |\n", self.what, self.found)
    }
}
