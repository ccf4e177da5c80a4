//! Liveness: whether the far node of one link answers, how long it takes, and how much is lost.
//!
//! A circuit that was proven here is watched more closely (`degradation`): it may answer and yet be no
//! longer worth its place.
//!
//! The caller sends the probes handed out here, feeds the replies back, and asks for changes. What a change
//! means for the traffic is decided elsewhere. After a stall, feed what has been received before asking:
//! replies that wait in a socket are signs of life.

mod degradation;

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vreserve_model::Timestamp;

use crate::ids::LinkId;
use crate::signal::Signal;

use degradation::CloseWatch;
pub use degradation::{Degradation, Proven};

/// So many probes in a row must stay without a reply before a link can be down, whatever the time: one
/// lost datagram is not a death.
const LEAST_SILENT_PROBES: usize = 3;

/// How a link is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivenessConfig {
    /// Time between two probes. One longer than a quarter of `dead_after` is shortened to that.
    pub interval: Duration,
    /// A link is down at the latest this long after it stopped carrying probes or replies.
    pub dead_after: Duration,
    /// So many probes back is loss measured; at least 8, and 48 to see a proven circuit degrade.
    pub window: usize,
}

/// Whether the far node of a link answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkHealth {
    /// No reply yet, and too early to say that there will be none.
    Unknown,
    /// Replies come.
    Up,
    /// Replies come, but too few or too late. Only circuits that were proven from here can be.
    Degraded,
    /// No replies come.
    Down,
}

/// The watch over one link.
#[derive(Clone, Debug)]
pub struct Liveness {
    link: LinkId,
    config: LivenessConfig,
    next_probe: Timestamp,
    /// The last probes, oldest first.
    window: VecDeque<SentProbe>,
    /// Probes sent after the newest answered one: since when, and how many.
    silence: Option<(Timestamp, usize)>,
    has_heard: bool,
    /// When the last reply came, if it came later than a link may be silent.
    heard_late: Option<Timestamp>,
    reported: LinkHealth,
    rtt: Option<SmoothedRtt>,
    close: Option<CloseWatch>,
}

#[derive(Clone, Copy, Debug)]
struct SentProbe {
    nonce: u64,
    at: Timestamp,
    is_answered: bool,
}

#[derive(Clone, Copy, Debug)]
struct SmoothedRtt {
    mean: Duration,
    variation: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        LivenessConfig {
            interval: Duration::from_millis(200),
            dead_after: Duration::from_secs(1),
            window: 64,
        }
    }
}

impl Liveness {
    /// Starts watching `link`; the first probe is due at once.
    pub fn new(link: LinkId, config: LivenessConfig, now: Timestamp) -> Liveness {
        let interval = config.interval.min(config.dead_after / 4);
        let config = LivenessConfig { interval, window: config.window.max(8), ..config };
        Liveness {
            link,
            config,
            next_probe: now,
            window: VecDeque::with_capacity(config.window),
            silence: None,
            has_heard: false,
            heard_late: None,
            reported: LinkHealth::Unknown,
            rtt: None,
            close: None,
        }
    }

    /// From now on the link is compared with what it was when it was proven, and probed as often as that
    /// needs.
    pub fn watch_closely(&mut self, proven: Proven, now: Timestamp) {
        self.close = Some(CloseWatch::new(proven, now));
        self.next_probe = self.next_probe.min(now);
    }

    /// True if [`Liveness::watch_closely`] was called: then tell it what the link carries.
    pub fn is_watched_closely(&self) -> bool {
        self.close.is_some()
    }

    /// Octets of frames sent and received over the link so far, by all workers; several times a second.
    pub fn handle_carried(&mut self, now: Timestamp, sent: u64, received: u64) {
        if let Some(close) = &mut self.close {
            close.handle_carried(now, sent, received);
        }
    }

    /// A worker at either end has had no rest since the last reply: what it lost or delayed was its doing.
    pub fn handle_busy(&mut self, now: Timestamp) {
        if let Some(close) = &mut self.close {
            close.forgive(now);
        }
    }

    /// Why the link is degraded, if it is.
    pub fn degradation(&self, now: Timestamp) -> Option<Degradation> {
        self.close.as_ref()?.degradation(now)
    }

    /// The probe to send now, if one is due. `fresh_nonce` is asked for a random number only then.
    ///
    /// After a stall one probe is due, not all that were missed.
    pub fn poll_probe(&mut self, now: Timestamp, fresh_nonce: impl FnOnce() -> u64) -> Option<Signal> {
        if now < self.next_probe {
            return None;
        }
        let nonce = fresh_nonce();
        if self.window.len() == self.config.window {
            self.window.pop_front();
        }
        self.window.push_back(SentProbe { nonce, at: now, is_answered: false });
        let (since, probes) = self.silence.unwrap_or((now, 0));
        self.silence = Some((since, probes + 1));
        self.next_probe = now + self.close.as_ref().map_or(self.config.interval, CloseWatch::interval);
        Some(Signal::probe(self.link, nonce, now))
    }

