//! Pairs without a circuit of their own on two that have room, by way of a third node, where the host can have frames
//! take two. Such a way stays while both circuits carry traffic and its pair has demand.

use std::collections::BTreeSet;

use vreserve_sdk::model::WantedRule;

use super::Step;
use super::choosing::Choice;
use crate::choice::ways;
use crate::chosen::Stopwatch;
use crate::demand::{GuestPair, NodePair, Placement};

/// A pair on two circuits.
#[derive(Clone, Debug)]
pub(crate) struct Relayed {
    /// The node in between.
    pub(crate) by: String,
    low: Stopwatch,
    guests: BTreeSet<GuestPair>,
}

impl Step<'_> {
    /// Keeps the ways that still hold, and adds those that have come to pay.
    pub(super) fn relay(&mut self, choice: &Choice, placed: &Placement<'_>) {
        let now = self.snapshot.now;
        let mut relayed = std::mem::take(self.relayed);
        relayed.retain(|pair, way| {
            way.low.watch(self.is_known(pair) && self.demands.rate(pair) < self.config.low(), now);
            let has_links = self.carries(&pair.a, &way.by) && self.carries(&way.by, &pair.z);
            has_links && !way.low.has_run(self.config.release_after, now)
        });
        if choice.problem.max_hops >= 2 {
            for relay in ways(&choice.problem, &choice.taken, self.config.routing).relays {
                let (pair, by) = (&choice.pairs[relay.pair], &choice.nodes[relay.by]);
                let has_links = self.carries(&pair.a, by) && self.carries(by, &pair.z);
                if has_links && !relayed.contains_key(pair) {
                    let way = Relayed { by: by.clone(), low: Stopwatch::default(), guests: BTreeSet::new() };
                    relayed.insert(pair.clone(), way);
                }
            }
        }
        for (pair, way) in &mut relayed {
            way.guests.retain(|guests| placed.spans(pair, *guests));
            let talking = self.demands.flow(pair).into_iter().flat_map(|flow| flow.guests());
            way.guests.extend(talking.filter(|guests| placed.spans(pair, *guests)));
            self.left_out.remove(pair);
        }
        *self.relayed = relayed;
    }

    fn carries(&self, one: &str, other: &str) -> bool {
        let pair = NodePair::new(one, other);
        let chosen = pair.and_then(|pair| self.chosen.get(&pair));
        chosen.is_some_and(|chosen| chosen.carries_since.is_some())
    }

    /// The rules of all such ways: at the sender's node, and at the one in between.
    pub(super) fn relay_rules(&self) -> Vec<WantedRule> {
        let mut rules = Vec::new();
        for (pair, way) in &*self.relayed {
            for (at_a, at_z) in &way.guests {
                for (from, to, source, destination) in
                    [(&pair.a, &pair.z, *at_a, *at_z), (&pair.z, &pair.a, *at_z, *at_a)]
                {
                    for (node, next) in [(from, &way.by), (&way.by, to)] {
                        let Some(link) = NodePair::new(node, next) else { continue };
                        let Some(chosen) = self.chosen.get(&link) else { continue };
                        let (node, next) = (node.clone(), next.clone());
                        let network = chosen.network.clone();
                        rules.push(WantedRule { node, source, destination, next, network });
                    }
                }
            }
        }
        rules
    }
}
