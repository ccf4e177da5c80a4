//! The provider's own word: which circuits it has, whoever asked for them. And what a campaign does to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Serialize;
use vreserve_testbed::gara::admin::{self, Answer, Question};
use vreserve_testbed::gara::protocol::{Reservation, State};
use vreserve_testbed::odin::client::ask;
use vreserve_testbed::odin::protocol::{PathId, PathReport, PathState, Reply, Request};
use vreserve_testbed::{Lab, LabSpec};

use crate::artifacts::Artifacts;
use crate::demo::config::{Provision, SECOND_LINK_PORT};
use crate::demo::provider::Provider as Server;
pub(in super::super) use crate::demo::setting::Backend;
use crate::demo::setting::Setting;

/// The table of nft that a silent cut consists of where there is no switch to turn off.
const SILENCE: &str = "silence";

/// A provider, running or not.
pub(in super::super) struct Provider {
    server: Server,
    setting: Setting,
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
    /// From when to when it is promised, in milliseconds since the Unix epoch.
    window: [u64; 2],
    lambda: Option<u16>,
}

impl Provider {
    /// Of a lab that is up, with files in `folder`.
    ///
    /// # Errors
    /// If the lab has no proxy.
    pub(super) fn new(backend: Backend, lab: &Lab, folder: &Path) -> anyhow::Result<Self> {
        let setting = Setting::of(backend);
        let server = Server::new(setting, lab, folder)?;
        let socket = server.socket().to_owned();
        Ok(Self { server, setting, socket })
    }

    /// The server's command.
    ///
    /// # Errors
    /// If the build made no such program.
    pub(super) fn command(
        &self,
        built: &Artifacts,
        lab: &LabSpec,
        time_scale: f64,
    ) -> anyhow::Result<Command> {
        self.server.command(built, lab, time_scale)
    }

    /// What the lead's configuration says of it.
    ///
    /// # Errors
    /// If the build made no client.
    pub(super) fn provision<'a>(
        &'a self,
        built: &'a Artifacts,
        time_scale: f64,
    ) -> anyhow::Result<Provision<'a>> {
        self.server.provision(built, time_scale)
    }

    /// Every circuit that it has, in any state but over and gone, whoever asked for it.
    ///
    /// # Errors
    /// If it does not answer.
    pub(in super::super) fn circuits(&self) -> anyhow::Result<Vec<Circuit>> {
        match self.setting.backend {
            Backend::Odin => match ask(&self.socket, &Request::List)? {
                Reply::Paths(paths) => Ok(paths.into_iter().map(Circuit::of_path).collect()),
                _ => bail!("the ODIN server answered another question"),
            },
            Backend::Gara => match admin::ask(&self.socket, &Question::List)? {
                Answer::Reservations(all) => {
                    let held = all.into_iter().filter(|(_, one)| one.state.holds_capacity());
                    Ok(held.map(|(_, one)| Circuit::of_reservation(one)).collect())
                }
                _ => bail!("the GARA server answered another question"),
            },
        }
    }

    /// Ends a circuit over the head of whoever has it, as an administrator would.
    ///
    /// # Errors
    /// If the provider does not answer.
    pub(in super::super) fn remove(&self, circuit: &Circuit) -> anyhow::Result<()> {
        // One that is gone already, or going, is what is wanted.
        match self.setting.backend {
            Backend::Odin => {
                let path = PathId(circuit.id.parse().context("an ODIN path has a number")?);
                ask(&self.socket, &Request::Teardown { path })?;
            }
            Backend::Gara => {
                admin::ask(&self.socket, &Question::Terminate { handle: circuit.id.clone() })?;
            }
        }
        Ok(())
    }

    /// Has everything on a circuit dropped without a word to anybody.
    ///
    /// # Errors
    /// What `ip` or `nft` said.
    pub(in super::super) fn cut(&self, lab: &Lab, circuit: &Circuit) -> anyhow::Result<()> {
        if let Some(lambda) = circuit.lambda {
            // The end of the lambda at the first switch (testbed: `odin/switching.rs`); hosts keep their carrier.
            lab.ip(self.setting.network, vec![format!("link set f0l{lambda}a down")])?;
            return Ok(());
        }
        let script = format!(
            "add table ip {SILENCE}; add chain ip {SILENCE} every {{ type filter hook forward priority -10 ; }}; \
             add rule ip {SILENCE} every udp dport {SECOND_LINK_PORT} drop"
        );
        nft(lab, &script)
    }

    /// Ends a cut, where it does not end with the circuit.
    ///
    /// # Errors
    /// What `nft` said.
    pub(in super::super) fn mend(&self, lab: &Lab, circuit: &Circuit) -> anyhow::Result<()> {
        if circuit.lambda.is_some() {
            return Ok(());
        }
        nft(lab, &format!("delete table ip {SILENCE}"))
    }
}

