//! Suites that are one program of `tests/instructions`, alone on a thread: built, run, and what it prints read.

use std::process::Command;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;

use super::Options;
use crate::artifacts::Profile;
use crate::{interrupt, run};

const PACKAGE: &str = "vreserve-instructions";

/// Runs the program `name` for as many rounds as are asked for; it prints JSON.
///
/// # Errors
/// If it cannot be built, fails or prints something else; a signal.
pub(super) fn printed<T: DeserializeOwned>(name: &str, options: &Options) -> anyhow::Result<T> {
    let mut arguments = vec!["build", "--package", PACKAGE, "--bins", "--examples"];
    let folder = match options.profile {
        Profile::Dev => "debug",
        Profile::Release => {
            arguments.push("--release");
            "release"
        }
    };
    run::run(&mut run::cargo(&arguments))?;
    let mut program = Command::new(run::target().join(folder).join(name));
    let output = program.arg(options.rounds.to_string()).output();
    let output = output.with_context(|| format!("start `{name}`"))?;
    interrupt::check()?;
    ensure!(output.status.success(), "`{name}` failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("understand what `{name}` prints"))
}
