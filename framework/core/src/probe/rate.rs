//! One measurement of the rate that a circuit delivers: full-length loads at the reserved rate, each
//! answered by a reply of the same length, counted at both ends.
//!
//! What lives here: pacing, counting, and the verdict on one run. How often it is tried is `probe`'s.
//! Pacing needs no timer per frame: whoever asks gets what is due, and what was missed for longer than
//! [`RateConfig::slack`] is not made up for, so that a sender that was held up never sends a burst that a
//! token bucket's queue would drop. Rates are taken between two arrivals by one clock, of which the best
//! stretch of at least half the loads counts: a processor that was late at the end of a run does not make
//! a circuit slow. Neither does a worker that never found its queue empty: then the queue was its own.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vreserve_model::{BitsPerSecond, Timestamp};

use super::ProbeFrame;
use crate::ids::LinkId;
use crate::signal::{Signal, SignalKind};

/// Of the reserved rate so much is sent as frames: a link's own headers go over the circuit as well, up to
/// a twentieth of a full frame.
const SHARE_OF_FRAMES: f64 = 0.97;
/// Fewer loads than this say nothing about a rate.
const LEAST_LOADS: u32 = 8;
/// A worker that is behind takes full batches of so many frames; one that found nothing to do less often
/// than once per such a batch was itself what held the loads up.
const FULL_BATCH: u32 = 64;
/// A slow circuit delivers its queue long after the last load was sent: so long the rest is waited for.
const TAIL: Duration = Duration::from_millis(250);
/// A run that its own node cannot send in so many times its duration ends with what was sent.
const LONGEST: u32 = 6;

/// What a node's operator says of the measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateTerms {
    /// For how long the rate is sent; zero: it is not measured.
    pub duration: Duration,
    /// The least share of the rate that must be delivered, 0 to 1.
    pub least_delivered: f64,
}

impl Default for RateTerms {
    fn default() -> Self {
        RateTerms { duration: Duration::from_millis(50), least_delivered: 0.9 }
    }
}

/// How the delivered rate is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateConfig {
    /// What the circuit should deliver.
    pub rate: BitsPerSecond,
    /// For how long it is sent.
    pub duration: Duration,
    /// The most octets of one run, whatever rate and duration: it is shortened.
    pub most_octets: u64,
    /// The least share of the rate that must be delivered, 0 to 1.
    pub least_delivered: f64,
    /// How often it is tried before a circuit is too slow; at least once.
    pub attempts: u32,
    /// What was not sent in time for longer than this is not made up for.
    pub slack: Duration,
}

/// What a measurement has found, in bits per second of frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateFigures {
    /// The rate aimed at.
    pub wanted: f64,
    /// What this node sent.
    pub offered: f64,
    /// What arrived at the far node, by its word and clock.
    pub there: f64,
    /// What came back.
    pub back: f64,
    /// How often it was tried.
    pub attempts: u32,
}

/// What one run says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The circuit delivers what was offered.
    Enough(RateFigures),
    /// It does not.
    TooSlow(RateFigures),
    /// One of the nodes was busy all the time: nothing is known of the circuit.
    Busy(RateFigures),
}

/// One run under way.
#[derive(Clone, Debug)]
pub(super) struct RateRun {
    link: LinkId,
    nonce: u64,
    length: usize,
    config: RateConfig,
    gap: Duration,
    planned: u32,
    rtt: Duration,
    begun: Timestamp,
    next: Timestamp,
    /// When the first and the last load were sent.
    sent_at: Option<(Timestamp, Timestamp)>,
    /// By number: sent, and whether it was answered.
    answered: Vec<bool>,
    there: Arrivals,
    back: Arrivals,
    first_back: Option<(Timestamp, u64)>,
}

/// Arrivals by one clock.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    counted: u32,
    elapsed: Duration,
    idle: u32,
    /// Those that had arrived when the first was seen: what came before is not known.
    at_first: u32,
    /// The best rate over a stretch of at least half the loads, in loads per second.
    best: Option<f64>,
}

