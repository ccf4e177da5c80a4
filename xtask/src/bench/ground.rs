//! What stands while a suite runs: a lab of two nodes on a wire, and for each subject a pair of guests of its own,
//! so that nothing has to be set up between two measurements.
//!
//! ```text
//!  guest a3: eth0 ── node a: inet0 ════ veth, MTU 1500 ════ inet0: node b ── eth0: guest b3
//! ```

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use vreserve_testbed::{Guest, Lab, LabSpec, lab};

use super::underlay::Underlay;
use crate::artifacts::Artifacts;
use crate::place::Place;
use crate::processes::Processes;

/// The nodes; `A` is the proxy.
pub(crate) const A: &str = "a";
pub(crate) const B: &str = "b";
/// Their interface on the underlay.
pub(crate) const UNDERLAY: &str = "inet0";
/// Of every guest, of ours and of the baselines: 1500 less the 50 bytes that VXLAN adds (RFC 7348).
pub(crate) const GUEST_MTU: u32 = 1450;
/// A lab's guests have addresses; those without an interface make no use of them.
const FAR_ENDS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// The ground of one suite. Dropped, it is cleared.
pub(crate) struct Ground {
    lab: Lab,
    place: Place,
    seats: Vec<Seat>,
}

/// A pair of guests and what joins them.
pub(crate) struct Subject {
    pub(crate) name: String,
    /// The guests, as members of the lab.
    pub(crate) from: String,
    pub(crate) to: String,
    /// Address of `to`.
    pub(crate) at: Ipv4Addr,
    /// All guests on the far side, as members of the lab, with their addresses.
    pub(crate) ends: Vec<(String, Ipv4Addr)>,
    /// The processes between them, if it is not the kernel.
    pub(crate) processes: Processes,
    pub(crate) pids: Vec<u32>,
}

impl Subject {
    /// The same two guests with so many connections between them.
    pub(crate) fn with_connections(&self, name: &str, count: usize) -> Self {
        Self {
            name: name.to_owned(),
            from: self.from.clone(),
            to: self.to.clone(),
            at: self.at,
            ends: vec![self.ends[0].clone(); count],
            processes: Processes::default(),
            pids: self.pids.clone(),
        }
    }
}

/// A place for a subject's guests.
#[derive(Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) subject: &'static str,
    pub(crate) interface: Interface,
}

/// How the guests' `eth0` comes to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    /// Whoever joins the guests puts it there.
    Absent,
    /// The lab makes a veth pair; the other end is on the node.
    Veth,
}

impl Ground {
    /// Brings up the lab of this name after clearing away what an earlier run left.
    ///
    /// # Errors
    /// If another run of this name is under way, or the lab cannot be made.
    pub(crate) fn set(lab: &str, built: &Artifacts, seats: &[Seat]) -> anyhow::Result<Self> {
        Self::set_with(lab, built, seats, 0)
    }

