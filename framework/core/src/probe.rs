//! Proof of a circuit: before any traffic moves onto it, a short burst of probes must come back.
//!
//! The provider's word alone is not enough: a lightpath may be up on paper, one-way, lossy, or too narrow
//! for full frames. Every other probe is padded to the full length of the frames that will follow, and its
//! reply has the same length, so that both directions are proven. What happens after is not decided here.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vreserve_model::Timestamp;

use crate::ids::LinkId;
use crate::signal::{SIGNAL_LENGTH, Signal};

/// What a circuit has to show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProofConfig {
    /// Probes in the burst; at least 2, so that there is one of each length.
    pub probes: usize,
    /// Time between two of them.
    pub spacing: Duration,
    /// How long replies are waited for after the last probe.
    pub reply_timeout: Duration,
    /// The longest frame in octets that guests may send over the circuit.
    pub full_length: usize,
    /// The least share of probes that must be answered, 0 to 1.
    pub least_answered: f64,
}

/// What a burst has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The circuit carries frames of every length both ways: it may be used.
    Proven,
    /// Nothing came back.
    Silent,
    /// Short probes came back, none of full length did.
    TooNarrow,
    /// Too few came back.
    Lossy,
}

/// The end of a burst. Its `Display` is the reason in one line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProofOutcome {
    /// What the burst has shown.
    pub finding: Finding,
    /// Probes sent.
    pub sent: usize,
    /// Probes answered.
    pub received: usize,
    /// Probes of full length sent.
    pub full_size_sent: usize,
    /// Probes of full length answered at full length.
    pub full_size_received: usize,
    /// The full length, in octets.
    pub full_length: usize,
    /// The shortest round trip.
    pub rtt_min: Option<Duration>,
    /// The median round trip.
    pub rtt_median: Option<Duration>,
    /// The share of probes without a reply, 0 to 1.
    pub loss: f64,
    /// The least share of replies that was wanted, 0 to 1.
    pub least_answered: f64,
}

/// A probe to send, and how long its frame is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeFrame {
    /// The probe.
    pub signal: Signal,
    /// The length to encode it with, in octets.
    pub length: usize,
}

/// The burst over one circuit.
#[derive(Clone, Debug)]
pub struct CircuitProof {
    link: LinkId,
    config: ProofConfig,
    next_probe: Timestamp,
    sent: Vec<BurstProbe>,
}

#[derive(Clone, Copy, Debug)]
struct BurstProbe {
    nonce: u64,
    at: Timestamp,
    length: usize,
    /// Round-trip time and length of the reply.
    reply: Option<(Duration, usize)>,
}

impl ProofConfig {
    /// The defaults for frames of at most `full_length` octets: 20 probes 5 ms apart, half a second of
    /// patience, nine of ten answered.
    pub fn for_frames_of(full_length: usize) -> ProofConfig {
        ProofConfig {
            probes: 20,
            spacing: Duration::from_millis(5),
            reply_timeout: Duration::from_millis(500),
            full_length,
            least_answered: 0.9,
        }
    }
}

impl CircuitProof {
    /// Starts a burst over `link`; the first probe is due at once.
    pub fn new(link: LinkId, config: ProofConfig, now: Timestamp) -> CircuitProof {
        let full_length = config.full_length.max(SIGNAL_LENGTH);
        let config = ProofConfig { probes: config.probes.max(2), full_length, ..config };
        CircuitProof { link, config, next_probe: now, sent: Vec::with_capacity(config.probes) }
    }

    /// The probe to send now, if one is due. `fresh_nonce` is asked for a random number only then.
    pub fn poll_probe(&mut self, now: Timestamp, fresh_nonce: impl FnOnce() -> u64) -> Option<ProbeFrame> {
        if self.is_all_sent() || now < self.next_probe {
            return None;
        }
        let nonce = fresh_nonce();
        let is_full_size = self.sent.len() % 2 == 1;
        let length = if is_full_size { self.config.full_length } else { SIGNAL_LENGTH };
        self.sent.push(BurstProbe { nonce, at: now, length, reply: None });
        self.next_probe = now + self.config.spacing;
        Some(ProbeFrame { signal: Signal::probe(self.link, nonce, now), length })
    }

