//! Unmodified iperf3 over TCP from one guest to the other; the rate is what arrived, as the receiver counts it.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::super::busy;
use super::super::ground::{Ground, Subject};
use super::CONGESTION_CONTROL;
use crate::{interrupt, iperf3};

const PORT: u16 = 5201;
/// For both ends to end, beyond the length.
const PATIENCE: Duration = Duration::from_secs(10);
/// iperf3 wants an end; a stream in the background is ended before.
const FOREVER: Duration = Duration::from_secs(3600);

/// What one run gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) gbits_per_second: f64,
    /// Of all processors, while the run lasted.
    pub(crate) cpu_seconds_per_gb: f64,
}

/// Both ends of one iperf3 test.
struct Ends {
    server: Child,
    client: Child,
}

/// A stream that takes what it gets until it is ended.
pub(crate) struct Background(Ends);

/// Runs so many streams of one iperf3 process.
///
/// # Errors
/// If iperf3 fails, or nothing arrives.
pub(crate) fn run(
    ground: &Ground,
    subject: &Subject,
    streams: usize,
    length: Duration,
) -> anyhow::Result<Run> {
    let before = busy::machine_seconds()?;
    let mut ends = Ends::start(ground, subject, streams, length)?;
    let ended = interrupt::wait_for("the end of iperf3", length + PATIENCE, || Ok(ends.client.try_wait()?));
    let worked = busy::machine_seconds()? - before;
    ends.end()?;
    ended?;
    let text = std::fs::read_to_string(report(ground, "client")).context("read what iperf3 reports")?;
    read(&serde_json::from_str(&text).unwrap_or_default(), worked)
}

impl Background {
    /// Starts it.
    ///
    /// # Errors
    /// If iperf3 cannot be started.
    pub(crate) fn start(ground: &Ground, subject: &Subject) -> anyhow::Result<Self> {
        Ok(Self(Ends::start(ground, subject, 1, FOREVER)?))
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let ended = self.0.client.try_wait().context("look after iperf3")?;
        self.0.end()?;
        match ended {
            Some(status) => bail!("the stream beside the round trips ended: {status}"),
            None => Ok(()),
        }
    }
}

impl Ends {
    fn start(ground: &Ground, subject: &Subject, streams: usize, length: Duration) -> anyhow::Result<Self> {
        let server = iperf3::serve(ground.lab(), &subject.to, PORT, &report(ground, "server"))?;
        let mut command = iperf3::command(PORT, &report(ground, "client"))?;
        command.args(["--client", &subject.at.to_string(), "--time", &length.as_secs().to_string()]);
        command.args(["--parallel", &streams.to_string(), "--connect-timeout", "2000"]);
        command.args(["--congestion", CONGESTION_CONTROL]);
        Ok(Self { client: ground.lab().spawn(&subject.from, &mut command)?, server })
    }

    /// One that has ended already cannot be killed; one that has not would be in the way of the next run.
    fn end(&mut self) -> anyhow::Result<()> {
        for end in [&mut self.client, &mut self.server] {
            let _ = end.kill();
            end.wait().context("wait for iperf3")?;
        }
        Ok(())
    }
}

fn report(ground: &Ground, end: &str) -> PathBuf {
    ground.files().join(format!("iperf3-{end}.json"))
}

fn read(report: &Value, worked: f64) -> anyhow::Result<Run> {
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let received = &report["end"]["sum_received"];
    let rate = received["bits_per_second"].as_f64().context("iperf3 reports no rate")?;
    let bytes = received["bytes"].as_f64().filter(|bytes| *bytes > 0.0).context("nothing arrived")?;
    Ok(Run { gbits_per_second: rate / 1e9, cpu_seconds_per_gb: worked / (bytes / 1e9) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_receiver_counted_is_what_counts() {
        let report = json!({ "end": {
            "sum_sent": { "bytes": 9_000_000_000_u64, "bits_per_second": 9e9 },
            "sum_received": { "bytes": 2_000_000_000_u64, "bits_per_second": 8e9 } } });
        let run = read(&report, 3.0).unwrap();
        assert_eq!(run, Run { gbits_per_second: 8.0, cpu_seconds_per_gb: 1.5 });
    }

    #[test]
    fn an_error_and_an_empty_run_are_no_figures() {
        let error = read(&json!({ "error": "unable to connect" }), 1.0).unwrap_err();
        assert!(error.to_string().contains("unable to connect"));
        let none = json!({ "end": { "sum_received": { "bytes": 0, "bits_per_second": 0.0 } } });
        assert!(read(&none, 1.0).is_err());
        assert!(read(&Value::Null, 1.0).is_err());
    }
}
