//! Unmodified iperf3 between two guests: a TCP stream that takes what it gets, and a slow UDP stream beside it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vreserve_testbed::Lab;

use crate::{interrupt, iperf3};

/// The socket buffers of the TCP stream, which bound what it has under way.
///
/// Less than half of what the commodity network buffers (2 MiB) and fewer segments than a TAP queues (500),
/// so that not a single frame is dropped on the star and a loss can only be the cut-over's; and enough for
/// 1 Gbit/s over the lightpath at a round trip of 3 ms. 208 KiB is also what any Debian user gets
/// (`net.core.wmem_max`); the kernel books twice as much.
const WINDOW: &str = "208K";
/// Payload of a UDP datagram: fits the guests' MTU of 1400.
const UDP_LENGTH: &str = "1200";
/// iperf3 wants an end; we end it before.
const AT_MOST_SECONDS: &str = "600";
const TCP_PORT: u16 = 5201;
const UDP_PORT: u16 = 5202;
/// For each end to write its report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running streams.
pub(crate) struct Traffic {
    tcp: Stream,
    udp: Stream,
}

struct Stream {
    server: Child,
    client: Child,
    server_report: PathBuf,
    client_report: PathBuf,
}

/// What iperf3 itself reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reports {
    /// Segments that TCP sent again.
    pub(crate) tcp_retransmits: Option<u64>,
    /// UDP datagrams at the receiver: expected, lost, out of order.
    pub(crate) udp_datagrams: Option<u64>,
    pub(crate) udp_lost: Option<u64>,
    pub(crate) udp_out_of_order: Option<u64>,
}

impl Traffic {
    /// Starts both streams, UDP at a rate in iperf3's words; reports go to files in `folder`.
    ///
    /// # Errors
    /// If iperf3 cannot be started or its server does not listen.
    pub(crate) fn start(
        lab: &Lab,
        from: &str,
        to: &str,
        at: Ipv4Addr,
        udp_rate: &str,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let tcp_server = iperf3::serve(lab, to, TCP_PORT, &folder.join("tcp-server.json"))?;
        let udp_server = iperf3::serve(lab, to, UDP_PORT, &folder.join("udp-server.json"))?;
        let start = |server, name: &str, port, arguments: &[&str]| {
            let client_report = folder.join(format!("{name}-client.json"));
            let mut command = iperf3::command(port, &client_report)?;
            command.args(["--client", &at.to_string(), "--time", AT_MOST_SECONDS]).args(arguments);
            let server_report = folder.join(format!("{name}-server.json"));
            let client = lab.spawn(from, &mut command)?;
            anyhow::Ok(Stream { server, client, server_report, client_report })
        };
        // Debian's default congestion control, named so that another default does not change the figures.
        let tcp = start(tcp_server, "tcp", TCP_PORT, &["--window", WINDOW, "--congestion", "cubic"])?;
        let udp_arguments = ["--udp", "--bitrate", udp_rate, "--length", UDP_LENGTH];
        Ok(Self { tcp, udp: start(udp_server, "udp", UDP_PORT, &udp_arguments)? })
    }

    /// Fails if a client has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for stream in [&mut self.tcp, &mut self.udp] {
            if let Some(status) = stream.client.try_wait().context("look after iperf3")? {
                let report = std::fs::read_to_string(&stream.client_report).unwrap_or_default();
                let reason = error_of(&report).unwrap_or_else(|| status.to_string());
                anyhow::bail!("iperf3 ended by itself: {reason}");
            }
        }
        Ok(())
    }

    /// Interrupts both clients, as a person would, so that both ends write their reports.
    pub(crate) fn interrupt(&self) {
        for stream in [&self.tcp, &self.udp] {
            // One that has ended by itself needs no signal.
            let _ = kill(Pid::from_raw(stream.client.id().cast_signed()), Signal::SIGINT);
        }
    }

    /// Waits for both ends and reads what they report.
    ///
    /// # Errors
    /// If an end does not end.
    pub(crate) fn finish(mut self) -> anyhow::Result<Reports> {
        for stream in [&mut self.tcp, &mut self.udp] {
            for end in [&mut stream.client, &mut stream.server] {
                interrupt::wait_for("the end of iperf3", PATIENCE, || Ok(end.try_wait()?))?;
            }
        }
        Ok(reports(&read(&self.tcp.client_report), &read(&self.udp.server_report)))
    }
}

fn read(report: &Path) -> Value {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn error_of(report: &str) -> Option<String> {
    let report: Value = serde_json::from_str(report).ok()?;
    Some(report["error"].as_str()?.to_owned())
}

fn reports(tcp_client: &Value, udp_server: &Value) -> Reports {
    let udp = &udp_server["end"]["streams"][0]["udp"];
    Reports {
        tcp_retransmits: tcp_client["end"]["sum_sent"]["retransmits"].as_u64(),
        udp_datagrams: udp["packets"].as_u64(),
        udp_lost: udp["lost_packets"].as_u64(),
        udp_out_of_order: udp["out_of_order"].as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_tests_reports_are_read() {
        let tcp = serde_json::json!({ "error": "interrupt - the client has terminated",
            "end": { "sum_sent": { "retransmits": 3 } } });
        let udp = serde_json::json!({ "end": { "streams": [
            { "udp": { "packets": 1569, "lost_packets": 2, "out_of_order": 1 } }] } });
        let expected = Reports {
            tcp_retransmits: Some(3),
            udp_datagrams: Some(1569),
            udp_lost: Some(2),
            udp_out_of_order: Some(1),
        };
        assert_eq!(reports(&tcp, &udp), expected);
        assert_eq!(reports(&Value::Null, &Value::Null), Reports::default());
    }
}
