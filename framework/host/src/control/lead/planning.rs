//! Planning: what the planner is shown and what it answers; why it did so, for one pair; and what it would do with
//! another matrix, on an instance of its own that touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vreserve_core::lead::CircuitStatus;
use vreserve_model::{
    BitsPerSecond, CircuitView, Demand, Explanation, Failure, Guest, MacAddr, PairQuestion, Snapshot,
    Timestamp, TopologyReport, Wanted, WantedLink, link_key,
};

use super::Running;

/// A dry run is so long, in steps of [`STEP`]: planners wait before they give something back.
const STEPS: u64 = 60;
const STEP: Duration = Duration::from_secs(1);
/// Most demands of a dry run.
pub(super) const MAX_DEMANDS: usize = 10_000;
/// Guests that stand for a whole node in a dry run have addresses that begin like this.
const STAND_IN: [u8; 3] = [0x02, 0x56, 0x52];

/// Why one pair of nodes is served as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainView {
    /// The pair, and what was asked for.
    pub pair: PairQuestion,
    /// What its guests send each other, as inference has it, largest first.
    pub evidence: Vec<Demand>,
    /// Which of the two nodes have not reported for too long.
    pub silent_nodes: Vec<String>,
    /// The planner's own answer; none if it gives none.
    pub explanation: Option<Explanation>,
    /// The link that it wants between them.
    pub wanted: Option<WantedLink>,
    /// What has become of that.
    pub circuits: Vec<CircuitStatus>,
    /// What the planner noted of the pair.
    pub notes: Vec<String>,
}

/// One demand of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupposedDemand {
    /// The sending guest's address, or a node's name.
    pub source: String,
    /// The receiving guest's address, or a node's name.
    pub destination: String,
    /// What it sends.
    pub rate: BitsPerSecond,
    /// Frames per second; those of 1,000 bytes unless given.
    #[serde(default)]
    pub frames_per_second: Option<u64>,
}

/// One thing that a planner would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// How long after the beginning, in seconds.
    pub after_s: u64,
    /// True if it would ask for the link, false if it would give it back.
    pub asks: bool,
    /// The link.
    #[serde(flatten)]
    pub link: WantedLink,
}

/// What a planner would do with another matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WhatIfView {
    /// How long the matrix was supposed to last, in seconds.
    pub lasted_s: u64,
    /// What it would do, in order.
    pub changes: Vec<PlannedChange>,
    /// What it would want at the end.
    pub wanted: Wanted,
    /// All that is sent between nodes.
    pub demand: BitsPerSecond,
    /// How much of it would take circuits at the end; the star has the rest.
    pub on_circuits: BitsPerSecond,
}

impl Running {
    /// Plans on what is believed now, and follows the plan; none if there is no planner or it fails.
    pub(super) fn plan(&mut self, now: Timestamp, question: Option<PairQuestion>) -> Option<Wanted> {
        let snapshot = Snapshot { question, ..self.shell.lead.snapshot(now) };
        let adapt = self.shell.adapt.as_mut()?;
        match adapt.call(now, |adapt| adapt.adapt(&snapshot)) {
            Ok(wanted) => {
                self.last_notes.clone_from(&wanted.notes);
                self.shell.lead.handle_wanted(now, &wanted);
                Some(wanted)
            }
            Err(failure) => {
                tracing::warn!(%failure, "no overlay planned; it stays as it is");
                None
            }
        }
    }

    /// Why two nodes, or those of two guests, are served as they are: by a plan that is made now.
    pub(super) fn explain(&mut self, now: Timestamp, from: &str, to: &str) -> Result<ExplainView, String> {
        let snapshot = self.shell.lead.snapshot(now);
        let (a, z) = (node_of(&snapshot, from)?, node_of(&snapshot, to)?);
        if a == z {
            return Err(format!("{from} and {to} are at the same node, {a}"));
        }
        if self.shell.adapt.is_none() {
            return Err("no planner is configured; everything takes the star".to_owned());
        }
        let (a, z) = link_key(&a, &z);
        let pair = PairQuestion { a: a.to_owned(), z: z.to_owned() };
        // A lead that stops wants nothing any more.
        let is_stopping = self.stopping.is_some();
        let plan = if is_stopping { None } else { self.plan(now, Some(pair.clone())) };
        let plan = plan.ok_or("the planner does not answer now; its log says why")?;
        let lead = &self.shell.lead;
        let is_link = |a: &str, z: &str| (a, z) == (pair.a.as_str(), pair.z.as_str());
        let prefix = format!("{a}-{z}: ");
        Ok(ExplainView {
            evidence: evidence(&snapshot, &pair),
            silent_nodes: snapshot
                .topology
                .silent_nodes
                .into_iter()
                .filter(|node| *node == pair.a || *node == pair.z)
                .collect(),
            explanation: plan.explanation,
            wanted: plan.links.into_iter().find(|link| is_link(&link.a, &link.z)),
            circuits: lead.circuits().filter(|circuit| is_link(&circuit.link.a, &circuit.link.z)).collect(),
            notes: plan.notes.into_iter().filter(|note| note.starts_with(&prefix)).collect(),
            pair,
        })
    }

