//! Demand by the hour: in which hours the planner wanted a circuit between two nodes, and which of them recur.
//!
//! Pure bookkeeping, in wall-clock hours since the Unix epoch (UTC). An hour is *busy* if a circuit was wanted for
//! a quarter of it, and *recurs* if it was busy on six of the last seven days, or on five of them if one was the same
//! day a week before: a working week has five, and a weekend does not follow from the days before it. What is booked,
//! and when, is `recurring`'s business.
//!
//! The wall clock steps. How long something lasted is measured on the lead's own time; a step only makes some hours
//! look idle, or puts busy ones where they were not, and these are the first to be forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vreserve_model::{BitsPerSecond, Timestamp};

use super::budget::Window;
use crate::plan::LinkKey;

/// A quarter of an hour makes the hour busy.
const BUSY_MS: u64 = 15 * 60_000;
/// The days that are looked back on, and how many of them must agree. An hour that is busy by chance on one day in
/// ten passes for a pattern about once in 8,000 hours.
const DAYS: u64 = 7;
const BUSY_DAYS: usize = 5;
/// Between two looks at the clock nobody saw what was wanted for longer than this: the machine slept.
const GAP: Duration = Duration::from_secs(5 * 60);
/// Pairs of nodes that are remembered.
const PAIRS: usize = 256;
/// Busy hours that are remembered of a pair: the eight days that a window ahead can ask for, always busy.
const HOURS: usize = 8 * 24;
/// A pair that is always busy has its window end after a day.
const LONGEST: u64 = 24;
/// The day before must be over for most of a window that is looked for.
const FURTHEST: Duration = Duration::from_secs(23 * 3600);
/// A refusal of a window that lies further ahead was made by another clock.
const REFUSED_AHEAD_MS: u64 = 48 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;
const DAY: u64 = 24;

/// Two nodes by name, in order.
pub(super) type NodePair = (String, String);

pub(super) fn pair_of(link: &LinkKey) -> NodePair {
    (link.a.clone(), link.z.clone())
}

/// What is remembered of two nodes, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemandRecord {
    /// The nodes, and the network on which the planner wanted their circuit last.
    pub link: LinkKey,
    /// The busy hours since the Unix epoch, each with the mean of the rates wanted in it.
    pub hours: Vec<(u64, BitsPerSecond)>,
    /// The end of a window that an operator did not want, in milliseconds since the Unix epoch: none is proposed
    /// before.
    pub declined_ms: Option<u64>,
}

/// A window in which demand is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) link: LinkKey,
    pub(super) window: Window,
    pub(super) rate: BitsPerSecond,
}

/// The busy hours of every pair, and the hour that is running.
#[derive(Clone, Debug, Default)]
pub(super) struct DemandHistory {
    hour: u64,
    /// When the clock was looked at last.
    seen: Option<Timestamp>,
    running: BTreeMap<NodePair, Tally>,
    pairs: BTreeMap<NodePair, PairDemand>,
}

/// What was wanted in the running hour.
#[derive(Clone, Debug)]
struct Tally {
    network: String,
    lasted_ms: u64,
    /// Rate times milliseconds.
    sum: u128,
}

#[derive(Clone, Debug)]
struct PairDemand {
    network: String,
    hours: BTreeMap<u64, BitsPerSecond>,
    declined_ms: Option<u64>,
    /// Nothing is proposed before.
    rests_until: Timestamp,
}

