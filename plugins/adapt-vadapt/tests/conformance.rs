//! The kit for adaptation plugins. Alone in its process: it counts descriptors, threads and memory.

use vreserve_sdk::conformance::{Numbered, adapt};

#[test]
fn it_conforms() {
    let config = serde_json::json!({ "max_links": 2, "rates": { "omninet": { "least": "1mbit" } } });
    adapt(vreserve_adapt_vadapt::plugin(), Numbered(config)).assert();
}
