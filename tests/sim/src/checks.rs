//! What must hold at every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vreserve_core::counters::{Cell, Weight};
use vreserve_core::ids::LinkClass;
use vreserve_core::lead::Phase;
use vreserve_core::plan::LinkKey;
use vreserve_model::{MacAddr, RequestKey, ReservationState, Timestamp};

use crate::path::Path;
use crate::world::World;

/// The invariants by name.
pub const INVARIANTS: [&str; 11] = [
    PATH,
    LOOPS,
    FLOODS,
    "the matrix conserves bytes",
    "budgets are kept",
    ONE_CIRCUIT,
    "nothing that is held is forgotten",
    "nothing is asked for before it is on record",
    RELEASED,
    RECOVERED,
    "without faults no frame is lost, doubled or overtaken",
];
const PATH: &str = "no pair is without a path while the star exists";
const LOOPS: &str = "no forwarding loop";
const FLOODS: &str = "a flood reaches every node of the star once";
const ONE_CIRCUIT: &str = "one intent has at most one circuit";
const RELEASED: &str = "after demand stops everything is released within hold plus teardown";
const RECOVERED: &str = "when nothing goes wrong any more, there are circuits where there is demand";

/// A circuit that dies is noticed within a second; the beat of probes and of these looks comes on top.
const DETECTION: Duration = Duration::from_millis(1_700);
/// A cut-over ends after three seconds, whatever happens.
const HOLD: Duration = Duration::from_millis(3_500);

type Pair = (MacAddr, MacAddr);

/// What the checks remember.
#[derive(Default)]
pub(crate) struct Checks {
    /// Since when a pair is on a circuit that does not carry, or is held.
    dead_since: BTreeMap<Pair, Timestamp>,
    held_since: BTreeMap<Pair, Timestamp>,
    submitted: BTreeSet<RequestKey>,
    looks: usize,
    is_recovery_checked: bool,
    pub(crate) released_after: Option<Duration>,
    pub(crate) longest_gap: Duration,
}

#[cfg(test)]
impl Checks {
    /// As if it had been asked for.
    pub(crate) fn note_submitted(&mut self, key: RequestKey) {
        self.submitted.insert(key);
    }
}

impl World {
    /// All that must hold at every step; asked when something has changed that they are about.
    pub(crate) fn check(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        self.tell_of_providers();
        self.check_paths();
        self.check_holdings();
        self.check_circuits();
        self.checks.looks += 1;
        if self.checks.looks.is_multiple_of(16) {
            self.check_flood();
        }
        if self.now >= self.scenario.stop_at && !std::mem::replace(&mut self.checks.is_recovery_checked, true)
        {
            self.check_recovery();
        }
    }

    fn check_paths(&mut self) {
        for number in 0..self.scenario.flows.len() {
            let flow = &self.scenario.flows[number];
            let (from, to, source, destination) = (flow.from, flow.to, flow.source, flow.destination);
            let pair = (source, destination);
            if !self.has_star(from) || !self.has_star(to) {
                self.checks.dead_since.remove(&pair);
                self.checks.held_since.remove(&pair);
                continue;
            }
            self.counts.paths += 1;
            let path = self.path(from, source, to, destination);
            self.judge(pair, path);
        }
    }

    fn judge(&mut self, pair: Pair, path: Path) {
        let now = self.now;
        let (source, destination) = pair;
        let named = |what: &str| format!("{source} to {destination}: {what}");
        if !matches!(path, Path::DeadCircuit(_)) {
            self.checks.dead_since.remove(&pair);
        }
        if path != Path::Held {
            self.checks.held_since.remove(&pair);
        }
        match path {
            Path::Delivered => {}
            Path::Loop(at) => self.break_down(LOOPS, named(&at)),
            Path::Nowhere(what) => self.break_down(PATH, named(&what)),
            Path::Held => {
                let since = *self.checks.held_since.entry(pair).or_insert(now);
                if now.since(since) > HOLD {
                    self.break_down(PATH, named(&format!("held for {:?}", now.since(since))));
                }
            }
            Path::DeadCircuit(what) => {
                let since = *self.checks.dead_since.entry(pair).or_insert(now);
                let lasts = now.since(since);
                self.checks.longest_gap = self.checks.longest_gap.max(lasts);
                if lasts > DETECTION || self.scenario.is_faultless() {
                    self.break_down(PATH, named(&format!("for {lasts:?}, {what}")));
                }
            }
        }
    }

