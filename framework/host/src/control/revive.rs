//! Instances off the data path that are opened anew when they have failed inside: a plugin that panicked
//! answers nothing more, but the node goes on and tries another instance after a while.

use std::time::Duration;

use vreserve_model::{Failure, FailureKind, Timestamp};

use super::events::{EventLog, NodeEvent};

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Opens the next instance.
pub type Opener<I> = Box<dyn FnMut() -> Result<I, Failure> + Send>;

/// An instance and its successors.
pub struct Revived<I> {
    name: String,
    instance: Option<I>,
    opener: Opener<I>,
    retry_at: Timestamp,
    backoff: Duration,
    events: EventLog,
}

impl<I> Revived<I> {
    /// An open instance; `name` is the one in the configuration, `opener` opens its successors.
    pub fn new(name: String, instance: I, opener: Opener<I>, events: EventLog) -> Self {
        Revived {
            name,
            instance: Some(instance),
            opener,
            retry_at: Timestamp::ZERO,
            backoff: RETRY_MIN,
            events,
        }
    }

    /// Calls the instance, opening one first if there is none and its time has come.
    ///
    /// # Errors
    /// What the instance answers; `Unavailable` while there is none.
    pub fn call<T>(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut I) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.instance.is_none() && now >= self.retry_at {
            match (self.opener)() {
                Ok(instance) => {
                    self.instance = Some(instance);
                    self.events.node(NodeEvent::PluginReopened { instance: self.name.clone() });
                }
                Err(failure) => self.fail(&failure, now),
            }
        }
        let waiting = || Failure::unavailable(format!("{} has failed and is being reopened", self.name));
        let instance = self.instance.as_mut().ok_or_else(waiting)?;
        let outcome = call(instance);
        match &outcome {
            Err(failure) if failure.kind == FailureKind::Internal => self.fail(failure, now),
            Err(_) => {}
            Ok(_) => self.backoff = RETRY_MIN,
        }
        outcome
    }

    /// Opens an instance beside the one in use, with the same settings and the same counters.
    ///
    /// # Errors
    /// What opening it answers.
    pub fn open_another(&mut self) -> Result<I, Failure> {
        (self.opener)()
    }

    fn fail(&mut self, failure: &Failure, now: Timestamp) {
        self.instance = None;
        self.retry_at = now + self.backoff;
        let retry_in_ms = u64::try_from(self.backoff.as_millis()).unwrap_or(u64::MAX);
        let reason = failure.to_string();
        self.events.node(NodeEvent::PluginFailed { instance: self.name.clone(), reason, retry_in_ms });
        self.backoff = (self.backoff * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_instance_is_replaced_after_a_while_and_failures_of_a_call_are_not_its_end() {
        let opened = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(1));
        let count = opened.clone();
        let opener: Opener<u32> =
            Box::new(move || Ok(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1));
        let mut revived = Revived::new("infer.x".into(), 1, opener, EventLog::default());
        let at = Timestamp::from_millis;
        assert!(revived.call(at(0), |_| Err::<(), _>(Failure::invalid("k", "no"))).is_err());
        assert_eq!(revived.call(at(0), |instance| Ok(*instance)).unwrap(), 1);
        assert!(revived.call(at(0), |_| Err::<(), _>(Failure::internal("panicked"))).is_err());
        let failure = revived.call(at(1), |instance| Ok(*instance)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert_eq!(revived.call(at(500), |instance| Ok(*instance)).unwrap(), 2);
    }
}
