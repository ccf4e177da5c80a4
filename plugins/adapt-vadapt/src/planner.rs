//! VADAPT's greedy choice with hysteresis: E, then the top k by demand into H, then rules.
//!
//! One step per snapshot, in this order: see what became of the circuits, give back what is not needed, drop
//! what is over the budget, fill free slots with the largest demands, let a lasting challenger replace a
//! weak incumbent. The result is a function of the remembered choice and the snapshot, and the same snapshot
//! again changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use vreserve_sdk::model::{BitsPerSecond, Snapshot, Timestamp, Wanted, WantedLink};

use crate::candidates::{Candidates, rate_wanted};
use crate::chosen::Chosen;
use crate::config::Config;
use crate::demand::{Demands, NodePair, Placement};

/// More notes than a person reads help nobody.
const MAX_NOTES: usize = 32;
/// How long the reason of a release is told: a snapshot's answer is replaced before anybody can read it.
const TELL_RELEASE_FOR: Duration = Duration::from_secs(60);

/// Plans, one snapshot at a time.
pub struct Planner {
    config: Config,
    /// None until the first snapshot, whose circuits are adopted.
    chosen: Option<BTreeMap<NodePair, Chosen>>,
    released: BTreeMap<NodePair, Release>,
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
}

impl Planner {
    /// Remembers nothing yet.
    pub fn new(config: Config) -> Self {
        Planner { config, chosen: None, released: BTreeMap::new() }
    }

    /// The overlay wanted now, and what changed.
    pub fn step(&mut self, snapshot: &Snapshot) -> (Wanted, Changes) {
        let placed = Placement::new(snapshot);
        let demands = Demands::new(snapshot, &placed);
        let mut step = Step {
            config: &self.config,
            snapshot,
            candidates: Candidates::new(snapshot),
            demands,
            chosen: self.chosen.take().unwrap_or_else(|| adopt(snapshot)),
            released: &mut self.released,
            left_out: BTreeMap::new(),
            changes: Changes::default(),
        };
        step.forget_releases();
        step.see(&placed);
        step.release();
        step.keep_to_budget();
        let challengers = step.challengers();
        let left = step.fill(challengers);
        step.swap(left);
        step.size();
        step.remember_guests(&placed);
        let wanted = step.wanted();
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
    demands: Demands,
    chosen: BTreeMap<NodePair, Chosen>,
    released: &'a mut BTreeMap<NodePair, Release>,
    left_out: BTreeMap<NodePair, String>,
    changes: Changes,
}

/// A pair that has no circuit and would deserve one.
struct Challenger {
    pair: NodePair,
    rate: BitsPerSecond,
    network: String,
}

impl Step<'_> {
    fn forget_releases(&mut self) {
        let now = self.snapshot.now;
        self.released.retain(|_, release| now.since(release.at) < TELL_RELEASE_FOR);
    }

    fn see(&mut self, placed: &Placement<'_>) {
        let now = self.snapshot.now;
        for (pair, chosen) in &mut self.chosen {
            let circuit = self.snapshot.circuits.iter().find(|circuit| {
                circuit.network == chosen.network
                    && NodePair::new(&circuit.a, &circuit.z).as_ref() == Some(pair)
            });
            chosen.see(circuit, now);
            // What a silent node sends is unknown, not zero.
            let is_silent = |name: &String| *name == pair.a || *name == pair.z;
            let known = !self.snapshot.topology.silent_nodes.iter().any(is_silent);
            let demand = self.demands.rate(pair);
            // Beside its circuit such a pair sends what a congested network lets through, not what it would.
            let squeezed = self.config.rates_on(&chosen.network).least.0 > 0
                && chosen.carries_since.is_none()
                && demand.0 > 0;
            chosen.low.watch(known && !squeezed && demand < self.config.low(), now);
            chosen.guests.retain(|guests| placed.spans(pair, *guests));
        }
    }