    /// A broadcast of one guest after the other: every node of the star sees it once.
    fn check_flood(&mut self) {
        let guests: Vec<_> = self.scenario.topology.guests().collect();
        let (from, source) = guests[self.checks.looks / 16 % guests.len()];
        if !self.has_star(from) {
            return;
        }
        let reach = self.reach(from, source, MacAddr::BROADCAST);
        for node in (0..self.nodes.len()).filter(|node| *node != from && self.has_star(*node)) {
            let times = reach.nodes.iter().filter(|reached| **reached == node).count();
            if times != 1 {
                let what = format!("a broadcast of {source} comes to {} {times} times", self.name(node));
                return self.break_down(FLOODS, what);
            }
        }
    }

    /// What providers hold: within budgets, and nothing that the lead knows nothing of.
    fn check_holdings(&mut self) {
        for network in 0..self.lines.len() {
            let name = self.scenario.topology.networks[network].name.clone();
            let mut held = Vec::new();
            self.lines[network].provider.visit(|of| {
                // What a dead lead had asked for is on its way back.
                if !of.is_late {
                    held.push((of.request.key.clone(), of.request.rate.0, of.state));
                }
            });
            let budget = self.scenario.settings.budgets.get(&name).copied().unwrap_or_default();
            let rate: u64 = held.iter().map(|(_, rate, _)| rate).sum();
            let most = budget.circuits.map_or(usize::MAX, |circuits| circuits as usize);
            if held.len() > most || budget.rate.is_some_and(|most| rate > most.0) {
                let what = format!("{} circuits and {rate} bit/s on {name}, of {budget:?}", held.len());
                self.break_down("budgets are kept", what);
            }
            let Some(shell) = &self.shell else { continue };
            // A hold runs out by itself.
            let counts = |(_, _, state): &&(_, _, ReservationState)| *state != ReservationState::Held;
            let forgotten = held.iter().filter(counts).find(|(key, ..)| !shell.knows(key));
            if let Some((key, ..)) = forgotten {
                let what = format!("{key} is held on {name}");
                self.break_down("nothing that is held is forgotten", what);
            }
        }
    }

    /// Between two nodes on one network there is one circuit with a link; what is being given back has none.
    fn check_circuits(&mut self) {
        let Some(shell) = &self.shell else { return };
        let mut links: BTreeMap<LinkKey, usize> = BTreeMap::new();
        for circuit in shell.lead.circuits() {
            if (Phase::Linking..=Phase::Unlinking).contains(&circuit.phase) {
                *links.entry(circuit.link).or_default() += 1;
            }
        }
        if let Some((link, count)) = links.into_iter().find(|(_, count)| *count > 1) {
            self.break_down(ONE_CIRCUIT, format!("{count} between {} and {}", link.a, link.z));
        }
    }

    /// Capacity is asked for: under a key that was never used, which is on record.
    pub(crate) fn check_submit(&mut self, key: &RequestKey) {
        if !self.checks.submitted.insert(key.clone()) {
            self.break_down(ONE_CIRCUIT, format!("{key} is asked for twice"));
        }
        if !self.disk.contains_key(key) {
            let what = format!("{key} is asked for");
            self.break_down("nothing is asked for before it is on record", what);
        }
    }

