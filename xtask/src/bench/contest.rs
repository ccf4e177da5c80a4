//! Subjects against a baseline: the baseline runs before and after each of them, so that a machine that grows
//! faster or slower meanwhile does so for both. Every other round goes the other way round.

use std::time::{Duration, Instant};

use super::ground::{Ground, Subject};
use super::load::Load;
use super::metric::Metric;
use super::node;
use super::record::Sample;
use crate::{interrupt, run};

/// How long a subject that failed may take to answer again.
const RECOVERY: Duration = Duration::from_secs(15);

/// One load, a baseline, and those that are held against it.
pub(crate) struct Contest<'a> {
    pub(crate) ground: &'a Ground,
    /// Under what conditions.
    pub(crate) setting: String,
    pub(crate) load: Load,
    pub(crate) length: Duration,
    pub(crate) baseline: &'a Subject,
    pub(crate) others: Vec<&'a Subject>,
    pub(crate) ratio: Ratio,
}

/// What is divided by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ratio {
    /// Each of the others by the baseline: how close it comes.
    ToBaseline,
    /// The baseline by each of the others, where the baseline is ours: how far ahead it is.
    OfBaseline,
}

/// What rounds gave.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    /// Says and writes down that something could not be measured.
    pub(crate) fn fail(&mut self, what: &str, error: &anyhow::Error) {
        // The record is for everybody: where this machine has its files is nobody's business.
        let here = format!("{}/", run::root().display());
        let failure = format!("{what}: {error:#}").replace(&here, "").replace('\n', "; ");
        println!("SKIPPED: {failure}");
        self.failures.push(failure);
    }
}

type Figures = Vec<(Metric, f64)>;

impl Contest<'_> {
    /// Runs everybody once. The baseline is a subject too: its own samples carry no ratio.
    ///
    /// # Errors
    /// If the baseline fails, or a signal came. A subject that fails is written down and the others go on.
    pub(crate) fn round(&self, round: usize, outcome: &mut Outcome) -> anyhow::Result<()> {
        if self.others.is_empty() {
            return Ok(());
        }
        let mut before = self.measure(self.baseline)?;
        self.keep(round, &self.baseline.name, &before, None, outcome);
        for nth in 0..self.others.len() {
            interrupt::check()?;
            let is_backwards = round % 2 == 1;
            let other = self.others[if is_backwards { self.others.len() - 1 - nth } else { nth }];
            let figures = self.measure(other).or_else(|error| self.measure_again(other, error));
            let after = self.measure(self.baseline)?;
            self.keep(round, &self.baseline.name, &after, None, outcome);
            match figures {
                Ok(figures) => {
                    let baseline = mean(&before, &after);
                    match self.ratio {
                        Ratio::ToBaseline => {
                            self.keep(round, &other.name, &figures, Some(&baseline), outcome)
                        }
                        Ratio::OfBaseline => {
                            let name = format!("{} vs {}", self.baseline.name, other.name);
                            self.keep(round, &name, &baseline, Some(&figures), outcome);
                        }
                    }
                }
                Err(error) => {
                    outcome.fail(&format!("{}/{}/{}", self.setting, self.load.name(), other.name), &error);
                }
            }
            before = after;
        }
        Ok(())
    }

    fn measure(&self, subject: &Subject) -> anyhow::Result<Figures> {
        self.load.run(self.ground, subject, self.length)
    }

    /// Some lose their far end when they are flooded, and find it again when left alone.
    fn measure_again(&self, subject: &Subject, error: anyhow::Error) -> anyhow::Result<Figures> {
        let deadline = Instant::now() + RECOVERY;
        while !node::does_answer(self.ground, &subject.from, &subject.at.to_string())? {
            interrupt::check()?;
            if Instant::now() >= deadline {
                return Err(error);
            }
        }
        self.measure(subject)
    }

    fn keep(
        &self,
        round: usize,
        subject: &str,
        figures: &Figures,
        baseline: Option<&Figures>,
        to: &mut Outcome,
    ) {
        for &(metric, value) in figures {
            let baseline =
                baseline.filter(|_| metric.has_ratio()).and_then(|baseline| value_of(baseline, metric));
            if let Some(baseline) = baseline {
                println!(
                    "{round}  {:<6} {subject:<24} {:<24} {value:>9.2} {:<7} ×{:.2}",
                    self.setting,
                    metric.label(),
                    metric.unit(),
                    value / baseline
                );
            }
            let (setting, subject) = (self.setting.clone(), subject.to_owned());
            to.samples.push(Sample { round, setting, subject, metric, value, baseline });
        }
    }
}

fn mean(before: &Figures, after: &Figures) -> Figures {
    let both =
        |&(metric, value): &(Metric, f64)| Some((metric, f64::midpoint(value, value_of(after, metric)?)));
    before.iter().filter_map(both).collect()
}

fn value_of(figures: &Figures, metric: Metric) -> Option<f64> {
    figures.iter().find(|(known, _)| *known == metric).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_is_the_mean_of_before_and_after_metric_by_metric() {
        let before = vec![(Metric::Tcp1, 10.0), (Metric::CpuPerGb, 1.0)];
        let after = vec![(Metric::CpuPerGb, 3.0), (Metric::Tcp1, 20.0)];
        assert_eq!(mean(&before, &after), [(Metric::Tcp1, 15.0), (Metric::CpuPerGb, 2.0)]);
    }
}