    fn release(&mut self) {
        let now = self.snapshot.now;
        let low = self.config.low();
        let lasted = self.config.release_after.as_secs_f64();
        for (pair, chosen) in std::mem::take(&mut self.chosen) {
            if !self.candidates.share(&pair, &chosen.network) {
                self.give_back(&pair, format!("an end has left {}", chosen.network));
            } else if chosen.may_go(self.config, now) {
                self.give_back(&pair, format!("demand under {low} for {lasted:.1} s"));
            } else {
                self.chosen.insert(pair, chosen);
            }
        }
    }

    /// Removes a pair from the choice and remembers why.
    fn give_back(&mut self, pair: &NodePair, why: String) {
        self.chosen.remove(pair);
        self.released.insert(pair.clone(), Release { at: self.snapshot.now, why });
        self.changes.released += 1;
    }

    /// More than the budget are chosen only when circuits come back from a back-off or were adopted: those
    /// that carry traffic stay before those that do not, larger demand before smaller.
    fn keep_to_budget(&mut self) {
        let mut active = self.active();
        active.sort_by_key(|pair| {
            let carries = self.chosen[pair].carries_since.is_some();
            (std::cmp::Reverse(carries), std::cmp::Reverse(self.demands.rate(pair)))
        });
        for pair in active.iter().skip(self.config.max_links) {
            self.give_back(pair, format!("over the budget of {} links", self.config.max_links));
        }
    }

    /// Pairs that use a slot.
    fn active(&self) -> Vec<NodePair> {
        let active = self.chosen.iter().filter(|(_, chosen)| !chosen.backing_off);
        active.map(|(pair, _)| pair.clone()).collect()
    }

    fn challengers(&mut self) -> Vec<Challenger> {
        let mut challengers = Vec::new();
        for (pair, rate) in self.demands.ranked() {
            if rate < self.config.min_rate {
                break;
            }
            if self.chosen.contains_key(pair) {
                continue;
            }
            match self.candidates.network(pair, self.config) {
                Ok(backend) => {
                    let network = backend.network.clone();
                    challengers.push(Challenger { pair: pair.clone(), rate, network });
                }
                Err(why) => drop(self.left_out.insert(pair.clone(), format!("{rate}, but {why}"))),
            }
        }
        challengers
    }

    /// Pairs that back off stay wanted beside the budget, but not more of them than the budget again: else a
    /// network without room would be asked for one pair after the other.
    fn fill(&mut self, challengers: Vec<Challenger>) -> Vec<Challenger> {
        let mut left = Vec::new();
        let mut active = self.active().len();
        for challenger in challengers {
            let has_slot = active < self.config.max_links && self.chosen.len() < 2 * self.config.max_links;
            if has_slot && self.has_room(&challenger.network) {
                self.choose(challenger);
                self.changes.chosen += 1;
                active += 1;
            } else {
                left.push(challenger);
            }
        }
        left
    }

    fn has_room(&self, network: &str) -> bool {
        let limit = self.candidates.capabilities(network).and_then(|backend| backend.max_concurrent);
        let used =
            self.chosen.values().filter(|chosen| chosen.network == network && !chosen.backing_off).count();
        limit.is_none_or(|limit| used < limit as usize)
    }

    fn choose(&mut self, challenger: Challenger) {
        let Challenger { pair, rate, network } = challenger;
        let backend = self.candidates.capabilities(&network);
        let rates = self.config.rates_on(&network);
        let rate = backend.map_or(rate, |backend| rate_wanted(rate, self.config.headroom, rates, backend));
        self.released.remove(&pair);
        self.chosen.insert(pair, Chosen::new(&network, rate, self.snapshot.now));
    }