    /// What the planner would do if guests sent this; answered by a thread of its own, as it may take a while.
    pub(super) fn what_if(
        &mut self,
        now: Timestamp,
        demands: &[SupposedDemand],
        reply: oneshot::Sender<Result<WhatIfView, String>>,
    ) {
        let supposed = suppose(self.shell.lead.snapshot(now), demands);
        let planner = self.shell.adapt.as_mut().ok_or("no planner is configured".to_owned());
        let opened = planner.and_then(|adapt| adapt.open_another().map_err(|failure| failure.to_string()));
        // Whoever asked may be gone: fine.
        match supposed.and_then(|snapshot| Ok((snapshot, opened?))) {
            Err(reason) => drop(reply.send(Err(reason))),
            Ok((snapshot, mut planner)) => drop(tokio::task::spawn_blocking(move || {
                let outcome = dry_run(snapshot, |snapshot| planner.adapt(snapshot));
                drop(reply.send(outcome.map_err(|failure| failure.to_string())));
            })),
        }
    }
}

/// The node of that name, or of the guest with that address.
fn node_of(snapshot: &Snapshot, end: &str) -> Result<String, String> {
    if let Some(node) = snapshot.nodes.iter().find(|node| node.name == end) {
        return Ok(node.name.clone());
    }
    let address: MacAddr = end.parse().map_err(|_| format!("no node is called {end}"))?;
    let guest = snapshot.guests.iter().find(|guest| guest.mac == address);
    guest.map(|guest| guest.node.clone()).ok_or_else(|| format!("no node has the guest {end}"))
}

fn evidence(snapshot: &Snapshot, pair: &PairQuestion) -> Vec<Demand> {
    let behind = |node: &str| -> BTreeSet<MacAddr> {
        let guests = snapshot.guests.iter().filter(|guest| guest.node == node);
        guests.map(|guest| guest.mac).collect()
    };
    let (at_a, at_z) = (behind(&pair.a), behind(&pair.z));
    let joins = |from: &MacAddr, to: &MacAddr| {
        at_a.contains(from) && at_z.contains(to) || at_z.contains(from) && at_a.contains(to)
    };
    let demands =
        snapshot.topology.demands.iter().filter(|demand| joins(&demand.source, &demand.destination));
    let mut evidence: Vec<Demand> = demands.copied().collect();
    evidence.sort_by_key(|demand| std::cmp::Reverse(demand.rate));
    evidence
}

