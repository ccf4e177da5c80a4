//! Today's host: old and new plugins in one process, with one pool of slots, as a daemon has them.
#![allow(unsafe_code, reason = "gives its word for a pool of leaked memory")]

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use vreserve::config::Instance;
use vreserve::loader::Registry;
use vreserve::plugin::{
    AdaptInstance, CaptureInstance, HostServices, InferInstance, InstanceError, InstanceHost, LinkInstance,
    PluginKind, PoolRegion, ReserveInstance,
};
use vreserve_sdk::Offload;
use vreserve_sdk::abi::{Pool, Slot};
use vreserve_tests::{directory, frozen, wait};

use super::PATIENCE;

const SLOT: usize = 2048;
const SLOTS: usize = 64;
const HEADROOM: u32 = 256;
/// The only far node of every endpoint.
pub(super) const FAR: u32 = 7;

/// Today's host with old and new plugins, one pool of slots for all of them, and a place for files.
pub(super) struct Host {
    pub(super) registry: Registry,
    services: HostServices,
    base: *mut u8,
    pool: PoolRegion,
    dir: TempDir,
}

impl Host {
    pub(super) fn start() -> Self {
        // Says how they are built if they are not.
        shared_object("link-1-0");
        let base = Box::leak(vec![0u8; SLOT * SLOTS].into_boxed_slice()).as_mut_ptr();
        let pool = Pool { base, slot_size: SLOT, count: SLOTS, ..Pool::NONE };
        // SAFETY: the memory is leaked, and `slots` are in one call at a time.
        let pool = unsafe { PoolRegion::new(pool) };
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(vec![directory().join("examples"), directory()]);
        Host { registry, services: HostServices::new(dir.path().join("state")), base, pool, dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn services(&self, kind: PluginKind, name: &str) -> InstanceHost {
        self.services.instance(kind, name, Some(self.pool))
    }

    pub(super) fn capture(&self, plugin: &str, name: &str, settings: &Value) -> CaptureInstance {
        let instance = instance(PluginKind::Capture, plugin, name, &settings.to_string());
        let opened = self.registry.open_capture(&instance, &self.services(instance.kind, name));
        opened.unwrap_or_else(|error| panic!("{plugin}: {error}"))
    }

    pub(super) fn link(&self, plugin: &str, name: &str, settings: &Value) -> LinkInstance {
        let instance = instance(PluginKind::Link, plugin, name, &settings.to_string());
        let opened = self.registry.open_link(&instance, &self.services(instance.kind, name));
        opened.unwrap_or_else(|error| panic!("{plugin}: {error}"))
    }

    pub(super) fn infer(&self, plugin: &str, name: &str) -> InferInstance {
        let instance = instance(PluginKind::Infer, plugin, name, "{}");
        let opened = self.registry.open_infer(&instance, &self.services(instance.kind, name));
        opened.unwrap_or_else(|error| panic!("{plugin}: {error}"))
    }

    pub(super) fn adapt(&self, plugin: &str, name: &str, settings: &Value) -> AdaptInstance {
        let instance = instance(PluginKind::Adapt, plugin, name, &settings.to_string());
        let opened = self.registry.open_adapt(&instance, &self.services(instance.kind, name));
        opened.unwrap_or_else(|error| panic!("{plugin}: {error}"))
    }

    pub(super) fn reserve(&self, plugin: &str, name: &str, settings: &Value) -> ReserveInstance {
        let instance = instance(PluginKind::Reserve, plugin, name, &settings.to_string());
        let opened = self.registry.open_reserve(&instance, &self.services(instance.kind, name), PATIENCE);
        opened.unwrap_or_else(|error| panic!("{plugin}: {error}"))
    }

    /// An old capture instance, and its guest.
    pub(super) fn guest(&self, name: &str) -> (CaptureInstance, UnixDatagram) {
        let (node, guest) = (self.path(&format!("{name}.node")), self.path(&format!("{name}.guest")));
        let socket = UnixDatagram::bind(&guest).unwrap();
        let capture = self.capture("capture-1-0", name, &json!({ "node": node, "guest": guest }));
        socket.connect(&node).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (capture, socket)
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        let slot = |buffer: usize| Slot {
            base: self.base.wrapping_add(buffer * SLOT),
            capacity: SLOT as u32,
            offset: HEADROOM,
            len: 0,
            far: 0,
            offload: Offload::default(),
            refusal: 0,
            buffer: buffer as u32,
            limit: 0,
        };
        (0..SLOTS).map(slot).collect()
    }

    /// Takes frames from one port and gives them to another, until so many have gone over.
    pub(super) fn carry(&self, from: &mut dyn Port, to: &mut dyn Port, frames: usize) {
        let mut carried = 0;
        wait::until_true("frames go from one plugin to the other", PATIENCE, || {
            let mut slots = self.slots();
            let received = from.recv(&mut slots).unwrap();
            slots[..received].iter_mut().for_each(|slot| slot.far = FAR);
            assert_eq!(to.send(&mut slots[..received]).unwrap(), received);
            assert!(slots[..received].iter().all(|slot| slot.refusal == 0), "{slots:?}");
            carried += received;
            carried >= frames
        });
        assert_eq!(carried, frames);
    }

    pub(super) fn count(&self, instance: &str, name: &str) -> u64 {
        let counters = self.services.counters();
        let found = counters.iter().find(|counter| counter.instance == instance && counter.name == name);
        found.unwrap_or_else(|| panic!("no counter {name} of {instance}")).value
    }
}

/// What captures and links have in common.
pub(super) trait Port {
    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError>;
    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError>;
}

impl Port for CaptureInstance {
    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        CaptureInstance::recv(self, slots)
    }

    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        CaptureInstance::send(self, slots)
    }
}

impl Port for LinkInstance {
    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        LinkInstance::recv(self, slots)
    }

    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        LinkInstance::send(self, slots)
    }
}

/// What a frozen plugin is built into.
pub(super) fn shared_object(plugin: &str) -> PathBuf {
    frozen(&format!("examples/lib{}.so", plugin.replace('-', "_")))
}

pub(super) fn instance(kind: PluginKind, plugin: &str, name: &str, settings: &str) -> Instance {
    Instance {
        kind,
        name: name.to_owned(),
        plugin: plugin.to_owned(),
        path: None,
        required: true,
        sha256: None,
        settings: settings.to_owned(),
    }
}
