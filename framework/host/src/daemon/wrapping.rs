//! What the configuration puts around a reservation backend.

use std::sync::Arc;
use std::time::Duration;

use crate::config::ReserveConfig;
use crate::loader::Registry;
use crate::plugin::{Backend, FaultyBackend, InstanceHost};

/// The backend as the lead gets it: with faults where the configuration asks for them, which `registry` then shows.
pub(super) fn wrapped(
    registry: &Registry,
    reserve: &ReserveConfig,
    backend: Arc<dyn Backend>,
    host: &InstanceHost,
    deadline: Duration,
) -> Arc<dyn Backend> {
    let Some(plan) = &reserve.faults else { return backend };
    registry.note(&reserve.instance, format!("INJECTS FAULTS on purpose: {}", plan.summary()));
    Arc::new(FaultyBackend::wrap(backend, plan.clone(), &reserve.instance.name, deadline, host))
}
