//! The plugin's instance: an interface or a file behind the SDK's trait.

use std::io;
use std::os::fd::RawFd;

use vreserve_sdk::{Batch, Capture, Failure, Host, InterfaceInfo, Refusal};

use crate::config::{Config, Kind};
use crate::counters::{Counters, Tally};
use crate::file::File;
use crate::live::Live;

/// One captured interface, or one file that is played.
pub struct PcapCapture {
    source: Source,
    counters: Counters,
}

enum Source {
    Live(Box<Live>),
    File(Box<File>),
}

/// What libpcap says, in its own words.
pub(crate) fn words(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(words) => words.clone(),
        error => error.to_string(),
    }
}

impl Capture for PcapCapture {
    type Config = Config;

    fn validate(config: &Config) -> Result<(), Failure> {
        config.check()
    }

    fn open(config: Config, host: Host) -> Result<Self, Failure> {
        config.check()?;
        let source = match config.kind {
            Kind::Interface => Source::Live(Box::new(Live::open(&config)?)),
            Kind::File => Source::File(Box::new(File::open(&config)?)),
        };
        Ok(PcapCapture { source, counters: Counters::new(&host) })
    }

    fn recv(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut tally = Tally::default();
        let result = match &mut self.source {
            Source::Live(live) => live.recv(batch, &mut tally),
            Source::File(file) => file.recv(batch, &mut tally),
        };
        self.counters.add(&tally);
        result
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> io::Result<usize> {
        let mut tally = Tally::default();
        let result = match &mut self.source {
            Source::Live(live) => live.send(batch, &mut tally),
            // Nobody is behind a file.
            Source::File(_) => {
                batch.iter_mut().for_each(|mut slot| slot.refuse(Refusal::Down));
                Ok(batch.len())
            }
        };
        self.counters.add(&tally);
        result
    }

    fn ready_fd(&self) -> Option<RawFd> {
        Some(match &self.source {
            Source::Live(live) => live.ready_fd(),
            Source::File(file) => file.ready_fd(),
        })
    }

    fn info(&self) -> InterfaceInfo {
        match &self.source {
            Source::Live(live) => live.info.clone(),
            Source::File(file) => file.info.clone(),
        }
    }
}