    /// When the next probe is due.
    pub fn poll_at(&self) -> Timestamp {
        self.next_probe
    }

    /// Takes a reply; false, and nothing changes, unless it answers a probe of the window for the first time.
    pub fn handle_reply(&mut self, nonce: u64, stamp: Timestamp, now: Timestamp) -> bool {
        let is_answer = |probe: &SentProbe| probe.nonce == nonce && probe.at == stamp && !probe.is_answered;
        let Some(index) = self.window.iter().rposition(is_answer) else { return false };
        self.window[index].is_answered = true;
        self.has_heard = true;
        let rtt = now.since(stamp);
        self.heard_late = (rtt >= self.patience()).then_some(now);
        self.rtt = Some(self.rtt.map_or(SmoothedRtt::first(rtt), |smoothed| smoothed.next(rtt)));
        self.end_silence_before(index);
        if let Some(close) = &mut self.close {
            let probes = self.window.iter().rev().map(|probe| (probe.at, probe.is_answered));
            close.handle_reply(stamp, now, probes);
        }
        true
    }

    /// Whether the far node answers, as of `now`.
    pub fn health(&self, now: Timestamp) -> LinkHealth {
        // Late replies that go on coming are signs of life: guests' frames stand in a long queue.
        let is_dead = |(since, probes): (Timestamp, usize)| {
            let since = self.heard_late.map_or(since, |heard| heard.max(since));
            probes >= LEAST_SILENT_PROBES && now.since(since) >= self.patience()
        };
        match (self.silence.is_some_and(is_dead), self.has_heard) {
            (true, _) => LinkHealth::Down,
            (false, true) if self.degradation(now).is_some() => LinkHealth::Degraded,
            (false, true) => LinkHealth::Up,
            (false, false) => LinkHealth::Unknown,
        }
    }

    /// A probe may have passed just before the link died: the last interval counts as silence too.
    fn patience(&self) -> Duration {
        self.config.dead_after - self.config.interval
    }

    /// The health if it has changed since this was last asked.
    pub fn poll_change(&mut self, now: Timestamp) -> Option<LinkHealth> {
        let health = self.health(now);
        let before = std::mem::replace(&mut self.reported, health);
        (health != before).then_some(health)
    }

    /// The smoothed round-trip time (RFC 6298 §2: SRTT); `None` before the first reply.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.mean)
    }

    /// The mean deviation of the round-trip time (RFC 6298 §2: RTTVAR).
    pub fn rtt_variation(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.variation)
    }

    /// The share of probes without a reply, 0 to 1, among those of the window that were answered or have
    /// waited for `dead_after`; `None` if there is none.
    pub fn loss(&self, now: Timestamp) -> Option<f64> {
        let is_overdue = |probe: &SentProbe| now.since(probe.at) >= self.config.dead_after;
        let answered = self.window.iter().filter(|probe| probe.is_answered).count();
        let lost = self.window.iter().filter(|probe| !probe.is_answered && is_overdue(probe)).count();
        (answered + lost > 0).then(|| lost as f64 / (answered + lost) as f64)
    }

    /// The probe at `index` is answered: only what was sent after it, and after any answered one, is silent.
    fn end_silence_before(&mut self, index: usize) {
        let newest = self.window.iter().rposition(|probe| probe.is_answered).unwrap_or(index);
        let silent = self.window.len() - newest - 1;
        self.silence = self.window.get(newest + 1).map(|probe| (probe.at, silent));
    }
}

impl SmoothedRtt {
    /// RFC 6298 §2.2.
    fn first(sample: Duration) -> SmoothedRtt {
        SmoothedRtt { mean: sample, variation: sample / 2 }
    }

    /// RFC 6298 §2.3, with alpha 1/8 and beta 1/4.
    fn next(self, sample: Duration) -> SmoothedRtt {
        SmoothedRtt {
            variation: (self.variation * 3 + self.mean.abs_diff(sample)) / 4,
            mean: (self.mean * 7 + sample) / 8,
        }
    }
}

