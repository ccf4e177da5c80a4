//! What the routers do for a reservation that is active and bound, with `tc` and `nft` in their namespaces.
//!
//! ```text
//!  at the edge, where packets enter:   DSCP cleared; EF for the flow of a reservation        nft, table ip gara
//!  at every egress on the flow's way:  class 5652:<class>, rate = ceil = what is reserved    tc, HTB
//!                                      filter, preference <class>: the flow, marked EF       tc, u32
//! ```
//! The class lets no more through than is reserved, so that what exceeds it takes nothing from others. Both
//! directions. A filter has a preference of its own, since replacing a u32 filter keeps the old match, and adding
//! one twice gives two. After a failure, and at the start, the kernel's own list is what changes start from.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

use vreserve_rsl::{Binding, Protocol};

use super::book::Record;
use super::plant::{Plant, Port, Way};
use crate::batch::Batch;
use crate::error::{Error, Result, io_error};
use crate::lab::layout::{CORE, HTB, burst};
use crate::lab::spec::LabSpec;
use crate::netns;
use crate::units::BitsPerSecond;

/// Bytes that wait in front of a reserved class.
const QUEUE: u32 = 256 << 10;
/// First minor that is ours; the lab has those below.
const FIRST_CLASS: u16 = 0x100;
/// The DSCP "expedited forwarding" where u32 sees it: in the upper six bits of the field.
const EF: &str = "0xb8";

/// One direction of a reservation's flow at one egress.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    kbps: u64,
    flow: Flow,
}

/// Packets of one direction of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: Option<Protocol>,
    /// Destination port, else source port, else any.
    port: Option<(Side, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Destination,
    Source,
}

/// Flows to be marked, by the port where they enter.
type Marks = Vec<(Port, Flow)>;

/// The routers.
#[derive(Debug)]
pub(super) struct Kernel {
    lab: LabSpec,
    ports: Vec<Port>,
    classes: BTreeMap<(Port, u16), Class>,
    marks: Option<Marks>,
    /// What the routers have is not known: somebody else was here, or a change failed.
    is_unknown: bool,
    enforced: BTreeSet<u64>,
}

impl Kernel {
    pub(super) fn new(lab: LabSpec, plant: &Plant) -> Self {
        let ports = plant.ports().to_vec();
        Self {
            lab,
            ports,
            classes: BTreeMap::new(),
            marks: None,
            is_unknown: true,
            enforced: BTreeSet::new(),
        }
    }

    /// Whether the routers do what this reservation asks at this moment.
    pub(super) fn enforces(&self, number: u64) -> bool {
        self.enforced.contains(&number)
    }

