//! A planner that panics when it is opened and a link that waits in `recv`, for `bad_config`.
#![allow(missing_docs, reason = "a fixture")]

use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixDatagram;

use vreserve_sdk::model::{Snapshot, Wanted};
use vreserve_sdk::{Adapt, Batch, EndpointInfo, Failure, FarId, FarNode, Host, Link};

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Config {}

pub struct Panics;

impl Adapt for Panics {
    type Config = Config;

    fn open(_: Config, _: Host) -> Result<Self, Failure> {
        panic!("no planner today")
    }

    fn adapt(&mut self, _: &Snapshot) -> Result<Wanted, Failure> {
        Ok(Wanted::default())
    }
}

pub struct Waits {
    near: UnixDatagram,
    _far: UnixDatagram,
}

impl Link for Waits {
    type Config = Config;

    fn open(_: Config, _: Host) -> Result<Self, Failure> {
        let (near, _far) = UnixDatagram::pair().map_err(|error| Failure::unavailable(error.to_string()))?;
        Ok(Waits { near, _far })
    }

    fn add_far(&mut self, _: FarId, _: &FarNode<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn remove_far(&mut self, _: FarId) {}

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        self.near.recv(batch.slot(0).space()).map(|_| 0)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        Ok(batch.len())
    }

    fn ready_fd(&self) -> Option<RawFd> {
        None
    }

    fn info(&self) -> EndpointInfo {
        EndpointInfo { address: "nowhere".to_owned(), mtu: 1500, offload: false, queues: 1 }
    }
}

vreserve_sdk::export_plugin!(name = "misfits", link = Waits, adapt = Panics);
