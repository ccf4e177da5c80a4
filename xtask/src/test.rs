//! `cargo xtask test`: everything that must hold, the cheap before the dear; the first that fails ends it.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::artifacts::{Artifacts, Profile};
use crate::run::Reported;
use crate::{ability, check, frozen, instructions, packages, run};

/// Where system tests find the daemon, the plugins and the testbed's programs: an absolute folder.
const PROGRAMS_VARIABLE: &str = "VRESERVE_BIN_DIR";

/// Campaigns that are run each time, and how many runs of each: together about a minute.
const CAMPAIGNS: [(&str, &str); 3] = [("switch", "20"), ("kill", "20"), ("silence", "3")];
/// Seeds of the simulation that are run each time: some ten seconds.
const SEEDS: &str = "300";
/// Programs of unit tests at a time.
const LANES: usize = 3;
/// Of the original RSL parser, with which ours is compared.
const RSL_HEADER: &str = "/usr/include/globus/globus_rsl.h";

/// What has been done so far.
#[derive(Default)]
struct Record {
    stages: Vec<(&'static str, Duration)>,
    reported: Reported,
}

/// Runs all tests.
///
/// # Errors
/// If one fails, or packages are missing and cannot be installed.
pub(crate) fn test(skip_system: bool) -> anyhow::Result<()> {
    let mut record = Record::default();
    if !skip_system {
        record.stage("packages", || packages::ensure().map(|()| Reported::default()))?;
        // Not needed: where it cannot be had, the comparison reports itself skipped.
        if let Err(error) = packages::offer_header(RSL_HEADER, "libglobus-rsl-dev") {
            println!("{error:#}");
        }
    }
    let mut built = Artifacts::default();
    record.stage("build", || {
        built = Artifacts::build(Profile::Dev)?;
        if !skip_system {
            frozen::build()?;
        }
        Ok(Reported::default())
    })?;
    record.stage("unit tests, checks and instructions", || unit_tests_and_checks(&built))?;
    record.stage("simulation", || simulation().map(|()| Reported::default()))?;
    if skip_system {
        record.skip("system tests, demo and campaigns: --skip-system");
    } else {
        record.stage("system tests", || system_tests(&built))?;
        match ability::lab_ability() {
            Ok(()) => {
                record.stage("demo", || demo("odin").map(|()| Reported::default()))?;
                record.stage("demo, gara", || demo("gara").map(|()| Reported::default()))?;
                record.stage("campaigns", || campaigns().map(|()| Reported::default()))?;
            }
            Err(reason) => record.skip(&format!("demo and campaigns: {reason}")),
        }
    }
    record.print();
    Ok(())
}

impl Record {
    fn stage(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<Reported>,
    ) -> anyhow::Result<()> {
        println!("── {name}");
        let begun = Instant::now();
        self.reported.add(work().with_context(|| format!("{name} failed"))?);
        self.stages.push((name, begun.elapsed()));
        Ok(())
    }

    fn skip(&mut self, what: &str) {
        println!("SKIPPED: {what}");
        self.reported.skipped.push(what.to_owned());
    }

