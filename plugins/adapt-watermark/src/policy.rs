//! The policy: at the end of each period one circuit is added, or one is removed, or nothing is done.
//!
//! Added, if a star link's load is over the high watermark: a circuit for the largest pair on the most loaded such link
//! that can have one. Removed, if no star link is over it: the circuit of least load under the low watermark whose pair
//! the star can take back without a link of it going over the high one, which would bring it back a period later.

use std::collections::{BTreeMap, BTreeSet};

use vreserve_sdk::model::{
    BitsPerSecond, Capabilities, Decision, Explanation, PairQuestion, Snapshot, Timestamp, Wanted,
    WantedLink, WantedRule,
};

use crate::config::Config;
use crate::loads::{Flow, GuestPair, Mean, NodePair, flows};

/// What a step changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A circuit is asked for.
    Added,
    /// One is given back.
    Removed,
}

/// Plans, one snapshot at a time.
pub struct Policy {
    config: Config,
    /// When the period began; none before the first snapshot.
    begun: Option<Timestamp>,
    mean: Mean,
    links: BTreeMap<NodePair, Link>,
    /// What was found at the end of the last period.
    last: String,
}

/// One circuit that is wanted.
struct Link {
    network: String,
    rate: BitsPerSecond,
    /// The host waits before it asks again: its pair is on the star.
    backing_off: bool,
    /// Guests that have talked since it was wanted: their rules stay while they pause.
    guests: BTreeSet<GuestPair>,
}

impl Policy {
    /// Wants nothing yet.
    pub fn new(config: Config) -> Self {
        let last = "the first period is not over".to_owned();
        Policy { config, begun: None, mean: Mean::default(), links: BTreeMap::new(), last }
    }

    /// The overlay wanted now, and what changed.
    pub fn step(&mut self, snapshot: &Snapshot) -> (Wanted, Option<Change>) {
        let flows = flows(snapshot);
        let begun = match self.begun {
            Some(begun) => begun,
            None => {
                self.adopt(snapshot);
                snapshot.now
            }
        };
        self.begun = Some(begun);
        self.see(snapshot);
        let is_over = snapshot.now.since(begun) >= self.config.period;
        self.mean.add(&flows);
        let mut change = None;
        if is_over {
            change = self.decide(snapshot);
            (self.begun, self.mean) = (Some(snapshot.now), Mean::default());
        }
        for (pair, link) in &mut self.links {
            link.guests.extend(flows.get(pair).into_iter().flat_map(|flow| &flow.guests));
        }
        (self.wanted(snapshot, &flows), change)
    }

    /// Takes over what an earlier planner has left.
    fn adopt(&mut self, snapshot: &Snapshot) {
        let mut circuits: Vec<_> = snapshot.circuits.iter().filter(|circuit| circuit.a < circuit.z).collect();
        circuits.sort_by_key(|circuit| (!circuit.carries_traffic, circuit.backing_off));
        for circuit in circuits {
            let pair = (circuit.a.clone(), circuit.z.clone());
            self.links.entry(pair).or_insert_with(|| Link {
                network: circuit.network.clone(),
                rate: circuit.rate,
                backing_off: circuit.backing_off,
                guests: BTreeSet::new(),
            });
        }
    }

    /// What became of the circuits; those that an end has left cannot stay, nor rules of guests that moved.
    fn see(&mut self, snapshot: &Snapshot) {
        let places: BTreeMap<_, _> = snapshot.guests.iter().map(|guest| (guest.mac, &guest.node)).collect();
        self.links.retain(|(a, z), link| {
            let of_link = |circuit: &&vreserve_sdk::model::CircuitView| {
                (&circuit.a, &circuit.z, &circuit.network) == (a, z, &link.network)
            };
            link.backing_off =
                snapshot.circuits.iter().find(of_link).is_some_and(|circuit| circuit.backing_off);
            link.guests.retain(|(at_a, at_z)| {
                places.get(at_a).is_some_and(|node| *node == a)
                    && places.get(at_z).is_some_and(|node| *node == z)
            });
            [a, z].into_iter().all(|end| is_on(snapshot, end, &link.network))
        });
    }

