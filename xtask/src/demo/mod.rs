//! `cargo xtask demo`: the main job on real traffic. Here is the order of things; the parts are in the modules.
//!
//! ```text
//!  stage: lab, provider, daemons ── gauge ── iperf3 ──▶ show: events, meter, timeline ──▶ figures
//! ```

mod caption;
pub(crate) mod clock;
pub(crate) mod config;
mod figures;
mod gauge;
mod meter;
mod paint;
pub(crate) mod record;
mod show;
mod stage;
mod story;
mod tally;
mod timeline;
mod traffic;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use crate::artifacts::{Artifacts, Profile};
use crate::{interrupt, packages};
use clock::now_ms;
use figures::{Figures, Measured};
use gauge::Gauge;
use paint::{Colour, Style, boxed};
use show::Show;
use stage::Stage;
use story::Story;
use tally::Window;
use timeline::Timeline;
use traffic::Traffic;

/// The guests that talk.
const FROM: &str = "a1";
const TO: &str = "b1";
/// How long the traffic goes on once it is on the lightpath.
const ON_THE_LIGHTPATH: Duration = Duration::from_secs(9);
/// What the provider takes to set a path up and to tear it down, unscaled, rounded up.
const PROVIDER: Duration = Duration::from_secs(20);
/// What everything else may take before the demo gives up; ten times what it takes.
const OWN: Duration = Duration::from_secs(30);
/// For the star to carry the first frame between the guests.
const STAR_PATIENCE: Duration = Duration::from_secs(15);
/// Rates are measured from this long after a change on, in milliseconds: TCP has settled by then.
const SETTLING_MS: u64 = 1000;
/// Frames count as sent at a switch from this long before it begins to this long after it ends.
const MARGIN_MS: u64 = 1000;

/// What was asked for.
pub(crate) struct Options {
    pub(crate) json: Option<PathBuf>,
    pub(crate) real_time: bool,
    pub(crate) backend: &'static str,
    pub(crate) is_plain: bool,
    pub(crate) keep: bool,
}

/// Shows the main job, and fails if it was not done.
///
/// # Errors
/// Missing tools or rights; a part that does not start or ends early; the main job not done; a signal.
pub(crate) fn demo(options: &Options) -> anyhow::Result<()> {
    interrupt::catch()?;
    packages::ensure()?;
    packages::lab_ability().map_err(|reason| anyhow!("no demo here: {reason}"))?;
    let built = Artifacts::build(Profile::Release)?;
    interrupt::check()?;
    let figures = play(options, &built)?;
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&figures).context("write the figures down")?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    let style = Style::of_stdout(options.is_plain);
    println!("\n{}", boxed("What happened", &figures.lines()));
    let failures = figures.failures();
    if !failures.is_empty() {
        bail!("the main job was not done: {}", failures.join("; "));
    }
    println!("{}", style.paint(Colour::Green, "the main job was done"));
    Ok(())
}

fn play(options: &Options, built: &Artifacts) -> anyhow::Result<Figures> {
    let time_scale = if options.real_time { 1.0 } else { 0.1 };
    let provider = PROVIDER.mul_f64(time_scale);
    let mut stage = Stage::set(built)?;
    let spec = stage.lab().spec().clone();
    let mut timeline = Timeline::new(Style::of_stdout(options.is_plain), &spec);
    timeline.header(&spec, options.backend, time_scale);
    stage.start_odin(built, time_scale)?;
    let events = stage.start_daemons(built, time_scale)?;

    let guest = |name: &str| spec.guest(name).with_context(|| format!("the lab has no guest {name}"));
    let (from, to) = (guest(FROM)?, guest(TO)?);
    let address = to.address.addr();
    // Before the guests know each other's hardware address, their own kernels drop what waits for it.
    interrupt::wait_for("the first answer over the star", STAR_PATIENCE, || {
        stage.check()?;
        let ping = stage
            .lab()
            .exec(FROM, Command::new("ping").args(["-c", "1", "-W", "1", &address.to_string()]))?;
        Ok(ping.status.success().then_some(()))
    })?;
    let gauge = Gauge::start(stage.lab(), FROM, TO, address)?;
    interrupt::wait_for("the first numbered frame", STAR_PATIENCE, || {
        stage.check()?;
        Ok((gauge.arrived() > 0).then_some(()))
    })?;

    let story = Story::new(from.mac.to_string(), to.mac.to_string());
    let mut show = Show::new(&mut stage, timeline, events, story, TO);
    show.settle()?;
    show.begin("iperf3 starts: frames go over the proxy");
    let reports = show.stage.reports();
    let mut traffic = Traffic::start(show.stage.lab(), FROM, TO, to.address.addr(), &reports)?;
    let arrived = show.go_on(provider + OWN, |show| {
        traffic.check()?;
        Ok(show.story.circuit().carrying.is_some())
    })?;
    if arrived {
        show.go_on(ON_THE_LIGHTPATH, |_| traffic.check().map(|()| false))?;
    }
    traffic.interrupt();
    let stopped = now_ms();
    show.remark("iperf3 is stopped: nobody needs the lightpath any more");
    // The iperf3 report is written meanwhile; it is read when the lightpath has been given back.
    show.go_on(provider + OWN, |show| Ok(show.story.is_all_released()))?;
    show.go_on(Duration::from_millis(MARGIN_MS), |_| Ok(false))?;
    let (story, meter, began) = show.end();

    let iperf3 = traffic.finish()?;
    let log = gauge.finish()?;
    let circuits_left = stage.circuits().ok();
    let leftovers = if options.keep {
        stage.leave_standing();
        stage::Leftovers::default()
    } else {
        stage.strike()?
    };
    let circuit = story.circuit();
    let around = |from: Option<u64>, until: Option<u64>| {
        from.zip(until).map(|(from, until)| log.tally(Window::around(from, until, MARGIN_MS)))
    };
    let before = circuit.probed.and_then(|probed| meter.mbps(began + SETTLING_MS, probed));
    let after = circuit.carrying.and_then(|carrying| meter.mbps(carrying + SETTLING_MS, stopped));
    Ok(Figures::of(&Measured {
        backend: options.backend,
        time_scale,
        began,
        stopped,
        inferred: story.inferred,
        held: story.held,
        held_back: story.held_back,
        before_mbps: before,
        after_mbps: after,
        cutover: around(circuit.probed, circuit.carrying),
        switch_back: around(circuit.cutting_back, circuit.unlinking),
        total: log.total(),
        circuit,
        iperf3,
        circuits_left,
        leftovers,
    }))
}