    /// The strongest challenger against the weakest incumbent, the second against the second, and so on. The
    /// challenger must stay ahead as long as demand must stay low, so that pairs that take turns do not
    /// take each other's circuits.
    fn swap(&mut self, challengers: Vec<Challenger>) {
        let now = self.snapshot.now;
        let mut incumbents = self.active();
        incumbents.sort_by_key(|pair| self.demands.rate(pair));
        let mut challengers = challengers.into_iter();
        for incumbent in incumbents {
            let rate = self.demands.rate(&incumbent).0 as f64;
            let challenger = challengers.next();
            let beaten =
                challenger.as_ref().is_some_and(|c| c.rate.0 as f64 >= rate * self.config.swap_margin);
            let chosen = self.chosen.get_mut(&incumbent).expect("active pairs are chosen");
            chosen.beaten.watch(beaten, now);
            let may_go = chosen.beaten.has_run(self.config.release_after, now)
                && chosen.hold_left(self.config, now).is_zero();
            match challenger {
                Some(challenger) if may_go => self.replace(&incumbent, challenger),
                Some(challenger) => self.leave_out(&challenger),
                None => {}
            }
        }
        challengers.for_each(|challenger| self.leave_out(&challenger));
    }

    fn replace(&mut self, incumbent: &NodePair, challenger: Challenger) {
        let removed = self.chosen.remove(incumbent).expect("active pairs are chosen");
        if self.has_room(&challenger.network) {
            self.give_back(incumbent, format!("{} needs the circuit more", challenger.pair));
            self.choose(challenger);
            self.changes.swapped += 1;
        } else {
            self.chosen.insert(incumbent.clone(), removed);
            self.leave_out(&challenger);
        }
    }

    fn leave_out(&mut self, challenger: &Challenger) {
        let Challenger { pair, rate, network } = challenger;
        let limit = self.config.max_links;
        let why = format!("{rate}, but no circuit is left of {limit} or on {network}");
        self.left_out.insert(pair.clone(), why);
    }

    /// A rate once asked for stays until demand outgrows it, and then changes only where the backend can do
    /// that in place.
    fn size(&mut self) {
        for (pair, chosen) in &mut self.chosen {
            let demand = self.demands.rate(pair);
            let backend = self.candidates.capabilities(&chosen.network).filter(|backend| backend.modify);
            if let Some(backend) = backend.filter(|_| demand > chosen.rate) {
                let rates = self.config.rates_on(&chosen.network);
                chosen.rate = rate_wanted(demand, self.config.headroom, rates, backend);
            }
        }
    }

    fn remember_guests(&mut self, placed: &Placement<'_>) {
        for (pair, chosen) in &mut self.chosen {
            let talking = self.demands.flow(pair).into_iter().flat_map(|flow| &flow.guests);
            chosen.guests.extend(talking.filter(|guests| placed.spans(pair, **guests)));
        }
    }

    fn wanted(&self) -> Wanted {
        let now = self.snapshot.now;
        let mut pairs: Vec<_> = self.chosen.iter().collect();
        pairs.sort_by_key(|(pair, _)| std::cmp::Reverse(self.demands.rate(pair)));
        let links = pairs.iter().map(|(pair, chosen)| WantedLink {
            a: pair.a.clone(),
            z: pair.z.clone(),
            network: chosen.network.clone(),
            rate: chosen.rate,
            reason: chosen.reason(self.config, self.demands.rate(pair), now),
        });
        let links = links.collect();
        let rules = pairs.iter().flat_map(|(pair, chosen)| chosen.rules(pair)).collect();
        let notes = self.notes();
        Wanted { links, rules, notes }
    }

    /// One line per pair: a recent release says more than that the pair has no circuit now.
    fn notes(&self) -> Vec<String> {
        let mut lines: BTreeMap<_, _> = self.left_out.iter().map(|(pair, why)| (pair, why.clone())).collect();
        lines
            .extend(self.released.iter().map(|(pair, release)| (pair, format!("released, {}", release.why))));
        let mut notes = self.demands.notes();
        notes.extend(lines.iter().map(|(pair, why)| format!("{pair}: {why}")));
        let more = notes.len().saturating_sub(MAX_NOTES);
        notes.truncate(MAX_NOTES);
        notes.extend((more > 0).then(|| format!("and {more} more")));
        notes
    }
}

#[cfg(test)]
mod tests;
