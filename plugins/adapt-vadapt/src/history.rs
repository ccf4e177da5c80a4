//! How long demand between two nodes has lasted before, and so how much longer it may be expected to.
//!
//! A *spell* begins when demand reaches the high watermark and ends when it has been under the low one for
//! `release_after`; its length is up to the moment it went under. Of a pair with a history the expectation is what is
//! known of spells that were longer than this one is now; one that has outlasted all before it is expected to last as
//! long again, which is the rule of whoever rents before buying.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vreserve_sdk::model::Timestamp;

use crate::chosen::Stopwatch;
use crate::config::Config;
use crate::demand::NodePair;

/// Fewer spells say nothing.
const ENOUGH: usize = 3;
/// So many of the last ones count.
const KEPT: usize = 8;
/// Pairs that are remembered, the largest of those that begin at a time; past it those that ended first are forgotten.
const MAX_PAIRS: usize = 4096;

/// The spells of all pairs.
#[derive(Debug, Default)]
pub(crate) struct History {
    pairs: BTreeMap<NodePair, Spells>,
}

/// The spells of one pair.
#[derive(Debug, Default)]
struct Spells {
    /// The one that runs.
    since: Option<Timestamp>,
    low: Stopwatch,
    /// Those that are over, oldest first.
    past: VecDeque<Duration>,
    ended: Timestamp,
}

impl History {
    /// Takes the pairs whose worth is over the high watermark now, largest first, of which as many are remembered as
    /// there is room for, and the worth of any pair; `is_known` is false for those about which silence says nothing.
    pub(crate) fn see<'a>(
        &mut self,
        high: impl Iterator<Item = &'a NodePair>,
        worth: impl Fn(&NodePair) -> u64,
        is_known: impl Fn(&NodePair) -> bool,
        config: &Config,
        now: Timestamp,
    ) {
        let running = self.pairs.values().filter(|spells| spells.since.is_some()).count();
        let is_running =
            |pairs: &BTreeMap<_, Spells>, pair| pairs.get(pair).is_some_and(|s| s.since.is_some());
        let mut room = MAX_PAIRS.saturating_sub(running);
        for pair in high.take(MAX_PAIRS) {
            if room > 0 && !is_running(&self.pairs, pair) {
                self.pairs.entry(pair.clone()).or_default().since = Some(now);
                room -= 1;
            }
        }
        for (pair, spells) in self.pairs.iter_mut().filter(|(_, spells)| spells.since.is_some()) {
            spells.low.watch(worth(pair) < config.low().0 && is_known(pair), now);
            if spells.low.has_run(config.release_after, now) {
                spells.end(now);
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        let more = self.pairs.len().saturating_sub(MAX_PAIRS);
        if more == 0 {
            return;
        }
        let over = self.pairs.iter().filter(|(_, spells)| spells.since.is_none());
        let mut over: Vec<_> = over.map(|(pair, spells)| (spells.ended, pair.clone())).collect();
        over.sort();
        for (_, pair) in over.into_iter().take(more) {
            self.pairs.remove(&pair);
        }
    }

    /// For how long demand has been there; none if it is not.
    pub(crate) fn age(&self, pair: &NodePair, now: Timestamp) -> Option<Duration> {
        self.pairs.get(pair)?.since.map(|since| now.since(since))
    }

    /// The spells that are over, oldest first.
    pub(crate) fn past(&self, pair: &NodePair) -> impl Iterator<Item = Duration> + '_ {
        self.pairs.get(pair).into_iter().flat_map(|spells| spells.past.iter().copied())
    }

    /// How much longer demand is expected to last from now on.
    pub(crate) fn expected(&self, pair: &NodePair, config: &Config, now: Timestamp) -> Duration {
        let age = self.age(pair, now).unwrap_or_default();
        if !config.history || self.past(pair).count() < ENOUGH {
            return config.assumed_duration;
        }
        let longer: Vec<Duration> = self.past(pair).filter(|length| *length > age).collect();
        match u32::try_from(longer.len()) {
            Ok(count) if count > 0 => longer.iter().map(|length| *length - age).sum::<Duration>() / count,
            _ => age,
        }
    }
}

