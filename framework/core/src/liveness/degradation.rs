//! Degradation: a circuit that still answers, but loses frames or takes far longer than when it was proven.
//!
//! What counts as lost is a probe without a reply although two sent after it have theirs. So neither a node
//! that is late (its replies come late, but they come) nor a dead link (nothing comes: `liveness` itself
//! sees that) looks lossy.
//!
//! Sure and quick at once: a circuit is probed every 40 ms, and every 15 ms while one of its last 40 probes
//! is lost. It is degraded when 8 of the last 40 are (a fifth). If frames are lost at random with a share p
//! of round trips, then
//!
//! | p | degraded |
//! |---|---|
//! | 40 % | after 0.5 s on average: 0.1 s to the first loss, 0.13 s to be sure of it, 18 probes at 15 ms to seven more; within a second in 98 of 100 |
//! | 2 % | falsely once in a day: per probe 0.02 × C(39,7) × 0.02⁷ × 0.98³² = 2 × 10⁻⁷, at 25 to 66 probes a second |
//! | 1 % | falsely once in a year: 1.1 × 10⁻⁹ per probe |
//!
//! An outage of up to 270 ms costs seven probes and is outlived.
//!
//! Nor is anything held against it that was measured while a worker at either end had not a moment's rest
//! between two replies: then frames are lost in its own socket's queue.
//!
//! A circuit that is full loses probes as well, and its queue makes them late, while it does all that it was
//! reserved for. So nothing is held against it while guests send or receive [`FULL`] of its rate or more.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use vreserve_model::{BitsPerSecond, Timestamp};

/// How often a circuit is probed.
const EVERY: Duration = Duration::from_millis(40);
/// How often while a loss is in the window.
const CLOSELY_EVERY: Duration = Duration::from_millis(15);
/// Probes that are looked at: the last ones whose fate is known.
pub(super) const WINDOW: usize = 40;
/// So many of them lost are too many.
const TOO_MANY: usize = 8;
/// So many later probes must have been answered before one is lost.
const LATER: usize = 2;
/// Above this the round trip is far from that of the proof: four times, and a full queue more.
const FAR: (u32, Duration) = (4, Duration::from_millis(100));
/// For so long no round trip may be shorter.
const SLOW_FOR: Duration = Duration::from_secs(1);
/// And so many replies must have said so.
const SLOW_REPLIES: u32 = 10;
/// This share of the reserved rate, carried over [`LOAD_OVER`], explains loss and delay.
const FULL: f64 = 0.7;
/// Longer than a report of the other workers takes.
const LOAD_OVER: Duration = Duration::from_millis(400);

/// What a circuit was when it was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Its round trip.
    pub rtt: Duration,
    /// The rate reserved; zero if unknown, and then its load excuses nothing.
    pub rate: BitsPerSecond,
}

/// Why a circuit is degraded. Its `Display` is the reason in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// Too many probes are lost.
    Lossy {
        /// Lost.
        lost: usize,
        /// Of so many.
        of: usize,
    },
    /// Every reply takes far longer than at the proof.
    Slow {
        /// The last round trip.
        rtt: Duration,
        /// That of the proof.
        proven: Duration,
    },
}

/// The close watch over one proven circuit.
#[derive(Clone, Debug)]
pub(super) struct CloseWatch {
    proven: Proven,
    /// Octets that guests have sent and received over it, ever, with the time.
    carried: VecDeque<(Timestamp, u64, u64)>,
    /// Nothing before this is held against the circuit.
    since: Timestamp,
    /// Replies that took too long, since one did not.
    slow: Option<(Timestamp, u32, Duration)>,
    lost: usize,
    known: usize,
}

impl CloseWatch {
    pub(super) fn new(proven: Proven, now: Timestamp) -> CloseWatch {
        CloseWatch { proven, carried: VecDeque::new(), since: now, slow: None, lost: 0, known: 0 }
    }

    pub(super) fn interval(&self) -> Duration {
        if self.lost > 0 { CLOSELY_EVERY } else { EVERY }
    }

    /// A reply has come; `probes` are the last ones, newest first: when sent, and whether answered.
    pub(super) fn handle_reply(
        &mut self,
        sent: Timestamp,
        now: Timestamp,
        probes: impl Iterator<Item = (Timestamp, bool)>,
    ) {
        self.look_back(probes);
        if sent < self.since {
            return;
        }
        let rtt = now.since(sent);
        self.slow = (rtt > self.proven.rtt * FAR.0 + FAR.1).then(|| match self.slow {
            Some((since, replies, _)) => (since, replies + 1, rtt),
            None => (now, 1, rtt),
        });
    }

    /// Octets of guests' frames so far, both ways.
    pub(super) fn handle_carried(&mut self, now: Timestamp, sent: u64, received: u64) {
        while self.carried.get(1).is_some_and(|(then, ..)| now.since(*then) >= LOAD_OVER) {
            self.carried.pop_front();
        }
        self.carried.push_back((now, sent, received));
        if self.is_full() {
            self.forgive(now);
        }
    }

    /// Nothing from before now is held against the circuit.
    pub(super) fn forgive(&mut self, now: Timestamp) {
        (self.since, self.slow, self.lost, self.known) = (now, None, 0, 0);
    }

    pub(super) fn degradation(&self, now: Timestamp) -> Option<Degradation> {
        if self.lost >= TOO_MANY {
            return Some(Degradation::Lossy { lost: self.lost, of: self.known });
        }
        let (since, replies, rtt) = self.slow?;
        (replies >= SLOW_REPLIES && now.since(since) >= SLOW_FOR)
            .then_some(Degradation::Slow { rtt, proven: self.proven.rtt })
    }

    fn look_back(&mut self, probes: impl Iterator<Item = (Timestamp, bool)>) {
        let (mut later, mut known, mut lost) = (0, 0, 0);
        for (_, is_answered) in probes.take_while(|(at, _)| *at >= self.since) {
            later += usize::from(is_answered);
            if is_answered || later >= LATER {
                known += 1;
                lost += usize::from(!is_answered);
            }
            if known == WINDOW {
                break;
            }
        }
        (self.known, self.lost) = (known, lost);
    }

    fn is_full(&self) -> bool {
        let (Some(first), Some(last)) = (self.carried.front(), self.carried.back()) else { return false };
        let seconds = last.0.since(first.0).as_secs_f64();
        let most = (last.1.saturating_sub(first.1)).max(last.2.saturating_sub(first.2));
        let full = FULL * self.proven.rate.0 as f64 / 8.0 * seconds;
        last.0.since(first.0) >= LOAD_OVER / 2 && full > 0.0 && most as f64 >= full
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |rtt: &Duration| rtt.as_secs_f64() * 1e3;
        match self {
            Degradation::Lossy { lost, of } => write!(f, "{lost} of its last {of} probes were lost"),
            Degradation::Slow { rtt, proven } => {
                let (rtt, proven) = (millis(rtt), millis(proven));
                write!(f, "its round trip was {proven:.1} ms when proven and is {rtt:.0} ms for a second")
            }
        }
    }
}
