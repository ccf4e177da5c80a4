//! `cargo xtask`: builds the development commands, and becomes them.
//!
//! They are a program with many dependencies. Before the tests, everything is built at once, with the features that
//! tests need: built alone before that, the program and half of what it depends on would be built twice.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use xtask_start::{packages, run};

fn main() -> ExitCode {
    // Only an error is returned: otherwise this process has become another one.
    let Err(error) = start() else { return ExitCode::SUCCESS };
    eprintln!("xtask: {error:#}");
    ExitCode::FAILURE
}

fn start() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let is_test = arguments.first().is_some_and(|task| task == "test");
    let mut build = if is_test {
        packages::ensure_headers()?;
        run::cargo(&["build", "--workspace", "--all-targets"])
    } else {
        run::cargo(&["build", "--package", "xtask"])
    };
    let status = build.status().context("start cargo build")?;
    ensure!(status.success(), "the build failed: {status}");
    let own = std::env::current_exe().context("find the built programs")?;
    let program = own.with_file_name("xtask");
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("start {}", program.display()))
}
