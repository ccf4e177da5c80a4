//! `cargo xtask campaign switch`: a pair of guests goes from the star onto a circuit and back, as often as it is told,
//! while numbered frames and a TCP stream run both ways. No frame may be lost or overtake another.
//!
//! One switch is both directions of the pair changing their way. What asks for it is demand: large frames are worth a
//! circuit, small ones are not, and the planner is set to decide within a tenth of a second.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use fastrand::Rng;
use serde::Serialize;

use super::build;
use super::check::Check;
use super::counters::{self, Counts};
use super::findings::TCP_REORDER;
use super::reservation::{
    Campaign, Findings, Frames, Guests, Happening, LEAD, Mark, Options, Scene, Size, Stream, Streamed, Tally,
    spread,
};
use crate::interrupt;

/// Set-up takes 35 ms and tear-down 24 ms at this scale: the provider is not what is looked at here.
const TIME_SCALE: f64 = 0.002;
/// For one switch, from demand to the last pair.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Up to so long a pair stays where it is before the next switch is asked for, so that switches meet every moment of
/// the nodes' timers.
const LONGEST_STAY_MS: u64 = 40;
/// Directions of the pair.
const WAYS: usize = 2;

/// What the command line can say.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// One switch of the pair.
#[derive(Debug, Serialize)]
struct Switch {
    number: usize,
    /// Where to: `circuit` or `star`.
    onto: &'static str,
    /// From the change of demand to the last direction's switch.
    took_ms: u64,
    /// Frames held back for the barrier, and for how long at most.
    held_frames: u64,
    held_us: u64,
    /// What became of the frames from this switch's demand to the next one's, by direction.
    frames: [Tally; 2],
    #[serde(skip)]
    began: Option<Mark>,
}

/// Everything that was seen.
#[derive(Debug, Default, Serialize)]
struct Found {
    seconds_per_switch: f64,
    frames: [Tally; 2],
    tcp: [Streamed; 2],
    /// Segments that the guests' kernels found overtaken, and those that they sent again.
    tcp_reordered: u64,
    tcp_retransmitted: u64,
    /// Attempts that ended with the pair where it was; no harm, but no switch either.
    aborted: u64,
    /// Circuits that failed before pairs were on them, with the reason: another was asked for.
    failed: Vec<String>,
    /// Circuits that failed with pairs on them: these went back without a barrier.
    died: Vec<String>,
    /// What ended the campaign before its time.
    broken: Vec<String>,
    switches: Vec<Switch>,
}

/// Runs it, shows what it found, writes it down.
///
/// # Errors
/// A build or a lab that fails; a signal; something found that must not be.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = &arguments.options;
    let time_scale = options.time_scale(TIME_SCALE)?;
    let (built, profile) = build(options.dev)?;
    let mut scene = Scene::set("switch", &built, options.backend, time_scale, 2)?;
    let title = "Planned switches under load";
    let begun = Instant::now();
    let campaign = Campaign { name: "switch", title, options, profile, time_scale, begun };
    let found = switch_on(&mut scene, &campaign)?;
    scene.strike()?;
    campaign.conclude(found)
}

fn switch_on(scene: &mut Scene<'_>, campaign: &Campaign<'_>) -> anyhow::Result<Found> {
    let guests = scene.guests("a1", "b1")?;
    let frames = scene.frames(&guests, 0)?;
    let before = count(scene, &guests)?;
    let streams = [(&guests.a, &guests.b), (&guests.b, &guests.a)];
    let streams = streams.map(|(from, to)| Stream::start(scene.lab(), from, to));
    let events = scene.api(LEAD).follow()?;
    let mut found = Found::default();
    let begun = Instant::now();
    let first = frames.mark();
    if let Err(error) = switch_to_and_fro(scene, campaign, &frames, &events, &mut found) {
        interrupt::check()?;
        found.broken.push(format!("{error:#}"));
    }
    found.seconds_per_switch = begun.elapsed().as_secs_f64() / found.switches.len().max(1) as f64;
    let last = frames.mark();
    frames.collect(first, last)?;
    tally(&frames, first, last, &mut found);
    for (tcp, stream) in found.tcp.iter_mut().zip(streams) {
        match stream.and_then(Stream::finish) {
            Ok(streamed) => *tcp = streamed,
            Err(error) => found.broken.push(format!("{error:#}")),
        }
    }
    let after = count(scene, &guests)?;
    let sum = |names: &[&str]| -> u64 {
        let moved = before.iter().zip(&after).map(|(before, after)| counters::between(before, after));
        moved.map(|counts| names.iter().filter_map(|name| counts.get(*name)).sum::<u64>()).sum()
    };
    found.tcp_reordered = sum(&TCP_REORDER);
    found.tcp_retransmitted = sum(&["Tcp.RetransSegs"]);
    Ok(found)
}

/// The kernels' counters of both guests.
fn count(scene: &Scene<'_>, guests: &Guests) -> anyhow::Result<[Counts; 2]> {
    Ok([counters::read(scene.lab(), &guests.a.name)?, counters::read(scene.lab(), &guests.b.name)?])
}

