//! The rules that follow from the node's part of the overlay and the ways of its pairs.

use std::sync::Arc;

use super::pairs::PairState;
use super::{Action, Agent, CutoverSpec};
use crate::ids::{LinkClass, LinkId, SwitchId};
use crate::rules::{self, IngressMatch, Rule, RuleSet, RuleSetBuilder, RuleSetError};

impl Agent {
    /// Puts the rules of this moment in force, begins cut-overs and forgets ended ones.
    pub(super) fn install(&mut self, begin: Vec<CutoverSpec>, retire: Vec<SwitchId>) {
        self.generation += 1;
        let action = match self.compose() {
            Ok(rules) => {
                self.rules = Arc::new(rules);
                Action::Install { rules: Arc::clone(&self.rules), begin, retire }
            }
            Err(error) => Action::NotInstalled(error),
        };
        self.actions.push_back(action);
    }

    fn compose(&self) -> Result<RuleSet, RuleSetError> {
        let mut builder = RuleSetBuilder::new(self.generation, self.role);
        for interface in &self.interfaces {
            builder.interface(*interface);
        }
        for link in &self.overlay.links {
            builder.link(link.id, link.class);
        }
        for link in &self.static_links {
            builder.link(*link, LinkClass::Static);
        }
        let has = |link: LinkId| self.overlay.links.iter().any(|known| known.id == link);
        for way in self.overlay.guests.iter().filter(|way| has(way.link)) {
            builder.rule(Rule::to(way.guest, rules::Action::Send(way.link)));
        }
        for ((source, destination), state) in &self.pairs {
            let action = match state {
                PairState::On(route) if !has(route.first) => continue,
                PairState::On(route) => rules::Action::Send(route.first),
                PairState::Moving(switch) => rules::Action::Hold(*switch),
            };
            for ingress in self.local_ingresses() {
                builder.rule(Rule::pair(*source, *destination, action).from_ingress(ingress));
            }
        }
        for ((source, destination), first) in self.relayed_from_here() {
            // What the relay sends back takes the star, also where the directory does not know the guest (yet).
            if let Some(star) = self.star_towards(destination).filter(|star| has(*star) && has(first)) {
                let rule = Rule::pair(source, destination, rules::Action::Send(star));
                builder.rule(rule.from_ingress(IngressMatch::Link(first)));
            }
        }
        for relay in &self.overlay.relays {
            if !has(relay.from) || !has(relay.to) {
                continue;
            }
            // This node may be cut off from the star; the one before it has all that it needs.
            let is_dead = self.dead.contains(&relay.to);
            let action = if is_dead { rules::Action::Return } else { rules::Action::Send(relay.to) };
            let rule = Rule::pair(relay.source, relay.destination, action);
            builder.rule(rule.from_ingress(IngressMatch::Link(relay.from)));
        }
        builder.build()
    }

    /// Where guests of this node come in. Its own pairs take circuits from here only: what comes over a link has
    /// already been on its way, and goes on over another circuit only where this node relays it.
    fn local_ingresses(&self) -> impl Iterator<Item = IngressMatch> + '_ {
        let statics = self.static_links.iter().map(|link| IngressMatch::Link(*link));
        [IngressMatch::AnyInterface].into_iter().chain(statics)
    }
}
