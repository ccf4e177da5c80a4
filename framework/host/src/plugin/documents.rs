//! Documents that plugins return: bounded, and read with care.

use serde::de::DeserializeOwned;
use vreserve_abi::{PluginFailure, RResult};
use vreserve_model::Failure;
use vreserve_sdk::shim;

use super::counters::cut;

/// Longest document in bytes that a plugin may return.
pub(super) const MAX_DOCUMENT: usize = 16 << 20;
/// Longest reason in bytes; longer ones are cut.
const MAX_REASON: usize = 512;

/// Reads what the plugin calls a `what`.
///
/// # Errors
/// `Internal` if it is too long or is not one.
pub(super) fn read<T: DeserializeOwned>(what: &str, document: &str) -> Result<T, Failure> {
    if document.len() > MAX_DOCUMENT {
        return Err(Failure::internal(format!("the plugin's {what} has {} bytes", document.len())));
    }
    serde_json::from_str(document)
        .map_err(|error| Failure::internal(format!("the plugin's {what} cannot be read: {error}")))
}

/// What a plugin answered, with its failure made fit for a log.
pub(crate) fn answer<T>(result: RResult<T, PluginFailure>) -> Result<T, Failure> {
    result.into_result().map_err(|failure| tamed(shim::failure_in(&failure)))
}

/// The failure in one line of bounded length: its text may come from anywhere.
pub(super) fn tamed(mut failure: Failure) -> Failure {
    failure.reason = line(&failure.reason);
    failure.key = failure.key.map(|key| line(&key));
    failure
}

fn line(text: &str) -> String {
    cut(text.trim(), MAX_REASON).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_one_short_line() {
        let failure = tamed(Failure::refused(format!("no room\n\u{1b}[2J{}", "x".repeat(10_000))));
        assert!(failure.reason.starts_with("no room  [2Jx"));
        assert!(failure.reason.len() <= MAX_REASON);
    }

    #[test]
    fn a_document_that_is_too_long_is_not_even_parsed() {
        let document = format!("\"{}\"", "x".repeat(MAX_DOCUMENT));
        assert!(read::<String>("report", &document).unwrap_err().reason.contains("bytes"));
        assert!(read::<u8>("report", "{").unwrap_err().reason.contains("cannot be read"));
    }
}
