//! The trait of adaptation plugins.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use vreserve_model::{Failure, Snapshot, Wanted};

use crate::Host;

/// Plans the overlay: from what is known to what is wanted. The host computes the difference to the overlay
/// in force and the safe order; the star always stays.
///
/// Called by one thread at a time, on the lead, after every inference.
pub trait Adapt: Sized + Send + 'static {
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

    /// Starts the planner.
    ///
    /// # Errors
    /// `Invalid` with the key for a wrong configuration.
    fn open(config: Self::Config, host: Host) -> Result<Self, Failure>;

    /// The overlay wanted now. Must settle: the same snapshot gives the same answer, and small changes of
    /// demand must not make circuits come and go.
    ///
    /// # Errors
    /// The host logs it and keeps the overlay as it is.
    fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure>;
}
