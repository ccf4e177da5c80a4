//! What is wanted, as a document: links most valuable first, rules, and words about what was left out.

use std::collections::BTreeMap;

use vreserve_sdk::model::{Wanted, WantedLink};

use super::Step;
use super::choosing::Choice;

/// More notes than a person reads help nobody.
const MAX_NOTES: usize = 32;

impl Step<'_> {
    pub(super) fn wanted(&self, choice: &Choice) -> Wanted {
        let now = self.snapshot.now;
        let mut pairs: Vec<_> = self.chosen.iter().collect();
        pairs.sort_by_key(|(pair, _)| std::cmp::Reverse(self.demands.worth(pair, self.config)));
        let links = pairs.iter().map(|(pair, chosen)| WantedLink {
            a: pair.a.clone(),
            z: pair.z.clone(),
            network: chosen.network.clone(),
            rate: chosen.rate,
            reason: chosen.reason(self.config, self.demands.rate(pair), now),
        });
        let rules = pairs.iter().flat_map(|(pair, chosen)| chosen.rules(pair)).chain(self.relay_rules());
        Wanted {
            links: links.collect(),
            rules: rules.collect(),
            notes: self.notes(),
            explanation: self.snapshot.question.as_ref().and_then(|asked| self.explain(asked, choice)),
        }
    }

    /// One line per pair: a recent release says more than that the pair has no circuit now.
    fn notes(&self) -> Vec<String> {
        let mut lines: BTreeMap<_, _> = self.left_out.iter().map(|(pair, why)| (pair, why.clone())).collect();
        lines
            .extend(self.released.iter().map(|(pair, release)| (pair, format!("released, {}", release.why))));
        let relayed = self.relayed.iter().map(|(pair, way)| (pair, format!("by way of {}", way.by)));
        lines.extend(relayed);
        let mut notes = self.demands.notes();
        notes.extend(lines.iter().map(|(pair, why)| format!("{pair}: {why}")));
        let more = notes.len().saturating_sub(MAX_NOTES) + self.unnoted;
        notes.truncate(MAX_NOTES);
        notes.extend((more > 0).then(|| format!("and {more} more")));
        notes
    }
}