impl fmt::Display for RateFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RateFigures { wanted, offered, there, back, .. } = self;
        let mbps = |bits: &f64| bits / 1e6;
        write!(f, "of {:.1} Mbit/s, {:.1} sent, ", mbps(wanted), mbps(offered))?;
        write!(f, "{:.1} arrived and {:.1} came back", mbps(there), mbps(back))
    }
}

impl RateConfig {
    /// The defaults for a reserved rate: 8 MiB at most, three attempts.
    pub fn at(rate: BitsPerSecond, terms: RateTerms) -> RateConfig {
        let RateTerms { duration, least_delivered } = terms;
        RateConfig {
            rate,
            duration,
            most_octets: 8 << 20,
            least_delivered,
            attempts: 3,
            slack: Duration::from_millis(2),
        }
    }

    /// Loads of this length in one run; `None` if there are too few to say anything.
    fn planned(&self, length: usize) -> Option<u32> {
        let octets = (self.rate.0 as f64 * self.duration.as_secs_f64() / 8.0).min(self.most_octets as f64);
        let loads = (octets / length as f64) as u32;
        (loads >= LEAST_LOADS && self.rate.0 > 0).then_some(loads)
    }
}

impl RateRun {
    /// A run whose first load is due at once; `None` if the rate is too low for the duration.
    pub(super) fn new(
        link: LinkId,
        nonce: u64,
        length: usize,
        config: RateConfig,
        rtt: Duration,
        now: Timestamp,
    ) -> Option<RateRun> {
        let planned = config.planned(length)?;
        let gap = Duration::from_secs_f64(length as f64 * 8.0 / (config.rate.0 as f64 * SHARE_OF_FRAMES));
        Some(RateRun {
            link,
            nonce,
            length,
            config,
            gap,
            planned,
            rtt,
            begun: now,
            next: now,
            sent_at: None,
            answered: Vec::with_capacity(planned as usize),
            there: Arrivals::default(),
            back: Arrivals::default(),
            first_back: None,
        })
    }

    /// The load that is due, if one is.
    pub(super) fn poll_load(&mut self, now: Timestamp) -> Option<ProbeFrame> {
        if self.is_sent(now) || now < self.next {
            return None;
        }
        let number = self.sent();
        self.answered.push(false);
        self.sent_at = Some((self.sent_at.map_or(now, |(first, _)| first), now));
        self.next = (self.next + self.gap).max(now - self.config.slack);
        Some(ProbeFrame { signal: Signal::load(self.link, self.nonce, number, now), length: self.length })
    }

    /// When the next load is due or, after the last one, when the run ends at the latest.
    pub(super) fn poll_at(&self, now: Timestamp) -> Timestamp {
        if self.is_sent(now) { self.deadline() } else { self.next }
    }

    /// Takes a reply of `length` octets, with how often this worker has found nothing to do; nothing changes
    /// unless it answers a load of this run for the first time, at full length.
    pub(super) fn handle_reply(&mut self, reply: &Signal, length: usize, now: Timestamp, idle: u64) {
        let is_ours = reply.kind == SignalKind::LoadReply && reply.nonce == self.nonce;
        let Some(answered) = self.answered.get_mut(reply.load.number as usize) else { return };
        if !is_ours || *answered || length < self.length {
            return;
        }
        *answered = true;
        let half = self.planned / 2;
        let mark = reply.load;
        // What the far node says cannot be more than what was sent.
        let counted = mark.counted.min(self.answered.len() as u32);
        self.there.note(counted, Duration::from_micros(u64::from(mark.elapsed_us)), mark.idle, half);
        let (first, idle_then) = *self.first_back.get_or_insert((now, idle));
        let idle = u32::try_from(idle - idle_then).unwrap_or(u32::MAX);
        self.back.note(self.back.counted + 1, now.since(first), idle, half);
    }

