//! Unmodified iperf3 in a lab's guests: the server, and the command that both ends are started with.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use vreserve_testbed::Lab;

use crate::interrupt;

/// For a server to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server for one test, once it listens.
///
/// # Errors
/// If it cannot be started or does not listen.
pub(crate) fn serve(lab: &Lab, guest: &str, port: u16, report: &Path) -> anyhow::Result<Child> {
    let server = lab.spawn(guest, command(port, report)?.args(["--server", "--one-off"]))?;
    wait_until_listening(lab, guest, port)?;
    Ok(server)
}

/// Waits until somebody in a guest listens on a TCP port.
///
/// # Errors
/// If nobody does in time.
pub(crate) fn wait_until_listening(lab: &Lab, guest: &str, port: u16) -> anyhow::Result<()> {
    interrupt::wait_for("a server that listens", PATIENCE, || {
        let tables = lab.inside(guest, || {
            let of = |table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            of("tcp").unwrap_or_default() + &of("tcp6").unwrap_or_default()
        })?;
        Ok(is_listening(&tables, port).then_some(()))
    })
}

/// An iperf3 that writes its report as JSON.
///
/// # Errors
/// If the report cannot be created.
pub(crate) fn command(port: u16, report: &Path) -> anyhow::Result<Command> {
    let file = std::fs::File::create(report).with_context(|| format!("create {}", report.display()))?;
    let mut command = Command::new("iperf3");
    command.args(["--json", "--port", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
    Ok(command)
}

/// Whether the kernel's socket table has a listener (state 0A) on the port.
fn is_listening(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_on_the_very_port_counts() {
        let table = "  sl  local_address rem_address   st\n\
                     0: 00000000:1451 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:1452 0100007F:0016 01 00000000:00000000\n";
        assert!(is_listening(table, 5201));
        assert!(!is_listening(table, 5202));
        assert!(!is_listening("", 5201));
    }
}
