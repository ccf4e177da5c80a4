//! What a phase of mixed traffic found, and whether it is as it must be.

use std::collections::BTreeMap;

use serde::Serialize;

use super::check::Check;
use super::counters::{Counts, is_drop, is_wrong_checksum};
use super::record::Part;
use super::sample::Sampled;
use super::tables;
use super::traffic::{bulk, numbered, pings, tls, typing};

/// Kernel counters of TCP segments that came in another order than they were sent in.
pub(super) const TCP_REORDER: [&str; 3] =
    ["TcpExt.TCPSACKReorder", "TcpExt.TCPTSReorder", "TcpExt.TCPRenoReorder"];
/// Headers that a kernel could not read.
const WRONG_HEADERS: [&str; 2] = ["Ip.InHdrErrors", "Ip6.InHdrErrors"];

/// One pair over one underlay.
#[derive(Debug, Serialize)]
pub(super) struct Phase {
    pub(super) far: &'static str,
    pub(super) underlay: &'static str,
    pub(super) seconds: u64,
    pub(super) checks: Vec<Check>,
    #[serde(flatten)]
    pub(super) findings: Findings,
}

/// Everything that was seen in a phase.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    pub(super) bulk: Vec<bulk::Lane>,
    pub(super) numbered: Vec<numbered::Flow>,
    pub(super) typing: Vec<typing::Typing>,
    pub(super) downloads: Vec<tls::Downloads>,
    pub(super) pings: Vec<pings::Pings>,
    pub(super) jumbo: pings::Jumbo,
    /// By the place where they were taken.
    pub(super) samples: BTreeMap<String, Sampled>,
    /// What moved, by member.
    pub(super) counters: BTreeMap<String, Counts>,
    /// Traffic that ended before its time.
    pub(super) broken: Vec<String>,
}

impl Phase {
    /// Holds what was found against what must be.
    pub(super) fn judge(far: &'static str, underlay: &'static str, seconds: u64, findings: Findings) -> Self {
        Self { far, underlay, seconds, checks: findings.checks(), findings }
    }
}

impl Part for Phase {
    fn name(&self) -> String {
        format!("{}/{}", self.far, self.underlay)
    }

    fn checks(&self) -> &[Check] {
        &self.checks
    }

    fn details(&self) -> String {
        tables::of(self)
    }
}

impl Findings {
    /// The sum of all members' counters that are of a kind.
    fn sum(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        let all = self.counters.values().flatten();
        all.filter(|(name, _)| is_meant(name)).map(|(_, value)| value).sum()
    }

    /// Reordering as TCP senders found it out: a hole that was filled without a retransmission.
    fn tcp_reordered(&self) -> u64 {
        self.sum(|name| TCP_REORDER.contains(&name))
    }

    /// Counters of what was thrown away, by member and counter.
    pub(super) fn drops(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.counters.iter().flat_map(|(member, counts)| {
            let drops = counts.iter().filter(|(name, _)| is_drop(name));
            drops.map(move |(name, value)| (member.as_str(), name.as_str(), *value))
        })
    }

