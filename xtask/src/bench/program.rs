//! Programs of `tests/instructions`, which measure without any daemon: built here, their JSON read.

use std::process::Command;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;

use crate::artifacts::Profile;
use crate::{interrupt, run};

const PACKAGE: &str = "vreserve-instructions";

/// Builds a program and what it loads, runs it, and understands what it prints.
///
/// # Errors
/// If the program cannot be built, fails or prints something else; a signal.
pub(super) fn measure<T: DeserializeOwned>(
    program: &str,
    profile: Profile,
    arguments: &[&str],
) -> anyhow::Result<T> {
    let (flag, folder): (&[&str], _) = match profile {
        Profile::Dev => (&[], "debug"),
        Profile::Release => (&["--release"], "release"),
    };
    let build = ["build", "--package", PACKAGE, "--bins", "--examples"];
    run::run(&mut run::cargo(&[&build[..], flag].concat()))?;
    let output = Command::new(run::target().join(folder).join(program)).args(arguments).output();
    let output = output.with_context(|| format!("start `{program}`"))?;
    interrupt::check()?;
    ensure!(output.status.success(), "`{program}` failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("understand what `{program}` prints"))
}
