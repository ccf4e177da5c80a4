//! `cargo xtask check`: what needs no running daemon. What is not installed is left out, visibly.

use std::process::Command;

use crate::{packages, run};

/// Runs the checks one after the other; the first that fails ends it.
///
/// # Errors
/// If a check fails.
pub(crate) fn check() -> anyhow::Result<()> {
    let skipped = run_all()?;
    println!("check: all passed, {} skipped", skipped.len());
    Ok(())
}

/// The checks; returns what was left out and why.
pub(crate) fn run_all() -> anyhow::Result<Vec<String>> {
    packages::ensure_headers()?;
    let mut skipped = Vec::new();
    for check in &CHECKS {
        if run::works(Command::new(check.tool).arg("--version")) {
            let mut command = run::cargo(check.arguments);
            run::run(command.envs(check.environment.iter().copied()))?;
        } else {
            let what = format!("cargo {}: not installed", check.arguments.join(" "));
            println!("SKIPPED: {what}");
            skipped.push(what);
        }
    }
    Ok(skipped)
}

struct Check {
    /// The program that must be installed.
    tool: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const CHECKS: [Check; 4] = [
    Check { tool: "cargo-fmt", arguments: &["fmt", "--all", "--check"], environment: &[] },
    Check {
        tool: "cargo-clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        environment: &[],
    },
    Check {
        tool: "rustdoc",
        arguments: &["doc", "--workspace", "--no-deps"],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Check { tool: "cargo-deny", arguments: &["deny", "check"], environment: &[] },
];
