//! One phase: all kinds of traffic at once between one pair over one underlay, and everything that was counted
//! meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use vreserve_testbed::Lab;

use super::counters::{self, Counts};
use super::findings::{Findings, Phase};
use super::pair::Pair;
use super::sample::{self, Sampled, Spot};
use super::traffic::{Talk, Way, bulk, numbered, pings, tls, typing};
use crate::artifacts::Artifacts;
use crate::bench::ground::Ground;
use crate::bench::underlay::Underlay;
use crate::interrupt;

/// Samples are taken so often, the first after a third of this.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// Between two looks at the daemons.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// For what is under way when the traffic ends to be counted.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs the traffic for so long.
///
/// # Errors
/// If a daemon ends, what counts cannot be read, or a signal came. Harm to traffic is no error but a finding.
pub(super) fn run(
    ground: &Ground,
    built: &Artifacts,
    pair: &mut Pair,
    underlay: Underlay,
    length: Duration,
) -> anyhow::Result<Phase> {
    ground.lay(underlay, None)?;
    let [a, b] = pair.ends(ground);
    let begin = Instant::now();
    let talk = Talk {
        lab: ground.lab(),
        a,
        b,
        files: ground.files(),
        until: begin + length,
        is_over: AtomicBool::new(false),
    };
    let before = count(ground, built, pair)?;
    let spots = pair.spots(ground, underlay);
    let mut findings = converse(&talk, &spots, || pair.subject.processes.check())?;
    std::thread::sleep(SETTLE);
    let after = count(ground, built, pair)?;
    let moved = |(member, after): (&String, &Counts)| {
        let none = Counts::new();
        (member.clone(), counters::between(before.get(member).unwrap_or(&none), after))
    };
    findings.counters = after.iter().map(moved).collect();
    Ok(Phase::judge(pair.far.name(), underlay.name(), begin.elapsed().as_secs(), findings))
}

/// Everything at once, until the time is over.
fn converse(
    talk: &Talk,
    spots: &[Spot],
    mut check: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Findings> {
    let mut found = Findings::default();
    let outcome = std::thread::scope(|scope| {
        let bulk = Way::BOTH.map(|way| scope.spawn(move || bulk::run(talk, way)));
        let flows = Way::BOTH
            .map(|way| numbered::Kind::ALL.map(|kind| scope.spawn(move || numbered::run(talk, way, kind))));
        let typing = Way::BOTH.map(|way| scope.spawn(move || typing::run(talk, way)));
        let downloads = Way::BOTH.map(|way| scope.spawn(move || tls::run(talk, way)));
        let pings = Way::BOTH.map(|way| scope.spawn(move || pings::run(talk, way)));
        let jumbo = scope.spawn(|| pings::run_jumbo(talk));
        let samples = scope.spawn(|| sample_on(talk, spots));
        let watched = watch(talk, &mut check);
        talk.is_over.store(true, Ordering::Relaxed);
        const SOUND: &str = "traffic does not panic";
        found.bulk =
            keep(&mut found.broken, bulk.map(|one| one.join().expect(SOUND))).into_iter().flatten().collect();
        found.numbered =
            keep(&mut found.broken, flows.into_iter().flatten().map(|one| one.join().expect(SOUND)));
        found.typing = keep(&mut found.broken, typing.map(|one| one.join().expect(SOUND)));
        found.downloads = keep(&mut found.broken, downloads.map(|one| one.join().expect(SOUND)));
        found.pings = keep(&mut found.broken, pings.map(|one| one.join().expect(SOUND)));
        found.jumbo = keep(&mut found.broken, [jumbo.join().expect(SOUND)]).pop().unwrap_or_default();
        found.samples = keep(&mut found.broken, [samples.join().expect(SOUND)]).pop().unwrap_or_default();
        watched
    });
    outcome?;
    interrupt::check()?;
    Ok(found)
}

/// What went well; what did not is told in `broken`.
fn keep<T>(broken: &mut Vec<String>, outcomes: impl IntoIterator<Item = anyhow::Result<T>>) -> Vec<T> {
    let well = |outcome: anyhow::Result<T>| outcome.map_err(|error| broken.push(format!("{error:#}"))).ok();
    outcomes.into_iter().filter_map(well).collect()
}

/// Returns when the time is over, or earlier if a daemon ends or a signal came.
fn watch(talk: &Talk, check: &mut impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    while talk.goes_on() {
        check()?;
        std::thread::sleep(LOOK_EVERY.min(talk.left()));
    }
    check()
}

fn sample_on(talk: &Talk, spots: &[Spot]) -> anyhow::Result<BTreeMap<String, Sampled>> {
    let mut all = BTreeMap::<String, Sampled>::new();
    let mut next = Instant::now() + SAMPLE_EVERY.min(talk.left()) / 3;
    while talk.goes_on() {
        std::thread::sleep(LOOK_EVERY);
        if Instant::now() < next {
            continue;
        }
        next += SAMPLE_EVERY;
        for spot in spots {
            let sampled = sample::take(talk.lab, spot, &talk.files)?;
            all.entry(spot.name.to_owned()).or_default().add(sampled);
        }
    }
    Ok(all)
}

/// All counters by member, those of the daemons and of the machine under names of their own.
fn count(ground: &Ground, built: &Artifacts, pair: &Pair) -> anyhow::Result<BTreeMap<String, Counts>> {
    let mut all = BTreeMap::new();
    for member in pair.members() {
        all.insert(member.to_owned(), counters::read(ground.lab(), member)?);
    }
    for (node, socket) in &pair.sockets {
        all.insert(format!("daemon {node}"), daemon(ground.lab(), built.program("vreserve")?, node, socket)?);
    }
    all.insert("machine".to_owned(), counters::backlog()?);
    Ok(all)
}

/// What a daemon counts: drops by reason, and its plugins' counters.
fn daemon(lab: &Lab, program: &Path, node: &str, socket: &Path) -> anyhow::Result<Counts> {
    let mut command = Command::new(program);
    let output = lab.exec(node, command.args(["status", "--json", "--socket"]).arg(socket))?;
    let status: Value = serde_json::from_slice(&output.stdout).context("read a daemon's status")?;
    let mut counts = Counts::new();
    for (prefix, table) in [("node.drops.", "drops"), ("", "counters")] {
        for (name, value) in status[table].as_object().into_iter().flatten() {
            counts.extend(value.as_u64().map(|value| (format!("{prefix}{name}"), value)));
        }
    }
    Ok(counts)
}
