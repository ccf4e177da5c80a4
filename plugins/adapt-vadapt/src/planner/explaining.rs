//! Why the plan is what it is for one pair: its evidence, the links it could have, the budgets, the decision, and why
//! not otherwise.

use vreserve_sdk::model::{
    BackendView, BitsPerSecond, BudgetUse, CandidateLink, Decision, Explanation, PairQuestion,
};

use super::Step;
use super::choosing::Choice;
use crate::candidates::{does_not_pay, pays, share};
use crate::chosen::Chosen;
use crate::demand::NodePair;

impl NodePair {
    /// True if this is the pair asked about.
    pub(super) fn is(&self, asked: &PairQuestion) -> bool {
        self.a == asked.a && self.z == asked.z
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Step<'_> {
    /// The answer; none if a node is asked about with itself.
    pub(super) fn explain(&self, asked: &PairQuestion, choice: &Choice) -> Option<Explanation> {
        let pair = &NodePair::new(&asked.a, &asked.z)?;
        let (now, flow) = (self.snapshot.now, self.demands.flow(pair));
        let latency_pairs = flow.map_or(0, |flow| flow.latency_pairs(&self.config.latency));
        let age = self.history.age(pair, now);
        let (decision, why) = self.decision(pair);
        Some(Explanation {
            pair: PairQuestion { a: pair.a.clone(), z: pair.z.clone() },
            demand: self.demands.rate(pair),
            bulk_pairs: flow.map_or(0, |flow| flow.guests().len()) - latency_pairs,
            latency_pairs,
            lasts_ms: age.map(millis),
            expected_ms: age.map(|_| millis(self.history.expected(pair, self.config, now))),
            history_ms: self.history.past(pair).map(millis).collect(),
            least_share: self.config.break_even.then_some(self.config.min_share),
            candidates: self
                .candidates
                .shared(pair)
                .map(|backend| self.candidate(pair, backend, choice))
                .collect(),
            budgets: self.budgets(choice),
            decision,
            why,
            otherwise: self.otherwise(pair, choice),
        })
    }

    fn candidate(&self, pair: &NodePair, backend: &BackendView, choice: &Choice) -> CandidateLink {
        let lasting = self.history.expected(pair, self.config, self.snapshot.now);
        let (rate, capabilities) = (self.rate_for(pair, backend), &backend.capabilities);
        let own = self.chosen.get(pair).map(|chosen| &chosen.network);
        let refused = match own {
            Some(network) if *network == backend.network => None,
            Some(network) => Some(format!("the pair has a circuit on {network}")),
            None if !pays(self.config, lasting, capabilities) => Some(does_not_pay(backend, lasting)),
            None if self.demands.worth(pair, self.config) < self.config.min_rate => {
                Some(format!("under the high watermark of {}", self.config.min_rate))
            }
            None => {
                let edge = choice.pair_of(pair).and_then(|number| choice.edge_on(number, &backend.network));
                edge.map(|edge| self.obstacle_in_words(choice, edge))
            }
        };
        let has_costs = self.config.max_cost.is_some() || !self.config.costs.is_empty();
        CandidateLink {
            network: backend.network.clone(),
            rate,
            setup_ms: millis(capabilities.setup_time),
            teardown_ms: millis(capabilities.teardown_time),
            share: share(lasting, capabilities),
            cost: has_costs.then(|| self.config.cost_on(&backend.network).of(rate)),
            refused,
        }
    }

    fn budgets(&self, choice: &Choice) -> Vec<BudgetUse> {
        let line =
            |limit: &str, used: String, most: String| BudgetUse { limit: limit.to_owned(), used, most };
        let bits = |rate: f64| BitsPerSecond(rate as u64).to_string();
        let taken = &choice.taken;
        let (rate, cost) = taken.used();
        let links = taken.members().len().to_string();
        let mut lines = vec![line("max_links", links, self.config.max_links.to_string())];
        lines.extend(self.config.max_rate.map(|most| line("max_rate", bits(rate), most.to_string())));
        lines.extend(self.config.max_cost.map(|most| line("max_cost", cost.to_string(), most.to_string())));
        if let Some(most) = self.config.max_changes {
            let period = self.config.change_period.as_secs_f64();
            lines.push(line("max_changes", self.pace.used().to_string(), format!("{most} in {period:.0} s")));
        }
        for (number, network) in choice.networks.iter().enumerate() {
            let (circuits, rate) = taken.used_on(number);
            let room = choice.problem.rooms[number];
            let most = room.circuits.map(|most| most.to_string());
            lines.extend(most.map(|most| line(&format!("{network} circuits"), circuits.to_string(), most)));
            lines.extend(room.rate.map(|most| line(&format!("{network} rate"), bits(rate), bits(most))));
        }
        lines
    }

    fn decision(&self, pair: &NodePair) -> (Decision, String) {
        let (demand, now) = (self.demands.rate(pair), self.snapshot.now);
        if let Some(chosen) = self.chosen.get(pair) {
            let is_held = chosen.low.since().is_some() && !chosen.hold_left(self.config, now).is_zero();
            let decision = match () {
                () if chosen.wanted_since == now => Decision::Chosen,
                () if is_held => Decision::Held,
                () => Decision::Kept,
            };
            let reason = chosen.reason(self.config, demand, now);
            return (decision, format!("{} on {}: {reason}", chosen.rate, chosen.network));
        }
        if let Some(way) = self.relayed.get(pair) {
            return (Decision::Kept, format!("two circuits with room, by way of {}", way.by));
        }
        if let Some(release) = self.released.get(pair) {
            let ago = now.since(release.at).as_secs_f64();
            return (Decision::Released, format!("{}, {ago:.0} s ago", release.why));
        }
        match self.left_out.get(pair) {
            Some(why) => (Decision::LeftOut, why.clone()),
            None if demand.0 == 0 => (Decision::Star, "no demand was seen".to_owned()),
            None if self.demands.worth(pair, self.config) >= self.config.min_rate => {
                (Decision::LeftOut, format!("{demand}, but too many pairs have more"))
            }
            None => {
                (Decision::Star, format!("{demand} is under the high watermark of {}", self.config.min_rate))
            }
        }
    }

    fn otherwise(&self, pair: &NodePair, choice: &Choice) -> Vec<String> {
        match self.chosen.get(pair) {
            Some(chosen) => self.why_kept(chosen),
            None => self.why_not(pair, choice),
        }
    }

    fn why_kept(&self, chosen: &Chosen) -> Vec<String> {
        let (now, low) = (self.snapshot.now, self.config.low());
        let after = self.config.release_after.as_secs_f64();
        let hold = chosen.hold_left(self.config, now).as_secs_f64();
        let mut lines = vec![match chosen.low.since() {
            _ if chosen.backing_off => {
                "not given up: the host tries again when its back-off is over".to_owned()
            }
            None => format!("not given back: demand is not under {low}"),
            Some(since) if now.since(since) < self.config.release_after => {
                format!("not given back: it must stay under {low} for {after:.1} s")
            }
            Some(_) if hold > 0.0 => format!("not given back: it is held for {hold:.1} s more"),
            Some(_) => "not given back: no change is left in this period".to_owned(),
        }];
        if let Some(since) = chosen.beaten.since() {
            let ahead = now.since(since).as_secs_f64();
            lines.push(format!(
                "another pair has been worth more for {ahead:.1} s, and must be for {after:.1} s"
            ));
        }
        lines
    }

    fn why_not(&self, pair: &NodePair, choice: &Choice) -> Vec<String> {
        let mut lines = Vec::new();
        if self.candidates.shared(pair).next().is_none() {
            lines.push("no circuit: no network that both nodes are on has a backend that is up".to_owned());
        }
        let weakest = self.active().into_iter().filter(|known| self.chosen.contains_key(known));
        let weakest = weakest.min_by_key(|known| self.demands.worth(known, self.config));
        if let (Some(weakest), true) = (weakest, self.left_out.contains_key(pair)) {
            let worth = self.demands.worth(&weakest, self.config);
            let times = self.config.swap_margin;
            lines.push(format!(
                "not in place of {weakest}, which has {worth}: that takes {times} times as much for {:.1} s",
                self.config.release_after.as_secs_f64()
            ));
        }
        if choice.problem.max_hops < 2 {
            lines.push("not over two circuits: this host has frames take one".to_owned());
        } else if !self.relayed.contains_key(pair) {
            lines.push("not over two circuits: none that carry traffic have room for it".to_owned());
        }
        lines
    }
}
