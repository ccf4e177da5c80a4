//! What the testbed's programs have in common: their exit codes, their logs, and how they are told a lab.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::lab::state::State;
use crate::{Error, LabSpec};

/// Logs to standard error, as `RUST_LOG` says or from `info` on.
pub fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_coloured = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_coloured)
        .with_writer(std::io::stderr)
        .init();
}

/// How a program ends: 0 done, 2 with a wrong lab file, else 1; why it failed goes to standard error.
pub fn exit_code(name: &str, outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("{name}: {error:#}");
    let is_wrong_file = error.downcast_ref().is_some_and(Error::is_wrong_file);
    ExitCode::from(if is_wrong_file { 2 } else { 1 })
}

/// The lab of a lab file, of the state file of a standing lab, or of a standing lab's name.
///
/// # Errors
/// A file that is wrong or cannot be read; a lab that is not up.
pub fn lab_of(given: &Path) -> anyhow::Result<LabSpec> {
    if given.extension().is_some_and(|extension| extension == "toml") {
        return Ok(LabSpec::load(given)?);
    }
    let state = match given.to_str() {
        Some(name) if !given.exists() => State::load(name)?,
        _ => State::read(given)?,
    };
    Ok(state.with_context(|| format!("no lab is up at {}", given.display()))?.lab)
}
