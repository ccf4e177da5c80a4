//! An instance of the plugin as tests use it, and a server for it.

pub(crate) mod certificates;
pub(crate) mod fake;

use std::ops::Deref;
use std::path::Path;

use serde_json::{Value, json};
use vreserve_sdk::conformance;
use vreserve_sdk::model::{Observed, Request, RequestKey};
use vreserve_sdk::{Failure, Handle, Verb};

/// An open instance, with keys for requests and handles.
pub(crate) struct Backend(conformance::Backend);

impl Deref for Backend {
    type Target = conformance::Backend;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Backend {
    /// An instance with a configuration and a state directory.
    pub(crate) fn open(config: &Value, state: &Path) -> Result<Self, Failure> {
        conformance::Backend::open(vreserve_reserve_gara::plugin(), config, state).map(Backend)
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
