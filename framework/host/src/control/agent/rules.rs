//! The rules that follow from the node's part of the overlay and the ways of its pairs.

use std::sync::Arc;

use vreserve_core::ids::{LinkClass, LinkId, SwitchId};
use vreserve_core::rules::{Action, IngressMatch, Rule, RuleSet, RuleSetBuilder};

use super::Agent;
use super::pairs::PairState;
use crate::dataplane::CutoverSpec;

impl Agent {
    /// Puts the rules of this moment in force, begins cut-overs and forgets ended ones.
    pub(super) fn install(&mut self, begin: Vec<CutoverSpec>, retire: Vec<SwitchId>) {
        self.generation += 1;
        match self.compose() {
            Ok(rules) => {
                self.rules = Arc::new(rules);
                self.config.workers.install(&self.rules, &begin, &retire);
            }
            Err(error) => tracing::error!(%error, "rules not installed"),
        }
    }

    fn compose(&self) -> Result<RuleSet, vreserve_core::rules::RuleSetError> {
        let mut builder = RuleSetBuilder::new(self.generation, self.config.role);
        for (interface, _) in &self.config.interfaces {
            builder.interface(*interface);
        }
        for link in &self.overlay.links {
            builder.link(link.id, link.class);
        }
        for (link, _) in &self.config.static_links {
            builder.link(link.id, LinkClass::Static);
        }
        let has = |link: LinkId| self.overlay.links.iter().any(|known| known.id == link);
        for way in self.overlay.guests.iter().filter(|way| has(way.link)) {
            builder.rule(Rule::to(way.guest, Action::Send(way.link)));
        }
        for ((source, destination), state) in &self.pairs {
            let action = match state {
                PairState::On(link) if !has(*link) => continue,
                PairState::On(link) => Action::Send(*link),
                PairState::Moving(switch) => Action::Hold(*switch),
            };
            for ingress in self.local_ingresses() {
                builder.rule(Rule::pair(*source, *destination, action).from_ingress(ingress));
            }
        }
        builder.build()
    }

    /// Where guests of this node come in. Pairs take circuits from here only: what comes over a link has
    /// already been on its way.
    fn local_ingresses(&self) -> impl Iterator<Item = IngressMatch> + '_ {
        let statics = self.config.static_links.iter().map(|(link, _)| IngressMatch::Link(link.id));
        [IngressMatch::AnyInterface].into_iter().chain(statics)
    }
}
