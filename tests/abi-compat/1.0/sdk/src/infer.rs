//! The trait of inference plugins.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use vreserve_abi::Cell;
use vreserve_model::{Failure, Timestamp, TopologyReport};

use crate::Host;

/// Infers what the guests' traffic looks like. Every node has an instance that turns its counts into
/// reports; the lead's instance also merges all nodes' reports and infers.
///
/// Called by one thread at a time.
pub trait Infer: Sized + Send + 'static {
    /// The keys of this plugin's table in the node's configuration; deny unknown fields.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks what the types cannot: called by `vreserve check`, without any side effect.
    ///
    /// # Errors
    /// `Invalid` with the key.
    fn validate(config: &Self::Config) -> Result<(), Failure> {
        let _ = config;
        Ok(())
    }

    /// Starts with empty history.
    ///
    /// # Errors
    /// `Invalid` with the key for a wrong configuration.
    fn open(config: Self::Config, host: Host) -> Result<Self, Failure>;

    /// Takes what this node's guests sent since the last call, and returns the report for the lead (empty for
    /// none). Called once per report interval, also without traffic.
    ///
    /// # Errors
    /// The host logs it and goes on.
    fn observe(&mut self, now: Timestamp, cells: &[Cell]) -> Result<Vec<u8>, Failure>;

    /// On the lead: takes the report of a node, its own included. Reports may be lost, late or hostile.
    ///
    /// # Errors
    /// `Invalid` for a report that cannot be read; the host counts it.
    fn merge(&mut self, now: Timestamp, node: &str, report: &[u8]) -> Result<(), Failure>;

    /// On the lead: what is believed now.
    ///
    /// # Errors
    /// The host logs it and keeps the overlay as it is.
    fn infer(&mut self, now: Timestamp) -> Result<TopologyReport, Failure>;
}
