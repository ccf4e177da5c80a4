//! A capture plugin of ABI 1.0. The guest is another process, or a test: each datagram between its Unix socket and ours is a
//! frame.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::{Batch, Capture, Counter, Failure, Host, InterfaceInfo, Refusal, export_plugin, tracing};

const MTU: u32 = 1500;
const HEADER: u32 = 14;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The path of our socket.
    #[schemars(example = &"/run/capture-1-0/node")]
    node: PathBuf,
    /// The path of the guest's socket.
    #[schemars(example = &"/run/capture-1-0/guest")]
    guest: PathBuf,
    /// Panic when asked for frames.
    #[serde(default)]
    panics: bool,
}

pub struct Cable {
    config: Config,
    socket: UnixDatagram,
    frames_in: Counter,
}

impl Capture for Cable {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        if config.node == config.guest {
            return Err(Failure::invalid("guest", "the guest's socket is ours"));
        }
        Ok(())
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        Self::validate(&config)?;
        let unavailable =
            |error: io::Error| Failure::unavailable(format!("{}: {error}", config.node.display()));
        let socket = UnixDatagram::bind(&config.node).map_err(unavailable)?;
        socket.set_nonblocking(true).map_err(unavailable)?;
        tracing::info!(node = %config.node.display(), "cable plugged in");
        Ok(Cable { socket, frames_in: host.counter("frames_in", "frames of the guest"), config })
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        assert!(!self.config.panics, "told to");
        let mut received = 0;
        for mut slot in batch.iter_mut() {
            match self.socket.recv(slot.space()) {
                Ok(len) => slot.set_len(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            received += 1;
        }
        self.frames_in.add(received as u64);
        Ok(received)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        for (sent, mut slot) in batch.iter_mut().enumerate() {
            if slot.len() > (MTU + HEADER) as usize {
                slot.refuse_oversized(MTU + HEADER);
                continue;
            }
            match self.socket.send_to(slot.frame(), &self.config.guest) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(sent),
                Err(_) => slot.refuse(Refusal::Down),
            }
        }
        Ok(batch.len())
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn info(&self) -> InterfaceInfo {
        InterfaceInfo { interface: "cable".to_owned(), mtu: MTU, offload: false, queues: 1 }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Somebody may have taken it away.
        let _ = fs::remove_file(&self.config.node);
    }
}

export_plugin!(name = "capture-1-0", capture = Cable);
