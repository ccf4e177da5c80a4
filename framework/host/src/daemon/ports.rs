//! Opening the data path: every capture instance and endpoint, once per worker.

use vreserve_abi::Queue;
use vreserve_core::ids::InterfaceId;

use super::StartFailure;
use super::start::{Opener, label};
use crate::dataplane::pool::{POOL_SLOTS, SlotPool, lent_share};
use crate::dataplane::{CapturePort, EndpointPort, WorkerConfig};

/// Opens all capture instances and endpoints for as many workers as the configuration asks for, or for one if
/// a plugin serves one queue only.
///
/// # Errors
/// If a required instance does not open.
pub(super) fn open(opener: &Opener<'_>) -> Result<Vec<WorkerConfig>, StartFailure> {
    let wanted = opener.config.node.workers;
    match open_queues(opener, wanted)? {
        Ok(workers) => Ok(workers),
        Err(alone) => {
            tracing::info!(instance = alone, wanted, "one worker only: this instance serves a single queue");
            let workers = open_queues(opener, 1)?;
            Ok(workers.expect("one worker needs no more than one queue"))
        }
    }
}

/// The ports of `count` workers, or the name of the instance that does not have as many queues.
fn open_queues(opener: &Opener<'_>, count: usize) -> Result<Result<Vec<WorkerConfig>, String>, StartFailure> {
    let mut workers = Vec::with_capacity(count);
    let count = u32::try_from(count).expect("the configuration bounds the number of workers");
    for index in 0..count {
        match open_queue(opener, Queue { index, count })? {
            Ok(worker) => workers.push(worker),
            Err(alone) => return Ok(Err(alone)),
        }
        let (first, last) = (&workers[0], &workers[workers.len() - 1]);
        if let Some(missing) = missing(first, last) {
            return Ok(Err(missing));
        }
    }
    Ok(Ok(workers))
}

/// An instance that the first worker has and this one has not.
fn missing(first: &WorkerConfig, worker: &WorkerConfig) -> Option<String> {
    let has = |name: &str| {
        worker.captures.iter().any(|port| port.port.name() == name)
            || worker.endpoints.iter().any(|port| port.port.name() == name)
    };
    let captures = first.captures.iter().map(|port| port.port.name());
    let endpoints = first.endpoints.iter().map(|port| port.port.name());
    captures.chain(endpoints).find(|name| !has(name)).map(str::to_owned)
}

fn open_queue(opener: &Opener<'_>, queue: Queue) -> Result<Result<WorkerConfig, String>, StartFailure> {
    let config = opener.config;
    let pool = SlotPool::new(POOL_SLOTS).map_err(StartFailure::other)?;
    let region = pool.region();
    let mut worker = WorkerConfig { pool, captures: Vec::new(), endpoints: Vec::new(), cpu: None };
    for link in &config.links {
        let Some(mut port) = opener.link(&link.instance, region, queue)? else { continue };
        if !serves(queue, port.instance().map(|endpoint| endpoint.info().queues)) {
            return Ok(Err(label(&link.instance)));
        }
        worker.endpoints.push(EndpointPort::new(port));
    }
    for (index, instance) in config.captures.iter().enumerate() {
        let id = InterfaceId(u16::try_from(index).map_err(StartFailure::other)?);
        let (first, count) = lent_share(index, config.captures.len());
        let region = region.lending(first, count);
        let Some(mut port) = opener.capture(instance, region, queue)? else { continue };
        if !serves(queue, port.instance().map(|interface| interface.info().queues)) {
            return Ok(Err(label(instance)));
        }
        worker.captures.push(CapturePort { id, port });
    }
    Ok(Ok(worker))
}

/// True if an instance that says so many queues serves this one and no more.
fn serves(queue: Queue, said: Option<u32>) -> bool {
    queue.count == 1 || said == Some(queue.count)
}