    fn decide(&mut self, snapshot: &Snapshot) -> Option<Change> {
        let loads = self.star_loads();
        let limit = self.config.star_rate.0 as f64 * self.config.high;
        let mut over: Vec<(&String, f64)> =
            loads.iter().filter(|(_, load)| **load > limit).map(|(node, load)| (node, *load)).collect();
        over.sort_by(|one, other| other.1.total_cmp(&one.1));
        let Some((node, load)) = over.first() else { return self.remove(snapshot, &loads, limit) };
        let load = BitsPerSecond(*load as u64);
        let found = over.iter().find_map(|(node, _)| self.relief(snapshot, node));
        match found {
            Some((pair, link)) => {
                self.last = format!("{node} had {load} on its star link: {}-{} is relieved", pair.0, pair.1);
                self.links.insert(pair, link);
                Some(Change::Added)
            }
            None => {
                self.last =
                    format!("{node} had {load} on its star link, and no pair of it can have a circuit");
                None
            }
        }
    }

    /// What every node's star link carried: its pairs without a circuit, or whose circuit is not there.
    fn star_loads(&self) -> BTreeMap<String, f64> {
        let mut loads = BTreeMap::new();
        for (pair, rate) in self.mean.rates() {
            if self.links.get(pair).is_none_or(|link| link.backing_off) {
                *loads.entry(pair.0.clone()).or_insert(0.0) += rate;
                *loads.entry(pair.1.clone()).or_insert(0.0) += rate;
            }
        }
        loads
    }

    /// A circuit for the largest pair of a node that has none and can have one.
    fn relief(&self, snapshot: &Snapshot, node: &str) -> Option<(NodePair, Link)> {
        let active = self.links.values().filter(|link| !link.backing_off).count();
        // What waits for another attempt is kept beside the budget, but not more of it than the budget again.
        let limit = self.config.max_links;
        if active >= limit || self.links.len() >= limit.saturating_mul(2) {
            return None;
        }
        let own = |(pair, _): &(&NodePair, f64)| pair.0 == node || pair.1 == node;
        let mut pairs: Vec<_> =
            self.mean.rates().filter(own).filter(|(pair, _)| !self.links.contains_key(*pair)).collect();
        pairs.sort_by(|one, other| other.1.total_cmp(&one.1));
        pairs.into_iter().filter(|(_, rate)| *rate >= 1.0).find_map(|(pair, rate)| {
            let backend = snapshot.backends.iter().find(|backend| {
                let on_both =
                    [&pair.0, &pair.1].into_iter().all(|end| is_on(snapshot, end, &backend.network));
                let room = [backend.capabilities.max_concurrent, backend.max_circuits];
                let used =
                    self.links.values().filter(|link| link.network == backend.network && !link.backing_off);
                on_both && room.into_iter().flatten().min().is_none_or(|most| used.count() < most as usize)
            })?;
            let rate = rate_for(rate * self.config.headroom, &backend.capabilities);
            let (network, guests) = (backend.network.clone(), BTreeSet::new());
            Some((pair.clone(), Link { network, rate, backing_off: false, guests }))
        })
    }

    /// Gives the least loaded circuit back that the star can do without.
    fn remove(&mut self, snapshot: &Snapshot, loads: &BTreeMap<String, f64>, limit: f64) -> Option<Change> {
        // What a silent node sends is unknown, not nothing.
        let is_silent = |node: &String| snapshot.topology.silent_nodes.contains(node);
        let spare = |(pair, link): &(&NodePair, &Link)| {
            let rate = self.mean.rate(pair);
            let back = |node: &String| loads.get(node).copied().unwrap_or(0.0) + rate;
            let fits = link.backing_off || [&pair.0, &pair.1].into_iter().all(|node| back(node) <= limit);
            !is_silent(&pair.0) && !is_silent(&pair.1) && fits && self.share(pair, link) < self.config.low
        };
        let least = self.links.iter().filter(spare);
        let least =
            least.min_by(|one, other| self.share(one.0, one.1).total_cmp(&self.share(other.0, other.1)));
        let Some((pair, share)) = least.map(|(pair, link)| (pair.clone(), self.share(pair, link))) else {
            self.last = "no star link was over the high watermark, no circuit under the low one".to_owned();
            return None;
        };
        self.last = format!("{}-{} used {:.0} % of its circuit: given back", pair.0, pair.1, share * 100.0);
        self.links.remove(&pair);
        Some(Change::Removed)
    }

