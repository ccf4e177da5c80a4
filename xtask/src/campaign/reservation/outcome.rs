//! What a campaign about reservations found as a part of a record; shown, written down, judged.

use std::time::Instant;

use serde::Serialize;

use super::{Backend, Options};
use crate::campaign::check::Check;
use crate::campaign::record::{Part, Record};

/// What one of these campaigns found.
pub(in super::super) trait Findings: Serialize {
    /// What must be so, and whether it is; `runs` is how many were asked for.
    fn checks(&self, runs: usize) -> Vec<Check>;

    /// What the page tells beyond the checks, in Markdown.
    fn details(&self) -> String;
}

#[derive(Serialize)]
struct Outcome<F> {
    backend: Backend,
    time_scale: f64,
    seed: u64,
    seconds: f64,
    checks: Vec<Check>,
    #[serde(flatten)]
    found: F,
}

/// A campaign under way.
pub(in super::super) struct Campaign<'a> {
    pub(in super::super) name: &'static str,
    pub(in super::super) title: &'static str,
    pub(in super::super) options: &'a Options,
    /// How the daemons were built.
    pub(in super::super) profile: &'static str,
    pub(in super::super) time_scale: f64,
    pub(in super::super) begun: Instant,
}

impl Campaign<'_> {
    /// Whether there is time for another run.
    pub(in super::super) fn has_time(&self) -> bool {
        self.begun.elapsed().as_secs() < self.options.minutes * 60
    }

    /// Shows what was found, writes it down, and judges it.
    ///
    /// # Errors
    /// A file that cannot be written; anything that is not as it must be.
    pub(in super::super) fn conclude(&self, found: impl Findings) -> anyhow::Result<()> {
        let mut record = Record::new(self.name, self.profile);
        record.phases.push(Outcome {
            backend: self.options.backend,
            time_scale: self.time_scale,
            seed: self.options.seed,
            seconds: self.begun.elapsed().as_secs_f64(),
            checks: found.checks(self.options.runs),
            found,
        });
        for check in record.phases.iter().flat_map(Part::checks) {
            println!("{} {}: {}", if check.holds { "✓" } else { "✗" }, check.what, check.found);
        }
        if let Some(json) = &self.options.json {
            record.write(json, self.title)?;
        }
        record.judge()
    }
}

impl<F: Findings> Part for Outcome<F> {
    fn name(&self) -> String {
        match self.backend {
            Backend::Odin => "odin".to_owned(),
            Backend::Gara => "gara".to_owned(),
        }
    }

    fn checks(&self) -> &[Check] {
        &self.checks
    }

    fn details(&self) -> String {
        format!(
            "In {:.1} min, the provider's delays times {}, seed {}.\n\n{}",
            self.seconds / 60.0,
            self.time_scale,
            self.seed,
            self.found.details()
        )
    }
}

/// One complaint that names what it is about; none if that is nothing.
pub(in super::super) fn listed(what: &str, all: &[String]) -> Option<String> {
    (!all.is_empty()).then(|| format!("{what} {}", all.join(", ")))
}

/// Middle, 99th of a hundred and largest of some figures, for a table.
pub(in super::super) fn spread(figures: impl IntoIterator<Item = f64>) -> String {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * figures.len() as f64).ceil() as usize;
        figures.get(place.saturating_sub(1)).or(figures.last())
    };
    match (at(0.5), at(0.99), figures.last()) {
        (Some(middle), Some(late), Some(last)) => format!("{middle:.0} | {late:.0} | {last:.0}"),
        _ => "– | – | –".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_ordered_figures() {
        assert_eq!(spread((1..=200).rev().map(f64::from)), "100 | 198 | 200");
        assert_eq!(spread([]), "– | – | –");
        assert_eq!(spread([3.0]), "3 | 3 | 3");
    }
}
