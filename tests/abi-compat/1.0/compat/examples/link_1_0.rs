//! A link plugin of ABI 1.0: frames in UDP datagrams in the VXLAN format (RFC 7348), which other plugins speak too.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::{
    Batch, Counter, EndpointInfo, Failure, FarId, FarNode, Host, Link, Refusal, export_plugin,
};

/// The flag "there is a network identifier", and network 1.
const HEADER: [u8; 8] = [0x08, 0, 0, 0, 0, 0, 1, 0];
/// What 1500 bytes of IPv4 leave for a frame.
const LARGEST: u32 = 1464;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The underlay address and port.
    #[schemars(example = &"127.0.0.1:0")]
    bind: SocketAddr,
    /// Panic when asked for frames.
    #[serde(default)]
    panics: bool,
}

pub struct Endpoint {
    panics: bool,
    socket: UdpSocket,
    address: SocketAddr,
    far_nodes: Vec<(FarId, SocketAddr)>,
    strangers: Counter,
}

impl Link for Endpoint {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        let unavailable = |error: io::Error| Failure::unavailable(format!("{}: {error}", config.bind));
        let socket = UdpSocket::bind(config.bind).map_err(unavailable)?;
        socket.set_nonblocking(true).map_err(unavailable)?;
        let address = socket.local_addr().map_err(unavailable)?;
        let strangers = host.counter("drop_stranger", "datagrams of nobody known, or that are no frames");
        Ok(Endpoint { panics: config.panics, socket, address, far_nodes: Vec::new(), strangers })
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        let wrong = |reason: String| Failure::invalid("address", reason);
        let address: SocketAddr = node.address.parse().map_err(|error| wrong(format!("{error}")))?;
        if self.far_nodes.iter().any(|known| known.1 == address) {
            return Err(wrong(format!("{address} is admitted already")));
        }
        self.far_nodes.push((far, address));
        Ok(())
    }

    fn remove_far(&mut self, far: FarId) {
        self.far_nodes.retain(|known| known.0 != far);
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        assert!(!self.panics, "told to");
        for received in 0..batch.len() {
            let mut slot = batch.slot(received);
            loop {
                let (len, from) = match self.socket.recv_from(slot.space()) {
                    Ok(datagram) => datagram,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(received),
                    // What a far node's kernel says of a port that is closed.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                    Err(error) => return Err(error),
                };
                slot.set_len(len);
                let known = self.far_nodes.iter().find(|known| known.1 == from);
                let is_frame = slot.frame().starts_with(&HEADER) && slot.cut_front(HEADER.len());
                match known.filter(|_| is_frame) {
                    Some((far, _)) => slot.set_far(far.0),
                    None => {
                        self.strangers.add(1);
                        if is_frame && !slot.grow_front(HEADER.len()) {
                            return Err(io::Error::other("a slot that has lost its front"));
                        }
                        continue;
                    }
                }
                break;
            }
        }
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        for (sent, mut slot) in batch.iter_mut().enumerate() {
            let far = slot.far();
            let known = self.far_nodes.iter().find(|known| known.0.0 == far);
            let Some((_, address)) = known else {
                slot.refuse(Refusal::Down);
                continue;
            };
            if slot.len() > LARGEST as usize {
                slot.refuse_oversized(LARGEST);
                continue;
            }
            if !slot.grow_front(HEADER.len()) {
                slot.refuse(Refusal::Malformed);
                continue;
            }
            slot.frame()[..HEADER.len()].copy_from_slice(&HEADER);
            match self.socket.send_to(slot.frame(), address) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The frame is the host's again, as it was.
                    let _ = slot.cut_front(HEADER.len());
                    return Ok(sent);
                }
                Err(_) => slot.refuse(Refusal::Down),
            }
        }
        Ok(batch.len())
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: self.address.to_string(), mtu: LARGEST, offload: false, queues: 1 }
    }
}

export_plugin!(name = "link-1-0", link = Endpoint);
