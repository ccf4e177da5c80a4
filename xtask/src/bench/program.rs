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
    built(&["--package", PACKAGE, "--bins", "--examples"], program, profile, arguments)
}

/// The same with a program that is an example of a plugin's package.
///
/// # Errors
/// As [`measure`].
pub(super) fn measure_example<T: DeserializeOwned>(
    package: &str,
    program: &str,
    profile: Profile,
    arguments: &[&str],
) -> anyhow::Result<T> {
    let place = format!("examples/{program}");
    built(&["--package", package, "--example", program], &place, profile, arguments)
}

fn built<T: DeserializeOwned>(
    what: &[&str],
    program: &str,
    profile: Profile,
    arguments: &[&str],
) -> anyhow::Result<T> {
    let (flag, folder): (&[&str], _) = match profile {
        Profile::Dev => (&[], "debug"),
        Profile::Release => (&["--release"], "release"),
    };
    run::run(&mut run::cargo(&[&["build"], what, flag].concat()))?;
    let output = Command::new(run::target().join(folder).join(program)).args(arguments).output();
    let output = output.with_context(|| format!("start `{program}`"))?;
    interrupt::check()?;
    ensure!(output.status.success(), "`{program}` failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("understand what `{program}` prints"))
}