    fn checks(&self) -> Vec<Check> {
        let flows = |count: fn(&numbered::Flow) -> u64| self.numbered.iter().map(count).sum::<u64>();
        let spots = |count: fn(&Sampled) -> u64| self.samples.values().map(count).sum::<u64>();
        let pinged = |count: fn(&pings::Pings) -> u64| self.pings.iter().map(count).sum::<u64>();
        // Pings too large for their way are thrown away on purpose.
        let dropped = self.drops().map(|(_, _, count)| count).sum::<u64>().saturating_sub(self.jumbo.sent);
        let underlay_partial = self.samples.get("underlay").map_or(0, |sampled| sampled.partial);
        let whole = self.downloads.iter().map(|one| one.whole).sum::<usize>() as u64;
        let failed = self.downloads.iter().map(|one| one.failures.len()).sum::<usize>() as u64;
        let echoes = self.typing.iter().map(|typing| typing.echoes).min().unwrap_or(0) as u64;
        let bad_echoes = self.typing.iter().map(|typing| typing.stalls + typing.wrong).sum::<usize>() as u64;
        let failed_runs = self.bulk.iter().map(|lane| lane.failures.len()).sum::<usize>() as u64;
        vec![
            Check::none("wrong checksums, as the kernels count them", self.sum(is_wrong_checksum)),
            Check::none(
                "headers that a kernel could not read",
                self.sum(|name| WRONG_HEADERS.contains(&name)),
            ),
            Check::some("frames sampled whose checksums are right", spots(|one| one.right)),
            Check::none("frames sampled with a wrong checksum", spots(|one| one.wrong + one.malformed)),
            Check::none("datagrams sampled on the underlay with an unfinished checksum", underlay_partial),
            Check::some("numbered datagrams sent", flows(|flow| flow.tally.sent)),
            Check::none("numbered datagrams overtaken", flows(|flow| flow.tally.reordered)),
            Check::none("numbered datagrams duplicated", flows(|flow| flow.tally.duplicated)),
            Check::none("numbered datagrams altered", flows(|flow| flow.tally.altered)),
            Check::at_most(
                "losses of numbered datagrams, of which a counter tells",
                flows(numbered::Flow::least_drops),
                dropped,
            ),
            Check::none("TCP segments overtaken, as senders found out", self.tcp_reordered()),
            Check::some("runs of iperf3", self.bulk.iter().map(|lane| lane.runs).sum()),
            Check::none("runs of iperf3 that failed", failed_runs),
            Check::some("downloads over TLS with the right SHA-256", whole),
            Check::none("downloads over TLS that failed", failed),
            Check::some("echoes to the one who types less", echoes),
            Check::none("echoes that were wrong or took 2 s", bad_echoes),
            Check::some("pings answered", pinged(|pings| pings.received)),
            Check::none(
                "pings answered twice or with other octets",
                pinged(|pings| pings.duplicated + pings.altered),
            ),
            Check::some("pings that are too large and were told so", self.jumbo.told),
            Check::none("kinds of traffic that broke off", self.broken.len() as u64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::track::Tally;
    use super::*;

    fn missed(findings: Findings) -> Vec<&'static str> {
        let phase = Phase::judge("kernel-vxlan", "wire", 1, findings);
        phase.checks.iter().filter(|check| !check.holds).map(|check| check.what).collect()
    }

    fn counted(name: &str, times: u64) -> BTreeMap<String, Counts> {
        BTreeMap::from([("b".to_owned(), Counts::from([(name.to_owned(), times)]))])
    }

    #[test]
    fn one_wrong_checksum_at_any_kernel_is_enough() {
        let findings = Findings { counters: counted("Udp6.InCsumErrors", 1), ..Findings::default() };
        assert!(missed(findings).contains(&"wrong checksums, as the kernels count them"));
        let findings = Findings { counters: counted("Udp6.InDatagrams", 1), ..Findings::default() };
        assert!(!missed(findings).contains(&"wrong checksums, as the kernels count them"));
    }

    #[test]
    fn a_loss_must_be_told_by_a_counter() {
        let tally = Tally { sent: 90, lost: 3, ..Tally::default() };
        let singles = numbered::Flow { way: "a-b", kind: "x", per_send: 1, tally };
        let cut = numbered::Flow { per_send: 10, ..singles.clone() };
        let missed_of = |flow: &numbered::Flow, counters| {
            let findings = Findings { numbered: vec![flow.clone()], counters, ..Findings::default() };
            missed(findings).contains(&"losses of numbered datagrams, of which a counter tells")
        };
        assert!(missed_of(&singles, BTreeMap::new()), "nobody tells");
        assert!(!missed_of(&singles, counted("eth0.qdisc.drops", 3)));
        assert!(missed_of(&singles, counted("eth0.qdisc.drops", 2)));
        assert!(!missed_of(&cut, counted("eth0.qdisc.drops", 1)), "a super-frame was dropped once");
    }

    #[test]
    fn nothing_at_all_is_no_success() {
        assert!(missed(Findings::default()).len() > 5);
    }
}
