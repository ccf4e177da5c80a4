//! Capture and link instances: the data path.

use std::os::fd::RawFd;

use vreserve_abi::{PluginRef, Slot};
use vreserve_model::Failure;
use vreserve_sdk::{EndpointInfo, InterfaceInfo};

use super::boundary::{FarCalls, Port};
use super::slots::SlotGuard;
use super::{InstanceError, InstanceHost, documents};

/// Longest interface name or endpoint address that a plugin may give.
const MAX_TEXT: usize = 256;
/// Bounds of an MTU: the least that IPv4 asks of a link, and what a slot holds.
const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;

/// An open capture instance. Closed when dropped. `Send`, not `Sync`.
pub struct CaptureInstance {
    port: Guarded,
    info: InterfaceInfo,
}

/// An open link instance. Closed when dropped. `Send`, not `Sync`.
pub struct LinkInstance {
    port: Guarded,
    far_calls: FarCalls,
    info: EndpointInfo,
}

struct Guarded {
    port: Port,
    guard: SlotGuard,
}

impl Guarded {
    fn new(port: Port, host: &InstanceHost) -> Self {
        let violations = host.counter("contract_violations", "answers of the plugin that broke the contract");
        Guarded { port, guard: SlotGuard::new(host.pool(), violations) }
    }

    fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        let Guarded { port, guard } = self;
        guard.recv(slots, |slots| port.recv(slots))
    }

    fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        let Guarded { port, guard } = self;
        guard.send(slots, |slots| port.send(slots))
    }

    fn ready_fd(&self) -> Option<RawFd> {
        let fd = self.port.ready_fd();
        if fd < -1 {
            self.guard.violation();
        }
        (fd >= 0).then_some(fd)
    }
}

impl CaptureInstance {
    /// Opens an instance with `settings` (a JSON object).
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if it panics or describes no sensible interface.
    pub fn open(plugin: PluginRef, host: &InstanceHost, settings: &str) -> Result<Self, Failure> {
        let port = Port::open_capture(plugin, host, settings)?;
        let info: InterfaceInfo = documents::read("description", port.describe().as_str())?;
        check_description(&info.interface, info.mtu)?;
        Ok(CaptureInstance { port: Guarded::new(port, host), info })
    }

    /// Fills slots with frames from the guests, from the first on; never blocks. Passes at most
    /// [`MAX_BATCH`](super::MAX_BATCH) slots to the plugin; filled frames lie within their slots.
    ///
    /// # Errors
    /// The instance is then finished; see [`InstanceError`].
    pub fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        self.port.recv(slots)
    }

    /// Hands frames to the guests; never blocks; returns how many slots were consumed. Consumed slots come
    /// back unchanged but for `refusal` (0 to 4), the others entirely unchanged.
    ///
    /// # Errors
    /// As for `recv`.
    pub fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        self.port.send(slots)
    }

    /// A descriptor that polls readable while frames wait; none if the instance must be polled. The plugin
    /// owns it, and the plugin's word is all there is that it is open.
    pub fn ready_fd(&self) -> Option<RawFd> {
        self.port.ready_fd()
    }

    /// The interface, as described when the instance was opened.
    pub fn info(&self) -> InterfaceInfo {
        self.info.clone()
    }

    /// How often an instance of this name has broken the contract.
    pub fn violations(&self) -> u64 {
        self.port.guard.violations()
    }
}

impl LinkInstance {
    /// Opens an instance with `settings` (a JSON object).
    ///
    /// # Errors
    /// What the plugin answers; `Internal` if it panics or describes no sensible endpoint.
    pub fn open(plugin: PluginRef, host: &InstanceHost, settings: &str) -> Result<Self, Failure> {
        let (port, far_calls) = Port::open_link(plugin, host, settings)?;
        let info: EndpointInfo = documents::read("description", port.describe().as_str())?;
        check_description(&info.address, info.mtu)?;
        Ok(LinkInstance { port: Guarded::new(port, host), far_calls, info })
    }

    /// Fills slots with frames from far nodes, as [`CaptureInstance::recv`]. `far` is the plugin's word: it
    /// may be a number that was never added.
    ///
    /// # Errors
    /// As for [`CaptureInstance::recv`].
    pub fn recv(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        self.port.recv(slots)
    }

    /// Sends each frame to the far node in its slot, as [`CaptureInstance::send`]; the bytes of consumed
    /// frames may be overwritten.
    ///
    /// # Errors
    /// As for [`CaptureInstance::recv`].
    pub fn send(&mut self, slots: &mut [Slot]) -> Result<usize, InstanceError> {
        self.port.send(slots)
    }

    /// As [`CaptureInstance::ready_fd`].
    pub fn ready_fd(&self) -> Option<RawFd> {
        self.port.ready_fd()
    }

    /// Admits a far node at `address`, to be known as `far`; `key` is its static public key, if it has one.
    ///
    /// # Errors
    /// `Invalid` if the address cannot be read or is admitted already.
    pub fn add_far(&mut self, far: u32, address: &str, key: Option<&[u8; 32]>) -> Result<(), Failure> {
        self.port.port.add_far(self.far_calls, far, address, key)
    }

    /// Forgets a far node; unknown numbers are ignored.
    pub fn remove_far(&mut self, far: u32) {
        self.port.port.remove_far(self.far_calls, far);
    }

    /// The endpoint, as described when the instance was opened.
    pub fn info(&self) -> EndpointInfo {
        self.info.clone()
    }

    /// As [`CaptureInstance::violations`].
    pub fn violations(&self) -> u64 {
        self.port.guard.violations()
    }
}

fn check_description(text: &str, mtu: u32) -> Result<(), Failure> {
    let is_text = !text.is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control);
    if is_text && MTU.contains(&mtu) {
        Ok(())
    } else {
        Err(Failure::internal(format!("the plugin describes itself as {text:.40?} with an MTU of {mtu}")))
    }
}
