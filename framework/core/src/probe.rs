//! Proof of a circuit: before any traffic moves onto it, it must answer, carry full frames, and deliver its
//! rate.
//!
//! The provider's word alone is not enough: a lightpath may be up on paper, one-way, lossy, too narrow for
//! full frames, or slower than what was paid for. Three steps, each both ways:
//!
//! 1. *Knock.* Short probes until one is answered. A link may still be shaking hands; nothing counts yet.
//! 2. *Burst.* Every other probe is padded to the full length of the frames that will follow, and its reply
//!    has the same length.
//! 3. *Rate.* Full-length loads at the reserved rate for a moment (`rate`).
//!
//! What happens after is not decided here.

mod rate;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vreserve_model::{BitsPerSecond, Timestamp};

use crate::ids::LinkId;
use crate::signal::{SIGNAL_LENGTH, Signal};

pub use rate::{LoadCounter, RateConfig, RateFigures, RateTerms};
use rate::{RateRun, Verdict};

/// Between two attempts to measure the rate: what the last one left in a queue passes meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// After a run that a node was too busy for, the next aims at so much of what came back.
const EASIER: f64 = 0.75;

/// What a circuit has to show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProofConfig {
    /// For how long the first answer is waited for.
    pub patience: Duration,
    /// Time between two probes until then.
    pub knock_every: Duration,
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
    /// The rate reserved; zero if it is not known.
    pub reserved: BitsPerSecond,
    /// How the rate is measured; none if it is not known or does not matter.
    pub rate: Option<RateConfig>,
}

/// What a proof has shown.
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
    /// Frames come back, but not at the rate reserved.
    TooSlow,
}

/// The end of a proof. Its `Display` is the reason in one line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProofOutcome {
    /// What it has shown.
    pub finding: Finding,
    /// Probes sent; of a silent circuit those that knocked.
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
    /// The rate, if it was measured; the last attempt's figures.
    pub rate: Option<RateFigures>,
    /// The least share of the rate that was wanted, 0 to 1.
    pub least_delivered: f64,
}

/// A signal to send, and how long its frame is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeFrame {
    /// The probe or load.
    pub signal: Signal,
    /// The length to encode it with, in octets.
    pub length: usize,
}

/// The proof of one circuit.
#[derive(Clone, Debug)]
pub struct CircuitProof {
    link: LinkId,
    config: ProofConfig,
    begun: Timestamp,
    next_probe: Timestamp,
    /// Probes that knocked: nonce and time.
    knocks: Vec<(u64, Timestamp)>,
    sent: Vec<BurstProbe>,
    /// Nonces of the runs so far: what an earlier one left in a queue comes during the next.
    runs: Vec<u64>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    Knock,
    Burst,
    /// The rate is measured from this time on, unless that has been done so often.
    Pause {
        until: Timestamp,
        attempts: u32,
        rate: RateConfig,
        nonce: Option<u64>,
    },
    Rate {
        run: Box<RateRun>,
        attempts: u32,
        rate: RateConfig,
    },
    Over(ProofOutcome),
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
    /// The defaults for frames of at most `full_length` octets: 5 s until the first answer, then 20 probes
    /// 5 ms apart, half a second of patience, nine of ten answered. The rate is measured as
    /// [`RateConfig::at`] says, unless it or its duration is zero.
    pub fn for_frames_of(full_length: usize, rate: BitsPerSecond, terms: RateTerms) -> ProofConfig {
        let is_measured = rate.0 > 0 && !terms.duration.is_zero();
        ProofConfig {
            patience: Duration::from_secs(5),
            knock_every: Duration::from_millis(20),
            probes: 20,
            spacing: Duration::from_millis(5),
            reply_timeout: Duration::from_millis(500),
            full_length,
            least_answered: 0.9,
            reserved: rate,
            rate: is_measured.then(|| RateConfig::at(rate, terms)),
        }
    }
}

impl CircuitProof {
    /// Starts a proof over `link`; the first probe is due at once.
    pub fn new(link: LinkId, config: ProofConfig, now: Timestamp) -> CircuitProof {
        let full_length = config.full_length.max(SIGNAL_LENGTH);
        let config = ProofConfig { probes: config.probes.max(2), full_length, ..config };
        CircuitProof {
            link,
            config,
            begun: now,
            next_probe: now,
            knocks: Vec::new(),
            sent: Vec::with_capacity(config.probes),
            runs: Vec::new(),
            stage: Stage::Knock,
        }
    }