/// The same snapshot with another matrix. A node's name stands for a guest behind it.
fn suppose(mut snapshot: Snapshot, demands: &[SupposedDemand]) -> Result<Snapshot, String> {
    if demands.len() > MAX_DEMANDS {
        return Err(format!("{} demands; at most {MAX_DEMANDS} can be supposed", demands.len()));
    }
    let mut stand_ins: BTreeMap<String, MacAddr> = BTreeMap::new();
    let known: BTreeSet<MacAddr> = snapshot.guests.iter().map(|guest| guest.mac).collect();
    let mut guest_of = |end: &str| -> Result<MacAddr, String> {
        if let Ok(address) = end.parse() {
            let is_known = known.contains(&address);
            return if is_known { Ok(address) } else { Err(format!("no node has the guest {end}")) };
        }
        if !snapshot.nodes.iter().any(|node| node.name == end) {
            return Err(format!("no node is called {end}"));
        }
        let [_, high, middle, low] = (stand_ins.len() as u32).to_be_bytes();
        let [first, second, third] = STAND_IN;
        let next = MacAddr([first, second, third, high | 0x80, middle, low]);
        Ok(*stand_ins.entry(end.to_owned()).or_insert(next))
    };
    let mut matrix = Vec::with_capacity(demands.len());
    for (number, demand) in demands.iter().enumerate() {
        let mut end = |name: &str| guest_of(name).map_err(|error| format!("demand {}: {error}", number + 1));
        matrix.push(Demand {
            source: end(&demand.source)?,
            destination: end(&demand.destination)?,
            rate: demand.rate,
            frames_per_second: demand
                .frames_per_second
                .map_or(demand.rate.0 as f64 / 8000.0, |fps| fps as f64),
            confidence: 1.0,
        });
    }
    matrix.sort_by_key(|demand| std::cmp::Reverse(demand.rate));
    snapshot.guests.extend(stand_ins.into_iter().map(|(node, mac)| Guest { mac, node }));
    let pattern = snapshot.topology.pattern;
    snapshot.topology =
        TopologyReport { settled: true, demands: matrix, pattern, ..TopologyReport::silent() };
    Ok(snapshot)
}

/// Shows a planner the same matrix for a minute, as if every circuit came up after its backend's set-up time.
fn dry_run(
    mut snapshot: Snapshot,
    mut adapt: impl FnMut(&Snapshot) -> Result<Wanted, Failure>,
) -> Result<WhatIfView, Failure> {
    let begun = snapshot.now;
    let mut changes = Vec::new();
    let mut before: BTreeMap<(String, String, String), WantedLink> = BTreeMap::new();
    for circuit in &snapshot.circuits {
        let link = WantedLink {
            a: circuit.a.clone(),
            z: circuit.z.clone(),
            network: circuit.network.clone(),
            rate: circuit.rate,
            reason: "it is there now".to_owned(),
        };
        before.insert(key(&link), link);
    }
    let mut wanted = Wanted::default();
    for step in 0..=STEPS {
        snapshot.now = begun + STEP * step as u32;
        wanted = adapt(&snapshot)?;
        let now: BTreeMap<_, _> = wanted.links.iter().map(|link| (key(link), link.clone())).collect();
        let change =
            |asks: bool, link: &WantedLink| PlannedChange { after_s: step, asks, link: link.clone() };
        let asked = now.iter().filter(|(key, _)| !before.contains_key(*key));
        changes.extend(asked.map(|(_, link)| change(true, link)));
        let given_back = before.iter().filter(|(key, _)| !now.contains_key(*key));
        changes.extend(given_back.map(|(_, link)| change(false, link)));
        snapshot.circuits = wanted.links.iter().map(|link| carried_on(&snapshot, link)).collect();
        before = now;
    }
    let (demand, on_circuits) = served(&snapshot, &wanted);
    Ok(WhatIfView { lasted_s: STEPS, changes, wanted, demand, on_circuits })
}

fn key(link: &WantedLink) -> (String, String, String) {
    (link.a.clone(), link.z.clone(), link.network.clone())
}

fn carried_on(snapshot: &Snapshot, link: &WantedLink) -> CircuitView {
    let old = snapshot
        .circuits
        .iter()
        .find(|old| (&old.a, &old.z, &old.network) == (&link.a, &link.z, &link.network));
    let wanted_since = old.map_or(snapshot.now, |old| old.wanted_since);
    let backend = snapshot.backends.iter().find(|backend| backend.network == link.network);
    let setup = backend.map_or(Duration::ZERO, |backend| backend.capabilities.setup_time);
    let did_carry = old.is_some_and(|old| old.carries_traffic);
    CircuitView {
        a: link.a.clone(),
        z: link.z.clone(),
        network: link.network.clone(),
        rate: link.rate,
        wanted_since,
        carries_traffic: did_carry || snapshot.now.since(wanted_since) + STEP >= setup,
        backing_off: false,
    }
}

