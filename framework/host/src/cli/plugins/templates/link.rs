//! The link plugin `NAME`: one frame per UDP datagram, in the clear, to far nodes that were admitted.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use serde::Deserialize;
use vreserve_sdk::{
    Batch, Counter, EndpointInfo, Failure, FarId, FarNode, Host, JsonSchema, Link, Refusal, export_plugin,
};

/// Most bytes of a frame, Ethernet header included: what fits into a datagram on an underlay of 1,500.
const MTU: u32 = 1472;
/// Datagrams sent in one call: what a far node's socket holds by default, whatever their size.
const AT_ONCE: usize = 64;

/// The keys of `[link.<instance>]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The underlay address and port to bind. Port 0 takes a free one.
    #[schemars(example = &"127.0.0.1:0")]
    pub bind: SocketAddr,
}

/// One endpoint.
pub struct Endpoint {
    socket: UdpSocket,
    address: SocketAddr,
    addresses: HashMap<u32, SocketAddr>,
    numbers: HashMap<SocketAddr, u32>,
    strangers: Counter,
}

impl Link for Endpoint {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        if config.bind.ip().is_unspecified() {
            return Err(Failure::invalid("bind", "far nodes need one address, not all of them"));
        }
        Ok(())
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        Self::validate(&config)?;
        let unavailable = |error: io::Error| Failure::unavailable(format!("{}: {error}", config.bind));
        let socket = UdpSocket::bind(config.bind).map_err(unavailable)?;
        socket.set_nonblocking(true).map_err(unavailable)?;
        Ok(Endpoint {
            address: socket.local_addr().map_err(unavailable)?,
            socket,
            addresses: HashMap::new(),
            numbers: HashMap::new(),
            strangers: host.counter("strangers", "datagrams of nodes that were not admitted"),
        })
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        let address = node.address.parse();
        let address = address.map_err(|_| Failure::invalid("address", "not an address with a port"))?;
        if self.numbers.contains_key(&address) {
            return Err(Failure::invalid("address", "admitted already"));
        }
        self.addresses.insert(far.0, address);
        self.numbers.insert(address, far.0);
        Ok(())
    }

    fn remove_far(&mut self, far: FarId) {
        if let Some(address) = self.addresses.remove(&far.0) {
            self.numbers.remove(&address);
        }
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut filled = 0;
        // No more datagrams than there are slots: a flood of strangers must not keep the host's thread here.
        for _ in 0..batch.len() {
            let mut slot = batch.slot(filled);
            let (len, from) = match self.socket.recv_from(slot.space()) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let Some(far) = self.numbers.get(&from) else {
                self.strangers.add(1);
                continue;
            };
            slot.set_len(len);
            slot.set_far(*far);
            filled += 1;
        }
        Ok(filled)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let taken = batch.len().min(AT_ONCE);
        for nth in 0..taken {
            let mut slot = batch.slot(nth);
            if slot.len() > MTU as usize {
                slot.refuse_oversized(MTU);
                continue;
            }
            let Some(address) = self.addresses.get(&slot.far()) else {
                slot.refuse(Refusal::Down);
                continue;
            };
            match self.socket.send_to(slot.frame(), address) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(nth),
                // Of this one far node: no route, nobody there.
                Err(_) => slot.refuse(Refusal::Down),
            }
        }
        Ok(taken)
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: self.address.to_string(), mtu: MTU, offload: false, queues: 1 }
    }
}

export_plugin!(name = "NAME", link = Endpoint);

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::read_config;

    #[test]
    fn the_wrong_key_is_named() {
        let config: Config = read_config(r#"{"bind":"192.0.2.1:4000"}"#).expect("a whole table");
        assert!(Endpoint::validate(&config).is_ok());
        let failure = read_config::<Config>(r#"{"bind":"somewhere"}"#).expect_err("no address");
        assert_eq!(failure.key.as_deref(), Some("bind"));
    }
}
