//! What guests are made to do while it is measured how well they do it.

mod round_trip;
mod small;
mod spread;
mod tcp;

use std::time::Duration;

use super::ground::{Ground, Subject};
use super::metric::Metric;
use round_trip::Pace;

/// Of every stream: Debian's default, whatever this machine is set to. One that paces would show its own timers.
const CONGESTION_CONTROL: &str = "cubic";

/// Something that two guests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One TCP stream of iperf3.
    Tcp1,
    /// Four.
    Tcp4,
    /// As many small datagrams as one processor can send.
    Small,
    /// Four TCP flows at a time that go over all guests of the subject in turn.
    SpreadTcp,
    /// As [`Self::Small`], each batch from and to another guest.
    SpreadSmall,
    /// A small datagram there and back, the next when it is back.
    RoundTrip,
    /// The same with a pause of a millisecond before each, in which everything goes to sleep.
    PacedRoundTrip,
    /// The same as [`Self::RoundTrip`] beside a TCP stream that takes what it gets.
    BusyRoundTrip,
}

/// Long enough for every processor and every thread on the way to go to sleep.
const PAUSE: Duration = Duration::from_millis(1);

impl Load {
    /// Its name for `--only`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp1",
            Self::Tcp4 => "tcp4",
            Self::Small => "small",
            Self::SpreadTcp => "spread-tcp",
            Self::SpreadSmall => "spread-small",
            Self::RoundTrip => "rtt",
            Self::PacedRoundTrip => "paced",
            Self::BusyRoundTrip => "busy",
        }
    }

    /// What it adds to the name of a setting, where the same is measured under other conditions.
    pub(crate) fn condition(self) -> &'static str {
        match self {
            Self::PacedRoundTrip => ", after a pause",
            Self::BusyRoundTrip => ", beside TCP",
            _ => "",
        }
    }

    /// Does it for so long and measures.
    ///
    /// # Errors
    /// If nothing arrives.
    pub(crate) fn run(
        self,
        ground: &Ground,
        subject: &Subject,
        length: Duration,
    ) -> anyhow::Result<Vec<(Metric, f64)>> {
        match self {
            Self::Tcp1 => {
                let run = tcp::run(ground, subject, 1, length)?;
                Ok(vec![(Metric::Tcp1, run.gbits_per_second), (Metric::CpuPerGb, run.cpu_seconds_per_gb)])
            }
            Self::Tcp4 => {
                let run = tcp::run(ground, subject, 4, length)?;
                Ok(vec![(Metric::Tcp4, run.gbits_per_second)])
            }
            Self::Small => {
                let run = small::run(ground.lab(), subject, length)?;
                Ok(vec![
                    (Metric::Small, run.received_per_second / 1e3),
                    (Metric::SmallLost, run.lost_percent),
                ])
            }
            Self::SpreadTcp => {
                let rate = spread::tcp(ground.lab(), subject, length)?;
                Ok(vec![(Metric::SpreadTcp, rate)])
            }
            Self::SpreadSmall => {
                let run = small::run(ground.lab(), subject, length)?;
                Ok(vec![
                    (Metric::SpreadSmall, run.received_per_second / 1e3),
                    (Metric::SmallLost, run.lost_percent),
                ])
            }
            Self::RoundTrip => round_trip::run(ground.lab(), subject, length, Pace::Continuous),
            Self::PacedRoundTrip => round_trip::run(ground.lab(), subject, length, Pace::Paced(PAUSE)),
            Self::BusyRoundTrip => {
                let stream = tcp::Background::start(ground, subject)?;
                let figures = round_trip::run(ground.lab(), subject, length, Pace::Continuous);
                stream.end()?;
                figures
            }
        }
    }
}
