//! What the runs found, and whether it is as it must be. Pure.

use serde::Serialize;

use super::point::{Moment, Point};
use crate::campaign::check::Check;
use crate::campaign::reservation::{Findings, Tally, listed, longest_gap_ms, spread};

/// Forwarding must go on within this time: the longest in which no frame of a direction came.
const GAP_MS: u64 = 1000;
/// The same where the provider was killed: it starts dark, which is a silent cut of every circuit.
const GAP_AFTER_CUT_MS: u64 = 1200;

/// One kill and what followed.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) number: usize,
    #[serde(flatten)]
    pub(super) point: Point,
    /// Intents that the lead had acknowledged and not ended when it was killed, by key.
    pub(super) acknowledged: Vec<String>,
    /// Those of them that it did not know any more.
    pub(super) forgotten: Vec<String>,
    /// Whether both directions of the pair were on the circuit at the kill.
    pub(super) was_on_circuit: bool,
    /// From the restart to the daemon's first answer.
    pub(super) answered_ms: Option<u64>,
    /// From the restart until a circuit carried again, while there was demand for one.
    pub(super) carrying_ms: Option<u64>,
    /// From the restart until neither the lead nor the provider held anything, after the demand's end.
    pub(super) settled_ms: Option<u64>,
    /// Circuits of the provider that the lead did not hold when the time was up.
    pub(super) leaked: Vec<String>,
    /// What the lead still held then.
    pub(super) stuck: Vec<String>,
    /// The most circuits beyond one for the same two ends, as the provider and as the lead told of them.
    pub(super) doubled: usize,
    /// Frames from the kill to the end of the run, by direction.
    pub(super) frames: [Tally; 2],
    /// Frames lost from the kill until the demand ended, of a pair that was on the circuit.
    pub(super) lost_on_circuit: Option<u64>,
    /// What kept the run from its end.
    pub(super) trouble: Option<String>,
}

impl Run {
    /// Nothing known yet.
    pub(super) fn new(number: usize, point: Point) -> Self {
        Self {
            number,
            point,
            acknowledged: Vec::new(),
            forgotten: Vec::new(),
            was_on_circuit: false,
            answered_ms: None,
            carrying_ms: None,
            settled_ms: None,
            leaked: Vec::new(),
            stuck: Vec::new(),
            doubled: 0,
            frames: [Tally::default(); 2],
            lost_on_circuit: None,
            trouble: None,
        }
    }

    /// Whether everything is as it was before, so that the next run can begin.
    pub(super) fn is_clean(&self) -> bool {
        self.trouble.is_none() && self.settled_ms.is_some()
    }

    fn longest_gap_ms(&self) -> u64 {
        longest_gap_ms(&self.frames)
    }

    fn is_late(&self) -> bool {
        let limit = if self.point.kills_provider() { GAP_AFTER_CUT_MS } else { GAP_MS };
        self.longest_gap_ms() > limit
    }

    /// Whether there was demand to the end, and no circuit for it in time.
    fn is_unserved(&self) -> bool {
        self.trouble.is_none() && self.point.moment.is_wanted() && self.carrying_ms.is_none()
    }

    /// What is not as it must be, in one line.
    pub(super) fn complaint(&self) -> Option<String> {
        let Point { victim, moment, event, delay_ms } = self.point;
        let complaints = [
            self.trouble.clone(),
            listed("leaked", &self.leaked),
            listed("stuck", &self.stuck),
            listed("forgotten", &self.forgotten),
            (self.doubled > 0).then(|| format!("{} doubled", self.doubled)),
            self.is_late().then(|| format!("no frame for {} ms", self.longest_gap_ms())),
            self.lost_on_circuit
                .filter(|lost| *lost > 0)
                .map(|lost| format!("{lost} frames lost on the circuit")),
            self.is_unserved().then(|| "no circuit again".to_owned()),
        ];
        let complaints: Vec<_> = complaints.into_iter().flatten().collect();
        let what = format!("{victim:?} killed {delay_ms} ms after {event} ({})", moment.name());
        (!complaints.is_empty()).then(|| format!("{what}: {}", complaints.join("; ")))
    }
}

/// All runs.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) settle_s: f64,
    pub(super) labs: usize,
    pub(super) runs: Vec<Run>,
}

impl Found {
    fn count(&self, is: impl Fn(&Run) -> bool) -> u64 {
        self.runs.iter().filter(|run| is(run)).count() as u64
    }

    fn sum(&self, of: impl Fn(&Run) -> u64) -> u64 {
        self.runs.iter().map(of).sum()
    }
}