fn switch_to_and_fro(
    scene: &mut Scene<'_>,
    campaign: &Campaign<'_>,
    frames: &Frames,
    events: &Receiver<Happening>,
    found: &mut Found,
) -> anyhow::Result<()> {
    let mut chance = Rng::with_seed(campaign.options.seed);
    for number in 1..=campaign.options.runs {
        if !campaign.has_time() {
            bail!("no time is left after {} switches", number - 1);
        }
        let onto_circuit = number % 2 == 1;
        std::thread::sleep(Duration::from_millis(chance.u64(0..=LONGEST_STAY_MS)));
        let began = frames.mark();
        let asked = Instant::now();
        frames.set_size(if onto_circuit { Size::Large } else { Size::Small });
        let mut switch =
            await_switch(scene, events, onto_circuit, found).with_context(|| format!("switch {number}"))?;
        switch.number = number;
        switch.took_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        switch.began = Some(began);
        found.switches.push(switch);
        if number % 100 == 0 {
            println!("{number} switches, {:.0} s", campaign.begun.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// Reads events until both directions of the pair have switched.
fn await_switch(
    scene: &mut Scene<'_>,
    events: &Receiver<Happening>,
    onto_circuit: bool,
    found: &mut Found,
) -> anyhow::Result<Switch> {
    let deadline = Instant::now() + PATIENCE;
    let mut across = BTreeSet::new();
    let onto = if onto_circuit { "circuit" } else { "star" };
    let mut switch = Switch {
        number: 0,
        onto,
        took_ms: 0,
        held_frames: 0,
        held_us: 0,
        frames: [Tally::default(); 2],
        began: None,
    };
    while across.len() < WAYS {
        interrupt::check()?;
        scene.check()?;
        if Instant::now() >= deadline {
            bail!("the pair is not on the {onto} within {} s", PATIENCE.as_secs());
        }
        let happening = match events.recv_timeout(LOOK_EVERY) {
            Ok(happening) => happening,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => bail!("the lead's events ended"),
        };
        match happening.event.as_str() {
            "pair_aborted" => found.aborted += 1,
            "circuit_failed" => {
                let has_pairs = matches!(happening.text("phase"), "switching" | "carrying" | "cutting_back");
                let list = if has_pairs { &mut found.died } else { &mut found.failed };
                list.push(happening.text("reason").to_owned());
            }
            _ if happening.is_switch(onto_circuit) => {
                across
                    .insert((happening.text("source").to_owned(), happening.text("destination").to_owned()));
                let number = |name: &str| happening.field(name).as_u64().unwrap_or(0);
                switch.held_frames += number("held_frames");
                switch.held_us = switch.held_us.max(number("held_us"));
            }
            _ => {}
        }
    }
    Ok(switch)
}

fn tally(frames: &Frames, first: Mark, last: Mark, found: &mut Found) {
    found.frames = frames.tally(first, last);
    let ends: Vec<_> = found.switches.iter().skip(1).filter_map(|next| next.began).chain([last]).collect();
    for (switch, end) in found.switches.iter_mut().zip(ends) {
        if let Some(began) = switch.began {
            switch.frames = frames.tally(began, end);
        }
    }
}

impl Findings for Found {
    fn checks(&self, runs: usize) -> Vec<Check> {
        let frames = |count: fn(&Tally) -> u64| self.frames.iter().map(count).sum::<u64>();
        let octets = |count: fn(&Streamed) -> u64| self.tcp.iter().map(count).sum::<u64>();
        let missing: u64 = self.tcp.iter().map(|tcp| tcp.sent.abs_diff(tcp.received)).sum();
        vec![
            Check::at_least("switches", self.switches.len() as u64, runs as u64),
            Check::some("numbered frames", frames(|tally| tally.sent)),
            Check::none("numbered frames lost", frames(|tally| tally.lost)),
            Check::none("numbered frames overtaken", frames(|tally| tally.reordered)),
            Check::none("numbered frames that came twice", frames(|tally| tally.repeated)),
            Check::some("octets over TCP", octets(|tcp| tcp.received)),
            Check::none("octets over TCP that are missing or wrong", octets(|tcp| tcp.wrong) + missing),
            Check::none("TCP segments overtaken, as senders found out", self.tcp_reordered),
            Check::none("circuits that failed with pairs on them", self.died.len() as u64),
            Check::none("reasons to end early", self.broken.len() as u64),
        ]
    }

    fn details(&self) -> String {
        let mut text = format!(
            "{:.2} s per switch; {} attempts were given up before a frame moved; TCP sent {} segments again.\n\n",
            self.seconds_per_switch, self.aborted, self.tcp_retransmitted
        );
        text += "| onto | switches | ms from demand, p50 | p99 | longest | longest hold, ms, p50 | p99 | longest |\n\
                 |---|---|---|---|---|---|---|---|\n";
        for onto in ["circuit", "star"] {
            let of = || self.switches.iter().filter(|switch| switch.onto == onto);
            let took = spread(of().map(|switch| switch.took_ms as f64));
            let held = spread(of().map(|switch| switch.held_us as f64 / 1e3));
            text += &format!("| {onto} | {} | {took} | {held} |\n", of().count());
        }
        for line in self.failed.iter().chain(&self.died).chain(&self.broken) {
            text += &format!("\nNot by plan: {line}\n");
        }
        text
    }
}
