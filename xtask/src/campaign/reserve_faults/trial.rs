//! One run after the other in one scene: demand, the fault, a circuit all the same, the end of the demand, and a look at
//! everybody's word until nothing is left.

use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::case::{Case, Moment, Plan};
use super::found::{Run, Span};
use crate::campaign::reservation::{
    Circuit, Frames, Happening, Held, LEAD, Mark, Reservations, Scene, Size, doubled,
};
use crate::interrupt;

/// Each look has the lead and the provider answer, which is work beside that of the run.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// The pair stays on its circuit for so long.
const CARRY: Duration = Duration::from_millis(100);

/// What a scene's runs share.
pub(super) struct Trial<'s, 'a> {
    scene: &'s mut Scene<'a>,
    events: Receiver<Happening>,
    /// The pair that gets a circuit.
    pair: Frames,
    /// The pair that has nothing to do with it.
    others: Frames,
    settle: Duration,
}

/// What the lead and the provider say at one time.
struct Look {
    reservations: Reservations,
    circuits: Vec<Circuit>,
    /// The lead's daemon's status. Asked for in each look, so that runs with a fault and without ask alike.
    status: Value,
}

impl<'s, 'a> Trial<'s, 'a> {
    /// Starts the numbered frames of both pairs.
    ///
    /// # Errors
    /// If they do not cross in time.
    pub(super) fn new(scene: &'s mut Scene<'a>, settle: Duration) -> anyhow::Result<Self> {
        let (pair, others) = (scene.guests("a1", "b1")?, scene.guests("g1", "b1")?);
        let (pair, others) = (scene.frames(&pair, 0)?, scene.frames(&others, 1)?);
        let events = scene.api(LEAD).follow()?;
        Ok(Self { scene, events, pair, others, settle })
    }

    /// One run, and how long each frame of the other pair took, in microseconds. What goes wrong in it is told in what
    /// it returns. A twin takes at least as long as what it is the twin of.
    ///
    /// # Errors
    /// If a signal comes.
    pub(super) fn run(
        &mut self,
        number: usize,
        plan: Plan,
        twin_of: Option<Span>,
    ) -> anyhow::Result<(Run, Vec<u32>)> {
        let mut run = Run::new(number, plan, twin_of.is_some());
        let at_least = twin_of.unwrap_or_default();
        // What happened before is past.
        self.events.try_iter().for_each(drop);
        let begun = (self.pair.mark(), self.others.mark());
        if let Err(error) = self.go_through(&mut run, at_least) {
            interrupt::check()?;
            run.trouble = Some(format!("{error:#}"));
        }
        self.pair.set_size(Size::Small);
        self.disarm()?;
        let latencies = self.count(&mut run, begun)?;
        Ok((run, latencies))
    }

    fn go_through(&mut self, run: &mut Run, at_least: Span) -> anyhow::Result<()> {
        let (plan, begun) = (run.plan, Instant::now());
        let before = self.injections(plan.case)?;
        if plan.moment == Moment::Obtaining {
            self.arm(&plan)?;
        }
        self.pair.set_size(Size::Large);
        self.await_carrying(run, before)?;
        if run.carrying_ms.is_some() {
            std::thread::sleep(CARRY);
        }
        self.pass(run, begun, at_least.demand_ms)?;
        if plan.moment == Moment::GivingBack {
            self.arm(&plan)?;
        }
        run.span.demand_ms = millis(begun);
        self.pair.set_size(Size::Small);
        self.await_release(run)?;
        self.pass(run, begun, at_least.whole_ms)?;
        run.span.whole_ms = millis(begun);
        run.injected = self.injections(plan.case)?.saturating_sub(before);
        Ok(())
    }

    /// From here on the first call that the plan is about is hit.
    fn arm(&self, plan: &Plan) -> anyhow::Result<()> {
        let Some(rule) = plan.rule() else { return Ok(()) };
        // Under another name first: the wrapper shall not read half of it.
        let (file, new) = (self.scene.faults(), self.scene.faults().with_extension("new"));
        std::fs::write(&new, rule).and_then(|()| std::fs::rename(&new, &file)).context("write the faults")
    }

