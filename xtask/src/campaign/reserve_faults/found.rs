//! What the runs found, and whether it is as it must be. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::case::{Case, Moment, Plan};
use crate::bench::spread::Spread;
use crate::campaign::check::Check;
use crate::campaign::reservation::{Findings, Tally, listed, longest_gap_ms, spread};

/// No frame of the pair may come for so long, where its circuit ended under it.
const GAP_MS: u64 = 1200;
/// The latency of another pair moves less than this against runs without a fault, in thousandths.
const MOVES: u64 = 100;
/// Of a hundred frames so many are at least as fast.
const SHARE: f64 = 0.99;

/// How long a run was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    /// From the demand's begin to its end.
    pub(super) demand_ms: u64,
    /// To the last of it.
    pub(super) whole_ms: u64,
}

/// One run and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) number: usize,
    #[serde(flatten)]
    pub(super) plan: Plan,
    /// Whether it is the twin of the run before.
    pub(super) is_twin: bool,
    #[serde(flatten)]
    pub(super) span: Span,
    /// How often the wrapper injected the fault.
    pub(super) injected: u64,
    /// From the demand's begin until the fault had hit and the pair was on a circuit that the provider had.
    pub(super) carrying_ms: Option<u64>,
    /// From the demand's end until neither the lead nor the provider held anything.
    pub(super) settled_ms: Option<u64>,
    /// Circuits that the provider still had when the time was up.
    pub(super) leaked: Vec<String>,
    /// What the lead still held then.
    pub(super) stuck: Vec<String>,
    /// Keys that the lead had asked under and did not know any more.
    pub(super) forgotten: Vec<String>,
    /// The most circuits beyond one for the same two ends, as the provider told of them.
    pub(super) doubled: usize,
    /// The pair's frames, by direction.
    pub(super) frames: [Tally; 2],
    /// The other pair's frames.
    pub(super) others: [Tally; 2],
    /// What kept the run from its end.
    pub(super) trouble: Option<String>,
}

impl Run {
    /// Nothing known yet.
    pub(super) fn new(number: usize, plan: Plan, is_twin: bool) -> Self {
        Self {
            number,
            plan,
            is_twin,
            span: Span::default(),
            injected: 0,
            carrying_ms: None,
            settled_ms: None,
            leaked: Vec::new(),
            stuck: Vec::new(),
            forgotten: Vec::new(),
            doubled: 0,
            frames: [Tally::default(); 2],
            others: [Tally::default(); 2],
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

    fn is_without_path(&self) -> bool {
        self.longest_gap_ms() > GAP_MS
    }

    /// The pair's frames that were lost although its circuit did not end under it.
    fn lost_for_nothing(&self) -> u64 {
        if self.plan.ends_circuit { 0 } else { sum(&self.frames, |tally| tally.lost) }
    }

    fn is_unserved(&self) -> bool {
        self.trouble.is_none() && self.carrying_ms.is_none()
    }

    /// Whether the fault that it is about never was.
    fn is_missed(&self) -> bool {
        self.trouble.is_none() && self.plan.case.is_injected() && self.injected != 1
    }

    /// What is not as it must be, in one line.
    pub(super) fn complaint(&self) -> Option<String> {
        let count = |what: &str, count: u64| (count > 0).then(|| format!("{count} {what}"));
        let complaints = [
            self.trouble.clone(),
            self.is_missed().then(|| format!("injected {} times", self.injected)),
            listed("leaked", &self.leaked),
            listed("stuck", &self.stuck),
            listed("forgotten", &self.forgotten),
            count("doubled", self.doubled as u64),
            self.is_unserved().then(|| "no circuit".to_owned()),
            self.is_without_path().then(|| format!("no frame for {} ms", self.longest_gap_ms())),
            count("frames lost", self.lost_for_nothing()),
            count("frames overtaken", sum(&self.frames, |tally| tally.reordered)),
            count(
                "frames of others lost or overtaken",
                sum(&self.others, |tally| tally.lost + tally.reordered),
            ),
        ];
        let complaints: Vec<_> = complaints.into_iter().flatten().collect();
        let Plan { case, moment, verb, .. } = self.plan;
        let at = verb.map_or_else(
            || if moment == Moment::Obtaining { String::new() } else { " at the end".to_owned() },
            |verb| format!(" in {verb}"),
        );
        let twin = if self.is_twin { ", a twin" } else { "" };
        (!complaints.is_empty()).then(|| format!("{case}{at}{twin}: {}", complaints.join("; ")))
    }
}

fn sum(tallies: &[Tally], of: impl Fn(&Tally) -> u64) -> u64 {
    tallies.iter().map(of).sum()
}

/// The 99th of a hundred.
fn late(latencies: &[u32]) -> Option<u64> {
    let mut latencies = latencies.to_vec();
    let place = ((SHARE * latencies.len() as f64).ceil() as usize).checked_sub(1)?;
    Some(u64::from(*latencies.select_nth_unstable(place).1))
}

/// All runs.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) settle_s: f64,
    /// Labs that were needed: one, and one more after each run that left something behind.
    pub(super) scenes: usize,
    planned: usize,
    pub(super) runs: Vec<Run>,
    /// The other pair's latencies.
    #[serde(skip)]
    compared: BTreeMap<Case, Compared>,
}

/// The 99th of a hundred of the other pair's latencies, run by run, with a fault and in the same runs without it, in
/// microseconds.
#[derive(Debug, Default)]
struct Compared {
    with: Vec<u64>,
    without: Vec<u64>,
}

impl Found {
    /// Nothing yet of what is planned; each run has a twin.
    pub(super) fn new(settle_s: f64, plans: &[Plan]) -> Self {
        let planned = 2 * plans.len();
        Self { settle_s, scenes: 0, planned, runs: Vec::new(), compared: BTreeMap::new() }
    }

