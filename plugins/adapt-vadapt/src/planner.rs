//! VADAPT's choice with hysteresis: E, then the best H that the budgets take, then rules.
//!
//! One step per snapshot, in this order: see what became of the circuits, give back what is not needed, drop
//! what is over the budget, choose ([`choice`](crate::choice)) among what is there and what would deserve a
//! circuit, fill free slots with what was chosen, let what was chosen and has been ahead for a while replace
//! what was not. The result is a function of what is remembered and the snapshot, and the same snapshot again changes
//! nothing.

mod choosing;
mod explaining;
mod relaying;
mod sizing;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vreserve_sdk::model::{Snapshot, Timestamp, Wanted};

use crate::candidates::Candidates;
use crate::chosen::Chosen;
use crate::config::Config;
use crate::demand::{Demands, NodePair, Placement};
use crate::history::History;
use crate::pace::Pace;
use relaying::Relayed;

/// How long the reason of a release is told: a snapshot's answer is replaced before anybody can read it.
const TELL_RELEASE_FOR: Duration = Duration::from_secs(60);

/// Pairs that are looked at: the largest of those that would deserve a circuit.
const LOOKED_AT: usize = 8192;

/// Plans, one snapshot at a time.
pub struct Planner {
    config: Config,
    /// None until the first snapshot, whose circuits are adopted.
    chosen: Option<BTreeMap<NodePair, Chosen>>,
    /// Pairs on two circuits.
    relayed: BTreeMap<NodePair, Relayed>,
    released: BTreeMap<NodePair, Release>,
    history: History,
    pace: Pace,
}

/// When and why a pair's circuit was given back.
struct Release {
    at: Timestamp,
    why: String,
}

/// Why the last step changed what it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pairs chosen into free slots.
    pub chosen: u64,
    /// Pairs given back, those that were displaced among them.
    pub released: u64,
    /// Pairs that took an incumbent's place.
    pub swapped: u64,
    /// Circuits whose rate was changed.
    pub resized: u64,
}

impl Planner {
    /// Remembers nothing yet.
    pub fn new(config: Config) -> Self {
        Planner {
            config,
            chosen: None,
            relayed: BTreeMap::new(),
            released: BTreeMap::new(),
            history: History::default(),
            pace: Pace::default(),
        }
    }

    /// The overlay wanted now, and what changed.
    pub fn step(&mut self, snapshot: &Snapshot) -> (Wanted, Changes) {
        let placed = Placement::new(snapshot);
        let demands = Demands::new(snapshot, &placed);
        let silent: BTreeSet<&str> = snapshot.topology.silent_nodes.iter().map(String::as_str).collect();
        let is_known =
            |pair: &NodePair| !silent.contains(pair.a.as_str()) && !silent.contains(pair.z.as_str());
        let (high, more) = demands.highest(&self.config, LOOKED_AT);
        let worth_of = |pair: &NodePair| demands.worth(pair, &self.config).0;
        self.history.see(high.iter().map(|(pair, _)| pair), worth_of, is_known, &self.config, snapshot.now);
        self.pace.forget(&self.config, snapshot.now);
        let mut step = Step {
            config: &self.config,
            snapshot,
            candidates: Candidates::new(snapshot),
            demands: &demands,
            silent,
            history: &self.history,
            pace: &mut self.pace,
            chosen: self.chosen.take().unwrap_or_else(|| adopt(snapshot)),
            relayed: &mut self.relayed,
            released: &mut self.released,
            left_out: BTreeMap::new(),
            unnoted: more,
            changes: Changes::default(),
        };
        step.forget_releases();
        step.see(&placed);
        step.release();
        step.keep_to_budget();
        let choice = step.choose(&high);
        step.size();
        step.relay(&choice, &placed);
        step.remember_guests(&placed);
        let wanted = step.wanted(&choice);
        let changes = step.changes;
        self.chosen = Some(step.chosen);
        (wanted, changes)
    }
}

/// Of two circuits of one pair, that which carries traffic is kept, then that which does not back off.
fn adopt(snapshot: &Snapshot) -> BTreeMap<NodePair, Chosen> {
    let mut circuits: Vec<_> = snapshot.circuits.iter().collect();
    circuits.sort_by_key(|circuit| (circuit.carries_traffic, !circuit.backing_off));
    circuits
        .into_iter()
        .filter_map(|circuit| Some((NodePair::new(&circuit.a, &circuit.z)?, Chosen::adopted(circuit))))
        .collect()
}

