//! What the machine must have: Debian packages.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::run;

/// A program and the Debian package that has it.
const PROGRAMS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("iperf3", "iperf3"),
    ("tcpdump", "tcpdump"),
    ("ethtool", "ethtool"),
    ("ping", "iputils-ping"),
    ("valgrind", "valgrind"),
    ("python3", "python3"),
];

/// A header that the build needs, and the Debian package that has it with its library.
const HEADERS: [(&str, &str); 1] = [("/usr/include/pcap/pcap.h", "libpcap-dev")];

/// Where system programs are; root's PATH may lack the sbin directories.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Longest time that one apt-get may take.
const APT_SECONDS: &str = "600";

/// Installs what is missing when root, and says what is missing when not.
///
/// # Errors
/// Something is missing and cannot be had; one sentence says what to do.
pub fn ensure() -> anyhow::Result<()> {
    ensure_all(&missing(&PROGRAMS, &is_installed), &missing_headers())
}

/// As [`ensure`], for what the build alone needs.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_headers() -> anyhow::Result<()> {
    ensure_all(&[], &missing_headers())
}

fn ensure_all(programs: &[&'static str], headers: &[&'static str]) -> anyhow::Result<()> {
    let missing = [programs, headers].concat();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_root() {
        bail!("missing Debian packages: {packages}; run `apt-get install {packages}` as root first");
    }
    println!("installing {packages}");
    install(&missing).with_context(|| format!("missing Debian packages: {packages}"))
}

/// Installs a program that not everything needs, if it is not there.
///
/// # Errors
/// It cannot be had; one sentence says why.
pub fn offer(program: &str, package: &'static str) -> anyhow::Result<()> {
    if is_installed(program) {
        return Ok(());
    }
    if !is_root() {
        bail!("the Debian package {package} is not installed");
    }
    install(&[package]).with_context(|| format!("the Debian package {package} cannot be had"))
}

/// Installs what a test compares us with, if its header is not there.
///
/// # Errors
/// It cannot be had; the test then says that it was left out.
pub fn offer_header(header: &str, package: &'static str) -> anyhow::Result<()> {
    if Path::new(header).exists() {
        return Ok(());
    }
    if !is_root() {
        bail!("the Debian package {package} is not installed");
    }
    install(&[package]).with_context(|| format!("the Debian package {package} cannot be had"))
}

/// Whether this process may do everything; by whom its folder in /proc belongs to, which is its effective user.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn missing_headers() -> Vec<&'static str> {
    missing(&HEADERS, &|header| Path::new(header).exists())
}

fn missing(wanted: &[(&'static str, &'static str)], is_there: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let absent = wanted.iter().filter(|(name, _)| !is_there(name));
    let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path);
    own.chain(DIRECTORIES.map(Into::into)).any(|directory| directory.join(program).is_file())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    run::run(&mut apt_get(&["update"]))?;
    let mut install = apt_get(&["install", "--yes", "--no-install-recommends"]);
    run::run(install.args(packages))
}

/// An `apt-get` that asks nothing, waits for another one to finish, and ends in bounded time.
fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args([APT_SECONDS, "apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        assert_eq!(missing(&PROGRAMS, &|_| true), [""; 0]);
        assert_eq!(missing(&HEADERS, &|_| false), ["libpcap-dev"]);
        let has_only_tcpdump = |program: &str| program == "tcpdump";
        assert_eq!(
            missing(&PROGRAMS, &has_only_tcpdump),
            ["iproute2", "nftables", "iperf3", "ethtool", "iputils-ping", "valgrind", "python3"]
        );
    }
}
