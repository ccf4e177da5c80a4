//! Where the programs and plugins under test are. They are built beforehand: `cargo xtask test` does.

use std::path::PathBuf;

const VARIABLE: &str = "VRESERVE_BIN_DIR";
const BUILD: &str = "cargo build -p vreserve -p vreserve-testbed -p vreserve-capture-iouring -p vreserve-link-udp \
                     -p vreserve-infer-vttif -p vreserve-adapt-vadapt -p vreserve-reserve-odin";

/// The directory of programs and plugins: `VRESERVE_BIN_DIR`, or the one above the test's own.
pub fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os(VARIABLE) {
        return directory.into();
    }
    let own = std::env::current_exe().expect("a running program has a file");
    let is_build = |dir: &&std::path::Path| dir.join("vreserve").is_file() || dir.ends_with("debug");
    let found = own.ancestors().skip(1).find(is_build);
    found.expect("a test runs in a build directory").to_owned()
}

/// A program under test.
///
/// # Panics
/// If it has not been built; the message has the command that builds it.
pub fn program(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(path.is_file(), "{} is missing: build it first with\n  {BUILD}", path.display());
    path
}

/// Asserts that the plugins of this name are there.
pub(crate) fn require_plugins(plugins: &[&str]) {
    for plugin in plugins {
        program(&format!("libvreserve_{}.so", plugin.replace('-', "_")));
    }
}