    /// The next signal that is due now, if one is: ask until there is none. `fresh_nonce` is asked for a
    /// random number only then.
    pub fn poll_probe(&mut self, now: Timestamp, fresh_nonce: impl FnOnce() -> u64) -> Option<ProbeFrame> {
        match &mut self.stage {
            Stage::Knock if now >= self.next_probe && now < self.begun + self.config.patience => {
                let nonce = fresh_nonce();
                self.knocks.push((nonce, now));
                self.next_probe = now + self.config.knock_every;
                let signal = Signal::probe(self.link, nonce, now);
                Some(ProbeFrame { signal, length: SIGNAL_LENGTH })
            }
            Stage::Burst if self.sent.len() < self.config.probes && now >= self.next_probe => {
                Some(self.send_probe(now, fresh_nonce()))
            }
            Stage::Pause { until, nonce, .. } if now >= *until => {
                *nonce = Some(fresh_nonce());
                self.advance(now);
                self.poll_load(now)
            }
            Stage::Rate { .. } => self.poll_load(now),
            _ => None,
        }
    }

    /// When the next signal is due or, after the last one, when the step ends at the latest.
    pub fn poll_at(&self, now: Timestamp) -> Timestamp {
        match &self.stage {
            Stage::Knock => self.next_probe.min(self.begun + self.config.patience),
            Stage::Burst if self.is_all_sent() => self.deadline(),
            Stage::Burst => self.next_probe,
            Stage::Pause { until, .. } => *until,
            Stage::Rate { run, .. } => run.poll_at(now),
            Stage::Over(_) => now,
        }
    }

    /// Takes a probe's reply of `length` octets; false, and nothing changes, unless it answers a probe of
    /// this proof for the first time.
    pub fn handle_reply(&mut self, nonce: u64, stamp: Timestamp, length: usize, now: Timestamp) -> bool {
        if let Some(at) = self.knocks.iter().position(|knock| *knock == (nonce, stamp)) {
            self.knocks.swap_remove(at);
            if matches!(self.stage, Stage::Knock) {
                (self.stage, self.next_probe) = (Stage::Burst, now);
            }
            return true;
        }
        let is_asked =
            |probe: &&mut BurstProbe| probe.nonce == nonce && probe.at == stamp && probe.reply.is_none();
        let Some(probe) = self.sent.iter_mut().find(is_asked) else { return false };
        probe.reply = Some((now.since(stamp), length));
        true
    }

    /// Takes a load's reply of `length` octets; false unless it belongs to a run of this proof. `idle` is how
    /// often the worker that sends the loads has found nothing to do, ever.
    pub fn handle_load_reply(&mut self, reply: &Signal, length: usize, now: Timestamp, idle: u64) -> bool {
        if let Stage::Rate { run, .. } = &mut self.stage {
            run.handle_reply(reply, length, now, idle);
        }
        self.runs.contains(&reply.nonce)
    }

    /// The rate reserved; zero if it is not known.
    pub fn reserved(&self) -> BitsPerSecond {
        self.config.reserved
    }

