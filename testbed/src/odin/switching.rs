//! What the switches do for a path, as `ip` and `tc` commands in the optical network's namespace.
//!
//! ```text
//!  h-alpha ─ p-alpha ─ f0l3a ═════ f0l3b ─ t7-1 ─ f1l3a ═════ f1l3b ─ p-gamma ─ h-gamma
//!            source's port    lambda 3     transit bridge,           destination's port
//!            bridge           of fibre 0   path 7, switch 1
//! ```
//! A lambda of a fibre is a veth pair, made when a path first needs it and removed with it. Lambda ends on a
//! port bridge are isolated from each other, so several paths that end at one host stay apart. Ends on one
//! switch are joined by a patch, `x<path>a` and `x<path>b`. Everything made here is in one interface group,
//! by which the leavings of an earlier server are found.

use super::fabric::{Hop, Path};
use crate::batch::Batch;
use crate::error::Result;
use crate::lab::layout::{bridge, rate_limit};
use crate::lab::spec::Network;
use crate::link_state;

/// Interface group of all that an ODIN server makes.
const GROUP: &str = "3617";

/// One end of a veth pair, and the bridge of a switch that it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    name: String,
    bridge: String,
}

/// A path as interfaces.
#[derive(Debug)]
pub(super) struct Wiring {
    /// Both ends' names of every veth pair, from the source.
    pairs: Vec<(String, String)>,
    /// The ends on each switch, from the source's.
    switches: Vec<Vec<End>>,
    /// Bridges that exist for this path only.
    transits: Vec<String>,
}

impl Wiring {
    pub(super) fn of(path: &Path) -> Self {
        let (source, destination) =
            (format!("p-{}", path.source_host), format!("p-{}", path.destination_host));
        let (id, last) = (path.report.id, path.hops.len());
        if last == 0 {
            let pair = (format!("x{id}a"), format!("x{id}b"));
            let near = End { name: pair.0.clone(), bridge: source };
            let far = End { name: pair.1.clone(), bridge: destination };
            return Self { pairs: vec![pair], switches: vec![vec![near, far]], transits: Vec::new() };
        }
        let pairs: Vec<_> = path.hops.iter().map(|hop| lambda_ends(*hop, path.report.lambda)).collect();
        let transits: Vec<_> = (1..last).map(|nth| format!("t{id}-{nth}")).collect();
        let bridges: Vec<_> = std::iter::once(&source).chain(&transits).chain([&destination]).collect();
        let mut switches = vec![Vec::new(); last + 1];
        for (nth, (near, far)) in pairs.iter().enumerate() {
            switches[nth].push(End { name: near.clone(), bridge: bridges[nth].clone() });
            switches[nth + 1].push(End { name: far.clone(), bridge: bridges[nth + 1].clone() });
        }
        Self { pairs, switches, transits }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.pairs.iter().flat_map(|(near, far)| [near, far])
    }

    /// Makes what the path needs, dark: pairs, transit bridges, and the rate where traffic enters.
    pub(super) fn prepare(&self, network: &Network) -> Result<()> {
        let mtu = network.mtu;
        let mut lines = Vec::new();
        for (near, far) in &self.pairs {
            lines
                .push(format!("link add {near} group {GROUP} mtu {mtu} type veth peer name {far} mtu {mtu}"));
            lines.push(format!("link set {far} group {GROUP}"));
        }
        for transit in &self.transits {
            lines.push(bridge(transit));
            lines.push(format!("link set {transit} group {GROUP} up"));
        }
        Batch::ip_here(lines).run(None)?;
        let entries =
            self.pairs.first().map(|(near, _)| near).into_iter().chain(self.pairs.last().map(|(_, far)| far));
        Batch::tc_here(entries.map(|name| rate_limit(name, network.rate, network.queue)).collect()).run(None)
    }

    /// Configures the `nth` switch: its ends of the path's pairs join its bridges, still dark.
    pub(super) fn configure(&self, nth: usize) -> Result<()> {
        let ends = self.switches.get(nth).into_iter().flatten();
        Batch::ip_here(ends.flat_map(|end| self.join(end)).collect()).run(None)
    }

    /// Lights the path: from here on it carries traffic.
    pub(super) fn light(&self) -> Result<()> {
        let names: Vec<String> = self.names().cloned().collect();
        Batch::ip_here(names.iter().map(|name| format!("link set {name} up")).collect()).run(None)?;
        link_state::wait_until_carrying(None, &names)
    }

    /// Ends the traffic and removes what [`Wiring::prepare`] made, as far as it is there.
    pub(super) fn remove(&self) -> Result<()> {
        remove_where(|name| self.names().chain(&self.transits).any(|own| own == name))
    }

    /// Joins an end to its bridge; on a port bridge it may speak with the host's port only.
    fn join(&self, end: &End) -> Vec<String> {
        let mut lines = vec![format!("link set {} master {}", end.name, end.bridge)];
        if !self.transits.contains(&end.bridge) {
            lines.push(format!("link set {} type bridge_slave isolated on", end.name));
        }
        lines
    }
}

/// The two ends of a fibre's lambda, the path's near one first; `a` is at the fibre's first switch.
fn lambda_ends(hop: Hop, lambda: u16) -> (String, String) {
    let end = |side| format!("f{}l{lambda}{side}", hop.fibre);
    if hop.is_forward { (end('a'), end('b')) } else { (end('b'), end('a')) }
}

/// Removes everything that a server, also an earlier one, made in this namespace.
pub(super) fn remove_all() -> Result<()> {
    remove_where(|_| true)
}

fn remove_where(is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    let mut names = names_where(&is_wanted)?;
    loop {
        let removed = remove(&names);
        let left = names_where(&is_wanted)?;
        // What a killed server's last command still removes may vanish under this one: once more, without it.
        if removed.is_ok() || left == names {
            return removed;
        }
        names = left;
    }
}

/// Names of what a server made in this namespace, in order.
fn names_where(is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let links = link_state::list(None, &["group", GROUP])?;
    let mut names: Vec<String> =
        links.into_iter().map(|link| link.ifname).filter(|name| is_wanted(name)).collect();
    names.sort();
    Ok(names)
}

fn remove(names: &[String]) -> Result<()> {
    // Dark first, all at once; deleting one end of a pair then takes the other with it.
    let mut lines: Vec<String> = names.iter().map(|name| format!("link set {name} down")).collect();
    let is_second_end =
        |name: &&String| name.ends_with('b') && names.contains(&(name[..name.len() - 1].to_owned() + "a"));
    lines.extend(names.iter().filter(|name| !is_second_end(name)).map(|name| format!("link delete {name}")));
    Batch::ip_here(lines).run(None)
}
