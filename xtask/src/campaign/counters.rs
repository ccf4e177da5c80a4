//! What the kernel counts in a namespace: protocols from `/proc/net`, interfaces and their queues from iproute2.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;
use vreserve_testbed::Lab;

/// Counts by name, such as `Tcp.InCsumErrors` or `eth0.rx.dropped`.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Counters that say of a frame or datagram that it was thrown away, and where.
const DROPS: [&str; 16] = [
    "Ip.InDiscards",
    "Ip.OutDiscards",
    "Udp.RcvbufErrors",
    "Udp.SndbufErrors",
    "Udp.MemErrors",
    "Udp6.RcvbufErrors",
    "Udp6.SndbufErrors",
    ".rx.dropped",
    ".tx.dropped",
    ".rx.missed",
    ".rx.over_errors",
    ".qdisc.drops",
    ".drop_queue_full",
    ".drop_oversized",
    ".send_refused",
    "softnet.dropped",
];

/// Of one member of a lab, now.
///
/// # Errors
/// If the kernel does not say.
pub(crate) fn read(lab: &Lab, member: &str) -> anyhow::Result<Counts> {
    let texts = lab.inside(member, || {
        let of = |table: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{table}"));
        // A kernel without IPv6 has no snmp6.
        ["snmp", "netstat"].map(of).into_iter().chain([Ok(of("snmp6").unwrap_or_default())]).collect()
    })?;
    let texts: Vec<String> =
        std::io::Result::<_>::from(texts).with_context(|| format!("read the counters of {member}"))?;
    let mut counts: Counts = protocols(&texts[0]).chain(protocols(&texts[1])).collect();
    counts.extend(version6(&texts[2]));
    counts.extend(interfaces(&json(lab, member, &["ip", "-j", "-s", "-s", "link"])?));
    counts.extend(queues(&json(lab, member, &["tc", "-j", "-s", "qdisc"])?));
    Ok(counts)
}

/// Frames that the machine's processors threw away because their backlog was full. It counts for all namespaces.
///
/// # Errors
/// If the kernel does not say.
pub(crate) fn backlog() -> anyhow::Result<Counts> {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").context("read the backlog's counters")?;
    Ok(Counts::from([("softnet.dropped".to_owned(), backlog_drops(&text))]))
}

/// What was counted between two looks; only what moved.
pub(crate) fn between(before: &Counts, after: &Counts) -> Counts {
    let moved = |(name, value): (&String, &u64)| {
        let by = value.saturating_sub(before.get(name).copied().unwrap_or(0));
        (by > 0).then(|| (name.clone(), by))
    };
    after.iter().filter_map(moved).collect()
}

/// Whether a counter counts what was thrown away.
pub(crate) fn is_drop(name: &str) -> bool {
    DROPS.iter().any(|drop| if drop.starts_with('.') { name.ends_with(drop) } else { name == *drop })
        || name.contains(".drops.")
}

/// Whether a counter counts checksums that were wrong.
pub(crate) fn is_wrong_checksum(name: &str) -> bool {
    name.ends_with("InCsumErrors")
}

/// Tables of `/proc/net/snmp` and `netstat`: a line of names and a line of values, each after the protocol.
fn protocols(text: &str) -> impl Iterator<Item = (String, u64)> {
    let lines: Vec<_> = text.lines().collect();
    let pairs = lines.chunks_exact(2).flat_map(|pair| {
        let (names, values) = (pair[0].split_ascii_whitespace(), pair[1].split_ascii_whitespace());
        let protocol = pair[0].split_once(':').map_or("", |(protocol, _)| protocol);
        names.zip(values).skip(1).filter_map(move |(name, value)| {
            // Tcp.MaxConn is -1.
            Some((format!("{protocol}.{name}"), value.parse::<u64>().ok()?))
        })
    });
    pairs.collect::<Vec<_>>().into_iter()
}

/// `/proc/net/snmp6`: `Udp6InCsumErrors  0`; written with a point as the others are.
fn version6(text: &str) -> impl Iterator<Item = (String, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        let (protocol, rest) = name.split_once('6')?;
        Some((format!("{protocol}6.{rest}"), value.trim().parse().ok()?))
    })
}

fn interfaces(links: &Value) -> Vec<(String, u64)> {
    let mut counts = Vec::new();
    for link in links.as_array().into_iter().flatten() {
        let Some(name) = link["ifname"].as_str() else { continue };
        for way in ["rx", "tx"] {
            for (what, value) in link["stats64"][way].as_object().into_iter().flatten() {
                counts.extend(value.as_u64().map(|value| (format!("{name}.{way}.{what}"), value)));
            }
        }
    }
    counts
}

fn queues(queues: &Value) -> Vec<(String, u64)> {
    let mut counts = Counts::new();
    for queue in queues.as_array().into_iter().flatten() {
        if let (Some(name), Some(drops)) = (queue["dev"].as_str(), queue["drops"].as_u64()) {
            *counts.entry(format!("{name}.qdisc.drops")).or_default() += drops;
        }
    }
    counts.into_iter().collect()
}

/// The second column of each processor's line, in hexadecimal.
fn backlog_drops(text: &str) -> u64 {
    let drops = text.lines().filter_map(|line| line.split_ascii_whitespace().nth(1));
    drops.filter_map(|drops| u64::from_str_radix(drops, 16).ok()).sum()
}

fn json(lab: &Lab, member: &str, words: &[&str]) -> anyhow::Result<Value> {
    let output = lab.exec(member, Command::new(words[0]).args(&words[1..]))?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("read `{}` in {member}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_by_name() {
        let text = "Tcp: RtoMin MaxConn InCsumErrors\nTcp: 200 -1 3\nUdp: InDatagrams\nUdp: 7\n";
        let counts: Counts = protocols(text).collect();
        assert_eq!(counts["Tcp.InCsumErrors"], 3);
        assert_eq!(counts["Udp.InDatagrams"], 7);
        assert!(!counts.contains_key("Tcp.MaxConn"));
        let counts: Counts = version6("Udp6InCsumErrors   \t4\nIp6InReceives 2\n").collect();
        assert_eq!(counts["Udp6.InCsumErrors"], 4);
        assert!(is_wrong_checksum("Udp6.InCsumErrors") && !is_wrong_checksum("Ip6.InReceives"));
    }

    #[test]
    fn interfaces_and_queues_say_what_they_dropped() {
        let links = serde_json::json!([{ "ifname": "eth0", "stats64": { "rx": { "dropped": 2 } } }]);
        assert_eq!(interfaces(&links), [("eth0.rx.dropped".to_owned(), 2)]);
        let both = serde_json::json!([{ "dev": "eth0", "drops": 1 }, { "dev": "eth0", "drops": 4 }]);
        assert_eq!(queues(&both), [("eth0.qdisc.drops".to_owned(), 5)]);
        assert!(is_drop("eth0.rx.dropped") && is_drop("eth0.qdisc.drops") && !is_drop("eth0.rx.packets"));
        assert_eq!(backlog_drops("00000001 0000000a 0\n00000001 00000001 0\n"), 11);
    }

    #[test]
    fn only_what_moved_is_told() {
        let counts =
            |pairs: &[(&str, u64)]| pairs.iter().map(|&(n, v)| (n.to_owned(), v)).collect::<Counts>();
        let found = between(&counts(&[("a", 1), ("b", 2)]), &counts(&[("a", 1), ("b", 5), ("c", 1)]));
        assert_eq!(found, counts(&[("b", 3), ("c", 1)]));
    }
}