    fn share(&self, pair: &NodePair, link: &Link) -> f64 {
        self.mean.rate(pair) / (link.rate.0 as f64).max(1.0)
    }

    fn wanted(&self, snapshot: &Snapshot, flows: &BTreeMap<NodePair, Flow>) -> Wanted {
        let rate = |pair: &NodePair| flows.get(pair).map_or(0, Flow::rate);
        let mut links: Vec<_> = self.links.iter().collect();
        links.sort_by_key(|(pair, _)| std::cmp::Reverse(rate(pair)));
        let rules = links.iter().flat_map(|((a, z), link)| {
            let rule = |node: &String, source, destination, next: &String| WantedRule {
                node: node.clone(),
                source,
                destination,
                next: next.clone(),
                network: link.network.clone(),
            };
            link.guests
                .iter()
                .flat_map(move |(at_a, at_z)| [rule(a, *at_a, *at_z, z), rule(z, *at_z, *at_a, a)])
        });
        let link = |(pair, link): &(&NodePair, &Link)| WantedLink {
            a: pair.0.clone(),
            z: pair.1.clone(),
            network: link.network.clone(),
            rate: link.rate,
            reason: format!("demand {}: until it is the least loaded circuit", BitsPerSecond(rate(pair))),
        };
        Wanted {
            links: links.iter().map(link).collect(),
            rules: rules.collect(),
            notes: vec![format!("last period: {}", self.last)],
            explanation: snapshot.question.as_ref().map(|asked| self.explain(asked, rate, snapshot)),
        }
    }

    fn explain(
        &self,
        asked: &PairQuestion,
        rate: impl Fn(&NodePair) -> u64,
        snapshot: &Snapshot,
    ) -> Explanation {
        let pair = (asked.a.clone(), asked.z.clone());
        let period = self.config.period.as_secs_f64();
        let (decision, why) = match self.links.get(&pair) {
            Some(link) if link.backing_off => (Decision::Kept, "it waits for another attempt".to_owned()),
            Some(link) => (Decision::Kept, format!("it has {} on {}", link.rate, link.network)),
            None => (Decision::Star, format!("last period: {}", self.last)),
        };
        Explanation {
            demand: BitsPerSecond(rate(&pair)),
            bulk_pairs: 0,
            latency_pairs: 0,
            lasts_ms: None,
            expected_ms: None,
            history_ms: Vec::new(),
            least_share: None,
            candidates: Vec::new(),
            budgets: Vec::new(),
            decision,
            why,
            otherwise: vec![format!(
                "one circuit is added or removed per {period:.1} s; the next change is due in {:.1} s",
                self.config
                    .period
                    .saturating_sub(snapshot.now.since(self.begun.unwrap_or(snapshot.now)))
                    .as_secs_f64()
            )],
            pair: asked.clone(),
        }
    }
}

/// True if a node is there and has an endpoint on the network.
fn is_on(snapshot: &Snapshot, node: &str, network: &str) -> bool {
    snapshot.nodes.iter().any(|known| known.name == node && known.networks.contains_key(network))
}

/// That of the backend where it is fixed, else rounded up.
fn rate_for(rate: f64, backend: &Capabilities) -> BitsPerSecond {
    let step = backend.granularity.0.max(1);
    let rounded = (rate.ceil() as u64).div_ceil(step).saturating_mul(step);
    backend.fixed_rate.unwrap_or(BitsPerSecond(rounded))
}

#[cfg(test)]
mod tests;