    /// Makes the routers do what these reservations ask, and nothing else of our kind. After an error nothing
    /// counts as enforced, and the next call starts from what the routers say.
    pub(super) fn settle<'a>(&mut self, wanted: impl Iterator<Item = (&'a Record, [Way; 2])>) -> Result<()> {
        let (mut classes, mut marks, mut numbers) = (BTreeMap::new(), Marks::new(), BTreeSet::new());
        for (record, ways) in wanted {
            let Some(binding) = record.binding else { continue };
            let ends = (record.endpoint_a, record.endpoint_b);
            for (way, flow) in ways.into_iter().zip(flows(ends, binding)) {
                for egress in way.egresses {
                    let class = Class { kbps: record.kbps, flow: flow.clone() };
                    classes.insert((egress, record.class), class);
                }
                marks.push((way.ingress, flow));
            }
            numbers.insert(record.number);
        }
        let outcome = self.apply(classes, marks);
        self.is_unknown = outcome.is_err();
        self.enforced = if outcome.is_ok() { numbers } else { BTreeSet::new() };
        outcome
    }

    fn apply(&mut self, classes: BTreeMap<(Port, u16), Class>, marks: Marks) -> Result<()> {
        if self.is_unknown {
            self.clear_what_is_there(&classes)?;
            self.marks = None;
        }
        let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((port, minor), old) in &self.classes {
            match classes.get(&(port.clone(), *minor)) {
                Some(new) if new.flow == old.flow => {}
                Some(_) => lines.entry(&port.router).or_default().push(remove_filter(port, *minor)),
                None => lines.entry(&port.router).or_default().extend(remove(port, *minor)),
            }
        }
        for ((port, minor), new) in &classes {
            let old = self.classes.get(&(port.clone(), *minor));
            let changes = lines.entry(&port.router).or_default();
            if old.is_none_or(|old| old.kbps != new.kbps) {
                changes.push(class(port, *minor, new.kbps));
            }
            if old.is_none() {
                changes.push(queue(port, *minor));
            }
            if old.is_none_or(|old| old.flow != new.flow) {
                changes.push(filter(port, *minor, &new.flow));
            }
        }
        for (router, lines) in lines {
            Batch::tc(&self.lab.namespace(router), lines).run(None)?;
        }
        if self.marks.as_ref() != Some(&marks) {
            self.mark(&marks)?;
        }
        (self.classes, self.marks) = (classes, Some(marks));
        Ok(())
    }

    /// Removes every filter of an HTB of ours, and the classes that nobody wants. A class that is wanted stays, so
    /// that what waits in it is not lost; it counts as not there and is replaced.
    fn clear_what_is_there(&mut self, wanted: &BTreeMap<(Port, u16), Class>) -> Result<()> {
        self.classes.clear();
        for port in &self.ports {
            let namespace = self.lab.namespace(&port.router);
            let mut lines = Vec::new();
            if !show(&namespace, "filter", port)?.trim().is_empty() {
                lines.push(format!("filter del dev {} parent {HTB}:", port.interface));
            }
            for minor in minors(&show(&namespace, "class", port)?) {
                if minor >= FIRST_CLASS && !wanted.contains_key(&(port.clone(), minor)) {
                    tracing::info!(
                        router = port.router,
                        interface = port.interface,
                        minor,
                        "stray class removed"
                    );
                    lines.push(remove_class(port, minor));
                }
            }
            Batch::tc(&namespace, lines).run(None)?;
        }
        Ok(())
    }

    fn mark(&self, marks: &Marks) -> Result<()> {
        let routers: BTreeSet<&String> = self.ports.iter().map(|port| &port.router).collect();
        routers.into_iter().try_for_each(|router| {
            let own = marks.iter().filter(|(ingress, _)| ingress.router == *router);
            nft(&self.lab.namespace(router), &table(own))
        })
    }
}

/// From a to b, and from b to a. A port that one end listens on is the destination port of what comes to it, and
/// the source port of what it answers where nothing is said of the other end's.
fn flows((a, b): (Ipv4Addr, Ipv4Addr), binding: Binding) -> [Flow; 2] {
    let Binding { port_a, port_b, protocol } = binding;
    let port = |to: Option<u16>, from: Option<u16>| {
        let destination = to.map(|port| (Side::Destination, port));
        destination.or(from.map(|port| (Side::Source, port)))
    };
    [
        Flow { from: a, to: b, protocol, port: port(port_b, port_a) },
        Flow { from: b, to: a, protocol, port: port(port_a, port_b) },
    ]
}

fn class(port: &Port, minor: u16, kbps: u64) -> String {
    let burst = burst(BitsPerSecond(kbps.saturating_mul(1000))).max(32 << 10);
    format!(
        "class replace dev {} parent {HTB}:1 classid {HTB}:{minor:x} htb rate {kbps}kbit ceil {kbps}kbit prio 0 \
         quantum 1514 burst {burst} cburst {burst}",
        port.interface
    )
}

fn queue(port: &Port, minor: u16) -> String {
    let interface = &port.interface;
    format!("qdisc replace dev {interface} parent {HTB}:{minor:x} handle {minor:x}: bfifo limit {QUEUE}")
}

fn filter(port: &Port, minor: u16, flow: &Flow) -> String {
    let mut text = format!(
        "filter add dev {} parent {HTB}: protocol ip pref {minor} u32 match ip dsfield {EF} 0xfc \
         match ip src {}/32 match ip dst {}/32",
        port.interface, flow.from, flow.to
    );
    if let Some(protocol) = flow.protocol {
        let number = match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        text += &format!(" match ip protocol {number} 0xff");
    }
    if let Some((side, number)) = flow.port {
        let side = match side {
            Side::Destination => "dport",
            Side::Source => "sport",
        };
        text += &format!(" match ip {side} {number} 0xffff");
    }
    text + &format!(" flowid {HTB}:{minor:x}")
}

/// The class goes last: one that a filter points to is busy.
fn remove(port: &Port, minor: u16) -> [String; 2] {
    [remove_filter(port, minor), remove_class(port, minor)]
}

fn remove_filter(port: &Port, minor: u16) -> String {
    format!("filter del dev {} parent {HTB}: protocol ip pref {minor}", port.interface)
}

