//! The trait of link plugins.

use std::io;
use std::os::fd::RawFd;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vreserve_model::Failure;

use crate::{Batch, Host};

/// A far node of an endpoint, by the number that the host gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FarId(pub u32);

/// What a link instance says of its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// The underlay address that far nodes reach it by, such as `198.51.100.10:4789`.
    pub address: String,
    /// The largest frame (Ethernet header included) that one datagram can carry.
    pub mtu: u32,
    /// True if `send` takes super-frames and partial checksums. If not, the host cuts and completes them first.
    #[serde(default)]
    pub offload: bool,
    /// As in [`InterfaceInfo::queues`](crate::InterfaceInfo::queues).
    #[serde(default = "crate::host::one_queue")]
    pub queues: u32,
}

/// A far node as the host knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarNode<'a> {
    /// Its endpoint's address, in this plugin's own terms.
    pub address: &'a str,
    /// Its static public key (X25519), if it has one: a kernel VXLAN device has none.
    pub key: Option<[u8; 32]>,
}

/// Carries frames between this node and far nodes: one instance is one endpoint on one underlay address.
///
/// Called by one thread at a time, in batches. Nothing may block: the host waits on `ready_fd`. Only
/// datagrams of admitted far nodes give frames; strangers get no answer at all.
pub trait Link: Sized + Send + 'static {
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

    /// Opens the endpoint.
    ///
    /// # Errors
    /// `Invalid` with the key for a wrong configuration, `Unavailable` if the address is not there.
    fn open(config: Self::Config, host: Host) -> Result<Self, Failure>;

    /// Admits a far node.
    ///
    /// # Errors
    /// `Invalid` if the address cannot be read or is admitted already.
    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure>;

    /// Forgets a far node; unknown numbers are ignored.
    fn remove_far(&mut self, far: FarId);

    /// Fills slots with frames from far nodes, from the first slot on, marks each with `set_far`, and returns
    /// how many. `Ok(0)` means that none are waiting.
    ///
    /// # Errors
    /// An error ends the instance: the host closes it and opens another after a back-off.
    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize>;

    /// Sends each frame to the far node in its slot, in order, and returns how many slots were consumed (sent
    /// or refused). Less than all means that there is no room now. Headers go into the slot's headroom; the
    /// frame's bytes may be overwritten.
    ///
    /// # Errors
    /// As for `recv`.
    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize>;

    /// A descriptor that polls readable while frames wait (level-triggered); `None` if it must be polled.
    fn ready_fd(&self) -> Option<RawFd>;

    /// The endpoint.
    fn info(&self) -> EndpointInfo;
}
