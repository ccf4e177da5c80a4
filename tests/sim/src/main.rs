//! `vreserve-sim`: runs seeds of the simulation and says what was found. `cargo xtask campaign sim` starts it.
//!
//! Exit code 0 if every invariant held, 1 if one did not, 2 for wrong usage.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use vreserve_sim::{Ground, Outcome, Summary};

/// Runs the control loop on a virtual clock, one run per seed, and checks its invariants at every step.
#[derive(Parser)]
#[command(name = "vreserve-sim")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_name = "N")]
    seeds: u64,
    /// The first one.
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
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Tell on standard error what happens, as it happens; for a single seed.
    #[arg(long)]
    tell: bool,
}

/// Broken runs that are shown whole.
const SHOWN: u64 = 3;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vreserve-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let ground = Ground::new(arguments.lab.as_deref(), arguments.nodes)?;
    let begun = Instant::now();
    let (done, broken) = (AtomicU64::new(0), AtomicU64::new(0));
    let tell = |outcome: &Outcome| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if outcome.broken.is_some() && broken.fetch_add(1, Ordering::Relaxed) < SHOWN {
            show(outcome, arguments);
        }
        if done.is_multiple_of(500) {
            println!("{done} runs, {:.0} s", begun.elapsed().as_secs_f64());
        }
    };
    let outcomes = if arguments.tell {
        let outcome = vreserve_sim::run(arguments.seed, &ground, true);
        tell(&outcome);
        vec![outcome]
    } else {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = arguments.jobs.unwrap_or(processors);
        vreserve_sim::run_all(arguments.seed, arguments.seeds, &ground, jobs, tell)
    };
    let summary = Summary::of(&outcomes, begun.elapsed());
    println!(
        "{} runs, {} steps, {:.0} s of virtual time in {:.1} s; {} circuits carried, {} failed, {} takeovers; {} broken; \
         digest {}",
        summary.runs,
        summary.steps,
        summary.virtual_s,
        summary.took_s,
        summary.counts.carried,
        summary.counts.failed,
        summary.counts.takeovers,
        summary.broken.len(),
        summary.digest,
    );
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&summary).context("write the figures down")? + "\n";
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(summary.broken.is_empty())
}

/// A broken run: what, where, what came before, and how to have it again.
fn show(outcome: &Outcome, arguments: &Arguments) {
    let Some(broken) = &outcome.broken else { return };
    let mut again = format!("cargo xtask campaign sim --seeds 1 --seed {}", outcome.seed);
    if let Some(lab) = &arguments.lab {
        again += &format!(" --lab {}", lab.display());
    }
    if let Some(nodes) = arguments.nodes {
        again += &format!(" --nodes {nodes}");
    }
    let mut text =
        format!("seed {}, step {}: {}\n  {}\n", outcome.seed, broken.step, broken.invariant, broken.what);
    broken.last.iter().for_each(|line| text += &format!("    {line}\n"));
    println!("{text}  again: {again}");
}