impl Spells {
    fn end(&mut self, now: Timestamp) {
        let Some(since) = self.since.take() else { return };
        let until = self.low.since().unwrap_or(now);
        self.low = Stopwatch::default();
        self.ended = now;
        if self.past.len() == KEPT {
            self.past.pop_front();
        }
        self.past.push_back(until.since(since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair with demand in these seconds.
    fn after(spells: &[(u64, u64)], until: u64) -> (History, NodePair, Timestamp) {
        let pair = NodePair::new("a", "z").unwrap();
        let config = Config::default();
        let mut history = History::default();
        let mut now = Timestamp::ZERO;
        for millis in (0..=until * 1000).step_by(500) {
            now = Timestamp::from_millis(millis);
            let second = millis / 1000;
            let is_on = spells.iter().any(|(start, end)| (*start..*end).contains(&second));
            let worth = |_: &NodePair| if is_on { 50_000_000 } else { 0 };
            history.see(is_on.then_some(&pair).into_iter(), worth, |_| true, &config, now);
        }
        (history, pair, now)
    }

    #[test]
    fn a_pair_without_a_history_is_taken_at_the_assumption() {
        let (history, pair, now) = after(&[(0, 5), (20, 25), (40, 60)], 45);
        let config = Config::default();
        assert_eq!(history.past(&pair).collect::<Vec<_>>(), [Duration::from_secs(5); 2]);
        assert_eq!(history.expected(&pair, &config, now), config.assumed_duration, "two say nothing");
    }

    #[test]
    fn short_spells_are_expected_to_be_short_until_one_outlasts_them() {
        let spells = [(0, 5), (20, 25), (40, 45), (60, 200)];
        let config = Config::default();
        let (history, pair, now) = after(&spells, 61);
        assert_eq!(
            history.expected(&pair, &config, now),
            Duration::from_secs(4),
            "five, less the one it has"
        );
        let (history, pair, now) = after(&spells, 150);
        assert_eq!(history.age(&pair, now), Some(Duration::from_secs(90)));
        assert_eq!(history.expected(&pair, &config, now), Duration::from_secs(90));
        let config = Config { history: false, ..config };
        assert_eq!(history.expected(&pair, &config, now), config.assumed_duration);
    }

    #[test]
    fn pauses_shorter_than_release_after_end_no_spell() {
        let (history, pair, now) = after(&[(0, 10), (12, 20)], 19);
        assert_eq!(history.past(&pair).count(), 0);
        assert_eq!(history.age(&pair, now), Some(Duration::from_secs(19)));
    }

    #[test]
    fn no_number_of_pairs_outgrows_what_is_remembered() {
        let pairs: Vec<_> =
            (0..3 * MAX_PAIRS).filter_map(|n| NodePair::new("a", &format!("z{n:05}"))).collect();
        let (mut history, config) = (History::default(), Config::default());
        for (step, first) in [0, MAX_PAIRS, 2 * MAX_PAIRS, 0].into_iter().enumerate() {
            // Others are the largest in every step; those before keep some of theirs.
            let high = pairs[first..].iter().chain(&pairs[..first]);
            history.see(
                high,
                |_| config.min_rate.0,
                |_| true,
                &config,
                Timestamp::from_millis(step as u64 * 500),
            );
            assert_eq!(history.pairs.len(), MAX_PAIRS);
        }
        assert_eq!(history.age(&pairs[0], Timestamp::from_millis(1500)), Some(Duration::from_millis(1500)));
        assert_eq!(history.age(&pairs[MAX_PAIRS], Timestamp::from_millis(1500)), None);
    }
}
