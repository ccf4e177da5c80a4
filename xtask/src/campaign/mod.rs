//! `cargo xtask campaign NAME`: long runs whose every count is judged. Each campaign has a module that runs it; what
//! they share is how a record is made, judged and written down.
//!
//! ```text
//!  mixed                      backlog counters mix pair sample tables track traffic ─▶ findings
//!  switch, kill, silence,     reservation: scene, frames, provider, the daemon's API
//!  reserve-faults
//!  sim                        a program of its own, tests/sim
//!                                              all ─▶ check ─▶ record ─▶ JSON, page
//! ```

mod backlog;
mod check;
mod counters;
mod findings;
mod kill;
mod mix;
mod mixed;
mod page;
mod pair;
mod record;
mod reservation;
mod reserve_faults;
mod sample;
mod silence;
mod sim;
mod switch;
mod tables;
mod track;
mod traffic;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use crate::artifacts::{Artifacts, Profile};
use crate::{ability, interrupt, packages};

/// What the command line can say.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    campaign: Campaign,
}

/// Campaigns.
#[derive(Subcommand)]
enum Campaign {
    /// Everything that guests usually do, at once.
    Mixed(mixed::Arguments),
    /// Planned switches between star and circuit under load, in both directions: nothing lost, nothing overtaken.
    Switch(switch::Arguments),
    /// The lead's daemon is killed at random points of a circuit's life: nothing leaked, doubled or forgotten.
    Kill(kill::Arguments),
    /// A circuit that carries traffic drops everything without a word: noticed, and the pair back on the star.
    Silence(silence::Arguments),
    /// Every fault that can be injected between the lead and a provider: nothing leaked, doubled or lost, and nobody
    /// else feels it.
    ReserveFaults(reserve_faults::Arguments),
    /// The control loop on a virtual clock: many seeds, everything going wrong, invariants checked at every step. Needs
    /// no root.
    Sim(sim::Arguments),
}

/// Runs a campaign, shows what it found, writes it down.
///
/// # Errors
/// Missing tools or rights; a build or a lab that fails; a daemon that ends; a signal; something found that must not
/// be.
pub(crate) fn campaign(arguments: &Arguments) -> anyhow::Result<()> {
    interrupt::catch()?;
    if let Campaign::Sim(arguments) = &arguments.campaign {
        return sim::run(arguments);
    }
    packages::ensure()?;
    ability::lab_ability().map_err(|reason| anyhow!("no campaign here: {reason}"))?;
    match &arguments.campaign {
        Campaign::Mixed(arguments) => mixed::run(arguments),
        Campaign::Switch(arguments) => switch::run(arguments),
        Campaign::Kill(arguments) => kill::run(arguments),
        Campaign::Silence(arguments) => silence::run(arguments),
        Campaign::ReserveFaults(arguments) => reserve_faults::run(arguments),
        Campaign::Sim(arguments) => sim::run(arguments),
    }
}

/// Builds what a campaign starts; with the profile's name.
///
/// # Errors
/// If the build fails or a signal came.
fn build(is_dev: bool) -> anyhow::Result<(Artifacts, &'static str)> {
    build_by(is_dev, Artifacts::build)
}

/// As [`build`], what `build` builds.
fn build_by(
    is_dev: bool,
    build: impl FnOnce(Profile) -> anyhow::Result<Artifacts>,
) -> anyhow::Result<(Artifacts, &'static str)> {
    let (profile, name) = if is_dev { (Profile::Dev, "dev") } else { (Profile::Release, "release") };
    let built = build(profile)?;
    interrupt::check()?;
    Ok((built, name))
}
