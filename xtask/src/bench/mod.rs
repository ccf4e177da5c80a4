//! `cargo xtask bench <suite>`: how fast it is, against a baseline in the same run. Here is the command line and
//! what every suite has in common; what each one measures is in its own module.
//!
//! ```text
//!  build ── ground: lab, underlay, baselines, daemons ── contest: rounds of loads ──▶ samples ──▶ record
//!                                                                                   table, JSON, page
//! ```

mod abi;
mod baseline;
mod busy;
mod capture;
mod churn;
pub(crate) mod config;
mod contest;
mod crowd;
pub(crate) mod dataplane;
pub(crate) mod ground;
mod inference;
mod latency;
mod load;
mod lookup;
pub(crate) mod machine;
mod metric;
pub(crate) mod node;
mod page;
mod peers;
mod planner;
mod plot;
mod program;
mod raw;
mod record;
mod scale;
pub(crate) mod spread;
mod table;
mod target;
mod topology;
pub(crate) mod underlay;
mod versus;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::artifacts::{Artifacts, Profile};
use crate::{ability, interrupt, packages};
use record::Record;

/// A report has at least so many rounds.
const ROUNDS_OF_A_REPORT: usize = 5;

/// The suites by name.
const SUITES: [(&str, Suite); 10] = [
    ("abi", Suite::Alone(abi::run)),
    ("capture", Suite::InLab(capture::run)),
    ("dataplane", Suite::InLab(dataplane::run)),
    ("inference", Suite::InLab(inference::run)),
    ("latency", Suite::InLab(latency::run)),
    ("lookup", Suite::Alone(lookup::run)),
    ("peers", Suite::InLab(peers::run)),
    ("planner", Suite::Alone(planner::run)),
    ("scale", Suite::InLab(scale::run)),
    ("topology", Suite::Alone(topology::run)),
];

/// In place of a suite: makes the page from the records.
const REPORT: &str = "report";

/// A suite measures and records.
#[derive(Clone, Copy)]
enum Suite {
    /// Between daemons; the build is done, rights and packages are there.
    InLab(fn(&Options, &Artifacts) -> anyhow::Result<Record>),
    /// One program that it builds itself.
    Alone(fn(&Options) -> anyhow::Result<Record>),
}

/// What the command line can say.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What is measured; `report` makes the page in docs/reports/bench from the records there.
    #[arg(value_parser = PossibleValuesParser::new(SUITES.iter().map(|(name, _)| *name).chain([REPORT])))]
    suite: String,
    /// Rounds; each runs every load once, between two runs of its baseline. A report has at least 5.
    #[arg(long, default_value_t = ROUNDS_OF_A_REPORT, value_name = "N")]
    rounds: usize,
    /// Length of one measurement.
    #[arg(long, default_value_t = 3, value_name = "S")]
    seconds: u64,
    /// One round of one second: to see that everything works, not for figures.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Only what has this in its name, `underlay/load/subject`. May be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Write the record to this file.
    #[arg(long, visible_alias = "json", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Fail if a target is missed.
    #[arg(long)]
    check: bool,
    /// Name of the lab, so that two can stand side by side.
    #[arg(long, default_value = "bench", value_name = "NAME")]
    lab: String,
    /// Build as for tests: faster to build, and every figure too low.
    #[arg(long)]
    dev: bool,
}

/// What a suite needs to know of the command line.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    /// Of one measurement.
    pub(crate) length: Duration,
    pub(crate) lab: String,
    /// How it is built.
    pub(crate) profile: Profile,
    only: Vec<String>,
}

impl Options {
    /// Whether a measurement is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text))
    }
}

/// Runs a suite, shows what it found, writes it down.
///
/// # Errors
/// Missing tools or rights; a build or a lab that fails; a signal; with `--check`, a target that is missed.
pub(crate) fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.suite == REPORT {
        return page::write();
    }
    interrupt::catch()?;
    let options = Options {
        rounds: if arguments.quick { 1 } else { arguments.rounds.max(1) },
        length: Duration::from_secs(if arguments.quick { 1 } else { arguments.seconds.max(1) }),
        lab: arguments.lab.clone(),
        profile: if arguments.dev { Profile::Dev } else { Profile::Release },
        only: arguments.only.clone(),
    };
    let (_, suite) =
        SUITES.into_iter().find(|(name, _)| *name == arguments.suite).context("a known suite")?;
    let mut record = match suite {
        Suite::InLab(run) => run(&options, &ready_for_lab(options.profile)?)?,
        Suite::Alone(run) => run(&options)?,
    };
    if arguments.dev {
        record.note("built as for tests: ours is slower in every figure".to_owned());
    }
    if options.rounds < ROUNDS_OF_A_REPORT {
        record.note(format!("{} rounds: a report has at least {ROUNDS_OF_A_REPORT}", options.rounds));
    }
    print!("\n{}", table::of(&record));
    if let Some(file) = &arguments.out {
        let text = serde_json::to_string_pretty(&record).context("write the record down")?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    let missed = record.missed();
    if arguments.check && !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

/// What a suite between daemons needs: packages, rights, the build.
fn ready_for_lab(profile: Profile) -> anyhow::Result<Artifacts> {
    packages::ensure()?;
    ability::lab_ability().map_err(|reason| anyhow!("no bench here: {reason}"))?;
    let built = Artifacts::build(profile)?;
    interrupt::check()?;
    Ok(built)
}
