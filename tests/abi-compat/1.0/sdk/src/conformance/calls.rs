//! Inference and adaptation instances, and instances of any kind that are only opened and closed.
#![allow(unsafe_code, reason = "calls the C functions of instances")]

use serde_json::Value;
use vreserve_abi::{Cell, DemandRecord, PluginFailure, PluginRef, RResult, RString, RawAdapt, RawInfer};
use vreserve_model::{Failure, Snapshot, TopologyReport, Wanted};

use super::host::Offer;
use super::watch::watched;
use crate::shim::{failure_in, snapshot_out, topology_in};

/// An open inference instance.
pub(super) struct InferPort(RawInfer);

/// An open adaptation instance.
pub(super) struct AdaptPort(RawAdapt);

// SAFETY: the ABI says that an instance may move between threads between calls.
unsafe impl Send for InferPort {}
// SAFETY: as above.
unsafe impl Send for AdaptPort {}

fn answer<T>(what: &str, call: impl FnOnce() -> RResult<T, PluginFailure>) -> Result<T, Failure> {
    watched(|| what.to_owned(), call).into_result().map_err(|failure| failure_in(&failure))
}

impl InferPort {
    pub(super) fn open(plugin: PluginRef, config: &Value) -> Result<Self, Failure> {
        let (open, offer) = (plugin.open_infer(), Offer::bare());
        answer("open", || open(offer.context(), config.to_string().as_str().into())).map(InferPort)
    }

    pub(super) fn observe(&mut self, now: u64, cells: &[Cell]) -> Result<Vec<u8>, Failure> {
        // SAFETY: the instance is open, and `&mut self` makes this its only call.
        answer("observe", || unsafe { self.0.table.observe()(self.0.instance, now, cells.into()) })
            .map(|report| report.into_vec())
    }

    pub(super) fn merge(&mut self, now: u64, node: &str, report: &[u8]) -> Result<(), Failure> {
        let (instance, merge) = (self.0.instance, self.0.table.merge());
        // SAFETY: as in `observe`.
        answer("merge", || unsafe { merge(instance, now, node.into(), report.into()) })
    }

    pub(super) fn infer(&mut self, now: u64) -> Result<TopologyReport, Failure> {
        // SAFETY: as in `observe`.
        let raw = answer("infer", || unsafe { self.0.table.infer()(self.0.instance, now) })?;
        topology_in(&raw)
    }
}

impl AdaptPort {
    pub(super) fn open(plugin: PluginRef, config: &Value) -> Result<Self, Failure> {
        let (open, offer) = (plugin.open_adapt(), Offer::bare());
        answer("open", || open(offer.context(), config.to_string().as_str().into())).map(AdaptPort)
    }

    pub(super) fn adapt(&mut self, snapshot: &Snapshot) -> Result<Wanted, Failure> {
        let (document, demands) = snapshot_out(snapshot);
        let wanted = self.adapt_raw(&document, &demands)?;
        serde_json::from_str(wanted.as_str())
            .map_err(|error| Failure::internal(format!("the answer cannot be read: {error}")))
    }

    pub(super) fn adapt_raw(&mut self, document: &str, demands: &[DemandRecord]) -> Result<RString, Failure> {
        let (instance, adapt) = (self.0.instance, self.0.table.adapt());
        // SAFETY: the instance is open, and `&mut self` makes this its only call.
        answer("adapt", || unsafe { adapt(instance, document.into(), demands.into()) })
    }
}

impl Drop for InferPort {
    fn drop(&mut self) {
        // SAFETY: the last call.
        watched(|| "close".to_owned(), || unsafe { self.0.table.close()(self.0.instance) });
    }
}

impl Drop for AdaptPort {
    fn drop(&mut self) {
        // SAFETY: the last call.
        watched(|| "close".to_owned(), || unsafe { self.0.table.close()(self.0.instance) });
    }
}

/// Opens an instance of `kind` and closes it.
///
/// # Errors
/// If it does not open.
pub(super) fn open_and_close(
    plugin: PluginRef,
    kind: &str,
    offer: &Offer,
    config: &str,
) -> Result<(), Failure> {
    let host = offer.context();
    macro_rules! once {
        ($open:ident) => {{
            let open = plugin.$open();
            let raw = answer("open", || open(host, config.into()))?;
            // SAFETY: the instance is open, and this is its last call.
            watched(|| "close".to_owned(), || unsafe { raw.table.close()(raw.instance) });
        }};
    }
    match kind {
        "capture" => once!(open_capture),
        "link" => once!(open_link),
        "infer" => once!(open_infer),
        "adapt" => once!(open_adapt),
        "reserve" => once!(open_reserve),
        other => return Err(Failure::unsupported(format!("there is no kind {other}"))),
    }
    Ok(())
}

/// What the plugin says of a configuration.
pub(super) fn validate(plugin: PluginRef, kind: &str, config: &str) -> Result<(), Failure> {
    let validate = plugin.validate();
    answer("validate", || validate(kind.into(), config.into()))
}
