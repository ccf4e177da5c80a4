//! `cargo xtask campaign silence`: a circuit that carries traffic drops everything from one moment on, and nobody says
//! so. The nodes must notice by themselves, and the pair must be back on the star.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use fastrand::Rng;
use serde::Serialize;

use super::build;
use super::check::Check;
use super::reservation::{
    Campaign, Circuit, Findings, Frames, Happening, LEAD, Options, Scene, Size, Tally, spread,
};
use crate::demo::clock::now_us;
use crate::interrupt::{self, wait_for};

/// Set-up takes 88 ms and tear-down 60 ms at this scale.
const TIME_SCALE: f64 = 0.005;
/// From the cut to the first node's word that the link is down.
const DETECTED_MS: u64 = 1000;
/// From the cut to frames in both directions over the star.
const BACK_MS: u64 = 1200;
/// Of a hundred runs so many may be later.
const LATE_OF_HUNDRED: usize = 1;
/// For a circuit to carry, and for a cut to be noticed at all.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A circuit carries up to so long before it is cut, so that cuts meet every moment between two probes.
const LONGEST_CARRY_MS: u64 = 400;

/// What the command line can say.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// One cut.
#[derive(Debug, Serialize)]
struct Cut {
    number: usize,
    /// The provider's id of the circuit.
    circuit: String,
    detected_ms: Option<u64>,
    back_ms: Option<u64>,
    /// From the cut to the next one, by direction.
    frames: [Tally; 2],
    /// Why there is no more to tell.
    trouble: Option<String>,
}

/// Everything that was seen.
#[derive(Debug, Default, Serialize)]
struct Found {
    cuts: Vec<Cut>,
}

/// Runs it, shows what it found, writes it down.
///
/// # Errors
/// A build or a lab that fails; a signal; something found that must not be.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = &arguments.options;
    let time_scale = options.time_scale(TIME_SCALE)?;
    let (built, profile) = build(options.dev)?;
    let mut scene = Scene::set("silence", &built, options.backend, time_scale, 2)?;
    let title = "Circuits that fall silent";
    let begun = Instant::now();
    let campaign = Campaign { name: "silence", title, options, profile, time_scale, begun };
    let found = cut_on(&mut scene, &campaign)?;
    scene.strike()?;
    campaign.conclude(found)
}

fn cut_on(scene: &mut Scene<'_>, campaign: &Campaign<'_>) -> anyhow::Result<Found> {
    let guests = scene.guests("a1", "b1")?;
    let frames = scene.frames(&guests, 0)?;
    let events = scene.api(LEAD).follow()?;
    let mut chance = Rng::with_seed(campaign.options.seed);
    let mut found = Found::default();
    frames.set_size(Size::Large);
    for number in 1..=campaign.options.runs {
        if !campaign.has_time() {
            break;
        }
        let carry = Duration::from_millis(chance.u64(0..=LONGEST_CARRY_MS));
        let circuit = await_carrying(scene).with_context(|| format!("before cut {number}"))?;
        std::thread::sleep(carry);
        let cut = cut(scene, &frames, &events, number, &circuit)?;
        if let Some(trouble) = &cut.trouble {
            println!("cut {number}: {trouble}");
        }
        found.cuts.push(cut);
        if number % 20 == 0 {
            println!("{number} cuts, {:.0} s", campaign.begun.elapsed().as_secs_f64());
        }
    }
    Ok(found)
}

/// The provider's circuit that carries, once both directions of the pair take it.
fn await_carrying(scene: &mut Scene<'_>) -> anyhow::Result<Circuit> {
    wait_for("a circuit that carries", PATIENCE, || {
        scene.check()?;
        let reservations = scene.reservations()?;
        let carries = |held: &&super::reservation::Held| held.phase == "carrying" && held.pairs.len() == 2;
        let Some(held) = reservations.circuits.iter().find(carries) else { return Ok(None) };
        let all = scene.provider().circuits()?;
        Ok(all.into_iter().find(|circuit| Some(&circuit.id) == held.native_id.as_ref()))
    })
}