    /// The number of the next run.
    pub(super) fn next(&self) -> usize {
        self.runs.len() + 1
    }

    /// The other pair's latencies in a run and in its twin.
    pub(super) fn compare(&mut self, case: Case, with: &[u32], without: &[u32]) {
        let compared = self.compared.entry(case).or_default();
        compared.with.extend(late(with));
        compared.without.extend(late(without));
    }

    fn count(&self, is: impl Fn(&Run) -> bool) -> u64 {
        self.runs.iter().filter(|run| is(run)).count() as u64
    }

    fn sum(&self, of: impl Fn(&Run) -> u64) -> u64 {
        self.runs.iter().map(of).sum()
    }

    /// The 99th of a hundred of the other pair's latencies with a fault and without, each the median of all runs, and how
    /// far it moved, in thousandths. Of all runs together it would be what the machine did in the worst few of them.
    fn p99(&self, case: Case) -> Option<(u64, u64, i64)> {
        let compared = self.compared.get(&case)?;
        let median =
            |values: &[u64]| Some(Spread::of(values.iter().map(|us| *us as f64))?.median.round() as u64);
        let (with, without) = (median(&compared.with)?, median(&compared.without)?);
        let moved = (i64::try_from(with).ok()? - i64::try_from(without).ok()?) * 1000;
        Some((with, without, moved / i64::try_from(without).ok()?.max(1)))
    }

    fn most_moved(&self) -> u64 {
        let faults = Case::ALL.into_iter().filter(|case| *case != Case::Nothing);
        let moved = faults.filter_map(|case| self.p99(case)).map(|(_, _, moved)| moved.unsigned_abs());
        moved.max().unwrap_or(0)
    }
}

impl Findings for Found {
    fn checks(&self, _: usize) -> Vec<Check> {
        let both = |of: fn(&Tally) -> u64| self.sum(|run| sum(&run.frames, of) + sum(&run.others, of));
        vec![
            Check::at_least("runs", self.runs.len() as u64, self.planned as u64),
            Check::none("runs that did not come to their end", self.count(|run| run.trouble.is_some())),
            Check::none("runs in which the fault was not injected exactly once", self.count(Run::is_missed)),
            Check::none("circuits leaked", self.sum(|run| run.leaked.len() as u64)),
            Check::none("circuits doubled", self.sum(|run| run.doubled as u64)),
            Check::none("acknowledged intents lost", self.sum(|run| run.forgotten.len() as u64)),
            Check::none("circuits that the lead could not give back", self.sum(|run| run.stuck.len() as u64)),
            Check::none("demands without a circuit in the end", self.count(Run::is_unserved)),
            Check::none("pairs without a path for more than 1200 ms", self.count(Run::is_without_path)),
            Check::none(
                "frames lost by the pair where its circuit did not end under it",
                self.sum(Run::lost_for_nothing),
            ),
            Check::none("frames lost by another pair", self.sum(|run| sum(&run.others, |tally| tally.lost))),
            Check::none("frames overtaken", both(|tally| tally.reordered)),
            Check::none("frames that came twice", both(|tally| tally.repeated)),
            Check::at_most(
                "p99 latency of another pair against the same run without the fault, medians: moved, in thousandths",
                self.most_moved(),
                MOVES - 1,
            ),
        ]
    }

