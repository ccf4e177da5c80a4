//! The plugin's instance: the SDK's verbs. A call that the host drops needs no care: what came of it is found by
//! its label.

use std::sync::Arc;
use std::time::Duration;

use vreserve_sdk::model::{BitsPerSecond, Capabilities, Changes, Observed, Request, RequestKey};
use vreserve_sdk::{Failure, Handle, Host, Reserve, async_trait};

use crate::config::Config;
use crate::gara::Gara;
use crate::lease;

/// From a request to shaped traffic, and back: some round trips and a few calls of the server's kernel.
const SETUP_TIME: Duration = Duration::from_millis(100);
const TEARDOWN_TIME: Duration = Duration::from_millis(100);

/// Speaks to one GARA server.
pub struct GaraReserve {
    gara: Arc<Gara>,
}

#[async_trait]
impl Reserve for GaraReserve {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let gara = Arc::new(Gara::open(config, &host)?);
        // Ends with the runtime that the SDK gives this instance.
        tokio::spawn(lease::renew_for_ever(gara.clone()));
        Ok(Self { gara })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            advance: true,
            modify: true,
            list: true,
            find: true,
            events: true,
            setup_time: SETUP_TIME,
            teardown_time: TEARDOWN_TIME,
            granularity: BitsPerSecond(1000),
            ..Capabilities::default()
        }
    }

    async fn submit(&self, request: Request) -> Result<Observed, Failure> {
        self.gara.submit(&request).await
    }

    async fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        self.gara.activate(&handle, &request).await
    }

    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure> {
        self.gara.deactivate(&handle).await
    }

    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure> {
        self.gara.modify(&handle, &request).await
    }

    async fn cancel(&self, handle: Handle) -> Result<(), Failure> {
        self.gara.cancel(&handle).await
    }

    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure> {
        self.gara.query(&handle).await
    }

    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure> {
        self.gara.find(&key).await
    }

    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure> {
        self.gara.owned(&owner).await
    }

    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure> {
        self.gara.cancel_all_but(&valid).await
    }

    async fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.gara.events(since).await
    }

    async fn health(&self) -> Result<(), Failure> {
        self.gara.health().await
    }
}
