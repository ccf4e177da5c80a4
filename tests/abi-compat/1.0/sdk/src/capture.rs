//! The trait of capture plugins.

use std::io;
use std::os::fd::RawFd;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vreserve_model::Failure;

use crate::{Batch, Host};

/// What a capture instance says of its interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceInfo {
    /// The interface's name.
    pub interface: String,
    /// The largest payload of a frame in bytes (an Ethernet header of 14 bytes comes on top).
    pub mtu: u32,
    /// True if `send` takes super-frames and partial checksums. If not, the host cuts and completes them first.
    #[serde(default)]
    pub offload: bool,
    /// How many queues the interface has: the number that [`Host::queue`] gave if this instance serves one of
    /// several, else 1.
    #[serde(default = "crate::host::one_queue")]
    pub queues: u32,
}

/// Takes frames from unmodified guests and gives frames to them: one interface, or one queue of it.
///
/// Called by one thread at a time, in batches. Nothing may block: the host waits on `ready_fd`.
pub trait Capture: Sized + Send + 'static {
    /// The keys of this plugin's table in the node's configuration; deny unknown fields.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks what the types cannot: called by `vreserve check`, without any side effect.
    ///
    /// # Errors
    /// `Invalid` with the key.
    fn validate(config: &Self::Config) -> Result<(), Failure> {
        let _ = config;
        Ok(())
    }

    /// Opens the interface.
    ///
    /// # Errors
    /// `Invalid` with the key for a wrong configuration, `Unavailable` if the interface is not there.
    fn open(config: Self::Config, host: Host) -> Result<Self, Failure>;

    /// Fills slots with frames from the guests, from the first slot on, and returns how many. `Ok(0)` means
    /// that none are waiting.
    ///
    /// # Errors
    /// An error ends the instance: the host closes it and opens another after a back-off.
    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize>;

    /// Gives frames to the guests, in order, and returns how many slots were consumed (sent or refused). Less
    /// than all means that there is no room now.
    ///
    /// # Errors
    /// As for `recv`.
    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize>;

    /// A descriptor that polls readable while frames wait (level-triggered); `None` if it must be polled.
    fn ready_fd(&self) -> Option<RawFd>;

    /// The interface.
    fn info(&self) -> InterfaceInfo;
}
