//! `vreserve plugins`: what is installed (`list`, which runs nothing of a plugin), what one says of itself
//! (`inspect`), and whether it keeps its contract (`verify`). The last two load the plugin in a child process
//! (`probe`), so that one that crashes ends nothing else.

mod child;
mod inspect;
mod list;
mod message;
mod probe;
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
            Plugins::Probe(probe) => probe.run(),
        }
    }
}
