//! The plugin's instance: one interface, or one queue of it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;

use vreserve_packet::{Limit, socket};
use vreserve_sdk::{Batch, Capture, Failure, Host, InterfaceInfo};

use crate::attach::Attachment;
use crate::config::{Config, Kind};
use crate::counters::{Counters, Tally};
use crate::read::Reader;
use crate::write::Writer;

/// One captured interface.
pub struct IoUringCapture {
    reader: Reader,
    writer: Writer,
    limit: Limit,
    attachment: Attachment,
    /// Frames have been received since the kernel was last asked for what it dropped.
    is_busy: bool,
    counters: Counters,
}

impl Capture for IoUringCapture {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let (attachment, interface) = Attachment::open(&config, host.queue())?;
        let cannot =
            |error: io::Error| Failure::unavailable(format!("interface {}: {error}", config.interface));
        let reader = config.reader.unwrap_or(config.kind.default_reader());
        let writer = config.writer.unwrap_or(config.kind.default_writer());
        Ok(IoUringCapture {
            reader: Reader::new(&attachment, reader, &host).map_err(cannot)?,
            writer: Writer::new(&attachment, writer).map_err(cannot)?,
            limit: Limit::new(interface, attachment.info.mtu, Instant::now()),
            attachment,
            is_busy: false,
            counters: Counters::new(&host),
        })
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut tally = Tally::default();
        self.limit.begin();
        let result = self.reader.recv(batch, &mut self.limit, &mut tally);
        if let Ok(filled) = result {
            self.take_stock(filled, &mut tally)?;
        }
        self.counters.add(&tally);
        result
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut tally = Tally::default();
        self.limit.begin();
        let result = self.writer.send(batch, &mut self.limit, &mut tally);
        self.counters.add(&tally);
        result.map(|()| batch.len())
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(self.reader.ready_fd().unwrap_or(self.attachment.incoming.as_raw_fd()))
    }

    fn info(&self) -> InterfaceInfo {
        self.attachment.info.clone()
    }
}

impl IoUringCapture {
    /// Once whenever traffic pauses, asks the kernel what it dropped and, now and then, for the MTU.
    fn take_stock(&mut self, filled: usize, tally: &mut Tally) -> io::Result<()> {
        let was_busy = std::mem::replace(&mut self.is_busy, filled > 0);
        if filled > 0 || !was_busy {
            return Ok(());
        }
        self.limit.poll(Instant::now());
        if self.attachment.kind == Kind::Interface {
            tally.drop_busy += socket::dropped(self.attachment.incoming.as_fd())?;
        }
        Ok(())
    }
}
