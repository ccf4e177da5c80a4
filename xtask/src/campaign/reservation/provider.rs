//! The provider's own word: which circuits it has, whoever asked for them. And what a campaign does to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use vreserve_testbed::Lab;
use vreserve_testbed::odin::client::ask;
use vreserve_testbed::odin::protocol::{PathId, PathReport, PathState, Reply, Request};

use crate::artifacts::Artifacts;

/// Reservation backends that a campaign can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) enum Backend {
    /// ODIN: lightpaths.
    Odin,
}

/// A provider, running or not.
#[derive(Clone, Debug)]
pub(in super::super) struct Provider {
    backend: Backend,
    network: String,
    socket: PathBuf,
}

/// A circuit as the provider tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in super::super) struct Circuit {
    /// The provider's id.
    pub(in super::super) id: String,
    /// The addresses of its ends, sorted.
    pub(in super::super) ends: [String; 2],
    /// What it is doing, in the provider's words.
    pub(in super::super) state: String,
    /// Whether it is on its way out.
    pub(in super::super) is_ending: bool,
    lambda: u16,
}

impl Provider {
    /// Of a lab's network, listening at `socket`.
    pub(super) fn new(backend: Backend, network: &str, socket: PathBuf) -> Self {
        Self { backend, network: network.to_owned(), socket }
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The server's command.
    ///
    /// # Errors
    /// If the build made no such program.
    pub(super) fn command(&self, built: &Artifacts, lab: &str, time_scale: f64) -> anyhow::Result<Command> {
        match self.backend {
            Backend::Odin => {
                let mut server = Command::new(built.program("odin-server")?);
                server.args(["--lab", lab, "--network", &self.network, "--socket"]).arg(&self.socket);
                server.args(["--time-scale", &time_scale.to_string()]);
                Ok(server)
            }
        }
    }

    /// Every circuit that it has, in any state, whoever asked for it.
    ///
    /// # Errors
    /// If it does not answer.
    pub(in super::super) fn circuits(&self) -> anyhow::Result<Vec<Circuit>> {
        match ask(&self.socket, &Request::List)? {
            Reply::Paths(paths) => Ok(paths.into_iter().map(Circuit::of).collect()),
            _ => bail!("the ODIN server answered another question"),
        }
    }

    /// Ends a circuit over the head of whoever has it, as an administrator would.
    ///
    /// # Errors
    /// If the provider does not answer.
    pub(in super::super) fn remove(&self, circuit: &Circuit) -> anyhow::Result<()> {
        let path = PathId(circuit.id.parse().context("an ODIN path has a number")?);
        // One that is gone already, or going, is what is wanted.
        ask(&self.socket, &Request::Teardown { path })?;
        Ok(())
    }

    /// Has everything on a circuit dropped without a word to anybody.
    ///
    /// # Errors
    /// What `ip` said.
    pub(in super::super) fn cut(&self, lab: &Lab, circuit: &Circuit) -> anyhow::Result<()> {
        // The end of the lambda at the first switch (testbed: `odin/switching.rs`); hosts keep their carrier.
        let line = format!("link set f0l{}a down", circuit.lambda);
        lab.ip(&self.network, vec![line])?;
        Ok(())
    }
}

impl Circuit {
    fn of(path: PathReport) -> Self {
        let mut ends = [path.source.to_string(), path.destination.to_string()];
        ends.sort();
        let state = match path.state {
            PathState::SettingUp => "setting up",
            PathState::Up => "up",
            PathState::TearingDown => "tearing down",
        };
        Self {
            id: path.id.to_string(),
            ends,
            state: state.to_owned(),
            is_ending: path.state == PathState::TearingDown,
            lambda: path.lambda,
        }
    }
}

/// How many circuits there are beyond one for the same two ends; those that are ending do not count.
pub(in super::super) fn doubled(circuits: &[Circuit]) -> usize {
    let mut live: Vec<_> =
        circuits.iter().filter(|circuit| !circuit.is_ending).map(|one| &one.ends).collect();
    let all = live.len();
    live.sort();
    live.dedup();
    all - live.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(id: &str, ends: [&str; 2], is_ending: bool) -> Circuit {
        let ends = ends.map(str::to_owned);
        Circuit { id: id.to_owned(), ends, state: String::new(), is_ending, lambda: 1 }
    }

    #[test]
    fn two_circuits_for_the_same_ends_are_one_too_many_unless_one_is_going() {
        let one = circuit("1", ["10.10.0.2", "10.10.0.3"], false);
        let other = circuit("2", ["10.10.0.2", "10.10.0.4"], false);
        let going = circuit("3", ["10.10.0.2", "10.10.0.3"], true);
        let twin = circuit("4", ["10.10.0.2", "10.10.0.3"], false);
        assert_eq!(doubled(&[one.clone(), other.clone(), going.clone()]), 0);
        assert_eq!(doubled(&[one, other, going, twin]), 1);
    }
}
