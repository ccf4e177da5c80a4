//! The plugin's instance: an endpoint behind the SDK's trait.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use vreserve_offload::merge::ChecksumPolicy;
use vreserve_sdk::{Batch, EndpointInfo, Failure, FarId, FarNode, Host, Link};

use crate::config::{Config, Format};
use crate::endpoint::Endpoint;
use crate::sealed::Sealed;
use crate::socket;
use crate::vxlan::Vxlan;
use crate::wire::Wire;

/// An endpoint that carries frames in UDP datagrams.
pub struct UdpLink {
    endpoint: Endpoint,
    queues: u32,
}

impl Link for UdpLink {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let queue = host.queue();
        let (fd, local) = socket::open(&config, queue)?;
        let is_ipv4 = local.is_ipv4();
        let largest_frame = config.largest_frame() as usize;
        let (wire, policy): (Box<dyn Wire>, _) = match config.format {
            Format::Vxlan => {
                tracing::debug!(%local, vni = config.vni(), largest_frame, "endpoint open, in clear text");
                let wire = Vxlan::new(config.vni(), largest_frame, is_ipv4, &host);
                (Box::new(wire), ChecksumPolicy::Verify)
            }
            Format::Secure => {
                let identity = host
                    .identity()
                    .ok_or_else(|| Failure::unavailable("the secure format needs the node's key pair"))?;
                tracing::debug!(%local, largest_frame, "endpoint open");
                let wire = Sealed::new(identity, queue, config.path_limits(), is_ipv4, &host)?;
                (Box::new(wire), ChecksumPolicy::Trust)
            }
        };
        Ok(UdpLink { endpoint: Endpoint::new(fd, local, wire, policy, &host), queues: queue.count })
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        self.endpoint.add_far(far, node)
    }

    fn remove_far(&mut self, far: FarId) {
        self.endpoint.wire.remove_far(far);
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
            mtu: u32::try_from(self.endpoint.wire.largest_frame()).unwrap_or(u32::MAX),
            offload: true,
            queues: self.queues,
        }
    }
}
