//! Where the programs and plugins under test are. They are built beforehand: `cargo xtask test` does.

use std::path::PathBuf;

const VARIABLE: &str = "VRESERVE_BIN_DIR";
const BUILD: &str = "cargo build -p vreserve -p vreserve-testbed -p vreserve-capture-iouring \
                     -p vreserve-capture-pcap -p vreserve-link-tcp -p vreserve-link-udp -p vreserve-link-vxlan \
                     -p vreserve-infer-vttif -p vreserve-adapt-vadapt -p vreserve-adapt-watermark \
                     -p vreserve-reserve-odin -p vreserve-reserve-gara -p vreserve-reserve-exec";

/// The directory of programs and plugins: `VRESERVE_BIN_DIR`, or the one above the test's own.
pub fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os(VARIABLE) {
        return directory.into();
    }
    build_directory()
}

/// A shared object that this crate's examples are built into: a plugin for tests only.
///
/// # Panics
/// If it has not been built.
pub fn fixture(name: &str) -> PathBuf {
    let path = build_directory().join("examples").join(format!("lib{name}.so"));
    assert!(path.is_file(), "{} is missing: cargo build -p vreserve-tests --examples", path.display());
    path
}

/// Above the test's own directory, `deps`; a program of this crate is there itself.
fn build_directory() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a file");
    let directory = own.parent().expect("a file is in a directory");
    let found = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    found.expect("`deps` is in the build directory").to_owned()
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

/// What the frozen workspaces in `tests/abi-compat` are built into: plugins in `examples`, hosts beside the daemon.
const FROZEN_BUILD: &str = "(cd tests/abi-compat/1.0 && cargo build --bins --examples)";

/// A shared object or host of an earlier ABI.
///
/// # Panics
/// If it has not been built; the message has the command that builds it.
pub fn frozen(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(path.is_file(), "{} is missing: build it first with\n  {FROZEN_BUILD}", path.display());
    path
}
