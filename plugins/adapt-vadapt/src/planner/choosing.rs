//! The choice as a problem of numbers, and its solution as circuits that are asked for and given back.

use std::collections::{BTreeMap, BTreeSet};

use vreserve_sdk::model::{BackendView, BitsPerSecond};

use super::Step;
use crate::candidates::rate_wanted;
use crate::choice::{Edge, Effort, Limits, NodePairDemand, Obstacle, Problem, Room, Selection, choose};
use crate::chosen::Chosen;
use crate::demand::NodePair;

/// More challengers than this for each link that there may be are not looked at: they are the smallest.
const PER_LINK: usize = 8;
/// But at least so many are, and at most so many.
const CANDIDATES: (usize, usize) = (64, 512);
/// Pairs that were left out and are worth a word.
const NOTED: usize = 64;

/// A choice that was made, with what its numbers stand for.
pub(super) struct Choice {
    pub(super) problem: Problem,
    /// The best that was found.
    pub(super) best: Selection,
    /// What is wanted from now on, of what does not wait for another attempt.
    pub(super) taken: Selection,
    pub(super) pairs: Vec<NodePair>,
    pub(super) networks: Vec<String>,
    pub(super) nodes: Vec<String>,
}

impl Choice {
    pub(super) fn pair_of(&self, pair: &NodePair) -> Option<usize> {
        self.pairs.iter().position(|known| known == pair)
    }

    fn edges_of(&self, pair: usize) -> impl Iterator<Item = usize> + '_ {
        self.problem.edges.iter().enumerate().filter(move |(_, edge)| edge.pair == pair).map(|(edge, _)| edge)
    }

    /// The edge of a pair on a network.
    pub(super) fn edge_on(&self, pair: usize, network: &str) -> Option<usize> {
        self.edges_of(pair).find(|edge| self.networks[self.problem.edges[*edge].network] == network)
    }
}

/// Numbers for names, in the order in which they come.
#[derive(Default)]
struct Numbers<'a> {
    of: BTreeMap<&'a str, usize>,
    names: Vec<String>,
}

impl<'a> Numbers<'a> {
    fn of(&mut self, name: &'a str) -> usize {
        let next = self.names.len();
        let number = *self.of.entry(name).or_insert(next);
        if number == next {
            self.names.push(name.to_owned());
        }
        number
    }
}

