//! From rates to edges: normalise by the largest, prune, and hold what unfolded lately (the union rule).

use std::time::Duration;

use hashbrown::HashMap;
use vreserve_sdk::model::{BitsPerSecond, Demand, Timestamp};

use crate::report::Pair;
use crate::window::Rate;

/// The edges of the application's topology over time.
pub(crate) struct Edges {
    threshold: f64,
    min_rate: BitsPerSecond,
    hold: Duration,
    /// When each edge was last over the threshold.
    last_over: HashMap<Pair, Timestamp>,
    changed: Timestamp,
}

impl Edges {
    /// No edges. `threshold` is a fraction of the largest rate.
    pub(crate) fn new(threshold: f64, min_rate: BitsPerSecond, hold: Duration) -> Self {
        Edges { threshold, min_rate, hold, last_over: HashMap::new(), changed: Timestamp::ZERO }
    }

    /// Takes all rates at one instant and gives every pair's demand, fastest first. An edge has a confidence
    /// over 0: from 0.5 at the threshold towards 1 far above it; while it is only held, falling from 0.5.
    pub(crate) fn step(&mut self, now: Timestamp, rates: &[(Pair, Rate)]) -> Vec<Demand> {
        let largest = rates.iter().map(|(_, rate)| rate.bits).fold(0.0, f64::max);
        let cut = (largest * self.threshold).max(self.min_rate.0 as f64).max(1.0);
        for (pair, _) in rates.iter().filter(|(_, rate)| rate.bits >= cut) {
            if self.last_over.insert(*pair, now).is_none() {
                self.changed = now;
            }
        }
        let (before, hold) = (self.last_over.len(), self.hold);
        self.last_over.retain(|_, last| *last == now || now.since(*last) < hold);
        if self.last_over.len() != before {
            self.changed = now;
        }
        self.demands(now, rates, cut)
    }

    /// When the set of edges last changed.
    pub(crate) fn changed(&self) -> Timestamp {
        self.changed
    }

    fn demands(&self, now: Timestamp, rates: &[(Pair, Rate)], cut: f64) -> Vec<Demand> {
        let silent = Rate { bits: 0.0, frames: 0.0 };
        let is_measured = |pair: &Pair| rates.binary_search_by_key(pair, |(pair, _)| *pair).is_ok();
        let held = self.last_over.keys().filter(|pair| !is_measured(pair)).map(|pair| (*pair, silent));
        let mut demands: Vec<_> = rates
            .iter()
            .copied()
            .chain(held)
            .map(|(pair, rate)| Demand {
                source: pair.source,
                destination: pair.destination,
                rate: BitsPerSecond(rate.bits as u64),
                frames_per_second: rate.frames,
                confidence: self.confidence(now, pair, rate, cut),
            })
            .collect();
        demands.sort_unstable_by_key(|demand| {
            (std::cmp::Reverse(demand.rate), demand.source, demand.destination)
        });
        demands
    }

    fn confidence(&self, now: Timestamp, pair: Pair, rate: Rate, cut: f64) -> f64 {
        match self.last_over.get(&pair) {
            None => 0.0,
            Some(last) if *last == now => 1.0 - cut / (2.0 * rate.bits),
            Some(last) => 0.5 * (1.0 - now.since(*last).as_secs_f64() / self.hold.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vreserve_sdk::model::MacAddr;

    fn pair(n: u8) -> Pair {
        Pair { source: MacAddr([2, 0, 0, 0, 1, n]), destination: MacAddr([2, 0, 0, 0, 2, n]) }
    }

    fn rates(mbps: &[f64]) -> Vec<(Pair, Rate)> {
        let cells = mbps.iter().zip(0..);
        cells.map(|(mbps, n)| (pair(n), Rate { bits: mbps * 1e6, frames: 1.0 })).collect()
    }

    fn edges() -> Edges {
        Edges::new(0.1, BitsPerSecond(100_000), Duration::from_secs(2))
    }

    fn names(demands: &[Demand]) -> Vec<u8> {
        let mut names: Vec<_> = demands
            .iter()
            .filter(|demand| demand.confidence > 0.0)
            .map(|demand| demand.source.0[5])
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn acknowledgements_and_noise_are_pruned_but_stay_on_record() {
        let demands = edges().step(Timestamp::ZERO, &rates(&[100.0, 2.5, 30.0, 0.01]));
        assert_eq!(names(&demands), [0, 2]);
        assert_eq!(demands.len(), 4);
        assert_eq!(demands[0].rate, BitsPerSecond(100_000_000));
        assert!(demands.is_sorted_by_key(|demand| std::cmp::Reverse(demand.rate)));
        assert!(demands[0].confidence > demands[1].confidence && demands[1].confidence > 0.5);
        assert_eq!(names(&edges().step(Timestamp::ZERO, &rates(&[0.05, 0.04]))), [0_u8; 0], "all noise");
    }

    #[test]
    fn an_edge_is_held_with_falling_confidence_and_then_gone() {
        let mut edges = edges();
        edges.step(Timestamp::ZERO, &rates(&[100.0]));
        let held = edges.step(Timestamp::from_millis(1_500), &[]);
        assert_eq!(names(&held), [0]);
        assert_eq!(held[0].rate, BitsPerSecond(0));
        assert!(held[0].confidence < 0.2);
        assert!(edges.step(Timestamp::from_millis(2_000), &[]).is_empty());
        assert_eq!(edges.changed(), Timestamp::from_millis(2_000));
    }

    proptest! {
        #[test]
        fn alternation_faster_than_the_hold_shows_as_one_fixed_union(period_ms in 100_u64..1_900) {
            let mut edges = edges();
            let mut settled = None;
            for step in 0..80_u64 {
                let now = Timestamp::from_millis(step * 100);
                let first = (step * 100 / period_ms).is_multiple_of(2);
                let demands = edges.step(now, &rates(if first { &[100.0, 0.0] } else { &[0.0, 100.0] }));
                if step * 100 >= period_ms {
                    prop_assert_eq!(names(&demands), vec![0, 1]);
                    let changed = *settled.get_or_insert(edges.changed());
                    prop_assert_eq!(edges.changed(), changed);
                }
            }
        }
    }
}
