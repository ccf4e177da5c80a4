//! A small host around the plugin's tables.
#![allow(unsafe_code, reason = "the tables are C functions; this is their caller")]

pub(crate) mod certificates;
pub(crate) mod fake;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use vreserve_sdk::abi::export::PrefixTypeTrait;
use vreserve_sdk::abi::{
    FfiFuture, HostContext, HostTable, Identity, PluginFailure, Pool, Queue, RResult, RStr, RString,
    RawReserve,
};
use vreserve_sdk::model::{Capabilities, Changes, Observed, Request, RequestKey};
use vreserve_sdk::serde::de::DeserializeOwned;
use vreserve_sdk::shim::failure_in;
use vreserve_sdk::{Failure, Handle, Verb};

static STATE_DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

extern "C" fn log(_: usize, level: u8, target: RStr<'_>, line: RStr<'_>) {
    eprintln!("{level} {target}: {line}");
}

extern "C" fn max_level(_: usize) -> u8 {
    4
}

extern "C" fn counter(_: usize, _: RStr<'_>, _: RStr<'_>) -> &'static AtomicU64 {
    Box::leak(Box::default())
}

extern "C" fn state_dir(context: usize) -> RString {
    STATE_DIRS.lock().unwrap()[context].display().to_string().into()
}

extern "C" fn pool(_: usize) -> Pool {
    Pool::NONE
}
extern "C" fn queue(_: usize) -> Queue {
    Queue::ONLY
}
extern "C" fn identity(_: usize) -> Identity {
    Identity::NONE
}

/// An open instance.
pub(crate) struct Backend {
    raw: RawReserve,
    runtime: Runtime,
}

/// A call that is under way.
pub(crate) type Call = FfiFuture<RResult<RString, PluginFailure>>;

impl Backend {
    /// An instance with a configuration and a state directory.
    pub(crate) fn open(config: &Value, state: &Path) -> Result<Self, Failure> {
        let context = {
            let mut dirs = STATE_DIRS.lock().unwrap();
            dirs.push(state.to_owned());
            dirs.len() - 1
        };
        let table =
            HostTable { log, max_level, counter, state_dir, pool, queue, identity }.leak_into_prefix();
        let open = vreserve_reserve_gara::plugin().open_reserve();
        match open(HostContext { table, context }, config.to_string().as_str().into()).into_result() {
            Ok(raw) => Ok(Self { raw, runtime: Runtime::new().unwrap() }),
            Err(failure) => Err(failure_in(&failure)),
        }
    }

    pub(crate) fn start(&self, verb: Verb, document: &Value) -> Call {
        // SAFETY: the instance is open.
        unsafe {
            (self.raw.table.call())(
                self.raw.instance,
                verb.name().into(),
                document.to_string().as_str().into(),
            )
        }
    }

    pub(crate) fn finish<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let document = self.runtime.block_on(call).into_result().map_err(|failure| failure_in(&failure))?;
        Ok(serde_json::from_str(document.as_str()).unwrap())
    }

    pub(crate) fn call<T: DeserializeOwned>(&self, verb: Verb, document: &Value) -> Result<T, Failure> {
        self.finish(self.start(verb, document))
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        // SAFETY: the instance is open.
        let document = unsafe { (self.raw.table.capabilities())(self.raw.instance) };
        serde_json::from_str(document.as_str()).unwrap()
    }

    pub(crate) fn submit(&self, key: &str) -> Result<Observed, Failure> {
        self.call(Verb::Submit, &request(key))
    }

    pub(crate) fn activate(&self, handle: &Value, key: &str) -> Result<Observed, Failure> {
        self.call(Verb::Activate, &json!([handle, request(key)]))
    }

    pub(crate) fn cancel(&self, key: &str) -> Result<(), Failure> {
        self.call(Verb::Cancel, &handle(key, None))
    }

    pub(crate) fn find(&self, key: &str) -> Result<Vec<Observed>, Failure> {
        self.call(Verb::Find, &json!(key))
    }

    pub(crate) fn query(&self, handle: &Value) -> Result<Option<Observed>, Failure> {
        self.call(Verb::Query, handle)
    }

    pub(crate) fn health(&self) -> Result<(), Failure> {
        self.call(Verb::Health, &Value::Null)
    }

    pub(crate) fn events(&self, since: u64) -> Result<Changes, Failure> {
        self.call(Verb::Events, &json!(since))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: called once, last.
        unsafe { (self.raw.table.close())(self.raw.instance) }
    }
}

/// 40 Mbit/s for a flow between the same two ends.
pub(crate) fn request(key: &str) -> Value {
    request_with(key, json!({}))
}

pub(crate) fn request_with(key: &str, more: Value) -> Value {
    let mut request = json!({ "key": key, "owner": "lab/1", "a": "198.51.100.10", "z": "198.51.100.20",
        "rate": 40_000_000, "flow": { "protocol": "udp", "a_port": 4790, "z_port": 4791 } });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request: Request = serde_json::from_value(request).unwrap();
    serde_json::to_value(request).unwrap()
}

pub(crate) fn handle(key: &str, native_id: Option<&str>) -> Value {
    let handle = Handle { key: RequestKey(key.into()), native_id: native_id.map(str::to_owned) };
    serde_json::to_value(handle).unwrap()
}