    fn disarm(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.scene.faults()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove the faults")
            }
            _ => Ok(()),
        }
    }

    /// How often the wrapper has injected a fault so far, by its own count.
    fn injections(&self, case: Case) -> anyhow::Result<u64> {
        injections(&self.scene.api(LEAD).ask("status")?, case)
    }

    /// Looks until the fault has hit and the pair is on a circuit that the provider has, or the time is up.
    fn await_carrying(&mut self, run: &mut Run, before: u64) -> anyhow::Result<()> {
        let plan = run.plan;
        let begun = Instant::now();
        // The circuit that the fault ends is the first that is had.
        let mut first = None;
        let mut has_restarted = false;
        while begun.elapsed() < self.settle {
            let Some(look) = self.look(run)? else { continue };
            let had = look.reservations.circuits.iter().find(|held| held.native_id.is_some());
            first = first.or(had.map(|held| held.circuit));
            let Some(carrying) = look.carrying() else { continue };
            if plan.case == Case::Restart && !has_restarted {
                self.scene.kill_provider()?;
                self.scene.start_provider()?;
                has_restarted = true;
                continue;
            }
            let is_another = first.is_some_and(|first| first != carrying);
            let is_hit = plan.moment != Moment::Obtaining
                || !plan.case.is_injected()
                || injections(&look.status, plan.case)? > before;
            if is_hit && (is_another || !plan.ends_circuit) {
                run.carrying_ms = Some(millis(begun));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks until nobody holds anything, or the time is up; then judges what is left.
    fn await_release(&mut self, run: &mut Run) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < self.settle {
            let Some(look) = self.look(run)? else { continue };
            if look.circuits.is_empty() && look.reservations.circuits.is_empty() {
                run.settled_ms = Some(millis(begun));
                break;
            }
            last = Some(look);
        }
        if run.settled_ms.is_none() {
            let Some(last) = last else { bail!("the lead or the provider does not answer any more") };
            let leaked = last.circuits.iter();
            run.leaked = leaked.map(|circuit| format!("{} ({})", circuit.id, circuit.state)).collect();
            run.stuck = last.reservations.circuits.iter().map(describe).collect();
        }
        let known = self.scene.reservations()?;
        let known: BTreeSet<_> = known.keys().collect();
        let submitted = self.events.try_iter().filter(|happening| happening.event == "reservation_submitted");
        let keys = submitted.map(|happening| happening.text("key").to_owned());
        run.forgotten = keys.filter(|key| !known.contains(key.as_str())).collect();
        Ok(())
    }

    /// Waits until a run has lasted so long. It looks all the time, as a run that waits for something does: else the
    /// looks themselves would tell the two apart.
    fn pass(&mut self, run: &mut Run, begun: Instant, until_ms: u64) -> anyhow::Result<()> {
        while millis(begun) < until_ms {
            self.look(run)?;
        }
        Ok(())
    }

    /// One look at both, if both answer.
    fn look(&mut self, run: &mut Run) -> anyhow::Result<Option<Look>> {
        interrupt::check()?;
        std::thread::sleep(LOOK_EVERY);
        self.scene.check()?;
        let Ok(reservations) = self.scene.reservations() else { return Ok(None) };
        let Ok(circuits) = self.scene.provider().circuits() else { return Ok(None) };
        let Ok(status) = self.scene.api(LEAD).ask("status") else { return Ok(None) };
        run.doubled = run.doubled.max(doubled(&circuits));
        Ok(Some(Look { reservations, circuits, status }))
    }

    /// Counts the run's frames.
    fn count(&mut self, run: &mut Run, (pair, others): (Mark, Mark)) -> anyhow::Result<Vec<u32>> {
        let (pair_end, others_end) = (self.pair.mark(), self.others.mark());
        self.pair.collect(pair, pair_end)?;
        self.others.collect(others, others_end)?;
        run.frames = self.pair.tally(pair, pair_end);
        run.others = self.others.tally(others, others_end);
        let latencies = self.others.latencies(others, others_end);
        self.pair.forget(pair_end);
        self.others.forget(others_end);
        Ok(latencies)
    }
}

impl Look {
    /// The circuit that pairs are on, if the provider has it too.
    fn carrying(&self) -> Option<u64> {
        let is_there = |held: &&Held| {
            let of = |circuit: &&Circuit| Some(&circuit.id) == held.native_id.as_ref() && !circuit.is_ending;
            held.phase == "carrying" && !held.pairs.is_empty() && self.circuits.iter().any(|one| of(&one))
        };
        self.reservations.circuits.iter().find(is_there).map(|held| held.circuit)
    }
}

/// How often the wrapper has injected a fault, as a status tells.
fn injections(status: &Value, case: Case) -> anyhow::Result<u64> {
    if !case.is_injected() {
        return Ok(0);
    }
    let (counters, name) = (status["counters"].as_object(), format!(".fault_{case}"));
    let counters = counters.context("the daemon tells its counters")?;
    let of = counters.iter().find(|(counter, _)| counter.ends_with(&name));
    of.and_then(|(_, count)| count.as_u64()).with_context(|| format!("the daemon does not count {name}"))
}

fn describe(held: &Held) -> String {
    let why = held.last_failure.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} {} ({}{why})", held.circuit, held.phase, held.state)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
