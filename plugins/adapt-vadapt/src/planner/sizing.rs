//! More or less capacity for circuits that are there: grown as soon as demand is more than they carry, made smaller
//! only when demand with headroom has been well below for a while, and then to the most that was seen meanwhile.

use vreserve_sdk::model::{BitsPerSecond, Capabilities};

use super::Step;
use crate::candidates::rate_wanted;
use crate::chosen::Chosen;
use crate::config::Resize;
use crate::demand::NodePair;

impl Step<'_> {
    /// A rate once asked for stays while demand is about it.
    pub(super) fn size(&mut self) {
        if self.config.resize == Resize::Never {
            return;
        }
        let mut all = std::mem::take(&mut self.chosen);
        let mut total: u64 = all.values().map(|chosen| chosen.rate.0).fold(0, u64::saturating_add);
        let mut cost: f64 = all.values().map(|chosen| self.cost_at(chosen, chosen.rate)).sum();
        for (pair, chosen) in &mut all {
            let Some(backend) = self.candidates.capabilities(&chosen.network) else { continue };
            let Some(rate) = self.other_rate(pair, chosen, backend).filter(|rate| *rate != chosen.rate)
            else {
                continue;
            };
            let sum = total.saturating_sub(chosen.rate.0).saturating_add(rate.0);
            let costs = cost - self.cost_at(chosen, chosen.rate) + self.cost_at(chosen, rate);
            let is_over = self.config.max_rate.is_some_and(|most| sum > most.0)
                || self.config.max_cost.is_some_and(|most| costs > most * (1.0 + 1e-9));
            if rate < chosen.rate || !is_over {
                (total, cost, chosen.rate) = (sum, costs, rate);
                chosen.slack = Default::default();
                self.changes.resized += 1;
            }
        }
        self.chosen = all;
    }

    fn cost_at(&self, chosen: &Chosen, rate: BitsPerSecond) -> f64 {
        self.config.cost_on(&chosen.network).of(rate)
    }

    /// The rate that a circuit should have instead.
    fn other_rate(
        &self,
        pair: &NodePair,
        chosen: &mut Chosen,
        backend: &Capabilities,
    ) -> Option<BitsPerSecond> {
        let demand = self.demands.rate(pair);
        let rates = self.config.rates_on(&chosen.network);
        let wanted = |demand| rate_wanted(demand, self.config.headroom, rates, backend);
        if demand > chosen.rate {
            chosen.slack = Default::default();
            let may_grow = backend.modify || self.config.resize == Resize::Any;
            return Some(wanted(demand)).filter(|rate| may_grow && *rate > chosen.rate);
        }
        // While it is not there or its pair pauses, demand says nothing about its size.
        let is_telling = chosen.carries_since.is_some() && demand >= self.config.low() && self.is_known(pair);
        let now = self.snapshot.now;
        let is_slack = wanted(demand).0 as f64 <= chosen.rate.0 as f64 * self.config.shrink_below;
        if chosen.slack.since().is_none() || !is_slack {
            chosen.peak = demand;
        }
        chosen.peak = chosen.peak.max(demand);
        chosen.slack.watch(is_telling && is_slack, now);
        let may_shrink = backend.modify && chosen.slack.has_run(self.config.shrink_after, now);
        Some(wanted(chosen.peak)).filter(|rate| may_shrink && *rate < chosen.rate)
    }
}