impl Step<'_> {
    /// Chooses, and does what that asks for.
    pub(super) fn choose(&mut self, high: &[(NodePair, BitsPerSecond)]) -> Choice {
        let challengers = self.challengers(high);
        let mut choice = self.problem(&challengers);
        let effort = Effort { routing: self.config.routing, steps: self.config.refine_steps };
        choice.best = choose(&choice.problem, effort);
        let waiting = self.fill(&mut choice);
        self.swap(&mut choice, waiting);
        self.leave_out(&choice);
        choice
    }

    /// Pairs that have no circuit and would deserve one, largest worth first, with the networks on which it pays;
    /// none where only two circuits in a row would do.
    fn challengers(&mut self, high: &[(NodePair, BitsPerSecond)]) -> Vec<(NodePair, Vec<BackendView>)> {
        let (least, most) = CANDIDATES;
        let room = (self.config.max_links.saturating_mul(PER_LINK)).clamp(least, most);
        let mut challengers = Vec::new();
        for (pair, _) in high {
            if self.chosen.contains_key(pair) {
                continue;
            }
            let lasting = self.history.expected(pair, self.config, self.snapshot.now);
            match self.candidates.networks(pair, self.config, lasting) {
                Ok(networks) if challengers.len() < room => {
                    challengers.push((pair.clone(), networks.into_iter().cloned().collect()));
                }
                Ok(_) => self.unnoted += 1,
                Err(why) => {
                    if self.may_relay() && challengers.len() < room {
                        challengers.push((pair.clone(), Vec::new()));
                    }
                    let rate = self.demands.rate(pair);
                    self.note_left_out(pair, format!("{rate}, but {why}"));
                }
            }
        }
        challengers
    }

    fn may_relay(&self) -> bool {
        self.config.two_hop && self.snapshot.max_hops >= 2
    }

    fn note_left_out(&mut self, pair: &NodePair, why: String) {
        let is_asked = self.snapshot.question.as_ref().is_some_and(|asked| pair.is(asked));
        if self.left_out.len() < NOTED || is_asked {
            self.left_out.insert(pair.clone(), why);
        } else {
            self.unnoted += 1;
        }
    }

    fn problem(&self, challengers: &[(NodePair, Vec<BackendView>)]) -> Choice {
        let active = self.active();
        let (mut nodes, mut networks) = (Numbers::default(), Numbers::default());
        let mut problem = Problem { max_hops: if self.may_relay() { 2 } else { 1 }, ..Problem::default() };
        for pair in &active {
            let chosen = &self.chosen[pair];
            let network = networks.of(&chosen.network);
            let is_held = !chosen.hold_left(self.config, self.snapshot.now).is_zero();
            let number = self.add_pair(&mut problem, &mut nodes, pair, self.config.swap_margin);
            let cost = self.config.cost_on(&chosen.network).of(chosen.rate);
            let rate = chosen.rate.0 as f64;
            problem.edges.push(Edge { pair: number, network, rate, cost, is_held });
        }
        for (pair, backends) in challengers {
            let number = self.add_pair(&mut problem, &mut nodes, pair, 1.0);
            for backend in backends {
                let rate = self.rate_for(pair, backend);
                let cost = self.config.cost_on(&backend.network).of(rate);
                let backend = self.candidates.backend(&backend.network).unwrap_or(backend);
                let network = networks.of(&backend.network);
                let rate = rate.0 as f64;
                problem.edges.push(Edge { pair: number, network, rate, cost, is_held: false });
            }
        }
        problem.rooms = networks.names.iter().map(|network| self.room_on(network)).collect();
        problem.limits = Limits {
            links: self.config.max_links,
            rate: self.config.max_rate.map(|rate| rate.0 as f64),
            cost: self.config.max_cost,
        };
        let pairs: Vec<NodePair> =
            active.iter().chain(challengers.iter().map(|(pair, _)| pair)).cloned().collect();
        if let Some(rate) = self.config.star_rate {
            problem.star_rate = Some(rate.0 as f64);
            problem.others = self.others(&pairs, &nodes);
        }
        let mut taken = Selection::none(&problem);
        (0..active.len()).for_each(|edge| taken.add(&problem, edge));
        let best = Selection::none(&problem);
        Choice { problem, best, taken, pairs, networks: networks.names, nodes: nodes.names }
    }

    fn add_pair<'a>(
        &self,
        problem: &mut Problem,
        nodes: &mut Numbers<'a>,
        pair: &'a NodePair,
        bias: f64,
    ) -> usize {
        let (demand, worth) = (self.demands.rate(pair), self.demands.worth(pair, self.config));
        let flow = self.demands.flow(pair);
        let waits = flow.map_or(0, |flow| flow.latency_pairs(&self.config.latency));
        problem.pairs.push(NodePairDemand {
            ends: [nodes.of(&pair.a), nodes.of(&pair.z)],
            demand: demand.0 as f64,
            worth: worth.0.saturating_sub(demand.0) as f64,
            bias,
            // Two hops are what the star has too: they spare nobody anything.
            may_relay: waits == 0 && demand >= self.config.min_rate,
        });
        problem.pairs.len() - 1
    }

    /// What a backend would be asked for.
    pub(super) fn rate_for(&self, pair: &NodePair, backend: &BackendView) -> BitsPerSecond {
        let rates = self.config.rates_on(&backend.network);
        rate_wanted(self.demands.rate(pair), self.config.headroom, rates, &backend.capabilities)
    }

    fn room_on(&self, network: &str) -> Room {
        let Some(backend) = self.candidates.backend(network) else { return Room::default() };
        let limits = [backend.capabilities.max_concurrent, backend.max_circuits];
        Room {
            circuits: limits.into_iter().flatten().min().map(|most| most as usize),
            rate: backend.max_rate.map(|rate| rate.0 as f64),
        }
    }

    /// What the star links of the problem's nodes carry of pairs that are not in it.
    fn others(&self, pairs: &[NodePair], nodes: &Numbers<'_>) -> Vec<f64> {
        let inside: BTreeSet<[&str; 2]> =
            pairs.iter().map(|pair| [pair.a.as_str(), pair.z.as_str()]).collect();
        let mut load = vec![0.0; nodes.names.len()];
        for (ends, flow) in self.demands.flows().filter(|(ends, _)| !inside.contains(ends)) {
            for end in ends {
                if let Some(node) = nodes.of.get(end) {
                    load[*node] += flow.rate().0 as f64;
                }
            }
        }
        load
    }

    /// Asks for what is best and fits beside all that is there; returns what does not. Pairs that back off stay wanted
    /// beside the budget, but not more of them than the budget again: else a network without room would be asked for
    /// one pair after the other.
    fn fill(&mut self, choice: &mut Choice) -> Vec<usize> {
        let mut coming: Vec<usize> = choice.best.members().to_vec();
        coming.retain(|edge| !self.chosen.contains_key(&choice.pairs[choice.problem.edges[*edge].pair]));
        // Pairs are in the order of their worth.
        coming.sort_by_key(|edge| choice.problem.edges[*edge].pair);
        let mut waiting = Vec::new();
        for edge in coming {
            let has_slot = self.chosen.len() < self.config.max_links.saturating_mul(2);
            let fits = choice.taken.fits(&choice.problem, edge);
            if has_slot && fits && self.pace.allows(1, self.config) {
                self.ask(choice, edge);
                self.changes.chosen += 1;
            } else {
                waiting.push(edge);
            }
        }
        waiting
    }

    fn ask(&mut self, choice: &mut Choice, edge: usize) {
        let Edge { pair, network, rate, .. } = choice.problem.edges[edge];
        let (pair, network) = (&choice.pairs[pair], &choice.networks[network]);
        let chosen = Chosen::new(network, BitsPerSecond(rate as u64), self.snapshot.now);
        self.released.remove(pair);
        self.relayed.remove(pair);
        self.chosen.insert(pair.clone(), chosen);
        self.pace.count(self.config, self.snapshot.now);
        choice.taken.add(&choice.problem, edge);
    }

    /// What is best and waits takes the place of what is not. It must stay ahead as long as demand must stay
    /// low, so that pairs that take turns do not take each other's circuits.
    fn swap(&mut self, choice: &mut Choice, waiting: Vec<usize>) {
        let now = self.snapshot.now;
        let mut losers = Vec::new();
        for edge in choice.taken.members() {
            let pair = choice.problem.edges[*edge].pair;
            let is_beaten = !waiting.is_empty() && choice.best.edge_of(pair).is_none();
            let name = &choice.pairs[pair];
            let chosen = self.chosen.get_mut(name).expect("what is taken is chosen");
            chosen.beaten.watch(is_beaten, now);
            let has_lost = chosen.beaten.has_run(self.config.release_after, now)
                && chosen.hold_left(self.config, now).is_zero();
            if has_lost {
                losers.push((self.demands.worth(name, self.config), *edge));
            }
        }
        losers.sort();
        let mut losers: Vec<usize> = losers.into_iter().map(|(_, edge)| edge).collect();
        for edge in waiting {
            self.replace(choice, edge, &mut losers);
        }
    }

    /// Gives up as many of the losers as an edge needs, if they are enough.
    fn replace(&mut self, choice: &mut Choice, edge: usize, losers: &mut Vec<usize>) {
        let mut trial = choice.taken.clone();
        let mut going = 0;
        while !trial.fits(&choice.problem, edge) && going < losers.len() {
            trial.remove(&choice.problem, losers[going]);
            going += 1;
        }
        let is_enough = going > 0 && trial.fits(&choice.problem, edge);
        if !is_enough || !self.pace.allows(going + 1, self.config) {
            return;
        }
        let winner = choice.pairs[choice.problem.edges[edge].pair].clone();
        for loser in losers.drain(..going) {
            let pair = choice.pairs[choice.problem.edges[loser].pair].clone();
            choice.taken.remove(&choice.problem, loser);
            self.give_back(&pair, format!("{winner} needs the circuit more"));
        }
        self.ask(choice, edge);
        self.changes.swapped += 1;
    }

    /// Says of every challenger that was not chosen why.
    fn leave_out(&mut self, choice: &Choice) {
        for (number, pair) in choice.pairs.iter().enumerate() {
            let is_named = self.chosen.contains_key(pair) || self.released.contains_key(pair);
            let Some(edge) = choice.edges_of(number).next().filter(|_| !is_named) else { continue };
            let why = self.obstacle_in_words(choice, edge);
            let rate = self.demands.rate(pair);
            self.note_left_out(pair, format!("{rate}, but {why}"));
        }
    }

    /// Why an edge is not taken.
    pub(super) fn obstacle_in_words(&self, choice: &Choice, edge: usize) -> String {
        let Edge { network, rate, .. } = choice.problem.edges[edge];
        let (network, rate) = (&choice.networks[network], BitsPerSecond(rate as u64));
        match choice.taken.obstacle(&choice.problem, edge) {
            Some(Obstacle::HasLink) => "the pair has another circuit".to_owned(),
            Some(Obstacle::Links) => format!("no circuit is left of {}", self.config.max_links),
            Some(Obstacle::NetworkCircuits) => format!("{network} has no room for another circuit"),
            Some(Obstacle::NetworkRate) => format!("the budget of {network} has no room for {rate}"),
            Some(Obstacle::Rate) => format!("the budget of all circuits has no room for {rate}"),
            Some(Obstacle::Cost) => "the budget of costs has no room for it".to_owned(),
            None if !self.pace.allows(1, self.config) => {
                let period = self.config.change_period.as_secs_f64();
                format!("{} changes were made within {period:.0} s", self.pace.used())
            }
            None if self.chosen.len() >= self.config.max_links.saturating_mul(2) => {
                "too many circuits wait for another attempt".to_owned()
            }
            None => "another choice is worth more".to_owned(),
        }
    }
}
