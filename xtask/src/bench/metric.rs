//! What can be measured: names, units, and which way is better.

use serde::{Deserialize, Serialize};

/// A measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// TCP payload that arrived, in Gbit/s, over one stream.
    Tcp1,
    /// The same over four streams of one iperf3 process, which Debian 12's runs on one thread.
    Tcp4,
    /// Datagrams of 64 bytes of payload that arrived per second, in thousands.
    Small,
    /// Share of the small datagrams that were sent and never arrived, in percent.
    SmallLost,
    /// TCP payload that arrived, in Gbit/s, four flows at a time that go over all guests in turn.
    SpreadTcp,
    /// Like [`Self::Small`], each batch from and to another guest.
    SpreadSmall,
    /// Guests that moved from one interface to another per second; each changes the rules.
    Moves,
    /// Rule sets that were put in force on a node per second; each has all changes since the last.
    Revisions,
    /// Median round trip of a small datagram, in µs.
    RoundTripP50,
    /// 99 of 100 round trips are shorter, in µs.
    RoundTripP99,
    /// 999 of 1,000 round trips are shorter, in µs.
    RoundTripP999,
    /// Processor seconds of the whole machine, guests' kernel and iperf3 included, per GB of one TCP stream.
    CpuPerGb,
    /// Largest resident set of a daemon, in MiB.
    MemoryPeak,
    /// Processor time of a subject's processes while nothing is sent, in percent of one processor.
    IdleCpu,
    /// Time of one frame in the forwarding core, in ns.
    FrameTime,
    /// Frames that the forwarding core takes per second, in millions.
    FrameRate,
    /// Time until new rules are in force on a worker, in ns.
    Install,
    /// Heap allocations while frames were forwarded.
    Allocations,
    /// Memory that the forwarding state of one worker, or the lead's inference, holds, in MiB.
    StateMemory,
    /// What a plan comes to, in percent of the exact optimum: the median over instances.
    OptimumMedian,
    /// The same at the 5th percentile.
    OptimumP5,
    /// The same of the worst instance.
    OptimumLeast,
    /// What a plan gains over the star alone, in percent of what could be gained: the median over instances.
    GainMedian,
    /// The same at the 5th percentile.
    GainP5,
    /// Instances whose plan is worth less than the star alone.
    BelowStar,
    /// Patterns that were recognised, in percent of trials.
    Recognised,
    /// Random graphs that were given a name, in percent of trials.
    FalseNames,
    /// Time to merge one report of a node, in µs.
    Merge,
    /// Time to infer once, in ms.
    Infer,
    /// Time to plan once, in ms.
    Plan,
    /// Time to merge all reports of one interval, infer and plan, in ms.
    Interval,
}

impl Metric {
    /// What a person calls it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Tcp1 => "TCP, 1 stream",
            Self::Tcp4 => "TCP, 4 streams",
            Self::Small => "64-byte datagrams",
            Self::SmallLost => "64-byte datagrams lost",
            Self::SpreadTcp => "TCP over all",
            Self::SpreadSmall => "64-byte datagrams over all",
            Self::Moves => "guests that move",
            Self::Revisions => "rule sets installed",
            Self::RoundTripP50 => "round trip p50",
            Self::RoundTripP99 => "round trip p99",
            Self::RoundTripP999 => "round trip p99.9",
            Self::CpuPerGb => "CPU per GB",
            Self::MemoryPeak => "memory peak",
            Self::IdleCpu => "CPU when idle",
            Self::FrameTime => "time per frame",
            Self::FrameRate => "frames per second",
            Self::Install => "time to install",
            Self::Allocations => "heap allocations",
            Self::StateMemory => "memory held",
            Self::OptimumMedian => "of the optimum, median",
            Self::OptimumP5 => "of the optimum, 5th percentile",
            Self::OptimumLeast => "of the optimum, least",
            Self::GainMedian => "of the possible gain, median",
            Self::GainP5 => "of the possible gain, 5th percentile",
            Self::BelowStar => "plans under the star",
            Self::Recognised => "recognised",
            Self::FalseNames => "false names",
            Self::Merge => "time per report",
            Self::Infer => "time to infer",
            Self::Plan => "time to plan",
            Self::Interval => "time per interval",
        }
    }

    /// Whether a ratio to a baseline says anything: not of what is mostly zero.
    pub(crate) fn has_ratio(self) -> bool {
        !matches!(
            self,
            Self::SmallLost
                | Self::IdleCpu
                | Self::Allocations
                | Self::Moves
                | Self::Revisions
                | Self::OptimumMedian
                | Self::OptimumP5
                | Self::OptimumLeast
                | Self::GainMedian
                | Self::GainP5
                | Self::BelowStar
                | Self::Recognised
                | Self::FalseNames
        )
    }

    /// Its unit.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Tcp1 | Self::Tcp4 | Self::SpreadTcp => "Gbit/s",
            Self::Small | Self::SpreadSmall => "k/s",
            Self::Moves | Self::Revisions => "/s",
            Self::OptimumMedian | Self::OptimumP5 | Self::OptimumLeast => "%",
            Self::GainMedian | Self::GainP5 => "%",
            Self::SmallLost | Self::IdleCpu | Self::Recognised | Self::FalseNames => "%",
            Self::RoundTripP50 | Self::RoundTripP99 | Self::RoundTripP999 | Self::Merge => "µs",
            Self::Infer | Self::Plan | Self::Interval => "ms",
            Self::CpuPerGb => "s",
            Self::MemoryPeak | Self::StateMemory => "MiB",
            Self::FrameTime | Self::Install => "ns",
            Self::FrameRate => "M/s",
            Self::Allocations | Self::BelowStar => "",
        }
    }
}
