//! `cargo xtask campaign mixed`: traffic of many kinds at once for a long time, first with a VXLAN device of the
//! kernel as the far end, then between two nodes of ours, and a look at every count that could tell of harm.
//!
//! ```text
//!  build ── ground ── pair: kernel-vxlan, secure ── underlay: wire, super ── mix ──▶ phase ──▶ record
//!                                                                                     JSON, page
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::backlog::Backlog;
use super::findings::Phase;
use super::pair::{Far, Pair};
use super::record::Record;
use super::{build, mix};
use crate::artifacts::Artifacts;
use crate::bench::ground::Ground;
use crate::bench::underlay::Underlay;
use crate::packages;

/// A phase is not shorter.
const SHORTEST: Duration = Duration::from_secs(15);

/// Each pair and underlay, and its share of the minutes asked for, in parts of [`WHOLE`]. With the kernel they add up
/// to the whole; the pair of ours comes on top.
const PHASES: [(Far, Underlay, u32); 4] = [
    (Far::Kernel, Underlay::Wire, 9),
    (Far::Kernel, Underlay::Super, 3),
    (Far::Ours, Underlay::Wire, 1),
    (Far::Ours, Underlay::Super, 1),
];
const WHOLE: u32 = 12;

/// What the command line can say.
#[derive(Args)]
pub(super) struct Arguments {
    /// Minutes with the kernel's VXLAN as the far end; the pair of ours gets a sixth of this on top.
    #[arg(long, default_value_t = 60, value_name = "N")]
    minutes: u32,
    /// Only phases with this in their name, `far/underlay`.
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Write `mixed-traffic.json` and `mixed-traffic.md` into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Name of the lab, so that two can stand side by side.
    #[arg(long, default_value = "campaign", value_name = "NAME")]
    lab: String,
    /// Build as for tests: faster to build, and slower to run.
    #[arg(long)]
    dev: bool,
}

/// Runs it, shows what it found, writes it down.
///
/// # Errors
/// A missing tool; a build or a lab that fails; a daemon that ends; a signal; something found that must not be.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    packages::offer("openssl", "openssl")?;
    let (built, profile) = build(arguments.dev)?;
    let _backlog = Backlog::raise()?;
    let mut record = Record::new("mixed", profile);
    for far in [Far::Kernel, Far::Ours] {
        run_pair(arguments, &built, far, &mut record)?;
    }
    record.judge()
}

/// The phases of one pair, each on a lab of its own making: what the last one left in queues and caches is gone.
fn run_pair(
    arguments: &Arguments,
    built: &Artifacts,
    far: Far,
    record: &mut Record<Phase>,
) -> anyhow::Result<()> {
    let wants = |underlay: Underlay| format!("{}/{}", far.name(), underlay.name()).contains(&arguments.only);
    for (_, underlay, share) in PHASES.into_iter().filter(|phase| phase.0 == far && wants(phase.1)) {
        let length = (Duration::from_secs(60) * arguments.minutes * share / WHOLE).max(SHORTEST);
        println!("{} over {}: {:.1} min", far.name(), underlay.name(), length.as_secs_f64() / 60.0);
        let ground = Ground::set(&arguments.lab, built, &[far.seat()])?;
        let mut pair = Pair::join(&ground, built, far)?;
        record.phases.push(mix::run(&ground, built, &mut pair, underlay, length)?);
        pair.subject.processes.end()?;
        let last = record.phases.last().context("a phase was run")?;
        for check in last.checks.iter().filter(|check| !check.holds) {
            println!("  not as it must be: {}: {}", check.what, check.found);
        }
        if let Some(folder) = &arguments.out {
            write(folder, record)?;
        }
    }
    Ok(())
}

/// After every phase, so that a campaign that is interrupted leaves what it found.
fn write(folder: &Path, record: &Record<Phase>) -> anyhow::Result<()> {
    record.write(&folder.join("mixed-traffic.json"), "Mixed traffic")
}