    /// When the next probe is due or, after the last one, when the burst ends at the latest.
    pub fn poll_at(&self) -> Timestamp {
        if self.is_all_sent() { self.deadline() } else { self.next_probe }
    }

    /// Takes a reply of `length` octets; false, and nothing changes, unless it answers a probe of this
    /// burst for the first time.
    pub fn handle_reply(&mut self, nonce: u64, stamp: Timestamp, length: usize, now: Timestamp) -> bool {
        let is_asked =
            |probe: &&mut BurstProbe| probe.nonce == nonce && probe.at == stamp && probe.reply.is_none();
        let Some(probe) = self.sent.iter_mut().find(is_asked) else { return false };
        probe.reply = Some((now.since(stamp), length));
        true
    }

    /// The outcome, once every probe is answered or the time for replies is over.
    pub fn outcome(&self, now: Timestamp) -> Option<ProofOutcome> {
        let is_all_answered = self.sent.iter().all(|probe| probe.reply.is_some());
        (self.is_all_sent() && (is_all_answered || now >= self.deadline())).then(|| self.sum_up())
    }

    fn is_all_sent(&self) -> bool {
        self.sent.len() == self.config.probes
    }

    fn deadline(&self) -> Timestamp {
        self.sent.last().map_or(self.next_probe, |last| last.at) + self.config.reply_timeout
    }

    fn sum_up(&self) -> ProofOutcome {
        let mut rtts: Vec<Duration> =
            self.sent.iter().filter_map(|probe| probe.reply.map(|reply| reply.0)).collect();
        rtts.sort_unstable();
        let full_size = || self.sent.iter().skip(1).step_by(2);
        let is_whole = |probe: &&BurstProbe| probe.reply.is_some_and(|(_, length)| length >= probe.length);
        let (sent, received) = (self.sent.len(), rtts.len());
        let mut outcome = ProofOutcome {
            finding: Finding::Proven,
            sent,
            received,
            full_size_sent: full_size().count(),
            full_size_received: full_size().filter(is_whole).count(),
            full_length: self.config.full_length,
            rtt_min: rtts.first().copied(),
            rtt_median: rtts.get(received / 2).copied(),
            loss: (sent - received) as f64 / sent as f64,
            least_answered: self.config.least_answered,
        };
        outcome.finding = outcome.judge();
        outcome
    }
}

impl ProofOutcome {
    /// True if traffic may move onto the circuit.
    pub fn is_proven(&self) -> bool {
        self.finding == Finding::Proven
    }

    /// The narrowest explanation first: a circuit too narrow for full frames also looks lossy.
    fn judge(&self) -> Finding {
        match self {
            outcome if outcome.received == 0 => Finding::Silent,
            outcome if outcome.full_size_received == 0 => Finding::TooNarrow,
            outcome if (outcome.received as f64) < outcome.least_answered * outcome.sent as f64 => {
                Finding::Lossy
            }
            _ => Finding::Proven,
        }
    }
}

