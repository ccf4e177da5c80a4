//! The kit for adaptation plugins. Alone in its process: it counts descriptors, threads and memory.

use vreserve_sdk::conformance::{Numbered, adapt};

#[test]
fn it_conforms() {
    let config = serde_json::json!({ "period": "2s", "max_links": 2 });
    adapt(vreserve_adapt_watermark::plugin(), Numbered(config)).assert();
}