fn remove_class(port: &Port, minor: u16) -> String {
    format!("class del dev {} classid {HTB}:{minor:x}", port.interface)
}

/// What nftables does at a router, all of it: one transaction puts it in place of what was there.
fn table<'a>(marks: impl Iterator<Item = &'a (Port, Flow)>) -> String {
    let mut text = "table ip gara\ndelete table ip gara\ntable ip gara {\n\tchain edge {\n\t\t\
        type filter hook prerouting priority -150; policy accept;\n"
        .to_owned();
    text += &format!("\t\tiifname \"{CORE}\" accept\n\t\tip dscp set cs0\n");
    for (ingress, flow) in marks {
        text += &format!("\t\tiifname \"{}\" ip saddr {} ip daddr {}", ingress.interface, flow.from, flow.to);
        match flow.protocol {
            Some(protocol) => text += &format!(" meta l4proto {protocol}"),
            None if flow.port.is_some() => text += " meta l4proto { tcp, udp }",
            None => {}
        }
        match flow.port {
            Some((Side::Destination, port)) => text += &format!(" th dport {port}"),
            Some((Side::Source, port)) => text += &format!(" th sport {port}"),
            None => {}
        }
        text += " ip dscp set ef\n";
    }
    text + "\t}\n}\n"
}

fn nft(namespace: &str, text: &str) -> Result<()> {
    let output = netns::inside(namespace, || -> std::io::Result<Output> {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("stdin was piped above");
        // A program that fails early closes its end; its own message says more than our broken pipe.
        let _ = stdin.write_all(text.as_bytes());
        drop(stdin);
        child.wait_with_output()
    })?;
    succeeded("nft", namespace, &output.map_err(io_error("run", "nft"))?)
}

fn show(namespace: &str, what: &str, port: &Port) -> Result<String> {
    let mut command = Command::new("tc");
    command.args(["-n", namespace, what, "show", "dev", &port.interface]);
    if what == "filter" {
        command.args(["parent", &format!("{HTB}:")]);
    }
    let output = command.output().map_err(io_error("run", "tc"))?;
    succeeded("tc", namespace, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn succeeded(tool: &'static str, place: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Error::Tool { tool, place: place.to_owned(), message })
}

/// Minors in `class htb 5652:100 parent …`, one class a line.
fn minors(listing: &str) -> Vec<u16> {
    let of_line = |line: &str| {
        let id = line.strip_prefix("class htb ")?.split(' ').next()?;
        u16::from_str_radix(id.strip_prefix(HTB)?.strip_prefix(':')?, 16).ok()
    };
    listing.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    fn matches(binding: Binding) -> [String; 2] {
        let port = Port { router: "west".into(), interface: "core".into() };
        flows((A, B), binding).map(|flow| {
            let text = filter(&port, 0x100, &flow);
            text.split_once("0xfc ").expect("the mark comes first").1.to_owned()
        })
    }

    #[test]
    fn each_direction_goes_to_the_port_that_its_destination_listens_on() {
        let both = Binding { port_a: Some(4790), port_b: Some(4791), protocol: Some(Protocol::Udp) };
        assert_eq!(
            matches(both),
            [
                "match ip src 198.51.100.1/32 match ip dst 198.51.100.2/32 match ip protocol 17 0xff \
                 match ip dport 4791 0xffff flowid 5652:100",
                "match ip src 198.51.100.2/32 match ip dst 198.51.100.1/32 match ip protocol 17 0xff \
                 match ip dport 4790 0xffff flowid 5652:100",
            ]
        );
    }

    #[test]
    fn answers_are_known_by_the_port_they_come_from() {
        let [there, back] = matches(Binding { port_b: Some(5001), ..Binding::default() });
        assert!(there.contains("match ip dport 5001"), "{there}");
        assert!(back.contains("match ip sport 5001"), "{back}");
    }

    #[test]
    fn the_lists_of_tc_are_read() {
        let listing = "class htb 5652:1 root rate 98Mbit ceil 98Mbit burst 16Kb cburst 16Kb \n\
            class htb 5652:20 parent 5652:1 leaf 20: prio 7 rate 18Mbit\n\
            class htb 5652:1f0 parent 5652:1 leaf 1f0: prio 0 rate 60Mbit\nnonsense\n";
        assert_eq!(minors(listing), [0x1, 0x20, 0x1f0]);
    }
}
