//! `cargo xtask campaign kill`: the lead's daemon is killed (SIGKILL) at random points of a circuit's life and started
//! again at once; now and then the provider, or both. Afterwards nothing may be leaked, doubled or forgotten, and the
//! guests' frames must go on.
//!
//! ```text
//!  demand ── event + delay ── SIGKILL, start ── forwarding? intents? carrying again? ── demand ends ── both lists empty?
//!            [`point`]                                      [`trial`]                                    [`found`]
//! ```

mod found;
mod point;
mod trial;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::build;
use super::reservation::{Campaign, Options, Scene};
use crate::artifacts::Artifacts;
use crate::interrupt;
use found::{Found, Run};
use point::Point;
use trial::Trial;

/// Set-up takes 175 ms and tear-down 120 ms at this scale: long enough to be hit in the middle.
const TIME_SCALE: f64 = 0.01;
/// Each lab has its own processes; beyond this they only wait for each other.
const MOST_LABS: usize = 8;

/// What the command line can say.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Seconds after the restart when the provider must have no circuit that the lead does not hold. The original's
    /// delays would ask for 60; a run in which nothing is left ends earlier.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    settle: f64,
    /// In so many of a hundred runs the provider is killed too, or instead.
    #[arg(long, default_value_t = 0, value_name = "PERCENT")]
    kill_provider: u8,
    /// So many labs at once.
    #[arg(long, default_value_t = 1, value_name = "N")]
    parallel: usize,
}

/// What the labs share.
struct Work<'a> {
    arguments: &'a Arguments,
    campaign: &'a Campaign<'a>,
    built: &'a Artifacts,
    /// The number of the last run that was begun.
    last: AtomicUsize,
    is_over: AtomicBool,
    runs: Mutex<Vec<Run>>,
}

/// Runs it, shows what it found, writes it down.
///
/// # Errors
/// A build or a lab that fails; a signal; something found that must not be.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = &arguments.options;
    if !(1..=MOST_LABS).contains(&arguments.parallel) {
        bail!("{} labs at once: not between 1 and {MOST_LABS}", arguments.parallel);
    }
    if arguments.kill_provider > 100 || !(0.0..=3600.0).contains(&arguments.settle) {
        bail!("--kill-provider is a percentage, and --settle at most an hour");
    }
    let time_scale = options.time_scale(TIME_SCALE)?;
    let (built, profile) = build(options.dev)?;
    let title = "Kills at random points";
    let begun = Instant::now();
    let campaign = Campaign { name: "kill", title, options, profile, time_scale, begun };
    let work = Work {
        arguments,
        campaign: &campaign,
        built: &built,
        last: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
        runs: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let labs = (0..arguments.parallel).map(|nth| {
            scope.spawn({
                let work = &work;
                move || work.run_lab(nth)
            })
        });
        let labs: Vec<_> = labs.collect();
        let outcomes =
            labs.into_iter().map(|lab| lab.join().unwrap_or_else(|_| Err(anyhow!("a lab panicked"))));
        outcomes.collect::<anyhow::Result<Vec<()>>>()
    })?;
    interrupt::check()?;
    let mut runs = work.runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.sort_by_key(|run| run.number);
    campaign.conclude(Found { settle_s: arguments.settle, labs: arguments.parallel, runs })
}

impl Work<'_> {
    /// Does runs in a lab of its own until enough are done. A run that leaves something behind is the last of its
    /// scene: the next one shall not suffer from it.
    fn run_lab(&self, nth: usize) -> anyhow::Result<()> {
        let name = format!("kill{nth}");
        let outcome = self.run_scenes(&name);
        if outcome.is_err() {
            self.is_over.store(true, Ordering::Relaxed);
        }
        outcome.with_context(|| format!("lab {name}"))
    }

    fn run_scenes(&self, name: &str) -> anyhow::Result<()> {
        let options = self.campaign.options;
        let mut next = self.next();
        while next.is_some() {
            let mut scene = Scene::set(name, self.built, options.backend, self.campaign.time_scale, 2)?;
            let mut trial = Trial::new(&mut scene, Duration::from_secs_f64(self.arguments.settle))?;
            let mut is_clean = true;
            while let Some(number) = next.filter(|_| is_clean) {
                let (scale, percent) = (self.campaign.time_scale, self.arguments.kill_provider);
                let run = trial.run(number, Point::draw(options.seed, number, scale, percent))?;
                is_clean = run.is_clean();
                self.keep(run);
                next = self.next();
            }
            drop(trial);
            if is_clean {
                scene.strike()?;
            }
            // Otherwise it is struck by being dropped: a lead that cannot give back what is left takes long to end.
        }
        Ok(())
    }

    fn next(&self) -> Option<usize> {
        let is_over = self.is_over.load(Ordering::Relaxed) || !self.campaign.has_time();
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        (!is_over && number <= self.campaign.options.runs).then_some(number)
    }

    fn keep(&self, run: Run) {
        if let Some(line) = run.complaint() {
            println!("run {}: {line}", run.number);
        }
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.push(run);
        if runs.len().is_multiple_of(20) {
            println!("{} runs, {:.0} s", runs.len(), self.campaign.begun.elapsed().as_secs_f64());
        }
    }
}
