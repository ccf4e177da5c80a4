//! Competing traffic: what fills the commodity network beside the guests' own, unmodified iperf3 between two hosts.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vreserve_testbed::Lab;

use super::setting::Rivals;
use crate::{interrupt, iperf3};

/// TCP streams that each take what they get.
const STREAMS: &str = "8";
const TCP_PORT: u16 = 5301;
/// And a UDP stream that yields to nobody. What it leaves of 98 Mbit/s, less 3 of the pair's own UDP and gauge, is shared
/// by nine TCP streams: 4 Mbit/s each, so that the pair has 7 of the 40 that it is to be promised.
const UDP_PORT: u16 = 5302;
const UDP_RATE: &str = "60M";
const UDP_LENGTH: &str = "1400";
/// iperf3 wants an end; we end it before.
const AT_MOST_SECONDS: &str = "600";
/// For an end to write its report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running streams.
pub(crate) struct Competition {
    clients: Vec<Child>,
    servers: Vec<Child>,
}

impl Competition {
    /// Starts them; reports go to files in `folder`.
    ///
    /// # Errors
    /// If iperf3 cannot be started or its server does not listen.
    pub(crate) fn start(lab: &Lab, rivals: Rivals, at: Ipv4Addr, folder: &Path) -> anyhow::Result<Self> {
        let mut competition = Self { clients: Vec::new(), servers: Vec::new() };
        let udp = ["--udp", "--bitrate", UDP_RATE, "--length", UDP_LENGTH];
        let streams: [(&str, u16, &[&str]); 2] = [
            ("rival-tcp", TCP_PORT, &["--parallel", STREAMS, "--congestion", "cubic"]),
            ("rival-udp", UDP_PORT, &udp),
        ];
        for (name, port, arguments) in streams {
            let server = iperf3::serve(lab, rivals.to, port, &folder.join(format!("{name}-server.json")))?;
            competition.servers.push(server);
            let mut command = iperf3::command(port, &folder.join(format!("{name}-client.json")))?;
            command.args(["--client", &at.to_string(), "--time", AT_MOST_SECONDS]).args(arguments);
            competition.clients.push(lab.spawn(rivals.from, &mut command)?);
        }
        Ok(competition)
    }

    /// Fails if a stream has ended by itself: then nothing competes.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for client in &mut self.clients {
            if let Some(status) = client.try_wait()? {
                anyhow::bail!("competing traffic ended by itself: {status}");
            }
        }
        Ok(())
    }

    /// Ends them, as a person would.
    ///
    /// # Errors
    /// If an end does not end.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        for client in &self.clients {
            // One that has ended by itself needs no signal.
            let _ = kill(Pid::from_raw(client.id().cast_signed()), Signal::SIGINT);
        }
        for end in self.clients.iter_mut().chain(&mut self.servers) {
            interrupt::wait_for("the end of competing traffic", PATIENCE, || Ok(end.try_wait()?))?;
        }
        Ok(())
    }
}
