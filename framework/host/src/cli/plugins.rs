//! `vreserve plugins`: what is installed (`list`, which runs nothing of a plugin), what one says of itself
//! (`inspect`, `sample-config`), and whether it keeps its contract (`verify`). The last three load the plugin in a
//! child process (`probe`), so that one that crashes ends nothing else. `pin` writes digests into a
//! configuration, `new` a crate to begin with.

mod child;
mod inspect;
mod list;
mod message;
mod new;
mod pin;
mod probe;
mod sample;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Plugins {
    /// List installed plugins from their metadata; nothing of them is run
    List(list::List),
    /// Load a plugin in a child process and print what it says of itself
    Inspect(inspect::Inspect),
    /// Run the conformance kits of a plugin's kinds in a child process
    Verify(verify::Verify),
    /// Write the digests of the plugins in use into a configuration
    Pin(pin::Pin),
    /// Write a plugin crate to begin with
    New(new::New),
    /// Print a plugin's keys as a commented table
    SampleConfig(sample::SampleConfig),
    /// What `inspect` and `verify` run as their child
    #[command(hide = true)]
    Probe(probe::Probe),
}

impl Plugins {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Plugins::List(list) => list.run(),
            Plugins::Inspect(inspect) => inspect.run(),
            Plugins::Verify(verify) => verify.run(),
            Plugins::Pin(pin) => pin.run(),
            Plugins::New(new) => new.run(),
            Plugins::SampleConfig(sample) => sample.run(),
            Plugins::Probe(probe) => probe.run(),
        }
    }
}
