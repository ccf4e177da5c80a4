//! The kit for link plugins, with each wire format, on loopback. Alone in its process: it counts descriptors, threads
//! and memory.

use serde_json::json;
use vreserve_sdk::conformance::{Numbered, link};

#[test]
fn it_conforms_with_each_format() {
    for format in ["secure", "clear"] {
        let config = json!({ "bind": "127.0.0.{n}:0", "format": format });
        link(vreserve_link_tcp::plugin(), Numbered(config)).assert();
    }
}