    fn print(&self) {
        println!("── all passed");
        for (name, took) in &self.stages {
            println!("{name:<36} {:>6.1} s", took.as_secs_f64());
        }
        let Reported { passed, skipped } = &self.reported;
        skipped.iter().for_each(|what| println!("skipped: {what}"));
        println!("{passed} passed, 0 failed, {} skipped", skipped.len());
    }
}

/// Unit tests mostly wait, and checks and counting mostly compute: side by side.
fn unit_tests_and_checks(built: &Artifacts) -> anyhow::Result<Reported> {
    std::thread::scope(|scope| {
        let checks = scope.spawn(|| {
            let mut skipped = check::run_all()?;
            skipped.extend(instructions::instructions(false)?);
            anyhow::Ok(Reported { skipped, ..Reported::default() })
        });
        let mut reported = unit_tests(built)?;
        reported.add(checks.join().expect("the checks do not panic")?);
        // Examples in the documentation; cargo does one thing at a time.
        reported.add(run::run_tests(&mut run::cargo(&["test", "--workspace", "--doc"]))?);
        Ok(reported)
    })
}

/// The programs as they were built, several at a time.
fn unit_tests(built: &Artifacts) -> anyhow::Result<Reported> {
    ensure!(!built.unit_tests.is_empty(), "the build made no unit tests");
    let next = AtomicUsize::new(0);
    let lane = || {
        let mut reported = Reported::default();
        while let Some(test) = built.unit_tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run::run_tests_aside(Command::new(&test.file).current_dir(&test.folder)) {
                Ok(more) => reported.add(more),
                Err(error) => {
                    // Nobody begins another.
                    next.store(built.unit_tests.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(reported)
    };
    let mut reported = Reported::default();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        let join = |lane: ScopedJoinHandle<'_, _>| lane.join().expect("a lane does not panic");
        lanes.into_iter().map(join).try_for_each(|lane| lane.map(|more| reported.add(more)))
    })?;
    Ok(reported)
}

/// One at a time: each brings up a lab and measures in it.
fn system_tests(built: &Artifacts) -> anyhow::Result<Reported> {
    ensure!(!built.system_tests.is_empty(), "the build made no system tests");
    let programs = built.folder()?;
    let mut reported = Reported::default();
    for test in &built.system_tests {
        let mut command = Command::new(&test.file);
        command.args(["--test-threads=1", "--nocapture"]);
        command.current_dir(&test.folder).env(PROGRAMS_VARIABLE, programs);
        reported.add(run::run_tests(&mut command)?);
    }
    Ok(reported)
}

/// The demo in a process of its own, and what it wrote. With the build that the system tests had: for another there is
/// no time.
fn demo(backend: &str) -> anyhow::Result<()> {
    let mut demo = own(&["demo", "--backend", backend, "--plain", "--dev", "--json"])?;
    let (ran, text) = run::run_and_read("demo", |file| {
        demo.arg(file);
        demo
    });
    ran?;
    let figures = serde_json::from_str(&text.context("read the demo's figures")?)?;
    println!("{figures:#}");
    judge(&figures)
}

/// The control loop on a virtual clock, which judges itself.
fn simulation() -> anyhow::Result<()> {
    run::run(&mut own(&["campaign", "sim", "--seeds", SEEDS, "--dev"])?)
}

/// Short runs of the campaigns about reservations, each in a process of its own. They judge themselves.
fn campaigns() -> anyhow::Result<()> {
    CAMPAIGNS
        .iter()
        .try_for_each(|(name, runs)| run::run(&mut own(&["campaign", name, "--runs", runs, "--dev"])?))
}

/// This program, for what is done in a process of its own.
fn own(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find xtask")?);
    command.args(arguments);
    Ok(command)
}

/// Holds the figures against what the project promises; the demo itself has judged the rest.
fn judge(figures: &Value) -> anyhow::Result<()> {
    let number = |key: &str| figures[key].as_f64().with_context(|| format!("the figures have no `{key}`"));
    for key in ["frames_lost_at_cutover", "frames_reordered_at_cutover", "circuits_left", "namespaces_left"] {
        ensure!(number(key)? == 0.0, "{key} is {}", figures[key]);
    }
    if figures["backend"] == "gara" {
        let (reserved, competing) = (number("reserved_mbps")?, number("competing_mbps")?);
        ensure!(
            number("before_mbps")? < 0.2 * reserved,
            "before_mbps is {} of {reserved}",
            figures["before_mbps"]
        );
        ensure!(
            number("after_mbps")? >= 0.9 * reserved,
            "after_mbps is {} of {reserved}",
            figures["after_mbps"]
        );
        // Without it, nothing would have been shown.
        ensure!(competing >= reserved, "competing_mbps is {competing}");
    } else {
        ensure!(number("gain")? >= 5.0, "gain is {}", figures["gain"]);
    }
    for phase in ["inference_s", "planning_s", "reservation_s", "probe_s", "cutover_s"] {
        ensure!(figures["phases"][phase].is_f64(), "the figures have no phase `{phase}`");
    }
    number("seconds_to_release").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "frames_lost_at_cutover": 0, "frames_reordered_at_cutover": 0, "circuits_left": 0,
            "namespaces_left": 0, "gain": 7.9, "seconds_to_release": 3.5,
            "phases": { "inference_s": 0.9, "planning_s": 0.0, "reservation_s": 1.75, "probe_s": 0.1,
                "cutover_s": 0.1 },
        })
    }

    fn good_on_a_congested_network() -> Value {
        let mut figures = good();
        let more = json!({ "backend": "gara", "reserved_mbps": 40.0, "competing_mbps": 90.0, "before_mbps": 4.0,
            "after_mbps": 39.0 });
        figures.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        figures
    }

    #[test]
    fn good_figures_pass() {
        judge(&good()).unwrap();
        judge(&good_on_a_congested_network()).unwrap();
    }

    #[test]
    fn a_reservation_that_was_not_needed_or_not_kept_is_named() {
        for (key, value) in [
            ("before_mbps", json!(8.0)),
            ("after_mbps", json!(35.9)),
            ("competing_mbps", json!(12.0)),
            ("competing_mbps", json!(null)),
            ("reserved_mbps", json!(null)),
        ] {
            let mut figures = good_on_a_congested_network();
            figures[key] = value;
            assert!(judge(&figures).unwrap_err().to_string().contains(key), "{key}");
        }
    }

    #[test]
    fn every_broken_promise_is_named() {
        for (key, value) in [
            ("frames_lost_at_cutover", json!(1)),
            ("frames_reordered_at_cutover", json!(null)),
            ("circuits_left", json!(1)),
            ("namespaces_left", json!(9)),
            ("gain", json!(4.9)),
        ] {
            let mut figures = good();
            figures[key] = value;
            assert!(judge(&figures).unwrap_err().to_string().contains(key), "{key}");
        }
        let mut figures = good();
        figures["phases"]["probe_s"] = json!(null);
        assert!(judge(&figures).is_err());
    }
}
