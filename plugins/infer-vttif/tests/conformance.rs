//! The kit for inference plugins. Alone in its process: it counts descriptors, threads and memory.

use vreserve_sdk::conformance::{Numbered, infer};

#[test]
fn it_conforms() {
    let config = serde_json::json!({ "window": "2s" });
    infer(vreserve_infer_vttif::plugin(), Numbered(config)).assert();
}
