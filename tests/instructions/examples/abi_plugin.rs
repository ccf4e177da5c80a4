//! The least that a link plugin can do: it looks at one byte of every frame that it is given, and gives out frames of 64
//! bytes. What calling it costs is what the boundary costs. It is built as a shared object, and `src/bin/abi` links the
//! same source.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::os::fd::RawFd;

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::{Batch, EndpointInfo, Failure, FarId, FarNode, Host, Link, export_plugin};

/// Bytes of a frame that it gives out.
const FRAME: usize = 64;

/// It has no keys.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {}

pub(crate) struct Touch;

impl Link for Touch {
    type Config = Config;

    fn open(_: Config, _: Host) -> Result<Self, Failure> {
        Ok(Touch)
    }

    fn add_far(&mut self, _: FarId, _: &FarNode<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn remove_far(&mut self, _: FarId) {}

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        for mut slot in batch.iter_mut() {
            slot.space()[0] = 1;
            slot.set_len(FRAME);
        }
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let sum: u64 = batch.iter_mut().map(|mut slot| u64::from(slot.frame()[0])).sum();
        black_box(sum);
        Ok(batch.len())
    }

    fn ready_fd(&self) -> Option<RawFd> {
        None
    }

    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: "nowhere".to_owned(), mtu: 1514, offload: false, queues: 1 }
    }
}

export_plugin!(name = "abi-plugin", link = Touch);