    /// The same with further members `far0`, `far1`, … without any interface.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub(crate) fn set_with(
        lab: &str,
        built: &Artifacts,
        seats: &[Seat],
        far_ends: usize,
    ) -> anyhow::Result<Self> {
        let place = Place::take(lab, built)?;
        let spec = LabSpec::parse(&lab_file(lab, seats, far_ends), Path::new("bench.toml"))?;
        let cleared = lab::down(&spec.name)?;
        if cleared.namespaces + cleared.processes > 0 {
            println!(
                "cleared away after an earlier run: {} namespaces, {} processes",
                cleared.namespaces, cleared.processes
            );
        }
        Ok(Self { lab: Lab::up(spec)?, place, seats: seats.to_vec() })
    }

    /// The lab.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Of configurations, keys, logs and reports.
    pub(crate) fn files(&self) -> PathBuf {
        self.place.nodes()
    }

    /// Of the plugins that daemons load.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.place.plugins()
    }

    /// Address of a node on the underlay.
    pub(crate) fn address_of(&self, node: &str) -> Ipv4Addr {
        self.lab.spec().host(node).expect("the lab has both nodes").commodity.addr()
    }

    /// The guests of a subject.
    pub(crate) fn guests(&self, subject: &str) -> (&Guest, &Guest) {
        let seat = self.seats.iter().position(|seat| seat.subject == subject);
        let guest = |node: &str| self.lab.spec().guest(&format!("{node}{}", seat?));
        guest(A).zip(guest(B)).expect("every subject has a seat")
    }

    /// Gives the guests' `eth0` its addresses and tells each guest of the other, so that nobody has to ask.
    ///
    /// # Errors
    /// If there is no such interface.
    pub(crate) fn address(&self, subject: &str, mtu: u32) -> anyhow::Result<()> {
        let (a, b) = self.guests(subject);
        for (own, other) in [(a, b), (b, a)] {
            let lines = [
                format!("link set eth0 address {} mtu {mtu} up", own.mac),
                format!("address replace {} dev eth0", own.address),
                format!("neigh replace {} lladdr {} dev eth0 nud permanent", other.address.addr(), other.mac),
            ];
            self.lab.ip(&own.name, lines.into())?;
        }
        Ok(())
    }

    /// A subject whose guests are joined.
    pub(crate) fn subject(&self, name: &str, processes: Processes, pids: Vec<u32>) -> Subject {
        let (from, to) = self.guests(name);
        Subject {
            name: name.to_owned(),
            from: from.name.clone(),
            to: to.name.clone(),
            at: to.address.addr(),
            ends: vec![(to.name.clone(), to.address.addr())],
            processes,
            pids,
        }
    }

    /// Makes the underlay, and the wire between guests without an overlay, behave so.
    ///
    /// # Errors
    /// If ethtool refuses.
    pub(crate) fn lay(&self, underlay: Underlay, raw: Option<&Subject>) -> anyhow::Result<()> {
        let mut interfaces = vec![(A, UNDERLAY), (B, UNDERLAY)];
        interfaces.extend(raw.iter().flat_map(|raw| [(raw.from.as_str(), "eth0"), (&raw.to, "eth0")]));
        underlay
            .apply(&self.lab, &interfaces)
            .with_context(|| format!("lay the underlay {}", underlay.name()))
    }
}

/// The lab as a file, read by the same parser as everybody's.
fn lab_file(name: &str, seats: &[Seat], far_ends: usize) -> String {
    let mut text = format!("name = \"{name}\"\n[commodity]\nsubnet = \"198.51.100.0/30\"\n");
    for (node, role, last) in [(A, "proxy", 1), (B, "host", 2)] {
        write!(text, "[[host]]\nname = \"{node}\"\nrole = \"{role}\"\nguest = [\n")
            .expect("text can be written");
        for (nth, seat) in seats.iter().enumerate() {
            let interface = if seat.interface == Interface::Veth { "veth" } else { "absent" };
            writeln!(
                text,
                "{{ name = \"{node}{nth}\", address = \"10.77.{nth}.{last}/24\", interface = \"{interface}\" }},"
            )
            .expect("text can be written");
        }
        let far_ends = if node == B { far_ends } else { 0 };
        for nth in 0..far_ends {
            let address = Ipv4Addr::from(u32::from(FAR_ENDS) + nth as u32);
            writeln!(text, "{{ name = \"far{nth}\", address = \"{address}/16\", interface = \"absent\" }},")
                .expect("text can be written");
        }
        text += "]\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_two_guests_on_a_wire_between_two_nodes() {
        let seats = [
            Seat { subject: "raw", interface: Interface::Absent },
            Seat { subject: "clear-veth", interface: Interface::Veth },
        ];
        let lab = LabSpec::parse(&lab_file("bench", &seats, 3), Path::new("x")).unwrap();
        assert_eq!(lab.namespaces().len(), 2 + 4 + 3);
        assert_eq!(lab.proxy().unwrap().name, A);
        assert_eq!(lab.guest("b1").unwrap().address.to_string(), "10.77.1.2/24");
        assert_eq!(lab.commodity.rate, None);
    }
}