    /// What the run says, once it is known.
    pub(super) fn verdict(&self, now: Timestamp, attempts: u32) -> Option<Verdict> {
        if !self.is_sent(now) {
            return None;
        }
        let is_over = self.back.counted == self.sent() || now >= self.deadline();
        let figures = self.figures(now, attempts);
        let need = self.config.least_delivered * figures.wanted.min(figures.offered);
        // Loads that were all seen at one moment say nothing of when they came: then the far clock counts.
        let has_all = self.back.counted == self.sent() && self.back.best.is_none();
        if figures.back >= need || has_all && self.there.best.is_some_and(|_| figures.there >= need) {
            return Some(Verdict::Enough(figures));
        }
        is_over.then(|| {
            let slow_there = figures.there < need;
            let was_busy = if slow_there { self.there.was_busy() } else { self.back.was_busy() };
            if was_busy { Verdict::Busy(figures) } else { Verdict::TooSlow(figures) }
        })
    }

    fn sent(&self) -> u32 {
        self.answered.len() as u32
    }

    fn is_sent(&self, now: Timestamp) -> bool {
        self.sent() >= self.planned || now >= self.begun + self.config.duration * LONGEST
    }

    fn deadline(&self) -> Timestamp {
        self.sent_at.map_or(self.begun, |(_, last)| last) + self.rtt * 2 + TAIL
    }

    fn figures(&self, now: Timestamp, attempts: u32) -> RateFigures {
        let bits = self.length as f64 * 8.0;
        let (first, last) = self.sent_at.unwrap_or((self.begun, self.begun));
        let (wanted, sending) = (self.config.rate.0 as f64, last.since(first).as_secs_f64());
        let offered = if sending > 0.0 { f64::from(self.sent() - 1) * bits / sending } else { wanted };
        let waited = now.since(first + self.rtt).as_secs_f64().max(sending).max(1e-6);
        let rate = |arrivals: &Arrivals| {
            arrivals.best.unwrap_or_else(|| f64::from(arrivals.counted) / waited) * bits
        };
        RateFigures { wanted, offered, there: rate(&self.there), back: rate(&self.back), attempts }
    }
}

impl Arrivals {
    fn note(&mut self, counted: u32, elapsed: Duration, idle: u32, half: u32) {
        if counted < self.counted || elapsed < self.elapsed {
            return;
        }
        (self.counted, self.elapsed, self.idle) = (counted, elapsed, idle);
        if elapsed.is_zero() {
            self.at_first = counted;
        } else if counted >= half && counted - self.at_first >= half / 2 {
            let rate = f64::from(counted - self.at_first) / elapsed.as_secs_f64();
            self.best = Some(self.best.map_or(rate, |best| best.max(rate)));
        }
    }

    /// True if whoever counts was itself what held the loads up. What has not come at all was not held up.
    fn was_busy(&self) -> bool {
        self.counted >= LEAST_LOADS && self.idle < self.counted / FULL_BATCH
    }
}

/// Counts the loads that come in over one link, for the node that measures.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadCounter {
    nonce: u64,
    counted: u32,
    first: Timestamp,
    idle_at_first: u64,
}

impl LoadCounter {
    /// Counts a load and answers it. `idle` is how often this worker has found nothing to do, ever. One
    /// measurement is counted at a time, so that nobody makes this node remember more than one.
    pub fn handle_load(&mut self, load: &Signal, now: Timestamp, idle: u64) -> Option<Signal> {
        let mut reply = load.answer().filter(|reply| reply.kind == SignalKind::LoadReply)?;
        if self.counted == 0 || self.nonce != load.nonce {
            *self = LoadCounter { nonce: load.nonce, counted: 0, first: now, idle_at_first: idle };
        }
        self.counted = self.counted.saturating_add(1);
        reply.load.counted = self.counted;
        reply.load.elapsed_us = u32::try_from(now.since(self.first).as_micros()).unwrap_or(u32::MAX);
        reply.load.idle = u32::try_from(idle.saturating_sub(self.idle_at_first)).unwrap_or(u32::MAX);
        Some(reply)
    }
}
