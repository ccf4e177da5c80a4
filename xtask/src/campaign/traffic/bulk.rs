//! iperf3 over TCP, one course after the other: one stream and four, IPv4 and IPv6, at a bounded rate so that the
//! rest gets processors too, and now and then as fast as it goes.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

use super::{Talk, Way};
use crate::{interrupt, iperf3};

const FIRST_PORT: u16 = 5201;
/// For both ends to end, beyond the length.
const PATIENCE: Duration = Duration::from_secs(20);
/// A course shorter than this is left out.
const SHORTEST: Duration = Duration::from_secs(2);

/// One run of iperf3.
struct Course {
    name: &'static str,
    streams: u32,
    is_v6: bool,
    /// Of each stream, as iperf3 reads it.
    rate: Option<&'static str>,
    seconds: u64,
}

const COURSES: [Course; 6] = [
    Course { name: "1 stream", streams: 1, is_v6: false, rate: Some("200M"), seconds: 8 },
    Course { name: "4 streams", streams: 4, is_v6: false, rate: Some("50M"), seconds: 8 },
    Course { name: "IPv6, 1 stream", streams: 1, is_v6: true, rate: Some("200M"), seconds: 6 },
    Course { name: "1 stream, unlimited", streams: 1, is_v6: false, rate: None, seconds: 3 },
    Course { name: "IPv6, 4 streams", streams: 4, is_v6: true, rate: Some("50M"), seconds: 6 },
    Course { name: "4 streams, unlimited", streams: 4, is_v6: false, rate: None, seconds: 3 },
];

/// All runs of one course in one direction.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lane {
    pub(crate) way: &'static str,
    pub(crate) course: &'static str,
    pub(crate) runs: u64,
    /// As the receiver counts them.
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) retransmits: u64,
    /// Why runs failed.
    pub(crate) failures: Vec<String>,
}

/// Runs courses in one direction for as long as there is time.
///
/// # Errors
/// If files cannot be written or a signal came. A run that fails is told in its lane.
pub(crate) fn run(talk: &Talk, way: Way) -> anyhow::Result<Vec<Lane>> {
    let lane = |course: &Course| Lane {
        way: way.name(),
        course: course.name,
        runs: 0,
        bytes: 0,
        seconds: 0.0,
        retransmits: 0,
        failures: Vec::new(),
    };
    let mut lanes: Vec<_> = COURSES.iter().map(lane).collect();
    // The two directions are half a round apart, so that bursts meet bounded streams more often than each other.
    let offset = if way == Way::AToB { 0 } else { COURSES.len() / 2 };
    let mut nth = offset;
    while talk.goes_on() && talk.left() >= SHORTEST {
        let course = &COURSES[nth % COURSES.len()];
        let lane = &mut lanes[nth % COURSES.len()];
        let length = Duration::from_secs(course.seconds).min(talk.left());
        match drive(talk, way, course, length) {
            Ok(report) => lane.add(&report),
            Err(error) => {
                interrupt::check()?;
                lane.failures.push(format!("{error:#}"));
            }
        }
        nth += 1;
    }
    lanes.retain(|lane| lane.runs > 0 || !lane.failures.is_empty());
    Ok(lanes)
}

fn drive(talk: &Talk, way: Way, course: &Course, length: Duration) -> anyhow::Result<Value> {
    let (from, to) = talk.ends(way);
    let port = way.port(FIRST_PORT);
    let file = |end: &str| talk.files.join(format!("bulk-{}-{end}.json", way.name()));
    let mut server = iperf3::serve(talk.lab, &to.guest, port, &file("server"))?;
    let mut command = iperf3::command(port, &file("client"))?;
    command.args(["--client", &to.address(course.is_v6).to_string(), "--connect-timeout", "5000"]);
    command.args(["--time", &length.as_secs().max(1).to_string(), "--parallel", &course.streams.to_string()]);
    command.args(course.rate.iter().flat_map(|rate| ["--bitrate", rate]));
    let mut client = talk.lab.spawn(&from.guest, &mut command)?;
    let ended = interrupt::wait_for("the end of iperf3", length + PATIENCE, || Ok(client.try_wait()?));
    for end in [&mut client, &mut server] {
        // One that has ended already cannot be killed.
        let _ = end.kill();
        end.wait().context("wait for iperf3")?;
    }
    ended?;
    let text = std::fs::read_to_string(file("client")).context("read what iperf3 reports")?;
    let report: Value = serde_json::from_str(&text).context("read what iperf3 reports")?;
    match report["error"].as_str() {
        Some(error) => bail!("iperf3: {error}"),
        None => Ok(report),
    }
}

impl Lane {
    fn add(&mut self, report: &Value) {
        let end = &report["end"];
        self.runs += 1;
        self.bytes += end["sum_received"]["bytes"].as_u64().unwrap_or(0);
        self.seconds += end["sum_received"]["seconds"].as_f64().unwrap_or(0.0);
        self.retransmits += end["sum_sent"]["retransmits"].as_u64().unwrap_or(0);
    }

    /// Mean rate at the receiver.
    pub(crate) fn mbits_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 * 8.0 / 1e6 / self.seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn runs_of_a_lane_add_up() {
        let mut lane = Lane {
            way: "a-b",
            course: "1 stream",
            runs: 0,
            bytes: 0,
            seconds: 0.0,
            retransmits: 0,
            failures: Vec::new(),
        };
        let report = json!({ "end": { "sum_received": { "bytes": 1_000_000, "seconds": 2.0 },
            "sum_sent": { "retransmits": 3 } } });
        lane.add(&report);
        lane.add(&report);
        assert_eq!((lane.runs, lane.bytes, lane.retransmits), (2, 2_000_000, 6));
        assert_eq!(lane.mbits_per_second(), 4.0);
    }
}
