//! Adaptation instances.

use vreserve_abi::PluginRef;
use vreserve_model::{Failure, Snapshot, Wanted};
use vreserve_sdk::shim;

use super::boundary::AdaptCalls;
use super::{InstanceHost, documents};

/// An open adaptation instance. Closed when dropped. `Send`, not `Sync`.
pub struct AdaptInstance {
    calls: AdaptCalls,
}

impl AdaptInstance {
    /// Opens an instance with `settings` (a JSON object).
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if it panics.
    pub fn open(plugin: PluginRef, host: &InstanceHost, settings: &str) -> Result<Self, Failure> {
        Ok(AdaptInstance { calls: AdaptCalls::open(plugin, host, settings)? })
    }

    /// The overlay wanted now. Names and addresses in it are the planner's word: they may not exist.
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if it panicked, and from then on, or if its document cannot be
    /// read.
    pub fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        let (document, demands) = shim::snapshot_out(snapshot);
        let wanted = self.calls.adapt(&document, &demands)?;
        documents::read("plan", wanted.as_str())
    }
}
