//! Inference instances.

use std::sync::atomic::{AtomicU64, Ordering};

use vreserve_abi::{Cell, PluginRef};
use vreserve_model::{Demand, Failure, Timestamp, TopologyReport};
use vreserve_sdk::shim;

use super::InstanceHost;
use super::boundary::InferCalls;
use super::documents::{MAX_DOCUMENT, tamed};

/// Most pairs that a topology may list.
const MAX_DEMANDS: usize = 1 << 22;

/// An open inference instance. Closed when dropped. `Send`, not `Sync`.
pub struct InferInstance {
    calls: InferCalls,
    violations: &'static AtomicU64,
}

impl InferInstance {
    /// Opens an instance with `settings` (a JSON object).
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if it panics.
    pub fn open(plugin: PluginRef, host: &InstanceHost, settings: &str) -> Result<Self, Failure> {
        let violations = host.counter("contract_violations", "answers of the plugin that broke the contract");
        Ok(InferInstance { calls: InferCalls::open(plugin, host, settings)?, violations })
    }

    /// Takes this node's counts since the last call; returns the report for the lead, empty for none.
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if it panicked, and from then on.
    pub fn observe(&mut self, now: Timestamp, cells: &[Cell]) -> Result<Vec<u8>, Failure> {
        let report = self.calls.observe(now.0, cells)?;
        if report.len() > MAX_DOCUMENT {
            self.violations.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::internal(format!("the plugin's report has {} bytes", report.len())));
        }
        Ok(report.into_vec())
    }

    /// On the lead: takes one node's report.
    ///
    /// # Errors
    /// `Invalid` for a report that cannot be read; otherwise as for `observe`.
    pub fn merge(&mut self, now: Timestamp, node: &str, report: &[u8]) -> Result<(), Failure> {
        self.calls.merge(now.0, node, report)
    }

    /// On the lead: what is believed now. Numbers are finite and in range; pairs are as the plugin lists them.
    ///
    /// # Errors
    /// As for `observe`.
    pub fn infer(&mut self, now: Timestamp) -> Result<TopologyReport, Failure> {
        let raw = self.calls.infer(now.0)?;
        if raw.document.len() > MAX_DOCUMENT || raw.demands.len() > MAX_DEMANDS {
            self.violations.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::internal("the plugin's topology is too large"));
        }
        let mut report = shim::topology_in(&raw).map_err(tamed)?;
        let wrong: u64 = report.demands.iter_mut().map(clamp).sum();
        self.violations.fetch_add(wrong, Ordering::Relaxed);
        Ok(report)
    }

    /// How often an instance of this name has broken the contract.
    pub fn violations(&self) -> u64 {
        self.violations.load(Ordering::Relaxed)
    }
}

/// Brings the numbers of a demand into range; 1 if they were not.
fn clamp(demand: &mut Demand) -> u64 {
    let sound = (0.0..=1.0).contains(&demand.confidence) && (0.0..=1e12).contains(&demand.frames_per_second);
    if !sound {
        demand.confidence = finite(demand.confidence).clamp(0.0, 1.0);
        demand.frames_per_second = finite(demand.frames_per_second).clamp(0.0, 1e12);
    }
    u64::from(!sound)
}

fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}
