//! The kit for capture plugins: on TAPs with either way of calling the kernel, and on the guest's end of veth pairs.
//! Alone in its process: it counts descriptors, threads and memory.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]
#![allow(dead_code, reason = "only the namespaces of what tests share")]

mod common {
    pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    #[path = "netns.rs"]
    pub(crate) mod netns;
}

use common::netns::Netns;
use serde_json::{Value, json};
use vreserve_sdk::InterfaceInfo;
use vreserve_sdk::conformance::{Guest, PacketGuest, Surroundings, capture};

/// Interfaces of one namespace.
struct Interfaces {
    netns: Netns,
    keys: Value,
    /// The guest's own interface, up to the number: the TAP itself, or the far end of a veth pair.
    guest: &'static str,
}

impl Interfaces {
    /// Makes the pair of an instance, unless there is one.
    fn ensure_pair(&self, number: u32) {
        let (name, guest) = (format!("kit{number}"), format!("{}{number}", self.guest));
        if name == guest || self.netns.has(&name) {
            return;
        }
        self.netns.ip(&["link", "add", &name, "type", "veth", "peer", "name", &guest]);
        self.netns.ip(&["link", "set", &name, "up"]);
        self.netns.ip(&["link", "set", &guest, "up"]);
    }
}

impl Surroundings for Interfaces {
    fn config(&self, number: u32) -> Result<Value, String> {
        let mut config = self.keys.clone();
        config["interface"] = json!(format!("kit{number}"));
        config["netns"] = json!(self.netns.name);
        Ok(config)
    }

    fn open_in(&self, number: u32, open: &mut (dyn FnMut() + Send)) -> Result<(), String> {
        self.ensure_pair(number);
        open();
        Ok(())
    }

    fn guest(&self, number: u32, _: &InterfaceInfo) -> Result<Box<dyn Guest>, String> {
        let guest = self.netns.inside(|| PacketGuest::on(&format!("{}{number}", self.guest)))?;
        Ok(Box::new(guest))
    }

    fn remove_interface(&self, _: u32, interface: &InterfaceInfo) -> Result<(), String> {
        self.netns.ip(&["link", "delete", &interface.interface]);
        Ok(())
    }
}

#[test]
fn it_conforms_on_taps_with_either_way_of_calling_and_on_veth_pairs() {
    for (keys, guest) in [
        (json!({ "reader": "plain", "writer": "plain" }), "kit"),
        (json!({ "reader": "ring", "writer": "ring" }), "kit"),
        (json!({ "kind": "interface" }), "guest"),
    ] {
        let Some(netns) = Netns::new() else { return };
        capture(vreserve_capture_iouring::plugin(), Interfaces { netns, keys, guest }).assert();
    }
}
