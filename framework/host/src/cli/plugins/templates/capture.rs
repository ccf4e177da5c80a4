//! The capture plugin `NAME`: a guest behind a unix datagram socket, one frame per datagram, as QEMU's
//! `-netdev dgram,local.type=unix,…` speaks.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde::Deserialize;
use vreserve_sdk::{Batch, Capture, Failure, Host, InterfaceInfo, JsonSchema, Refusal, export_plugin};

/// Largest payload of a frame.
const MTU: u32 = 1400;
/// An Ethernet header with one VLAN tag.
const HEADER: u32 = 18;

/// The keys of `[capture.<instance>]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Our socket, an absolute path; what is there is replaced.
    pub socket: PathBuf,
    /// The guest's socket, an absolute path; it may come later.
    pub guest: PathBuf,
}

/// One guest's interface.
pub struct Interface {
    socket: UnixDatagram,
    config: Config,
}

impl Capture for Interface {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        for (key, path) in [("socket", &config.socket), ("guest", &config.guest)] {
            if !path.is_absolute() {
                return Err(Failure::invalid(key, "not an absolute path"));
            }
        }
        Ok(())
    }

    fn open(config: Config, _host: Host) -> Result<Self, Failure> {
        Self::validate(&config)?;
        let place = config.socket.display().to_string();
        let unavailable = |error: io::Error| Failure::unavailable(format!("{place}: {error}"));
        match std::fs::remove_file(&config.socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable(error)),
            _ => {}
        }
        let socket = UnixDatagram::bind(&config.socket).map_err(unavailable)?;
        socket.set_nonblocking(true).map_err(unavailable)?;
        Ok(Interface { socket, config })
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut filled = 0;
        // No more datagrams than there are slots: a flood of empty ones must not keep the host's thread here.
        for _ in 0..batch.len() {
            let mut slot = batch.slot(filled);
            match self.socket.recv(slot.space()) {
                // Nothing is no frame; it must not end the batch.
                Ok(0) => {}
                Ok(len) => {
                    slot.set_len(len);
                    filled += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        for nth in 0..batch.len() {
            let mut slot = batch.slot(nth);
            if slot.len() > (MTU + HEADER) as usize {
                slot.refuse_oversized(MTU + HEADER);
                continue;
            }
            match self.socket.send_to(slot.frame(), &self.config.guest) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(nth),
                // The guest is not there, or no longer.
                Err(_) => slot.refuse(Refusal::Down),
            }
        }
        Ok(batch.len())
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn info(&self) -> InterfaceInfo {
        let name = self.config.socket.file_name().unwrap_or_default();
        InterfaceInfo { interface: name.to_string_lossy().into_owned(), mtu: MTU, offload: false, queues: 1 }
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // Somebody else may have removed it already.
        let _ = std::fs::remove_file(&self.config.socket);
    }
}

export_plugin!(name = "NAME", capture = Interface);

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::read_config;

    #[test]
    fn the_wrong_key_is_named() {
        let config: Config = read_config(r#"{"socket":"a","guest":"/run/b"}"#).expect("a whole table");
        let failure = Interface::validate(&config).expect_err("not absolute");
        assert_eq!(failure.key.as_deref(), Some("socket"));
    }
}
