//! The plugin's instance: an endpoint behind the SDK's trait.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use vreserve_sdk::{Batch, EndpointInfo, Failure, FarId, FarNode, Host, Link};

use crate::admission::Admission;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::socket;

/// An endpoint that carries frames in UDP datagrams.
pub struct UdpLink {
    endpoint: Endpoint,
}

impl Link for UdpLink {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let (fd, local) = socket::open(&config)?;
        let admission = Admission { vni: config.vni, largest_frame: config.largest_frame() as usize };
        tracing::debug!(%local, vni = config.vni, mtu = config.largest_frame(), "endpoint open, in clear text");
        Ok(UdpLink { endpoint: Endpoint::new(fd, local, admission, &host) })
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        self.endpoint.fars.add(far, node.address)
    }

    fn remove_far(&mut self, far: FarId) {
        self.endpoint.fars.remove(far);
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        self.endpoint.recv(batch)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        self.endpoint.send(batch)
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.endpoint.fd.as_raw_fd())
    }

    fn info(&self) -> EndpointInfo {
        EndpointInfo {
            address: self.endpoint.local.to_string(),
            mtu: u32::try_from(self.endpoint.admission.largest_frame).unwrap_or(u32::MAX),
            offload: true,
            queues: 1,
        }
    }
}
