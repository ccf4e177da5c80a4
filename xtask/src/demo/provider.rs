//! The provider that serves the demo: what starts it, and how much it holds by its own word or the kernel's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use vreserve_testbed::gara::admin::{self, Answer, Question};
use vreserve_testbed::gara::certificates;
use vreserve_testbed::odin::client::ask;
use vreserve_testbed::odin::protocol::{Reply, Request};
use vreserve_testbed::{Lab, LabSpec};

use super::config::Provision;
use super::setting::{Backend, Setting};
use crate::artifacts::Artifacts;

/// Where GARA's server listens, on the proxy's host: where Globus' gatekeepers did.
const GARA_PORT: u16 = 2119;
/// Who owns reservations at GARA's server, by the name in its certificate.
pub(crate) const OWNER: &str = "lead";

/// One provider.
pub(crate) struct Provider {
    setting: Setting,
    /// ODIN's, or GARA's for administrators.
    socket: PathBuf,
    /// GARA's files: certificates and what it remembers.
    folder: PathBuf,
    gara: SocketAddr,
}

impl Provider {
    /// Of a lab that is up, with files in `folder`.
    ///
    /// # Errors
    /// If the lab has no proxy.
    pub(crate) fn new(setting: Setting, lab: &Lab, folder: &Path) -> anyhow::Result<Self> {
        let proxy = lab.spec().proxy().context("the demo's lab has no proxy")?;
        Ok(Self {
            setting,
            socket: lab.runtime_directory().join("provider.sock"),
            folder: folder.join("gara"),
            gara: (proxy.commodity.addr(), GARA_PORT).into(),
        })
    }

    /// Where its administrator asks.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The server's command.
    ///
    /// # Errors
    /// If the build made no such program, or files cannot be written.
    pub(crate) fn command(
        &self,
        built: &Artifacts,
        lab: &LabSpec,
        time_scale: f64,
    ) -> anyhow::Result<Command> {
        match self.setting.backend {
            Backend::Odin => {
                let mut server = Command::new(built.program("odin-server")?);
                server.args(["--lab", &lab.name, "--network", self.setting.network]);
                server.arg("--socket").arg(&self.socket).args(["--time-scale", &time_scale.to_string()]);
                Ok(server)
            }
            Backend::Gara => self.gara_command(built, lab),
        }
    }

    /// What the lead's configuration says of it.
    ///
    /// # Errors
    /// If the build made no client.
    pub(crate) fn provision<'a>(
        &'a self,
        built: &'a Artifacts,
        time_scale: f64,
    ) -> anyhow::Result<Provision<'a>> {
        Ok(match self.setting.backend {
            Backend::Odin => {
                Provision::Odin { oclient: built.program("oclient")?, socket: &self.socket, time_scale }
            }
            Backend::Gara => Provision::Gara {
                network: self.setting.network,
                server: self.gara,
                certificates: &self.folder,
            },
        })
    }

    /// How many circuits it has, in any state but over and gone.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn circuits(&self) -> anyhow::Result<usize> {
        match self.setting.backend {
            Backend::Odin => match ask(&self.socket, &Request::List)? {
                Reply::Paths(paths) => Ok(paths.len()),
                _ => bail!("the ODIN server answered another question"),
            },
            Backend::Gara => match admin::ask(&self.socket, &Question::List)? {
                Answer::Reservations(all) => {
                    Ok(all.iter().filter(|(_, one)| one.state.holds_capacity()).count())
                }
                _ => bail!("the GARA server answered another question"),
            },
        }
    }

    fn gara_command(&self, built: &Artifacts, lab: &LabSpec) -> anyhow::Result<Command> {
        let file = |name| self.folder.join(name);
        // A server that is started again has the certificates that its clients know.
        if !file("ca.pem").exists() {
            certificates::make(&self.folder, &[OWNER.to_owned()], &[self.gara.ip()])?;
        }
        let mut server = Command::new(built.program("gara-server")?);
        server.args(["--lab", &lab.name, "--listen", &self.gara.to_string()]);
        server.arg("--ca").arg(file("ca.pem")).arg("--cert").arg(file("server.pem"));
        server.arg("--key").arg(file("server.key")).arg("--state").arg(file("state"));
        server.arg("--socket").arg(&self.socket);
        Ok(server)
    }
}
