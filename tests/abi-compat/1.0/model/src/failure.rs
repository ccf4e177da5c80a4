//! Why a plugin could not do what it was asked, in terms of what the host should do next.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the host should do about a failure (PLUGINS.md, "Errors").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The same call may succeed later; the host backs off and repeats it.
    Retry,
    /// The other side said no for now (no room, not permitted); the host keeps to the star and may ask again later.
    Refused,
    /// What the call needs is not there (no server, no device); the host reports it and backs off.
    Unavailable,
    /// This plugin never can; the host must not ask again.
    Unsupported,
    /// The caller's input is wrong; `Failure::key` names the part.
    Invalid,
    /// The call may or may not have taken effect; the host must look before it asks again.
    UnknownOutcome,
    /// A defect in the plugin.
    Internal,
}

impl FailureKind {
    /// Every kind, with the code it has in C tables.
    const CODES: [(FailureKind, u32); 7] = [
        (FailureKind::Retry, 1),
        (FailureKind::Refused, 2),
        (FailureKind::Unavailable, 3),
        (FailureKind::Unsupported, 4),
        (FailureKind::Invalid, 5),
        (FailureKind::UnknownOutcome, 6),
        (FailureKind::Internal, 7),
    ];

    /// The code of this kind in C tables.
    pub fn code(self) -> u32 {
        Self::CODES.iter().find(|(kind, _)| *kind == self).map_or(7, |(_, code)| *code)
    }

    /// The kind for a code; a code from a newer plugin, or a wrong one, reads as `Internal`.
    pub fn from_code(code: u32) -> Self {
        Self::CODES.iter().find(|(_, c)| *c == code).map_or(FailureKind::Internal, |(kind, _)| *kind)
    }
}

/// A failed call: what to do, why in one line, and for wrong input which key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the host should do.
    pub kind: FailureKind,
    /// One line for a person: lower case, no full stop.
    pub reason: String,
    /// For `Invalid`: the path of the wrong key in the caller's document, such as `peers[1].port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// For `Retry`: do not repeat the call before this time has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of `kind` for `reason`.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Failure { kind, reason: reason.into(), key: None, retry_after: None }
    }

    /// See [`FailureKind::Retry`].
    pub fn retry(after: Duration, reason: impl Into<String>) -> Self {
        Failure { retry_after: Some(after), ..Self::new(FailureKind::Retry, reason) }
    }

    /// See [`FailureKind::Refused`].
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, reason)
    }

    /// See [`FailureKind::Unavailable`].
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Unavailable, reason)
    }

    /// See [`FailureKind::Unsupported`].
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Unsupported, reason)
    }

    /// See [`FailureKind::Invalid`]; `key` is the path of the wrong key.
    pub fn invalid(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Failure { key: Some(key.into()), ..Self::new(FailureKind::Invalid, reason) }
    }

    /// See [`FailureKind::UnknownOutcome`].
    pub fn unknown_outcome(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::UnknownOutcome, reason)
    }

    /// See [`FailureKind::Internal`].
    pub fn internal(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, reason)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) if !key.is_empty() => write!(f, "{key}: {}", self.reason),
            _ => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_unknown_codes_are_internal() {
        for (kind, code) in FailureKind::CODES {
            assert_eq!(FailureKind::from_code(code), kind);
            assert_eq!(kind.code(), code);
        }
        assert_eq!(FailureKind::from_code(4711), FailureKind::Internal);
    }
}
