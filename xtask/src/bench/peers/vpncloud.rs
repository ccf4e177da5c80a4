//! VpnCloud is no Debian package: it is built once from its published crate and kept in the build folder.

use std::path::PathBuf;

use anyhow::bail;

use crate::run;

/// The release that is built.
const VERSION: &str = "2.3.0";

/// The program; built if it is not there yet, which takes a few minutes.
///
/// # Errors
/// If the crate cannot be had or does not build.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    let root = run::root().join("target/bench-peers");
    let program = root.join("bin/vpncloud");
    if program.is_file() {
        return Ok(program);
    }
    let mut install = run::cargo(&["install", "vpncloud", "--locked", "--version", VERSION, "--root"]);
    run::run(install.arg(&root))?;
    if !program.is_file() {
        bail!("vpncloud was built and is not there");
    }
    Ok(program)
}