    /// Every byte that guests of a node have sent is in its matrix.
    pub(crate) fn check_matrix(&mut self, number: usize) {
        let node = &self.nodes[number];
        let mut total: Weight = node.matrix.totals().map(|cell: Cell| cell.weight()).sum();
        total += node.matrix.other_total();
        if total != node.worker.counted {
            let what = format!("{}: {total:?}, sent were {:?}", self.name(number), node.worker.counted);
            self.break_down("the matrix conserves bytes", what);
        }
    }

    /// So long after the last fault everybody has joined, and where a circuit can be had there is one.
    fn check_recovery(&mut self) {
        let absent = (0..self.nodes.len()).find(|node| !self.has_star(*node));
        if let Some(node) = absent {
            return self.break_down(RECOVERED, format!("{} has no star", self.name(node)));
        }
        let Some(shell) = &self.shell else { return };
        // With a budget, or an odd provider, demand may be more than can be had.
        let settings = &self.scenario.settings;
        let is_possible = |net: usize| settings.providers[net].capabilities.max_concurrent != Some(0);
        if !settings.budgets.is_empty() || !(0..self.lines.len()).any(is_possible) {
            return;
        }
        let min_rate = settings.adapt.min_rate.0 as f64;
        let is_due = |flow: &&crate::scenario::Flow| {
            let rate = flow.octets as f64 * 8.0 / flow.every.as_secs_f64();
            let stays = flow.times.last().is_some_and(|(from, until)| {
                *until >= self.scenario.stop_at && *from <= self.scenario.calm_at
            });
            stays && rate > 2.0 * min_rate && self.scenario.topology.share_a_network(flow.from, flow.to)
        };
        let due = self.scenario.flows.iter().find(is_due).map(|flow| (flow.source, flow.destination));
        let carries = shell.lead.circuits().any(|circuit| circuit.phase == Phase::Carrying);
        if let Some((source, destination)) = due.filter(|_| !carries) {
            let what = format!("{source} to {destination} sends, and there is no circuit at all");
            self.break_down(RECOVERED, what);
        }
    }

    /// True once nothing is held by anybody any more, and nobody sends.
    pub(crate) fn is_over(&mut self) -> bool {
        let seeing = self.scenario.settings.seeing();
        if self.now < self.scenario.stop_at || self.checks.released_after.is_some() {
            return self.checks.released_after.is_some_and(|after| {
                self.now > self.scenario.stop_at + seeing + after + Duration::from_secs(2)
            });
        }
        if self.checks.looks.is_multiple_of(4) && self.left_over().is_none() {
            self.checks.released_after = Some(self.now.since(self.scenario.stop_at));
        }
        false
    }

    /// At the end nothing may be left.
    pub(crate) fn check_end(&mut self) {
        if let Some(what) = self.left_over() {
            self.break_down(RELEASED, what);
        }
    }

    /// What is still there of circuits.
    fn left_over(&self) -> Option<String> {
        let held = self.lines.iter().position(|line| !line.provider.is_empty());
        if let Some(network) = held {
            return Some(format!("{} has circuits", self.scenario.topology.networks[network].name));
        }
        if let Some(key) = self.disk.keys().next() {
            return Some(format!("{key} is on record"));
        }
        let circuits = self.shell.as_ref().into_iter().flat_map(|shell| shell.lead.circuits());
        if let Some(circuit) = circuits.into_iter().next() {
            return Some(format!("{} to {} is {}", circuit.link.a, circuit.link.z, circuit.phase));
        }
        (0..self.nodes.len()).find_map(|number| {
            let node = &self.nodes[number];
            let link = node.worker.links().find(|(_, link)| link.class == LinkClass::Circuit);
            let pairs = node.agent.in_force().1.len();
            let name = self.name(number);
            match link {
                Some((id, _)) => Some(format!("{name} has link {id}")),
                None if pairs > 0 => Some(format!("{name} has {pairs} pairs on circuits")),
                None if node.worker.cutovers() > 0 => Some(format!("{name} has a cut-over under way")),
                None => None,
            }
        })
    }
}
