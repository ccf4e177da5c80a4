//! Leaving a test out where it cannot run, visibly.

use std::io::Write;
use std::path::Path;

use nix::unistd::geteuid;

const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether the test must be left out: not root, no TUN, or a tool is missing. Says so on standard output,
/// past the capture of the test runner.
#[must_use]
pub fn is_skipped(test: &str, tools: &[&str]) -> bool {
    let Some(reason) = reason(tools) else { return false };
    // Written to the stream itself: the runner captures only what the print macros write.
    let _ = writeln!(std::io::stdout(), "SKIPPED: {test}: {reason}");
    true
}

fn reason(tools: &[&str]) -> Option<String> {
    if !geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun".to_owned());
    }
    let mut needed = ["ip", "tc"].iter().chain(tools);
    let missing = needed.find(|tool| !is_installed(tool))?;
    Some(format!("{missing} is not installed"))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path);
    own.chain(DIRECTORIES.map(Into::into)).any(|directory| directory.join(program).is_file())
}
