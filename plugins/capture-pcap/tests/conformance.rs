//! The kit for capture plugins on the node's ends of guests' veth pairs. Alone in its process: it counts descriptors,
//! threads and memory.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]
#![allow(dead_code, reason = "only the namespaces of what tests share")]

#[path = "common/netns.rs"]
mod netns;

use netns::Netns;
use serde_json::{Value, json};
use vreserve_sdk::InterfaceInfo;
use vreserve_sdk::conformance::{Guest, PacketGuest, Surroundings, capture};

/// Bytes of the kernel's ring. The kit sends its largest batch, 256 frames, before any is taken, and where an interface
/// has offloads each takes 128 KiB.
const RING: u32 = 34 << 20;

/// Interfaces of one namespace: `kit<n>`, with the guest's at its far end.
struct Pairs(Netns);

impl Pairs {
    /// Makes the pair of an instance, unless there is one.
    fn ensure(&self, number: u32) {
        let (name, guest) = (format!("kit{number}"), format!("guest{number}"));
        if self.0.has(&name) {
            return;
        }
        self.0.ip(&["link", "add", &name, "type", "veth", "peer", "name", &guest]);
        self.0.ip(&["link", "set", &name, "up"]);
        self.0.ip(&["link", "set", &guest, "up"]);
    }
}

impl Surroundings for Pairs {
    fn config(&self, number: u32) -> Result<Value, String> {
        Ok(json!({ "interface": format!("kit{number}"), "netns": self.0.name, "buffer": RING }))
    }

    fn open_in(&self, number: u32, open: &mut (dyn FnMut() + Send)) -> Result<(), String> {
        self.ensure(number);
        open();
        Ok(())
    }

    fn guest(&self, number: u32, _: &InterfaceInfo) -> Result<Box<dyn Guest>, String> {
        let guest = self.0.inside(|| PacketGuest::on(&format!("guest{number}")))?;
        Ok(Box::new(guest))
    }

    fn remove_interface(&self, _: u32, interface: &InterfaceInfo) -> Result<(), String> {
        self.0.ip(&["link", "delete", &interface.interface]);
        Ok(())
    }
}

#[test]
fn it_conforms_on_veth_pairs() {
    let Some(netns) = Netns::new() else { return };
    capture(vreserve_capture_pcap::plugin(), Pairs(netns)).assert();
}