fn cut(
    scene: &mut Scene<'_>,
    frames: &Frames,
    events: &Receiver<Happening>,
    number: usize,
    circuit: &Circuit,
) -> anyhow::Result<Cut> {
    // What happened before is past.
    events.try_iter().for_each(drop);
    let (before, began) = (now_us(), frames.mark());
    scene.provider().cut(scene.lab(), circuit)?;
    // Whatever is sent from here on cannot take the circuit.
    let after = now_us();
    let mut cut = Cut {
        number,
        circuit: circuit.id.clone(),
        detected_ms: None,
        back_ms: None,
        frames: [Tally::default(); 2],
        trouble: None,
    };
    let since = |at: u64| at.saturating_sub(before).div_ceil(1000);
    let deadline = Instant::now() + PATIENCE;
    while cut.detected_ms.is_none() || cut.back_ms.is_none() {
        interrupt::check()?;
        scene.check()?;
        if Instant::now() >= deadline {
            cut.trouble = Some(format!("not over within {} s", PATIENCE.as_secs()));
            break;
        }
        match events.recv_timeout(LOOK_EVERY) {
            Ok(happening) if is_detection(&happening) => {
                // The event's clock has milliseconds only.
                cut.detected_ms = cut.detected_ms.or(Some(since(happening.at_ms * 1000)));
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the lead's events ended"),
        }
        cut.back_ms = cut.back_ms.or_else(|| frames.first_sent_since(after).map(since));
    }
    scene.provider().mend(scene.lab(), circuit)?;
    let end = frames.mark();
    frames.collect(began, end)?;
    cut.frames = frames.tally(began, end);
    frames.forget(end);
    Ok(cut)
}

fn is_detection(happening: &Happening) -> bool {
    happening.event == "link_changed" && happening.field("up") == false
}

impl Found {
    /// Cuts of which a figure is not there, or beyond the limit.
    fn late(&self, figure: fn(&Cut) -> Option<u64>, limit: u64) -> u64 {
        self.cuts.iter().filter(|cut| figure(cut).is_none_or(|ms| ms > limit)).count() as u64
    }
}

impl Findings for Found {
    fn checks(&self, runs: usize) -> Vec<Check> {
        let may_be_late = (runs * LATE_OF_HUNDRED / 100) as u64;
        let overtaken = self.cuts.iter().flat_map(|cut| &cut.frames).map(|tally| tally.reordered).sum();
        vec![
            Check::at_least("circuits cut", self.cuts.len() as u64, runs as u64),
            Check::at_most(
                "cuts noticed later than 1000 ms, or never",
                self.late(|cut| cut.detected_ms, DETECTED_MS),
                may_be_late,
            ),
            Check::at_most(
                "pairs on the star later than 1200 ms, or never",
                self.late(|cut| cut.back_ms, BACK_MS),
                may_be_late,
            ),
            Check::none("numbered frames overtaken", overtaken),
        ]
    }

    fn details(&self) -> String {
        let of =
            |figure: fn(&Cut) -> Option<u64>| spread(self.cuts.iter().filter_map(figure).map(|ms| ms as f64));
        let lost = self.cuts.iter().flat_map(|cut| &cut.frames).map(|tally| tally.lost as f64);
        let mut text = "| from the cut | p50 | p99 | longest |\n|---|---|---|---|\n".to_owned();
        text += &format!("| noticed, ms | {} |\n", of(|cut| cut.detected_ms));
        text += &format!("| both directions on the star, ms | {} |\n", of(|cut| cut.back_ms));
        text += &format!("| frames lost in a direction, of a thousand a second | {} |\n", spread(lost));
        for cut in self.cuts.iter().filter(|cut| cut.trouble.is_some()) {
            text += &format!("\nCut {}: {}\n", cut.number, cut.trouble.as_deref().unwrap_or_default());
        }
        text
    }
}
