//! What came of a run, and of many.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use vreserve_model::Timestamp;

/// An invariant that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub what: String,
    /// When, in virtual time.
    pub at: Timestamp,
    /// At which step.
    pub step: u64,
    /// The last events before it.
    pub last: Vec<String>,
}

/// What happened how often: without these, nothing would have been shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Frames of guests sent, and delivered where they were meant to go, those that were doubled included.
    pub frames: u64,
    /// See `frames`.
    pub arrived: u64,
    /// Frames for which a circuit had no room.
    pub overflows: u64,
    /// Sessions begun.
    pub joins: u64,
    /// Leads that took over from another, and the records that they found.
    pub takeovers: u64,
    /// See `takeovers`.
    pub restored: u64,
    /// Calls to providers.
    pub calls: u64,
    /// Circuits that came to carry, that failed, that were released.
    pub carried: u64,
    /// See `carried`.
    pub failed: u64,
    /// See `carried`.
    pub released: u64,
    /// Circuits that were resized or gave way to a larger one.
    pub resized: u64,
    /// Cut-overs begun, by the lead's word completed, and aborted.
    pub cut_overs: u64,
    /// See `cut_overs`.
    pub switched: u64,
    /// See `cut_overs`.
    pub aborted: u64,
    /// Cut-overs begun onto a way over two circuits.
    pub relayed: u64,
    /// Circuits that a node found degraded.
    pub degraded: u64,
    /// Circuits that were spoilt by a fault.
    pub spoilt: u64,
    /// Capacity that was held and on no record, found by a lead.
    pub orphans: u64,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Looks at whether a pair has a path.
    pub paths: u64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it was drawn from.
    pub seed: u64,
    /// Nodes, the hub among them.
    pub nodes: usize,
    /// Steps taken.
    pub steps: u64,
    /// Of everything that happened: the same seed gives the same digest.
    pub digest: u64,
    /// Virtual time that passed.
    pub lasted: Duration,
    /// From the demand's end until nothing was held any more.
    pub released_after: Option<Duration>,
    /// For how long a pair had no path over a circuit that had died.
    pub longest_gap: Duration,
    /// What happened how often.
    pub counts: Counts,
    /// The invariant that was broken, if any was.
    pub broken: Option<Broken>,
}

/// Many runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// The first seed; the others follow it.
    pub first: u64,
    /// The most nodes of a run.
    pub most_nodes: usize,
    /// Steps taken by all.
    pub steps: u64,
    /// Virtual time of all, in seconds.
    pub virtual_s: f64,
    /// Real time of all, in seconds.
    pub took_s: f64,
    /// Of all runs' digests.
    pub digest: String,
    /// From the demand's end until nothing was held, in milliseconds: median, of 100 the 99th, longest.
    pub released_ms: [u64; 3],
    /// The longest time for which a pair had no path over a circuit that had died, in milliseconds.
    pub longest_gap_ms: u64,
    /// What happened how often.
    pub counts: Counts,
    /// What was broken: the seed, the step, the invariant and how.
    pub broken: Vec<BrokenRun>,
}

/// A run in which an invariant was broken.
#[derive(Clone, Debug, Serialize)]
pub struct BrokenRun {
    /// The seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// Virtual time, in milliseconds.
    pub at_ms: u64,
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub what: String,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        let pairs = [
            (&mut self.frames, other.frames),
            (&mut self.arrived, other.arrived),
            (&mut self.overflows, other.overflows),
            (&mut self.joins, other.joins),
            (&mut self.takeovers, other.takeovers),
            (&mut self.restored, other.restored),
            (&mut self.calls, other.calls),
            (&mut self.carried, other.carried),
            (&mut self.failed, other.failed),
            (&mut self.released, other.released),
            (&mut self.resized, other.resized),
            (&mut self.cut_overs, other.cut_overs),
            (&mut self.switched, other.switched),
            (&mut self.aborted, other.aborted),
            (&mut self.relayed, other.relayed),
            (&mut self.degraded, other.degraded),
            (&mut self.spoilt, other.spoilt),
            (&mut self.orphans, other.orphans),
            (&mut self.paths, other.paths),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }
}

impl Summary {
    /// Of runs in the order of their seeds.
    pub fn of(outcomes: &[Outcome], took: Duration) -> Self {
        let mut summary = Summary { took_s: took.as_secs_f64(), ..Summary::default() };
        let (mut digest, mut released) = (0_u64, Vec::new());
        summary.first = outcomes.first().map_or(0, |outcome| outcome.seed);
        for outcome in outcomes {
            summary.runs += 1;
            summary.most_nodes = summary.most_nodes.max(outcome.nodes);
            summary.steps += outcome.steps;
            summary.virtual_s += outcome.lasted.as_secs_f64();
            summary.longest_gap_ms = summary.longest_gap_ms.max(millis(outcome.longest_gap));
            digest = digest.rotate_left(5) ^ outcome.digest;
            released.extend(outcome.released_after.map(millis));
            summary.counts.add(&outcome.counts);
            if let Some(broken) = &outcome.broken {
                summary.broken.push(BrokenRun {
                    seed: outcome.seed,
                    step: broken.step,
                    at_ms: broken.at.0 / 1_000_000,
                    invariant: broken.invariant,
                    what: broken.what.clone(),
                });
            }
        }
        released.sort_unstable();
        let at = |share: usize| released.get(released.len() * share / 100).or(released.last()).copied();
        summary.released_ms = [at(50), at(99), at(100)].map(Option::unwrap_or_default);
        summary.digest = format!("{digest:016x}");
        summary
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
