//! What a suite found: every sample, what follows from them, and on what machine. The JSON file is this.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::metric::Metric;
use super::spread::Spread;
use super::target::{self, Target};

/// Version of the file's form.
const FORM: u32 = 1;

/// One run of a suite.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    form: u32,
    pub(crate) suite: String,
    pub(crate) machine: Machine,
    /// Versions of what was measured, by name.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rounds: usize,
    /// Of one measurement.
    pub(crate) seconds: f64,
    /// What follows from the samples.
    pub(crate) rows: Vec<Row>,
    /// What the reader must know.
    pub(crate) notes: Vec<String>,
    /// What was left out or failed, with the reason.
    pub(crate) skipped: Vec<String>,
    pub(crate) samples: Vec<Sample>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    /// Under what conditions: an underlay, a number of guests.
    pub(crate) setting: String,
    /// What was measured.
    pub(crate) subject: String,
    pub(crate) metric: Metric,
    pub(crate) value: f64,
    /// The mean of the baseline just before and just after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) baseline: Option<f64>,
}

/// All rounds of one quantity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) setting: String,
    pub(crate) subject: String,
    pub(crate) metric: Metric,
    pub(crate) unit: String,
    /// Value by baseline, round by round.
    pub(crate) ratio: Option<Spread>,
    pub(crate) value: Spread,
    pub(crate) baseline: Option<Spread>,
    pub(crate) target: Option<Target>,
    /// Whether the median meets the target.
    pub(crate) holds: Option<bool>,
}

impl Record {
    /// Of a suite's samples.
    pub(crate) fn new(suite: &str, rounds: usize, seconds: f64, samples: Vec<Sample>) -> Self {
        Self {
            form: FORM,
            suite: suite.to_owned(),
            machine: Machine::here(),
            versions: BTreeMap::from([("vreserve".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
            rounds,
            seconds,
            rows: rows(suite, &samples),
            notes: Vec::new(),
            skipped: Vec::new(),
            samples,
        }
    }

    /// Adds what the reader must know.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// The targets that are missed or were not measured, each in a few words.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| row.holds == Some(false));
        let mut all: Vec<_> =
            missed.map(|row| format!("{} {} {}", row.setting, row.subject, row.metric.label())).collect();
        all.extend(target::unmeasured(&self.suite, &self.rows));
        all
    }
}

/// One row for each quantity, in the order in which they were first measured. A baseline has no row of its own
/// where it stands beside what is held against it.
fn rows(suite: &str, samples: &[Sample]) -> Vec<Row> {
    let mut keys: Vec<(&str, &str, Metric)> = Vec::new();
    for sample in samples {
        let key = (sample.setting.as_str(), sample.subject.as_str(), sample.metric);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let all: Vec<Row> = keys.into_iter().filter_map(|key| row(suite, key, samples)).collect();
    let stands_beside = |row: &Row| {
        let is_same = |other: &&Row| (&other.setting, other.metric) == (&row.setting, row.metric);
        row.ratio.is_none() && all.iter().filter(is_same).any(|other| other.ratio.is_some())
    };
    all.iter().filter(|row| !stands_beside(row)).cloned().collect()
}

fn row(suite: &str, key: (&str, &str, Metric), samples: &[Sample]) -> Option<Row> {
    let (setting, subject, metric) = key;
    let own = || {
        samples.iter().filter(move |sample| {
            (sample.setting.as_str(), sample.subject.as_str(), sample.metric) == (setting, subject, metric)
        })
    };
    let value = Spread::of(own().map(|sample| sample.value))?;
    let baseline = Spread::of(own().filter_map(|sample| sample.baseline));
    let ratio = Spread::of(own().filter_map(|sample| Some(sample.value / sample.baseline?)));
    let target = target::of(suite, setting, subject, metric);
    Some(Row {
        setting: setting.to_owned(),
        subject: subject.to_owned(),
        metric,
        unit: metric.unit().to_owned(),
        holds: target.and_then(|target| target.holds(value, ratio)),
        ratio,
        value,
        baseline,
        target,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize, value: f64, baseline: f64) -> Sample {
        Sample {
            round,
            setting: "wire".to_owned(),
            subject: "clear".to_owned(),
            metric: Metric::Tcp1,
            value,
            baseline: Some(baseline),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians() {
        let samples = [sample(0, 1.0, 1.0), sample(1, 10.0, 100.0), sample(2, 30.0, 10.0)];
        let record = Record::new("dataplane", 3, 1.0, samples.to_vec());
        let row = &record.rows[0];
        assert_eq!(row.ratio.unwrap().median, 1.0);
        assert_eq!((row.value.median, row.baseline.unwrap().median), (10.0, 10.0));
        assert_eq!(row.holds, Some(true));
    }

    #[test]
    fn a_missed_target_and_one_that_was_never_measured_are_both_missed() {
        let record = Record::new("dataplane", 1, 1.0, vec![sample(0, 0.5, 1.0)]);
        let missed = record.missed();
        assert!(missed.contains(&"wire clear TCP, 1 stream".to_owned()), "{missed:?}");
        assert!(missed.iter().any(|text| text.contains("not measured")), "{missed:?}");
    }

    #[test]
    fn a_record_reads_back_as_written() {
        let record = Record::new("dataplane", 1, 1.0, vec![sample(0, 0.5, 1.0)]);
        let text = serde_json::to_string(&record).unwrap();
        let again: Record = serde_json::from_str(&text).unwrap();
        assert_eq!((again.rows, again.samples), (record.rows, record.samples));
    }
}
