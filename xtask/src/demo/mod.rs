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
pub(crate) mod provider;
pub(crate) mod record;
mod rivals;
pub(crate) mod setting;
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
use crate::{ability, interrupt, packages};
use clock::now_ms;
use figures::{Figures, Measured};
use gauge::Gauge;
use meter::Meter;
use paint::{Colour, Style, boxed};
use rivals::Competition;
use setting::Setting;
pub(crate) use setting::{Backend, CapturePlugin, LinkPlugin, Plugins};
use show::{Seen, Show};
use stage::Stage;
use story::Story;
use tally::Window;
use timeline::Timeline;
use traffic::Traffic;

/// The guests that talk.
const FROM: &str = "a1";
const TO: &str = "b1";
/// How long the traffic goes on once it is on the circuit.
const ON_THE_CIRCUIT: Duration = Duration::from_secs(9);
/// How long competing traffic has the network to itself, so that its streams have come to their rates.
const ALONE: Duration = Duration::from_secs(3);
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
    pub(crate) backend: Backend,
    pub(crate) plugins: Plugins,
    pub(crate) is_plain: bool,
    pub(crate) keep: bool,
    pub(crate) profile: Profile,
}

/// Shows the main job, and fails if it was not done.
///
/// # Errors
/// Missing tools or rights; a part that does not start or ends early; the main job not done; a signal.
pub(crate) fn demo(options: &Options) -> anyhow::Result<()> {
    if options.backend == Backend::Gara && options.plugins.link == LinkPlugin::LinkTcp {
        // The lead asks for a flow of UDP between two ports, and the routers give the rate to that alone.
        bail!("GARA is asked for the rate of UDP datagrams: --link link-tcp works with --backend odin only");
    }
    interrupt::catch()?;
    packages::ensure()?;
    ability::lab_ability().map_err(|reason| anyhow!("no demo here: {reason}"))?;
    let built = Artifacts::build(options.profile)?;
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
    let setting = Setting { plugins: options.plugins, ..Setting::of(options.backend) };
    let time_scale = if options.real_time { 1.0 } else { 0.1 };
    let provider = setting.provider.mul_f64(time_scale);
    let mut stage = Stage::set(built, setting)?;
    let spec = stage.lab().spec().clone();
    let style = Style::of_stdout(options.is_plain);
    let mut timeline = Timeline::new(style, &spec, setting.words, setting.full_mbps(&spec));
    timeline.header(&spec, &setting, time_scale);
    stage.start_provider(built, time_scale)?;
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
    let competing = setting.rivals.map(|rivals| Meter::new(rivals.to, rivals.interface));
    let mut show = Show::new(&mut stage, timeline, events, story, Meter::new(TO, "eth0"), competing);
    show.settle()?;
    let reports = show.stage.reports();
    let mut competition = match setting.rivals {
        None => None,
        Some(rivals) => {
            let sink = spec.host(rivals.to).with_context(|| format!("the lab has no host {}", rivals.to))?;
            let started = Competition::start(show.stage.lab(), rivals, sink.commodity.addr(), &reports)?;
            show.go_on(ALONE, |_| Ok(false))?;
            Some(started)
        }
    };
    show.begin(setting.words.before);
    let mut traffic = Traffic::start(show.stage.lab(), FROM, TO, address, setting.udp_rate, &reports)?;
    let mut check = || {
        competition.as_mut().map_or(Ok(()), Competition::check)?;
        traffic.check()
    };
    let arrived = show.go_on(provider + OWN, |show| {
        check()?;
        Ok(show.story.circuit().carrying.is_some())
    })?;
    if arrived {
        show.go_on(ON_THE_CIRCUIT, |_| check().map(|()| false))?;
    }
    traffic.interrupt();
    let stopped = now_ms();
    show.remark(&format!("iperf3 is stopped: nobody needs the {} any more", setting.words.circuit));
    competition.map_or(Ok(()), Competition::finish)?;
    // The iperf3 report is written meanwhile; it is read when the circuit has been given back.
    show.go_on(provider + OWN, |show| Ok(show.story.is_all_released()))?;
    show.go_on(Duration::from_millis(MARGIN_MS), |_| Ok(false))?;
    let Seen { story, meter, competing, began } = show.end();

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
    let (first, last) = (began + SETTLING_MS, circuit.carrying.map(|carrying| carrying + SETTLING_MS));
    let before = |meter: &Meter| circuit.probed.and_then(|probed| meter.mbps(first, probed));
    let after = |meter: &Meter| last.and_then(|last| meter.mbps(last, stopped));
    // Where others congest the star, frames are lost on it all the time, and what counts is what was held or
    // sent since.
    let held_since = story.switched.map(|at| at.saturating_sub(story.held.micros / 1000));
    let since_held = held_since.zip(circuit.carrying).map(|(from, carrying)| {
        log.tally(Window { from_us: from * 1000, until_us: (carrying + MARGIN_MS) * 1000 })
    });
    let is_congested = setting.rivals.is_some();
    Ok(Figures::of(&Measured {
        setting,
        time_scale,
        began,
        stopped,
        inferred: story.inferred,
        held: story.held,
        held_back: story.held_back,
        before_mbps: before(&meter),
        after_mbps: after(&meter),
        competing_mbps: competing.as_ref().and_then(before),
        competing_after_mbps: competing.as_ref().and_then(after),
        cutover: if is_congested { since_held } else { around(circuit.probed, circuit.carrying) },
        switch_back: around(circuit.cutting_back, circuit.unlinking),
        total: log.total(),
        circuit,
        iperf3,
        circuits_left,
        leftovers,
    }))
}