impl DemandHistory {
    /// What the planner wants now, and so has since the last call. Returns the pairs whose record is another now, or
    /// gone; there are none but when an hour is over.
    pub(super) fn note<'a>(
        &mut self,
        now: Timestamp,
        wall_ms: u64,
        wanted: impl Iterator<Item = (&'a LinkKey, BitsPerSecond)>,
    ) -> Vec<NodePair> {
        let hour = wall_ms / HOUR_MS;
        let changed = if hour == self.hour { Vec::new() } else { self.turn(hour) };
        let of_hour = Duration::from_millis(wall_ms % HOUR_MS);
        let lasted = self.seen.map_or(Duration::ZERO, |seen| now.since(seen)).min(GAP).min(of_hour);
        let lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(0);
        self.seen = Some(now);
        for (link, rate) in wanted {
            let pair = pair_of(link);
            if self.running.len() >= PAIRS && !self.running.contains_key(&pair) {
                continue;
            }
            let new = || Tally { network: link.network.clone(), lasted_ms: 0, sum: 0 };
            let tally = self.running.entry(pair).or_insert_with(new);
            tally.network.clone_from(&link.network);
            tally.lasted_ms += lasted_ms;
            tally.sum += u128::from(rate.0) * u128::from(lasted_ms);
        }
        changed
    }

    /// The running hour is over, or the clock was set.
    fn turn(&mut self, hour: u64) -> Vec<NodePair> {
        let ended = std::mem::replace(&mut self.hour, hour);
        let mut changed = Vec::new();
        for (pair, tally) in std::mem::take(&mut self.running) {
            if tally.lasted_ms < BUSY_MS {
                continue;
            }
            if !self.pairs.contains_key(&pair) {
                changed.extend(self.make_room(ended));
            }
            let mean = tally.sum / u128::from(tally.lasted_ms);
            let rate = BitsPerSecond(u64::try_from(mean).unwrap_or(u64::MAX));
            let network = tally.network;
            let known = self.pairs.entry(pair.clone()).or_insert_with(|| PairDemand::new(network.clone()));
            known.network = network;
            known.remember(ended, rate);
            changed.push(pair);
        }
        changed
    }

    /// Forgets the least active pair if there is no room for another: the one with the fewest busy hours in the
    /// last week, and among such the one whose last one is longest ago.
    fn make_room(&mut self, hour: u64) -> Option<NodePair> {
        if self.pairs.len() < PAIRS {
            return None;
        }
        let activity = |known: &PairDemand| {
            let week = hour.saturating_sub(DAYS * DAY)..=hour;
            (known.hours.range(week).count(), known.hours.keys().next_back().copied())
        };
        let least = self.pairs.iter().min_by_key(|(_, known)| activity(known))?.0.clone();
        self.pairs.remove(&least);
        Some(least)
    }

    /// Takes over what is on record; false if there is no room for it.
    pub(super) fn restore(&mut self, record: DemandRecord) -> bool {
        let DemandRecord { link, hours, declined_ms } = record;
        if self.pairs.len() >= PAIRS {
            return false;
        }
        let mut known = PairDemand::new(link.network.clone());
        known.declined_ms = declined_ms;
        // More than is ever written is not ours to keep.
        known.hours = hours.into_iter().rev().take(HOURS).collect();
        self.pairs.insert(pair_of(&link), known);
        true
    }

    /// What is to be on record of a pair; none if it is not remembered.
    pub(super) fn record(&self, pair: &NodePair) -> Option<DemandRecord> {
        let known = self.pairs.get(pair)?;
        let hours = known.hours.iter().map(|(hour, rate)| (*hour, *rate)).collect();
        Some(DemandRecord { link: known.link(pair), hours, declined_ms: known.declined_ms })
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = &NodePair> {
        self.pairs.keys()
    }

    /// For each pair that does not rest the next window that opens within `ahead`, if there is one.
    pub(super) fn expected(&self, now: Timestamp, wall_ms: u64, ahead: Duration) -> Vec<Expected> {
        let awake = self.pairs.iter().filter(|(_, known)| known.rests_until <= now);
        let next = awake.filter_map(|(pair, known)| {
            let (window, rate) = known.next_window(wall_ms, ahead)?;
            Some(Expected { link: known.link(pair), window, rate })
        });
        next.collect()
    }

    /// True if demand is still expected all through a window.
    pub(super) fn is_expected(&self, pair: &NodePair, window: Window, wall_ms: u64) -> bool {
        let Some(known) = self.pairs.get(pair) else { return false };
        let (first, end) = (window.0 / HOUR_MS, window.1.div_ceil(HOUR_MS));
        let is_sane = end > first && end - first <= LONGEST;
        is_sane && (first..end).all(|hour| known.recurs(hour, wall_ms / HOUR_MS).is_some())
    }

    /// Nothing is proposed for a pair until then.
    pub(super) fn rest(&mut self, pair: &NodePair, until: Timestamp) {
        if let Some(known) = self.pairs.get_mut(pair) {
            known.rests_until = until;
        }
    }

    /// An operator does not want a window that ends then.
    pub(super) fn decline(&mut self, pair: &NodePair, end_ms: u64) {
        if let Some(known) = self.pairs.get_mut(pair) {
            known.declined_ms = Some(end_ms);
        }
    }
}

impl PairDemand {
    fn new(network: String) -> Self {
        PairDemand { network, hours: BTreeMap::new(), declined_ms: None, rests_until: Timestamp::ZERO }
    }

