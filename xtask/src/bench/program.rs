//! Programs that measure without any daemon: built here, their JSON read.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;

use crate::artifacts::Profile;
use crate::{interrupt, run};

/// A program that prints JSON.
pub(super) struct Program {
    name: &'static str,
    package: &'static str,
    /// Where it is in the folder of what was built.
    folder: &'static str,
}

impl Program {
    /// One of `tests/instructions`.
    pub(super) const fn new(name: &'static str) -> Self {
        Program { name, package: "vreserve-instructions", folder: "" }
    }

    /// An example of a plugin's.
    pub(super) const fn example(package: &'static str, name: &'static str) -> Self {
        Program { name, package, folder: "examples" }
    }

    /// Builds it and what it loads, runs it, and understands what it prints.
    ///
    /// # Errors
    /// If it cannot be built, fails or prints something else; a signal.
    pub(super) fn measure<T: DeserializeOwned>(
        &self,
        profile: Profile,
        arguments: &[&str],
    ) -> anyhow::Result<T> {
        let Self { name, package, folder } = self;
        let (flag, built): (&[&str], _) = match profile {
            Profile::Dev => (&[], "debug"),
            Profile::Release => (&["--release"], "release"),
        };
        let build = ["build", "--package", package, "--bins", "--examples"];
        run::run(&mut run::cargo(&[&build[..], flag].concat()))?;
        let file = run::target().join(built).join(Path::new(folder)).join(name);
        let output = Command::new(file).args(arguments).output();
        let output = output.with_context(|| format!("start `{name}`"))?;
        interrupt::check()?;
        ensure!(output.status.success(), "`{name}` failed: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("understand what `{name}` prints"))
    }
}
