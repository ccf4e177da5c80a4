//! The plugin's instance: an endpoint behind the SDK's trait.

use std::io;
use std::os::fd::RawFd;

use vreserve_sdk::{Batch, EndpointInfo, Failure, FarId, FarNode, Host, Link};

use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::record::LARGEST_FRAME;

/// An endpoint that carries frames in TCP connections.
pub struct TcpLink {
    endpoint: Endpoint,
}

impl Link for TcpLink {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        Ok(TcpLink { endpoint: Endpoint::open(config, &host)? })
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        self.endpoint.add_far(far, node)
    }

    fn remove_far(&mut self, far: FarId) {
        self.endpoint.remove_far(far);
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        Ok(self.endpoint.recv(batch))
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        Ok(self.endpoint.send(batch))
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.endpoint.ready_fd())
    }

    fn info(&self) -> EndpointInfo {
        EndpointInfo {
            address: self.endpoint.local.to_string(),
            mtu: LARGEST_FRAME as u32,
            offload: true,
            queues: 1,
        }
    }
}