impl Findings for Found {
    fn checks(&self, runs: usize) -> Vec<Check> {
        let tallies = |count: fn(&Tally) -> u64| self.sum(|run| run.frames.iter().map(count).sum());
        vec![
            Check::at_least("runs", self.runs.len() as u64, runs as u64),
            Check::none("runs that did not come to their end", self.count(|run| run.trouble.is_some())),
            Check::none("circuits leaked", self.sum(|run| run.leaked.len() as u64)),
            Check::none("circuits doubled", self.sum(|run| run.doubled as u64)),
            Check::none("acknowledged intents lost", self.sum(|run| run.forgotten.len() as u64)),
            Check::none("circuits that the lead could not give back", self.sum(|run| run.stuck.len() as u64)),
            Check::none("demands without a circuit again", self.count(Run::is_unserved)),
            Check::none(
                "forwarding resumed later than 1000 ms (1200 ms where the provider was killed)",
                self.count(Run::is_late),
            ),
            Check::none(
                "frames lost by pairs on a circuit while the lead alone was killed",
                self.sum(|run| run.lost_on_circuit.unwrap_or(0)),
            ),
            Check::none("frames overtaken", tallies(|tally| tally.reordered)),
            Check::none("frames that came twice", tallies(|tally| tally.repeated)),
        ]
    }

    fn details(&self) -> String {
        let mut text = format!(
            "{} labs at once; leaks are judged {} s after the restart, or as soon as nothing is left.\n\n",
            self.labs, self.settle_s
        );
        text += "| killed at | runs | acknowledged intents | no frame for, ms, p50 | p99 | longest | frames lost, p50 | p99 | most \
                 | carrying again, ms, p50 | p99 | longest |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        for moment in Moment::ALL {
            let of = || self.runs.iter().filter(|run| run.point.moment == moment);
            let intents: usize = of().map(|run| run.acknowledged.len()).sum();
            let gaps = spread(of().map(|run| run.longest_gap_ms() as f64));
            let lost = spread(of().map(|run| run.frames.iter().map(|tally| tally.lost).sum::<u64>() as f64));
            let again = spread(of().filter_map(|run| run.carrying_ms).map(|ms| ms as f64));
            text += &format!(
                "| {} | {} | {intents} | {gaps} | {lost} | {again} |\n",
                moment.name(),
                of().count()
            );
        }
        let answered = spread(self.runs.iter().filter_map(|run| run.answered_ms).map(|ms| ms as f64));
        let settled = spread(self.runs.iter().filter_map(|run| run.settled_ms).map(|ms| ms as f64));
        text += "\n| from the restart, ms | p50 | p99 | longest |\n|---|---|---|---|\n";
        text += &format!("| the daemon answers | {answered} |\n| nothing is held any more | {settled} |\n");
        for run in &self.runs {
            if let Some(line) = run.complaint() {
                text += &format!("\nRun {}: {line}\n", run.number);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Harm = fn(&mut Run);

    fn missed(run: Run) -> Vec<&'static str> {
        let found = Found { settle_s: 10.0, labs: 1, runs: vec![run] };
        found.checks(1).iter().filter(|check| !check.holds).map(|check| check.what).collect()
    }

    fn good() -> Run {
        let point = (1..).map(|n| Point::draw(1, n, 0.01, 0)).find(|point| point.moment == Moment::Carry);
        let mut run = Run::new(1, point.unwrap());
        (run.carrying_ms, run.settled_ms, run.lost_on_circuit) = (Some(1), Some(2), Some(0));
        run
    }

    #[test]
    fn a_run_without_harm_is_as_it_must_be_and_each_harm_is_named() {
        assert_eq!(missed(good()), [""; 0]);
        assert_eq!(good().complaint(), None);
        let cases: [(Harm, &str); 8] = [
            (|run| run.leaked.push("7".into()), "circuits leaked"),
            (|run| run.doubled = 1, "circuits doubled"),
            (|run| run.forgotten.push("hub-1-2".into()), "acknowledged intents lost"),
            (|run| run.stuck.push("3".into()), "circuits that the lead could not give back"),
            (|run| run.carrying_ms = None, "demands without a circuit again"),
            (|run| run.frames[1].longest_gap_us = 1_000_001, "forwarding resumed later"),
            (|run| run.lost_on_circuit = Some(1), "frames lost by pairs on a circuit"),
            (|run| run.trouble = Some("x".into()), "runs that did not come to their end"),
        ];
        for (harm, what) in cases {
            let mut run = good();
            harm(&mut run);
            assert!(run.complaint().is_some(), "{what}");
            let missed = missed(run);
            assert!(missed.len() == 1 && missed[0].starts_with(what), "{what}: {missed:?}");
        }
    }
}
