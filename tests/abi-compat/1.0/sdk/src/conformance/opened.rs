//! Opens instances where and as the surroundings say.

use std::time::{Duration, Instant};

use serde_json::Value;
use vreserve_model::{Failure, FailureKind};

use super::calls::{AdaptPort, InferPort};
use super::case::{Subject, Unmet, said};
use super::port::Port;

/// A condition that has not come by then will not come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Instance `number`, by `open`; again for as long as the plugin asks for it.
pub(super) fn opened<T: Send>(
    subject: &Subject,
    number: u32,
    open: &(impl Fn(&Value) -> Result<T, Failure> + Sync),
) -> Result<T, Unmet> {
    let config = subject.config(number)?;
    let since = Instant::now();
    loop {
        let mut result = None;
        let tried = subject.surroundings.open_in(number, &mut || result = Some(open(&config)));
        tried.map_err(Unmet::Skipped)?;
        let Some(result) = result else {
            return Err(Unmet::Failed("its surroundings did not try to open it".to_owned()));
        };
        match result {
            Ok(instance) => return Ok(instance),
            Err(failure) if failure.kind == FailureKind::Retry && since.elapsed() < PATIENCE => {
                std::thread::yield_now();
            }
            Err(failure) => {
                let reason = format!("instance {number} does not open with {config}: {}", said(&failure));
                let must_open = subject.surroundings.must_open(number);
                return Err(if must_open { Unmet::Failed(reason) } else { Unmet::Skipped(reason) });
            }
        }
    }
}

/// Instance `number` of a link or capture plugin.
pub(super) fn port(subject: &Subject, number: u32) -> Result<Port, Unmet> {
    let plugin = subject.plugin;
    if subject.kind == "link" {
        opened(subject, number, &|config: &Value| Port::open_link(plugin, number, config))
    } else {
        opened(subject, number, &|config: &Value| Port::open_capture(plugin, number, config))
    }
}

/// Instance `number` of an inference plugin.
pub(super) fn infer(subject: &Subject, number: u32) -> Result<InferPort, Unmet> {
    let plugin = subject.plugin;
    opened(subject, number, &|config: &Value| InferPort::open(plugin, config))
}

/// Instance `number` of an adaptation plugin.
pub(super) fn adapt(subject: &Subject, number: u32) -> Result<AdaptPort, Unmet> {
    let plugin = subject.plugin;
    opened(subject, number, &|config: &Value| AdaptPort::open(plugin, config))
}

/// The configuration whose instance panics when it is called.
pub(super) fn panicking(subject: &Subject) -> Result<Value, Unmet> {
    subject.surroundings.panicking().ok_or_else(|| {
        Unmet::Skipped(
            "it has no configuration that makes it panic; the SDK's own tests try its shims".into(),
        )
    })
}