impl fmt::Display for ProofOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProofOutcome { sent, received, full_length, .. } = self;
        match self.finding {
            Finding::Silent => write!(f, "none of {sent} probes was answered"),
            Finding::TooNarrow => {
                write!(f, "{received} of {sent} probes answered, none of full length ({full_length} octets)")
            }
            Finding::Lossy => {
                let least = self.least_answered * 100.0;
                write!(f, "only {received} of {sent} probes answered, {least:.0} % wanted")
            }
            Finding::Proven => {
                let millis = self.rtt_median.unwrap_or_default().as_secs_f64() * 1e3;
                write!(f, "{received} of {sent} probes answered, {} of ", self.full_size_received)?;
                write!(f, "{} at {full_length} octets, median {millis:.2} ms", self.full_size_sent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: usize = 1514;

    /// Runs a burst by the millisecond over a circuit where `carry` tells, for the n-th probe and its length,
    /// the length of the reply and its round-trip time in ms.
    fn burst(carry: impl Fn(usize, usize) -> Option<(usize, u64)>) -> (u64, ProofOutcome) {
        let mut proof =
            CircuitProof::new(LinkId(1), ProofConfig::for_frames_of(FULL), Timestamp::from_millis(1));
        let mut replies: Vec<(u64, u64, Timestamp, usize)> = Vec::new();
        let mut count = 0;
        for millis in 1..2000 {
            let now = Timestamp::from_millis(millis);
            if let Some(ProbeFrame { signal, length }) = proof.poll_probe(now, || millis) {
                let reply = carry(count, length);
                count += 1;
                replies.extend(reply.map(|(len, rtt)| (millis + rtt, signal.nonce, signal.stamp, len)));
            }
            for (_, nonce, stamp, len) in replies.extract_if(.., |reply| reply.0 <= millis) {
                assert!(proof.handle_reply(nonce, stamp, len, now));
                assert!(!proof.handle_reply(nonce, stamp, len, now), "replay");
            }
            if let Some(outcome) = proof.outcome(now) {
                return (millis, outcome);
            }
        }
        panic!("the burst never ended");
    }

    #[test]
    fn a_good_circuit_is_proven_as_soon_as_the_last_reply_is_in() {
        let (ended, outcome) = burst(|n, length| Some((length, 2 + (n as u64 % 3))));
        assert!(outcome.is_proven());
        assert_eq!((outcome.sent, outcome.received, outcome.full_size_received), (20, 20, 10));
        assert_eq!(outcome.rtt_min, Some(Duration::from_millis(2)));
        assert_eq!(outcome.rtt_median, Some(Duration::from_millis(3)));
        assert!(ended < 110, "ended at {ended} ms");
        assert_eq!(outcome.to_string(), "20 of 20 probes answered, 10 of 10 at 1514 octets, median 3.00 ms");
    }

    #[test]
    fn a_silent_circuit_is_refused_when_the_time_is_over() {
        let (ended, outcome) = burst(|_, _| None);
        assert_eq!((outcome.finding, outcome.loss, outcome.rtt_min), (Finding::Silent, 1.0, None));
        assert_eq!(ended, 1 + 19 * 5 + 500);
        assert_eq!(outcome.to_string(), "none of 20 probes was answered");
    }

    #[test]
    fn a_circuit_too_narrow_in_either_direction_is_refused_and_says_so() {
        let (_, one_way) = burst(|_, length| (length < FULL).then_some((length, 1)));
        let (_, other_way) = burst(|_, length| Some((length.min(1400), 1)));
        assert_eq!((one_way.finding, other_way.finding), (Finding::TooNarrow, Finding::TooNarrow));
        assert!(one_way.to_string().contains("none of full length (1514 octets)"));
    }

    #[test]
    fn two_lost_of_twenty_are_accepted_and_three_are_not() {
        let (_, two) = burst(|n, length| (n >= 2).then_some((length, 1)));
        let (_, three) = burst(|n, length| (n >= 3).then_some((length, 1)));
        assert!(two.is_proven());
        assert_eq!(three.finding, Finding::Lossy);
        assert_eq!(three.to_string(), "only 17 of 20 probes answered, 90 % wanted");
    }

    #[test]
    fn replies_that_were_not_asked_for_prove_nothing() {
        let mut proof =
            CircuitProof::new(LinkId(1), ProofConfig::for_frames_of(FULL), Timestamp::from_millis(0));
        let probe = proof.poll_probe(Timestamp::ZERO, || 9).unwrap();
        assert!(!proof.handle_reply(8, probe.signal.stamp, 60, Timestamp(5)));
        assert!(!proof.handle_reply(9, Timestamp(1), 60, Timestamp(5)));
        assert_eq!(proof.poll_at(), Timestamp::from_millis(5));
    }
}
