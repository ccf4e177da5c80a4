//! `cargo xtask campaign sim`: the control loop on a virtual clock, many seeds, with loss, partitions, crashes and
//! failing providers, its invariants checked at every step. The simulation is a program of its own (`tests/sim`); here it
//! is built, run, and its figures are judged and written down. Needs no rights.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::build_by;
use super::check::Check;
use super::record::{Part, Record};
use crate::artifacts::Artifacts;
use crate::run;

/// What the command line can say.
#[derive(Args)]
pub(super) struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 300, value_name = "N")]
    seeds: u64,
    /// The first one; the others follow it.
    #[arg(long, default_value_t = 1, value_name = "FIRST")]
    seed: u64,
    /// The topology of this lab file, in place of a drawn one.
    #[arg(long, value_name = "FILE", conflicts_with = "nodes")]
    lab: Option<PathBuf>,
    /// So many nodes besides the hub, in place of a drawn number.
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// Runs at a time; as many as there are processors unless given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Write the figures to this file, and a page beside it with the ending `md`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Tell what happens, as it happens; for a single seed.
    #[arg(long)]
    tell: bool,
    /// Build as for tests: faster to build, and slower to run.
    #[arg(long)]
    dev: bool,
}

/// What the simulation wrote down: the part of it that is judged or shown. All of it goes into the record.
#[derive(Deserialize)]
struct Figures {
    runs: u64,
    most_nodes: u64,
    steps: u64,
    virtual_s: f64,
    took_s: f64,
    digest: String,
    released_ms: [u64; 3],
    longest_gap_ms: u64,
    counts: BTreeMap<String, Value>,
    broken: Vec<Value>,
}

/// What was found.
#[derive(Serialize)]
struct Found {
    checks: Vec<Check>,
    figures: Value,
    #[serde(skip)]
    details: String,
}

/// Runs it, shows what it found, writes it down.
///
/// # Errors
/// A build that fails; an invariant that was broken; a part of a circuit's life that no run has shown.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (built, profile) = build_by(arguments.dev, Artifacts::build_simulation)?;
    let mut program = Command::new(built.program("vreserve-sim")?);
    let (ran, text) = run::run_and_read("sim", |file| {
        program.args(arguments.passed_on(file));
        program
    });
    let Ok(text) = text else { return ran };
    let found = Found::read(&text, arguments)?;
    let mut record = Record::new("sim", profile);
    record.phases.push(found);
    if let Some(json) = &arguments.json {
        record.write(json, "The control loop, simulated")?;
    }
    record.judge()?;
    ran
}

impl Arguments {
    fn passed_on(&self, json: &Path) -> Vec<String> {
        let shown = |path: &Path| path.display().to_string();
        let mut all = vec!["--seeds".into(), self.seeds.to_string(), "--seed".into(), self.seed.to_string()];
        all.extend(["--json".into(), shown(json)]);
        all.extend(self.lab.iter().flat_map(|lab| ["--lab".into(), shown(lab)]));
        all.extend(self.nodes.iter().flat_map(|nodes| ["--nodes".into(), nodes.to_string()]));
        all.extend(self.jobs.iter().flat_map(|jobs| ["--jobs".into(), jobs.to_string()]));
        all.extend(self.tell.then(|| "--tell".to_owned()));
        all
    }
}

impl Found {
    fn read(text: &str, arguments: &Arguments) -> anyhow::Result<Self> {
        let figures: Figures = serde_json::from_str(text).context("read what the simulation found")?;
        let count = |name: &str| figures.counts.get(name).and_then(Value::as_u64).unwrap_or(0);
        let wanted = if arguments.tell { 1 } else { arguments.seeds };
        let mut checks = vec![
            Check::at_least("runs", figures.runs, wanted),
            Check::none("runs in which an invariant was broken", figures.broken.len() as u64),
        ];
        // A few runs need not show everything.
        if wanted >= 100 {
            checks.extend([
                Check::some("circuits that carried", count("carried")),
                Check::some("circuits that failed", count("failed")),
                Check::some("pairs that changed their way in order", count("switched")),
                Check::some("pairs that took two circuits, one after the other", count("relayed")),
                Check::some("leads that took over from another", count("takeovers")),
                Check::some("looks at a pair's path", count("paths")),
            ]);
        }
        let details = figures.details();
        Ok(Found { checks, figures: serde_json::from_str(text).context("read it as it is")?, details })
    }
}

impl Figures {
    fn details(&self) -> String {
        let mut text = format!(
            "{} steps, {:.0} h of virtual time in {:.1} min, at most {} nodes; digest of all runs {}.\n\n",
            self.steps,
            self.virtual_s / 3600.0,
            self.took_s / 60.0,
            self.most_nodes,
            self.digest,
        );
        let [median, p99, longest] = self.released_ms;
        text += "| from the last demand's end | p50 | p99 | longest |\n|---|---|---|---|\n";
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| until nothing was held, ms | {median} | {p99} | {longest} |\n");
        let gap = self.longest_gap_ms;
        let _ = writeln!(text, "A pair was on a circuit that had died for {gap} ms at most.\n");
        text += "| what | how often |\n|---|---|\n";
        for (name, count) in &self.counts {
            match count {
                Value::Object(faults) => faults.iter().for_each(|(name, count)| {
                    let _ = writeln!(text, "| fault: {} | {count} |", name.replace('_', " "));
                }),
                count => drop(writeln!(text, "| {} | {count} |", name.replace('_', " "))),
            }
        }
        for broken in self.broken.iter().take(20) {
            let _ = writeln!(text, "\nBroken: `{broken}`");
        }
        text
    }
}

impl Part for Found {
    fn name(&self) -> String {
        "invariants".to_owned()
    }

    fn checks(&self) -> &[Check] {
        &self.checks
    }

    fn details(&self) -> String {
        self.details.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn found(broken: &Value) -> Found {
        let figures = serde_json::json!({
            "runs": 200, "most_nodes": 9, "steps": 5, "virtual_s": 7200.0, "took_s": 60.0, "digest": "ff",
            "released_ms": [1, 2, 3], "longest_gap_ms": 4, "broken": broken,
            "counts": { "carried": 7, "failed": 1, "switched": 2, "relayed": 1, "takeovers": 1, "paths": 5, "faults": { "crash": 3 } },
        });
        let line = Line::parse_from(["sim", "--seeds", "200"]);
        Found::read(&figures.to_string(), &line.arguments).unwrap()
    }

    #[test]
    fn a_broken_invariant_is_missed_and_shown_and_faults_are_listed() {
        let good = found(&serde_json::json!([]));
        assert!(good.checks().iter().all(|check| check.holds));
        assert!(good.details().contains("| fault: crash | 3 |"), "{}", good.details());
        let bad = found(&serde_json::json!([{ "seed": 17 }]));
        assert!(bad.checks().iter().any(|check| !check.holds));
        assert!(bad.details().contains("17"));
    }
}