struct Step<'a> {
    config: &'a Config,
    snapshot: &'a Snapshot,
    candidates: Candidates<'a>,
    demands: &'a Demands<'a>,
    silent: BTreeSet<&'a str>,
    history: &'a History,
    pace: &'a mut Pace,
    chosen: BTreeMap<NodePair, Chosen>,
    relayed: &'a mut BTreeMap<NodePair, Relayed>,
    released: &'a mut BTreeMap<NodePair, Release>,
    left_out: BTreeMap<NodePair, String>,
    /// Pairs left out beside those that are worth a word.
    unnoted: usize,
    changes: Changes,
}

impl Step<'_> {
    /// What a silent node sends is unknown, not zero.
    fn is_known(&self, pair: &NodePair) -> bool {
        !self.silent.contains(pair.a.as_str()) && !self.silent.contains(pair.z.as_str())
    }

    fn forget_releases(&mut self) {
        let now = self.snapshot.now;
        self.released.retain(|_, release| now.since(release.at) < TELL_RELEASE_FOR);
    }

    fn see(&mut self, placed: &Placement<'_>) {
        let now = self.snapshot.now;
        let mut all = std::mem::take(&mut self.chosen);
        for (pair, chosen) in &mut all {
            let circuit = self.snapshot.circuits.iter().find(|circuit| {
                circuit.network == chosen.network
                    && NodePair::new(&circuit.a, &circuit.z).as_ref() == Some(pair)
            });
            chosen.see(circuit, now);
            let worth = self.demands.worth(pair, self.config);
            // Beside its circuit such a pair sends what a congested network lets through, not what it would.
            let squeezed = self.config.rates_on(&chosen.network).least.0 > 0
                && chosen.carries_since.is_none()
                && worth.0 > 0;
            chosen.low.watch(self.is_known(pair) && !squeezed && worth < self.config.low(), now);
            chosen.guests.retain(|guests| placed.spans(pair, *guests));
        }
        self.chosen = all;
    }

    fn release(&mut self) {
        let low = self.config.low();
        let lasted = self.config.release_after.as_secs_f64();
        for (pair, chosen) in std::mem::take(&mut self.chosen) {
            if !self.candidates.share(&pair, &chosen.network) {
                self.give_back(&pair, format!("an end has left {}", chosen.network));
            } else if chosen.may_go(self.config, self.snapshot.now) && self.pace.allows(1, self.config) {
                self.give_back(&pair, format!("demand under {low} for {lasted:.1} s"));
            } else {
                self.chosen.insert(pair, chosen);
            }
        }
    }

    /// Removes a pair from the choice and remembers why.
    fn give_back(&mut self, pair: &NodePair, why: String) {
        let now = self.snapshot.now;
        self.chosen.remove(pair);
        self.released.insert(pair.clone(), Release { at: now, why });
        self.changes.released += 1;
        self.pace.count(self.config, now);
    }

    /// More than the budgets take are chosen only when circuits come back from a back-off or were adopted: those
    /// that carry traffic stay before those that do not, those of larger worth before those of smaller.
    fn keep_to_budget(&mut self) {
        let mut active = self.active();
        active.sort_by_key(|pair| {
            let carries = self.chosen[pair].carries_since.is_some();
            (std::cmp::Reverse(carries), std::cmp::Reverse(self.demands.worth(pair, self.config)))
        });
        let (mut links, mut rate, mut cost) = (0, 0_u64, 0.0);
        for pair in active {
            let chosen = &self.chosen[&pair];
            let own = self.config.cost_on(&chosen.network).of(chosen.rate);
            let sum = rate.saturating_add(chosen.rate.0);
            let over = if links >= self.config.max_links {
                Some(format!("over the budget of {} links", self.config.max_links))
            } else if let Some(most) = self.config.max_rate.filter(|most| sum > most.0) {
                Some(format!("over the budget of {most}"))
            } else {
                let most = self.config.max_cost.filter(|most| cost + own > most * (1.0 + 1e-9));
                most.map(|most| format!("over the budget of {most}"))
            };
            match over {
                Some(why) => self.give_back(&pair, why),
                None => (links, rate, cost) = (links + 1, sum, cost + own),
            }
        }
    }

    /// Pairs that use a slot.
    fn active(&self) -> Vec<NodePair> {
        let active = self.chosen.iter().filter(|(_, chosen)| !chosen.backing_off);
        active.map(|(pair, _)| pair.clone()).collect()
    }

    fn remember_guests(&mut self, placed: &Placement<'_>) {
        for (pair, chosen) in &mut self.chosen {
            let talking = self.demands.flow(pair).into_iter().flat_map(|flow| flow.guests());
            chosen.guests.extend(talking.filter(|guests| placed.spans(pair, *guests)));
        }
    }
}

#[cfg(test)]
mod tests;
