//! `cargo xtask campaign reserve-faults`: between the lead and the provider everything goes wrong that can, one thing at
//! a time: demand begins, a fault hits, it stops, the pair gets its circuit, demand ends. Nothing may be leaked, doubled
//! or lost, the pair always has a path, and another pair does not feel it: each run is followed by its twin, in which
//! the demand lasts as long and nothing goes wrong, and the other pair's latency in both is compared.
//!
//! ```text
//!  the wrapper's file ── demand ── carried by a circuit that the provider has? ── demand ends ── both lists empty?
//!  [`case`]                              [`trial`]                                                  [`found`]
//! ```

mod case;
mod found;
mod trial;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use super::build;
use super::reservation::{Campaign, DIALS, Options, Scene, Trim};
use crate::artifacts::Artifacts;
use crate::demo::config::Dials;
use crate::interrupt;
use case::Plan;
use found::{Found, Run};
use trial::Trial;

/// Set-up takes 88 ms and tear-down 60 ms at this scale.
const TIME_SCALE: f64 = 0.005;
/// A call that hangs is given up after two and a half seconds: longer than the lead takes between two looks at how the
/// provider is, so that an answer that is held back until another call was answered comes in time. A circuit that is
/// gone without a word may carry all the same where the network is everybody's; it is missed in the next list.
const LEAD_KEYS: &str = "\n[lead]\nretry_min = \"100ms\"\nretry_max = \"1s\"\nreserve_timeout = \"2500ms\"\n\
                         list_every = \"2s\"\n";
/// Hosts of the lab: a pair, and another one.
const HOSTS: usize = 3;

/// What the command line can say.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Seconds after the demand's end when the provider must have no circuit any more, and seconds in which a circuit
    /// must be had while there is demand. The original's delays would ask for 60; a run in which nothing is left ends
    /// earlier.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    settle: f64,
    /// Only faults with this in their name.
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
}

/// Runs it, shows what it found, writes it down. What was found until a signal came is written down too.
///
/// # Errors
/// A build or a lab that fails; a signal; something found that must not be.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = &arguments.options;
    if !(0.0..=3600.0).contains(&arguments.settle) {
        bail!("--settle is at most an hour");
    }
    let time_scale = options.time_scale(TIME_SCALE)?;
    let (built, profile) = build(options.dev)?;
    let title = "Faults between the lead and a provider";
    let begun = Instant::now();
    let campaign = Campaign { name: "reserve-faults", title, options, profile, time_scale, begun };
    let plans =
        case::draw(options.seed, options.runs, options.backend, |case| case.name().contains(&arguments.only));
    let mut found = Found::new(arguments.settle, &plans);
    if let Err(error) = run_scenes(&campaign, &built, plans, &mut found) {
        if interrupt::check().is_ok() {
            return Err(error);
        }
        println!("interrupted; what was found so far is judged");
    }
    campaign.conclude(found)
}

/// Does runs, one after the other. A run that leaves something behind is the last of its scene: the next one shall not
/// suffer from it.
fn run_scenes(
    campaign: &Campaign<'_>,
    built: &Artifacts,
    plans: Vec<Plan>,
    found: &mut Found,
) -> anyhow::Result<()> {
    let options = campaign.options;
    let trim = Trim { dials: Dials { lead: LEAD_KEYS, ..DIALS }, is_faulty: true };
    let mut plans = plans.into_iter().peekable();
    while plans.peek().is_some() && campaign.has_time() {
        let mut scene =
            Scene::set_trimmed("faults", built, options.backend, campaign.time_scale, HOSTS, trim)?;
        found.scenes += 1;
        let mut trial = Trial::new(&mut scene, Duration::from_secs_f64(found.settle_s))?;
        let mut is_clean = true;
        while is_clean
            && campaign.has_time()
            && let Some(plan) = plans.next()
        {
            let (run, with) = trial.run(found.next(), plan, None)?;
            tell(&run);
            let span = run.span;
            is_clean = run.is_clean();
            found.runs.push(run);
            if is_clean {
                let (twin, without) = trial.run(found.next(), plan.twin(), Some(span))?;
                tell(&twin);
                is_clean = twin.is_clean();
                found.runs.push(twin);
                found.compare(plan.case, &with, &without);
            }
            if found.runs.len().is_multiple_of(50) {
                println!("{} runs, {:.0} s", found.runs.len(), campaign.begun.elapsed().as_secs_f64());
            }
        }
        drop(trial);
        if is_clean {
            scene.strike()?;
        }
        // Otherwise it is struck by being dropped: a lead that cannot give back what is left takes long to end.
    }
    Ok(())
}

fn tell(run: &Run) {
    if let Some(line) = run.complaint() {
        println!("run {}: {line}", run.number);
    }
}