    fn details(&self) -> String {
        let mut text = format!(
            "{} labs; leaks are judged {} s after the demand's end, or as soon as nothing is left.\n\n",
            self.scenes, self.settle_s
        );
        text += "| fault | runs | leaked or stuck | no circuit | circuit after, ms, p50 | p99 | longest | all given back after, ms, \
                 p50 | p99 | longest | no frame for, ms, p50 | p99 | longest | frames lost | p99 of others, µs | without the fault | moved |\n\
                 |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        for case in Case::ALL {
            let of = || self.runs.iter().filter(|run| run.plan.case == case && !run.is_twin);
            if of().next().is_none() {
                continue;
            }
            let held = of().filter(|run| !run.leaked.is_empty() || !run.stuck.is_empty()).count();
            let carrying = spread(of().filter_map(|run| run.carrying_ms).map(|ms| ms as f64));
            let settled = spread(of().filter_map(|run| run.settled_ms).map(|ms| ms as f64));
            let gaps = spread(of().map(|run| run.longest_gap_ms() as f64));
            let lost: u64 = of().map(|run| sum(&run.frames, |tally| tally.lost)).sum();
            let p99 = self
                .p99(case)
                .map(|(with, without, moved)| format!("{with} | {without} | {:+.1} %", moved as f64 / 10.0));
            text += &format!(
                "| {case} | {} | {held} | {} | {carrying} | {settled} | {gaps} | {lost} | {} |\n",
                of().count(),
                of().filter(|run| run.is_unserved()).count(),
                p99.unwrap_or("– | – | –".to_owned()),
            );
        }
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
    use super::super::case::draw;
    use super::*;
    use crate::campaign::reservation::Backend;

    fn plan(case: Case) -> Plan {
        draw(1, 1, Backend::Odin, |other| other == case)[0]
    }

    fn good(case: Case) -> Run {
        let mut run = Run::new(1, plan(case), false);
        (run.carrying_ms, run.settled_ms, run.injected) = (Some(1), Some(2), u64::from(case.is_injected()));
        run
    }

    /// What is missed of a run and its twin, in which the other pair's frames took so long.
    fn missed(run: Run, us: [u32; 2]) -> Vec<&'static str> {
        let plan = run.plan;
        let mut found = Found::new(10.0, &[plan]);
        found.compare(plan.case, &vec![us[0]; 1000], &vec![us[1]; 1000]);
        found.runs.extend([run, Run { plan: plan.twin(), injected: 0, is_twin: true, ..good(plan.case) }]);
        assert!(found.details().contains(&format!("| {} | 1 |", plan.case)), "{}", found.details());
        found.checks(1).iter().filter(|check| !check.holds).map(|check| check.what).collect()
    }

    #[test]
    fn a_run_without_harm_is_as_it_must_be_and_each_harm_is_named() {
        assert_eq!(missed(good(Case::Hang), [100, 100]), [""; 0]);
        assert_eq!(good(Case::Hang).complaint(), None);
        type Harm = fn(&mut Run);
        let cases: [(Harm, &str); 10] = [
            (|run| run.leaked.push("7".into()), "circuits leaked"),
            (|run| run.doubled = 1, "circuits doubled"),
            (|run| run.forgotten.push("hub-1-2".into()), "acknowledged intents lost"),
            (|run| run.stuck.push("3".into()), "circuits that the lead could not give back"),
            (|run| run.carrying_ms = None, "demands without a circuit in the end"),
            (|run| run.injected = 0, "runs in which the fault was not injected"),
            (|run| run.frames[1].longest_gap_us = 1_200_001, "pairs without a path"),
            (|run| run.frames[0].lost = 1, "frames lost by the pair"),
            (|run| run.others[0].lost = 1, "frames lost by another pair"),
            (|run| run.trouble = Some("x".into()), "runs that did not come to their end"),
        ];
        for (harm, what) in cases {
            let mut run = good(Case::Hang);
            harm(&mut run);
            assert!(run.complaint().is_some(), "{what}");
            let missed = missed(run, [100, 100]);
            assert!(missed.len() == 1 && missed[0].starts_with(what), "{what}: {missed:?}");
        }
    }

    #[test]
    fn a_circuit_that_ends_under_a_pair_may_cost_it_frames_and_no_more_than_a_second() {
        let mut run = good(Case::ForcedEnd);
        (run.frames[0].lost, run.frames[0].longest_gap_us) = (900, 900_000);
        assert_eq!(run.complaint(), None);
    }

    #[test]
    fn latency_of_others_is_held_against_that_without_the_fault() {
        assert_eq!(missed(good(Case::Hang), [109, 100]), [""; 0]);
        assert!(missed(good(Case::Hang), [111, 100])[0].starts_with("p99 latency"));
        let less = missed(good(Case::Hang), [85, 100]);
        assert!(less[0].starts_with("p99 latency"), "a difference is one in either direction");
        assert_eq!(
            missed(good(Case::Nothing), [200, 100]),
            [""; 0],
            "how much two runs alike differ is told"
        );
    }
}
