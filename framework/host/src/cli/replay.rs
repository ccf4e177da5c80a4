//! `vreserve replay`: what an overlay would have reserved for the traffic of a capture.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::config::OverlayConfig;
use crate::loader::Registry;
use crate::replay::{self, ReplayError, WorldError};

/// Which capture, in which overlay, and where the report goes.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The capture, in pcap or pcapng format
    file: PathBuf,
    /// The overlay: nodes, networks, guests, and the proxy's tables
    #[arg(short, long)]
    overlay: PathBuf,
    /// Write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as one HTML page to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Replay {
    /// The report also goes to standard output. Of a damaged capture there is one too, and the exit code says so.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let overlay = OverlayConfig::load(&self.overlay)?;
        let registry = Registry::new(overlay.plugin_dirs.clone());
        let report = match replay::replay(&self.file, &overlay, &registry) {
            Err(ReplayError::World(WorldError::Config(errors))) => return Err(errors.into()),
            report => report?,
        };
        if let Some(path) = &self.json {
            let mut text = serde_json::to_string_pretty(&report)?;
            text.push('\n');
            write(path, &text)?;
        }
        if let Some(path) = &self.html {
            write(path, &report.to_html())?;
        }
        // A file may be named so that a terminal does as it says.
        let text = report.to_string().replace(|c: char| c.is_control() && c != '\n', "?");
        print!("{text}");
        Ok(match &report.capture.damage {
            Some(damage) => {
                eprintln!("vreserve: {}: {damage}", self.file.display());
                ExitCode::FAILURE
            }
            None => ExitCode::SUCCESS,
        })
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
