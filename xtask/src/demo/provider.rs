//! The provider that serves the demo: what starts it, and how much it holds by its own word or the kernel's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use vreserve_testbed::odin::client::ask;
use vreserve_testbed::odin::protocol::{Reply, Request};
use vreserve_testbed::{Lab, LabSpec};

use super::config::Provision;
use super::setting::{Backend, Setting};
use crate::artifacts::Artifacts;

/// Where GARA's server listens, on the proxy's host.
const GARA_PORT: u16 = 7512;
/// Owners at GARA's server, by the names of their certificates.
const OWNER: &str = "lead";

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
}
