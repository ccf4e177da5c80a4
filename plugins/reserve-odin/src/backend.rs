//! The plugin's instance: the SDK's verbs, each change in a task of its own.
//!
//! A change goes on when the host drops the call: the record is completed whether or not anybody still waits.
//! Only the end of the process can cut one off, and then the record says "unknown".

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use vreserve_sdk::model::{Capabilities, Observed, Request, RequestKey};
use vreserve_sdk::{Failure, Handle, Host, Reserve, async_trait};

use crate::config::Config;
use crate::odin::Odin;

/// 2.5 s to configure the switches and 15 s until they are stable (the paper's measurement).
const PAPERS_SETUP: f64 = 17.5;
const PAPERS_TEARDOWN: f64 = 12.0;

/// Speaks to one ODIN server, through its client.
pub struct OdinReserve {
    odin: Arc<Odin>,
}

#[async_trait]
impl Reserve for OdinReserve {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        Ok(OdinReserve { odin: Arc::new(Odin::open(config, &host)?) })
    }

    fn capabilities(&self) -> Capabilities {
        let (config, times) = (&self.odin.config, self.odin.times());
        Capabilities {
            fused_activation: true,
            serial: true,
            // What the record has is found by key; what the server has, only by its list.
            list: config.list.is_some(),
            find: true,
            advance: config.deferred,
            setup_time: seconds(config.setup_time.or(times.setup), PAPERS_SETUP),
            teardown_time: seconds(config.teardown_time.or(times.teardown), PAPERS_TEARDOWN),
            fixed_rate: Some(config.rate),
            ..Capabilities::default()
        }
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        let odin = Arc::clone(&self.odin);
        outcome(tokio::spawn(async move { odin.submit(request).await })).await
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        let odin = Arc::clone(&self.odin);
        outcome(tokio::spawn(async move { odin.cancel(&handle.key).await })).await
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        Ok(self.odin.find(&handle.key).await)
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        Ok(self.odin.find(&key).await.into_iter().collect())
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        self.odin.resolve_all().await;
        Ok(self.odin.owned(&owner))
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        let odin = Arc::clone(&self.odin);
        outcome(tokio::spawn(async move { odin.cancel_all_but(&valid).await })).await
    }

    async fn health(&self) -> Result<(), Failure> {
        self.odin.health().await
    }
}

/// Seconds as a time; both are checked where they are read.
fn seconds(known: Option<f64>, otherwise: f64) -> Duration {
    Duration::from_secs_f64(known.unwrap_or(otherwise))
}

/// Waits for a task that goes on by itself when this future is dropped.
async fn outcome<T>(task: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    task.await.unwrap_or_else(|error| Err(Failure::unknown_outcome(format!("the call was cut off: {error}"))))
}
