//! A reservation instance as a host drives it.
#![allow(unsafe_code, reason = "calls the C functions of instances")]

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use vreserve_abi::{FfiFuture, Identity, PluginFailure, PluginRef, Pool, RResult, RString, RawReserve};
use vreserve_model::{Capabilities, Changes, Failure, Observed, Request, RequestKey};

use super::host::Offer;
use super::watch::watched;
use crate::shim::failure_in;
use crate::{Handle, Verb};

/// An open reservation instance, called through its C table.
pub struct Backend {
    raw: RawReserve,
    offer: Offer,
    /// Only waits: the plugin works on a runtime of its own.
    runtime: Runtime,
}

/// A call that is under way. Dropping it cancels it.
pub type Call = FfiFuture<RResult<RString, PluginFailure>>;

// SAFETY: the ABI says that a reserve instance may be called from any thread, several calls at once.
unsafe impl Send for Backend {}
// SAFETY: as above.
unsafe impl Sync for Backend {}

impl Backend {
    /// Opens an instance with a configuration and a directory for its state.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn open(plugin: PluginRef, config: &Value, state: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| Failure::internal(format!("no runtime: {error}")))?;
        let offer = Offer::new(Pool::NONE, Identity::NONE, state);
        let open = plugin.open_reserve();
        let opened = watched(
            || "open".to_owned(),
            || open(offer.context(), config.to_string().as_str().into()).into_result(),
        );
        let raw = opened.map_err(|failure| failure_in(&failure))?;
        Ok(Backend { raw, offer, runtime })
    }

    /// Begins a call. It goes on whether or not anybody waits, until it is dropped.
    pub fn start(&self, verb: Verb, document: &Value) -> Call {
        self.start_raw(verb.name(), &document.to_string())
    }

    /// As `start`, with texts that may be no verb and no document.
    pub fn start_raw(&self, verb: &str, document: &str) -> Call {
        let (instance, call) = (self.raw.instance, self.raw.table.call());
        // SAFETY: the instance is open; the plugin copies both texts before it returns.
        watched(|| format!("starting {verb}"), || unsafe { call(instance, verb.into(), document.into()) })
    }

    /// Waits for a call.
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if its answer cannot be read.
    pub fn finish<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        answer(self.runtime.block_on(call))
    }

    /// As `finish`, for no longer than `patience`: the call is then dropped, and `None` returned.
    pub fn finish_within<T: DeserializeOwned>(
        &self,
        call: Call,
        patience: Duration,
    ) -> Option<Result<T, Failure>> {
        let waited = async { tokio::time::timeout(patience, call).await };
        self.runtime.block_on(waited).ok().map(answer)
    }

    /// Carries out a verb.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn call<T: DeserializeOwned>(&self, verb: Verb, document: &Value) -> Result<T, Failure> {
        self.finish(self.start(verb, document))
    }

    /// What the reservation system can do.
    ///
    /// # Errors
    /// `Internal` if the answer cannot be read.
    pub fn capabilities(&self) -> Result<Capabilities, Failure> {
        let (instance, capabilities) = (self.raw.instance, self.raw.table.capabilities());
        // SAFETY: the instance is open.
        let document = watched(|| "capabilities".to_owned(), || unsafe { capabilities(instance) });
        serde_json::from_str(document.as_str())
            .map_err(|error| Failure::internal(format!("capabilities cannot be read: {error}")))
    }

    /// Asks for capacity.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn submit(&self, request: &Request) -> Result<Observed, Failure> {
        self.call(Verb::Submit, &document(request))
    }

    /// Gives a reservation back.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn cancel(&self, handle: &Handle) -> Result<(), Failure> {
        self.call(Verb::Cancel, &document(handle))
    }

    /// Switches a booked reservation through.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn activate(&self, handle: &Handle, request: &Request) -> Result<Observed, Failure> {
        self.call(Verb::Activate, &json!([handle, request]))
    }

    /// The state of one reservation.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn query(&self, handle: &Handle) -> Result<Option<Observed>, Failure> {
        self.call(Verb::Query, &document(handle))
    }

    /// Every reservation made under a key.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn find(&self, key: &RequestKey) -> Result<Vec<Observed>, Failure> {
        self.call(Verb::Find, &document(key))
    }

    /// Every reservation of an owner.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn list_owned(&self, owner: &str) -> Result<Vec<Observed>, Failure> {
        self.call(Verb::ListOwned, &json!(owner))
    }

    /// Whether the reservation system can be reached.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn health(&self) -> Result<(), Failure> {
        self.call(Verb::Health, &Value::Null)
    }

    /// What has changed by itself since `since`.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.call(Verb::Events, &json!(since))
    }

    /// The last thing that the instance logged, to be put behind a reason.
    pub(super) fn last_words(&self) -> String {
        self.offer.last_words()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let (instance, close) = (self.raw.instance, self.raw.table.close());
        // SAFETY: the last call.
        watched(|| "close".to_owned(), || unsafe { close(instance) });
    }
}

fn document<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("documents of the model are plain JSON")
}

fn answer<T: DeserializeOwned>(answer: RResult<RString, PluginFailure>) -> Result<T, Failure> {
    let document = answer.into_result().map_err(|failure| failure_in(&failure))?;
    serde_json::from_str(document.as_str())
        .map_err(|error| Failure::internal(format!("the answer cannot be read: {error}")))
}