    /// The outcome, once it is known.
    pub fn outcome(&mut self, now: Timestamp) -> Option<ProofOutcome> {
        self.advance(now);
        match self.stage {
            Stage::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    fn send_probe(&mut self, now: Timestamp, nonce: u64) -> ProbeFrame {
        let is_full_size = self.sent.len() % 2 == 1;
        let length = if is_full_size { self.config.full_length } else { SIGNAL_LENGTH };
        self.sent.push(BurstProbe { nonce, at: now, length, reply: None });
        self.next_probe = now + self.config.spacing;
        ProbeFrame { signal: Signal::probe(self.link, nonce, now), length }
    }

    fn poll_load(&mut self, now: Timestamp) -> Option<ProbeFrame> {
        match &mut self.stage {
            Stage::Rate { run, .. } => run.poll_load(now),
            _ => None,
        }
    }

    /// Goes on to the next step when the present one is over.
    fn advance(&mut self, now: Timestamp) {
        let next = match &self.stage {
            Stage::Knock if now >= self.begun + self.config.patience => Some(Stage::Over(self.sum_up())),
            Stage::Burst if self.is_burst_over(now) => Some(self.after_burst(now)),
            Stage::Pause { nonce: Some(nonce), attempts, rate, .. } => {
                let (nonce, attempts, rate) = (*nonce, *attempts, *rate);
                self.runs.push(nonce);
                Some(self.measure(nonce, attempts, rate, now))
            }
            Stage::Rate { run, attempts, rate } => {
                run.verdict(now, *attempts).map(|verdict| self.after_run(verdict, *rate, now))
            }
            _ => None,
        };
        if let Some(next) = next {
            self.stage = next;
        }
    }

    fn after_burst(&self, now: Timestamp) -> Stage {
        let outcome = self.sum_up();
        match self.config.rate {
            Some(rate) if outcome.is_proven() => Stage::Pause { until: now, attempts: 0, rate, nonce: None },
            _ => Stage::Over(outcome),
        }
    }

    fn measure(&self, nonce: u64, attempts: u32, rate: RateConfig, now: Timestamp) -> Stage {
        let outcome = self.sum_up();
        let rtt = outcome.rtt_median.unwrap_or_default();
        match RateRun::new(self.link, nonce, self.config.full_length, rate, rtt, now) {
            Some(run) => Stage::Rate { run: Box::new(run), attempts: attempts + 1, rate },
            None => Stage::Over(outcome),
        }
    }

    fn after_run(&self, verdict: Verdict, rate: RateConfig, now: Timestamp) -> Stage {
        let (finding, figures, next) = match verdict {
            Verdict::Enough(figures) => (Finding::Proven, figures, None),
            Verdict::TooSlow(figures) => (Finding::TooSlow, figures, Some(rate)),
            // Not the circuit's fault: it is asked for what the nodes can do just now.
            Verdict::Busy(figures) => {
                let easier = BitsPerSecond((figures.back * EASIER).min(rate.rate.0 as f64) as u64);
                (Finding::Proven, figures, Some(RateConfig { rate: easier, ..rate }))
            }
        };
        match next {
            Some(rate) if figures.attempts < rate.attempts => {
                Stage::Pause { until: now + PAUSE, attempts: figures.attempts, rate, nonce: None }
            }
            _ => Stage::Over(ProofOutcome { finding, rate: Some(figures), ..self.sum_up() }),
        }
    }

    fn is_all_sent(&self) -> bool {
        self.sent.len() == self.config.probes
    }

    fn is_burst_over(&self, now: Timestamp) -> bool {
        let is_all_answered = self.sent.iter().all(|probe| probe.reply.is_some());
        self.is_all_sent() && (is_all_answered || now >= self.deadline())
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
        // No burst without an answered knock.
        let sent = if self.sent.is_empty() { self.knocks.len().max(1) } else { self.sent.len() };
        let received = rtts.len();
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
            rate: None,
            least_delivered: self.config.rate.map_or(0.0, |rate| rate.least_delivered),
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

    /// What the burst says. The narrowest explanation first: a circuit too narrow for full frames also looks
    /// lossy.
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
        match (self.finding, &self.rate) {
            (Finding::Silent, _) => write!(f, "none of {sent} probes was answered"),
            (Finding::TooNarrow, _) => {
                write!(f, "{received} of {sent} probes answered, none of full length ({full_length} octets)")
            }
            (Finding::Lossy, _) => {
                let least = self.least_answered * 100.0;
                write!(f, "only {received} of {sent} probes answered, {least:.0} % wanted")
            }
            (Finding::TooSlow, Some(rate)) => {
                let least = self.least_delivered * 100.0;
                write!(f, "{rate}, {least:.0} % wanted, {} times", rate.attempts)
            }
            (Finding::Proven | Finding::TooSlow, rate) => {
                let millis = self.rtt_median.unwrap_or_default().as_secs_f64() * 1e3;
                write!(f, "{received} of {sent} probes answered, {} of ", self.full_size_received)?;
                write!(f, "{} at {full_length} octets, median {millis:.2} ms", self.full_size_sent)?;
                rate.map_or(Ok(()), |rate| write!(f, "; {rate}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
