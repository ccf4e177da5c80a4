//! The kit for link plugins, each instance in a network namespace of its own on one underlay. Alone in its process:
//! it counts descriptors, threads and memory.
//!
//! ```text
//!  1: 10.9.0.1 u ══╗      ╔══ u 10.9.0.2 :2
//!                  switch                       one namespace each
//!  3: 10.9.0.3 u ══╝      ╚══ u 10.9.0.4 :4
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "only the namespaces of what tests share")]

#[path = "common/netns.rs"]
mod netns;

use netns::Netns;
use serde_json::{Value, json};
use vreserve_sdk::conformance::{Surroundings, link};

const NODES: u32 = 4;

struct Underlay {
    nodes: Vec<Netns>,
    _switch: Netns,
}

impl Underlay {
    fn new() -> Option<Self> {
        let switch = Netns::new()?;
        switch.ip("link add sw type bridge");
        switch.ip("link set sw up");
        let node = |number: u32| {
            let node = Netns::new()?;
            let port = format!("p{number}");
            node.ip(&format!("link add u type veth peer name {port} netns {}", switch.name));
            node.ip(&format!("address add 10.9.0.{number}/24 dev u"));
            node.ip("link set u up");
            switch.ip(&format!("link set {port} master sw"));
            switch.ip(&format!("link set {port} up"));
            Some(node)
        };
        let nodes = (1..=NODES).map(node).collect::<Option<_>>()?;
        Some(Underlay { nodes, _switch: switch })
    }
}

impl Surroundings for Underlay {
    fn config(&self, number: u32) -> Result<Value, String> {
        Ok(json!({ "bind": format!("10.9.0.{number}"), "vni": 7 }))
    }

    fn open_in(&self, number: u32, open: &mut (dyn FnMut() + Send)) -> Result<(), String> {
        self.nodes[number as usize - 1].inside(open);
        Ok(())
    }
}

#[test]
fn it_conforms() {
    let Some(underlay) = Underlay::new() else { return };
    link(vreserve_link_vxlan::plugin(), underlay).assert();
}