/// All that is sent between nodes, and how much of it has a rule onto a circuit.
fn served(snapshot: &Snapshot, wanted: &Wanted) -> (BitsPerSecond, BitsPerSecond) {
    let nodes: BTreeMap<MacAddr, &str> =
        snapshot.guests.iter().map(|guest| (guest.mac, guest.node.as_str())).collect();
    let ruled: BTreeSet<(MacAddr, MacAddr)> =
        wanted.rules.iter().map(|rule| (rule.source, rule.destination)).collect();
    let (mut all, mut on_circuits) = (0_u64, 0_u64);
    for demand in &snapshot.topology.demands {
        if nodes.get(&demand.source) != nodes.get(&demand.destination) {
            all = all.saturating_add(demand.rate.0);
            if ruled.contains(&(demand.source, demand.destination)) {
                on_circuits = on_circuits.saturating_add(demand.rate.0);
            }
        }
    }
    (BitsPerSecond(all), BitsPerSecond(on_circuits))
}

#[cfg(test)]
mod tests {
    use vreserve_model::{BackendView, Capabilities, NodeView, WantedRule};

    use super::*;

    fn snapshot() -> Snapshot {
        let node = |name: &str| NodeView { name: name.to_owned(), networks: BTreeMap::new() };
        let setup_time = Duration::from_secs(5);
        Snapshot {
            now: Timestamp::from_millis(1_000),
            nodes: vec![node("alpha"), node("beta")],
            guests: vec![Guest { mac: MacAddr([2, 0, 0, 0, 0, 1]), node: "alpha".to_owned() }],
            topology: TopologyReport::silent(),
            backends: vec![BackendView {
                network: "omninet".to_owned(),
                capabilities: Capabilities { setup_time, ..Capabilities::default() },
                max_circuits: None,
                max_rate: None,
            }],
            circuits: Vec::new(),
            max_hops: 1,
            question: None,
        }
    }

    fn supposed(source: &str, destination: &str) -> SupposedDemand {
        let rate = BitsPerSecond(80_000_000);
        SupposedDemand {
            source: source.to_owned(),
            destination: destination.to_owned(),
            rate,
            frames_per_second: None,
        }
    }

    #[test]
    fn a_supposed_matrix_names_guests_and_nodes_and_what_is_neither_is_refused() {
        let demands = [supposed("02:00:00:00:00:01", "beta"), supposed("beta", "alpha")];
        let snapshot = suppose(snapshot(), &demands).unwrap();
        let nodes: Vec<&str> = snapshot.guests.iter().map(|guest| guest.node.as_str()).collect();
        assert_eq!(nodes, ["alpha", "alpha", "beta"]);
        assert_eq!(snapshot.topology.demands[1].source, snapshot.topology.demands[0].destination);
        assert_eq!(snapshot.topology.demands[0].frames_per_second, 10_000.0);
        for (source, error) in [
            ("gamma", "demand 1: no node is called gamma"),
            ("02:00:00:00:00:09", "demand 1: no node has the guest"),
        ] {
            let reason = suppose(self::snapshot(), &[supposed(source, "beta")]).unwrap_err();
            assert!(reason.contains(error), "{reason}");
        }
    }

    #[test]
    fn a_dry_run_tells_what_is_asked_for_when_and_what_takes_it() {
        let snapshot = suppose(snapshot(), &[supposed("alpha", "beta"), supposed("beta", "alpha")]).unwrap();
        let first = snapshot.topology.demands[0];
        let rule = WantedRule {
            node: "alpha".to_owned(),
            source: first.source,
            destination: first.destination,
            next: "beta".to_owned(),
            network: "omninet".to_owned(),
        };
        let mut carrying_after = None;
        // Wants the link from the third second on, and drops it at the end.
        let outcome = dry_run(snapshot, |snapshot| {
            let second = snapshot.now.0 / 1_000_000_000 - 1;
            if snapshot.circuits.first().is_some_and(|circuit| circuit.carries_traffic) {
                carrying_after.get_or_insert(second);
            }
            let link = WantedLink {
                a: "alpha".to_owned(),
                z: "beta".to_owned(),
                network: "omninet".to_owned(),
                rate: BitsPerSecond(100_000_000),
                reason: String::new(),
            };
            let links = if (3..60).contains(&second) { vec![link] } else { Vec::new() };
            Ok(Wanted { links, rules: vec![rule.clone()], ..Wanted::default() })
        })
        .unwrap();
        let found: Vec<(u64, bool)> =
            outcome.changes.iter().map(|change| (change.after_s, change.asks)).collect();
        assert_eq!(found, [(3, true), (60, false)]);
        assert_eq!(carrying_after, Some(8), "its set-up takes five seconds");
        assert_eq!((outcome.demand.0, outcome.on_circuits.0), (160_000_000, 80_000_000));
    }
}