    fn link(&self, (a, z): &NodePair) -> LinkKey {
        LinkKey::new(a, z, &self.network)
    }

    /// Beyond the bound the hour goes that is furthest from this one.
    fn remember(&mut self, hour: u64, rate: BitsPerSecond) {
        self.hours.insert(hour, rate);
        if self.hours.len() > HOURS {
            let ends = [self.hours.keys().next(), self.hours.keys().next_back()];
            let furthest = ends.into_iter().flatten().max_by_key(|known| known.abs_diff(hour)).copied();
            furthest.map(|hour| self.hours.remove(&hour));
        }
    }

    fn next_window(&self, wall_ms: u64, ahead: Duration) -> Option<(Window, BitsPerSecond)> {
        let current = wall_ms / HOUR_MS;
        let ahead = u64::try_from(ahead.min(FURTHEST).as_millis()).unwrap_or(0);
        let last = wall_ms.saturating_add(ahead) / HOUR_MS;
        let declined = self.declined_ms.filter(|end| end.saturating_sub(wall_ms) <= REFUSED_AHEAD_MS);
        let is_free = |hour: &u64| declined.is_none_or(|end| hour.saturating_mul(HOUR_MS) >= end);
        // What has begun already is no window ahead.
        let begins =
            |hour: &u64| self.recurs(*hour, current).is_some() && self.recurs(*hour - 1, current).is_none();
        let first = (current + 1..=last).filter(is_free).find(begins)?;
        let run = (first..first + LONGEST).map_while(|hour| Some((hour, self.recurs(hour, current)?)));
        let (end, rate) =
            run.fold((first, BitsPerSecond(0)), |(_, most), (hour, rate)| (hour + 1, most.max(rate)));
        Some(((first.saturating_mul(HOUR_MS), end.saturating_mul(HOUR_MS)), rate))
    }

    /// The rate to expect in an hour, if it recurs: the third quartile of what was wanted, which leaves out one
    /// outlier of five to seven. `current` is the hour that is running: it and what follows is not known yet.
    fn recurs(&self, hour: u64, current: u64) -> Option<BitsPerSecond> {
        let first = if hour < current { 1 } else { (hour - current) / DAY + 1 };
        let before = (first..first + DAYS).map_while(|day| hour.checked_sub(day * DAY));
        let mut rates: Vec<_> = before.filter_map(|hour| self.hours.get(&hour).copied()).collect();
        if rates.len() < BUSY_DAYS || rates.len() == BUSY_DAYS && !self.fits_weekday(hour, current) {
            return None;
        }
        rates.sort_unstable();
        rates.get((rates.len() * 3).div_ceil(4) - 1).copied()
    }

    /// True unless it is known that the hour was idle a week before.
    fn fits_weekday(&self, hour: u64, current: u64) -> bool {
        let Some(week_ago) = hour.checked_sub(DAYS * DAY) else { return true };
        let is_known = self.hours.keys().next().is_some_and(|first| *first <= week_ago) && week_ago < current;
        !is_known || self.hours.contains_key(&week_ago)
    }
}

#[cfg(test)]
#[path = "hours_tests.rs"]
mod tests;
