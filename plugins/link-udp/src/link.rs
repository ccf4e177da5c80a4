//! The plugin's instance: an endpoint of either IP version behind the SDK's trait.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::socket::{SockaddrIn, SockaddrIn6};
use vreserve_sdk::{Batch, EndpointInfo, Failure, FarId, FarNode, Host, Link};

use crate::admission::Admission;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::socket;

/// An endpoint that carries frames in UDP datagrams.
pub struct UdpLink {
    endpoint: AnyEndpoint,
}

enum AnyEndpoint {
    V4(Endpoint<SockaddrIn>),
    V6(Endpoint<SockaddrIn6>),
}

macro_rules! on_endpoint {
    ($link:expr, $endpoint:ident => $call:expr) => {
        match &$link.endpoint {
            AnyEndpoint::V4($endpoint) => $call,
            AnyEndpoint::V6($endpoint) => $call,
        }
    };
    (mut $link:expr, $endpoint:ident => $call:expr) => {
        match &mut $link.endpoint {
            AnyEndpoint::V4($endpoint) => $call,
            AnyEndpoint::V6($endpoint) => $call,
        }
    };
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
        let endpoint = if local.is_ipv4() {
            AnyEndpoint::V4(Endpoint::new(fd, local, admission, &host))
        } else {
            AnyEndpoint::V6(Endpoint::new(fd, local, admission, &host))
        };
        Ok(UdpLink { endpoint })
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        on_endpoint!(mut self, endpoint => endpoint.fars.add(far, node.address))
    }

    fn remove_far(&mut self, far: FarId) {
        on_endpoint!(mut self, endpoint => endpoint.fars.remove(far));
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        on_endpoint!(mut self, endpoint => endpoint.recv(batch))
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        on_endpoint!(mut self, endpoint => endpoint.send(batch))
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(on_endpoint!(self, endpoint => endpoint.fd.as_raw_fd()))
    }

    fn info(&self) -> EndpointInfo {
        on_endpoint!(self, endpoint => EndpointInfo {
            address: endpoint.local.to_string(),
            mtu: u32::try_from(endpoint.admission.largest_frame).unwrap_or(u32::MAX),
            offload: false,
            queues: 1,
        })
    }
}
