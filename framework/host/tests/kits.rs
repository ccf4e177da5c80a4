//! The kits on a plugin that is linked in and keeps its contract, with an instance that panics beside it. Alone in its
//! process: they count descriptors, threads and memory.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use serde_json::{Value, json};
use vreserve_sdk::conformance::{Surroundings, link, reserve};
use vreserve_sdk::model::Request;

struct Memory;

impl Surroundings for Memory {
    fn config(&self, _: u32) -> Result<Value, String> {
        Ok(json!({}))
    }

    fn panicking(&self) -> Option<Value> {
        Some(json!({ "fault": "panics" }))
    }

    fn request(&self, number: u32) -> Result<Request, String> {
        let request = json!({ "key": "", "owner": "", "a": format!("a{number}"), "z": "z", "rate": 1 });
        serde_json::from_value(request).map_err(|error| error.to_string())
    }
}

#[test]
fn a_plugin_that_keeps_its_contract_passes_beside_an_instance_that_panics() {
    for report in [
        link(vreserve_fixture_misfits::plugin(), Memory).run(),
        reserve(vreserve_fixture_misfits::plugin(), Memory).run(),
    ] {
        assert!(report.is_ok(), "{report}");
        let panic = report.cases.last().unwrap();
        assert!(panic.name.starts_with("a_panic_ends_its_"), "{report}");
    }
}