/// At the router that every frame between the guests passes.
fn nft(lab: &Lab, script: &str) -> anyhow::Result<()> {
    let core = lab.spec().commodity.core.as_ref().context("the lab has no router")?;
    let output = lab.exec(&core.routers[0], Command::new("nft").arg(script))?;
    if !output.status.success() {
        bail!("nft {script}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

impl Circuit {
    fn of_path(path: PathReport) -> Self {
        Self {
            id: path.id.to_string(),
            ends: sorted([path.source.to_string(), path.destination.to_string()]),
            state: path.state.to_string(),
            is_ending: path.state == PathState::TearingDown,
            window: [0, u64::MAX],
            lambda: Some(path.lambda),
        }
    }

    fn of_reservation(reservation: Reservation) -> Self {
        let state = if reservation.state == State::Booked { "booked" } else { "active" };
        Self {
            id: reservation.handle,
            ends: sorted([reservation.endpoint_a, reservation.endpoint_b]),
            state: state.to_owned(),
            is_ending: false,
            window: [reservation.start, reservation.end.unwrap_or(u64::MAX)],
            lambda: None,
        }
    }
}

fn sorted(mut ends: [String; 2]) -> [String; 2] {
    ends.sort();
    ends
}

/// How many circuits there are beyond one at a time for the same two ends; those that are ending do not count.
pub(in super::super) fn doubled(circuits: &[Circuit]) -> usize {
    let mut live: Vec<_> = circuits.iter().filter(|circuit| !circuit.is_ending).collect();
    live.sort_by(|a, b| (&a.ends, a.window).cmp(&(&b.ends, b.window)));
    let is_beside =
        |pair: &&[&Circuit]| pair[0].ends == pair[1].ends && pair[1].window[0] < pair[0].window[1];
    live.windows(2).filter(is_beside).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(id: &str, ends: [&str; 2], is_ending: bool, window: [u64; 2]) -> Circuit {
        let ends = ends.map(str::to_owned);
        Circuit { id: id.to_owned(), ends, state: String::new(), is_ending, window, lambda: None }
    }

    #[test]
    fn two_circuits_at_a_time_for_the_same_ends_are_one_too_many_unless_one_is_going() {
        let always = [0, u64::MAX];
        let one = circuit("1", ["10.10.0.2", "10.10.0.3"], false, always);
        let other = circuit("2", ["10.10.0.2", "10.10.0.4"], false, always);
        let going = circuit("3", ["10.10.0.2", "10.10.0.3"], true, always);
        let twin = circuit("4", ["10.10.0.2", "10.10.0.3"], false, always);
        assert_eq!(doubled(&[one.clone(), other.clone(), going.clone()]), 0);
        assert_eq!(doubled(&[one, other, going, twin]), 1);
        let window = |id, window| circuit(id, ["10.10.0.2", "10.10.0.3"], false, window);
        assert_eq!(doubled(&[window("5", [9, 12]), window("6", [3, 9])]), 0, "one after the other");
        assert_eq!(doubled(&[window("5", [8, 12]), window("6", [3, 9])]), 1);
    }
}
