//! The plugin's instance: one endpoint, which is one VXLAN device of the kernel.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;

use vreserve_packet::socket;
use vreserve_sdk::{Batch, EndpointInfo, Failure, FarId, FarNode, Host, Link, tracing};

use crate::attach::Attachment;
use crate::config::Config;
use crate::drops::FrameDrop;
use crate::fars::Fars;
use crate::incoming::Incoming;
use crate::outgoing::Outgoing;

/// An endpoint that hands frames to a VXLAN device of the kernel.
pub struct VxlanLink {
    incoming: Incoming,
    outgoing: Outgoing,
    fars: Fars,
    bind: SocketAddrV4,
    /// Frames have been received since the kernel was last asked for what it dropped.
    is_busy: bool,
    /// Last: the sockets are gone before the device.
    attachment: Attachment,
}

impl Link for VxlanLink {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let attachment = Attachment::open(&config)?;
        let cannot = |error: io::Error| Failure::unavailable(format!("duplicating a socket: {error}"));
        let (incoming, outgoing) = (attachment.incoming.try_clone(), attachment.outgoing.try_clone());
        let bind = config.bind;
        tracing::debug!(%bind, vni = config.vni, device = config.device(), "endpoint open, in clear text");
        Ok(VxlanLink {
            incoming: Incoming::new(incoming.map_err(cannot)?, &host),
            outgoing: Outgoing::new(outgoing.map_err(cannot)?, &host),
            fars: Fars::new(bind.port()),
            bind,
            is_busy: false,
            attachment,
        })
    }

    fn add_far(&mut self, far: FarId, node: &FarNode<'_>) -> Result<(), Failure> {
        self.fars.add(far, node.address)
    }

    fn remove_far(&mut self, far: FarId) {
        self.fars.remove(far);
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let limit = &mut self.attachment.limit;
        limit.begin();
        let filled = self.incoming.recv(batch, &mut self.fars, limit)?;
        self.take_stock(filled)?;
        Ok(filled)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let limit = &mut self.attachment.limit;
        limit.begin();
        self.outgoing.send(batch, &self.fars, limit)
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.attachment.incoming.as_raw_fd())
    }

    fn info(&self) -> EndpointInfo {
        let mtu = u32::try_from(self.attachment.limit.largest_frame()).unwrap_or(u32::MAX);
        EndpointInfo { address: self.bind.to_string(), mtu, offload: true, queues: 1 }
    }
}

impl VxlanLink {
    /// Once whenever traffic pauses, asks the kernel what it dropped and, now and then, for the underlay's MTU.
    fn take_stock(&mut self, filled: usize) -> io::Result<()> {
        let was_busy = std::mem::replace(&mut self.is_busy, filled > 0);
        if filled > 0 || !was_busy {
            return Ok(());
        }
        self.attachment.limit.poll(Instant::now());
        let dropped = socket::dropped(self.attachment.incoming.as_fd())?;
        self.incoming.drops.note(FrameDrop::Busy, dropped);
        self.incoming.drops.settle();
        Ok(())
    }
}