#[cfg(test)]
mod degradation_tests;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINK: LinkId = LinkId(3);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn watch() -> Liveness {
        Liveness::new(LINK, LivenessConfig::default(), Timestamp::ZERO)
    }

    /// Runs a watch by the millisecond over a link that carries the probe sent at `t` if `carries(t)`, with
    /// this round-trip time, and returns the changes with their times.
    fn changes(until: u64, rtt: u64, carries: impl Fn(u64) -> bool) -> (Liveness, Vec<(u64, LinkHealth)>) {
        let (mut watch, mut replies, mut changes, mut nonce) = (watch(), VecDeque::new(), Vec::new(), 0);
        for t in 0..until {
            while replies.front().is_some_and(|(due, _): &(u64, Signal)| *due <= t) {
                let (_, probe) = replies.pop_front().unwrap();
                assert!(watch.handle_reply(probe.nonce, probe.stamp, at(t)));
            }
            nonce += 1;
            if let Some(probe) = watch.poll_probe(at(t), || nonce) {
                assert_eq!(probe.link, LINK);
                if carries(t) {
                    replies.push_back((t + rtt, probe));
                }
            }
            changes.extend(watch.poll_change(at(t)).map(|health| (t, health)));
        }
        (watch, changes)
    }

    #[test]
    fn a_link_rises_with_its_first_reply_and_dies_within_a_second() {
        let (watch, changes) = changes(5000, 10, |t| !(2000..4000).contains(&t));
        assert_eq!(changes[0], (10, LinkHealth::Up));
        assert_eq!(changes[1].1, LinkHealth::Down);
        assert!((2500..=3000).contains(&changes[1].0), "down at {} ms", changes[1].0);
        assert_eq!(changes[2], (4010, LinkHealth::Up), "and comes back with its next reply");
        assert_eq!(changes.len(), 3);
        assert!(watch.loss(at(5000)).is_some_and(|loss| (loss - 0.4).abs() < 0.05));
    }

    #[test]
    fn a_link_that_never_answers_is_unknown_then_down() {
        let (watch, changes) = changes(3000, 10, |_| false);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].1, LinkHealth::Down);
        assert!(changes[0].0 <= 1000);
        assert_eq!((watch.rtt(), watch.loss(at(3000))), (None, Some(1.0)));
    }

    #[test]
    fn single_losses_and_long_round_trips_do_not_kill_a_link() {
        for rtt in [1, 150, 390] {
            let (_, changes) = changes(20_000, rtt, |t| (t / 200) % 3 == 0);
            assert_eq!(changes, [(rtt, LinkHealth::Up)], "two of three lost at {rtt} ms");
        }
    }

    #[test]
    fn a_queue_that_stands_longer_than_a_dead_link_is_borne_keeps_a_link_up() {
        let (_, changes) = changes(20_000, 2_500, |_| true);
        assert_eq!(changes[1..], [(2_500, LinkHealth::Up)], "{changes:?}");
        assert_eq!(changes[0].1, LinkHealth::Down, "nothing had come yet");
    }

    #[test]
    fn forged_unknown_and_replayed_replies_are_ignored() {
        let mut watch = watch();
        let probe = watch.poll_probe(at(0), || 77).unwrap();
        assert!(!watch.handle_reply(78, probe.stamp, at(1)), "unknown nonce");
        assert!(!watch.handle_reply(77, at(1), at(1)), "stamp that was not sent");
        assert_eq!(watch.health(at(1)), LinkHealth::Unknown);
        assert!(watch.handle_reply(77, probe.stamp, at(20)));
        assert!(!watch.handle_reply(77, probe.stamp, at(900)), "replay");
        assert_eq!(watch.rtt(), Some(Duration::from_millis(20)));
    }

    #[test]
    fn a_replay_cannot_keep_a_dead_link_up() {
        let mut watch = watch();
        let first = watch.poll_probe(at(0), || 1).unwrap();
        assert!(watch.handle_reply(1, first.stamp, at(5)));
        for t in 1..=1000 {
            watch.poll_probe(at(t), || 1000 + t);
            watch.handle_reply(1, first.stamp, at(t));
        }
        assert_eq!(watch.health(at(1000)), LinkHealth::Down);
    }

    #[test]
    fn a_stalled_daemon_blames_itself_not_the_link() {
        let (mut watch, _) = changes(1000, 10, |_| true);
        let before_stall = watch.poll_probe(at(1000), || 500_000).unwrap();
        assert!(watch.poll_probe(at(9000), || 500_001).is_some(), "one probe is due after the stall");
        assert!(watch.poll_probe(at(9000), || 500_002).is_none(), "not all that were missed");
        assert_eq!(watch.health(at(9000)), LinkHealth::Up, "two unanswered probes prove nothing yet");
        assert!(watch.handle_reply(500_000, before_stall.stamp, at(9001)));
    }

    #[test]
    fn the_round_trip_is_smoothed_as_rfc_6298_says() {
        let mut watch = watch();
        for (t, rtt) in [(0, 100), (200, 180)] {
            let probe = watch.poll_probe(at(t), || t).unwrap();
            watch.handle_reply(t, probe.stamp, at(t + rtt));
        }
        assert_eq!(watch.rtt(), Some(Duration::from_millis(110)));
        assert_eq!(watch.rtt_variation(), Some(Duration::from_micros(57_500)));
    }

    proptest! {
        #[test]
        fn death_is_seen_within_a_second_of_it(dies_at in 500_u64..1500, rtt in 1_u64..300) {
            let (_, changes) = changes(dies_at + 1300, rtt, |t| t < dies_at);
            prop_assert_eq!(changes.len(), 2);
            prop_assert!(changes[1].0 <= dies_at + 1000 && changes[1].0 > dies_at + 300);
        }
    }
}
