//! One run after the other in one scene: demand, the point, the kill, and a look at everybody's word until it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::found::Run;
use super::point::Point;
use crate::campaign::reservation::{
    Circuit, Frames, Happening, Held, LEAD, Mark, Reservations, Scene, Size, doubled,
};
use crate::demo::clock::now_ms;
use crate::interrupt;

/// For the event of a point to come.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After the demand's end there is at least so long to give everything back, however late the circuit carried again.
const RELEASE: Duration = Duration::from_secs(5);
/// How far ahead a run's booking is, and how long.
const AHEAD_MS: u64 = 3_600_000;
const BOOKED_ENDS: [&str; 2] = ["alpha", "beta"];
const BOOKED_RATE: u64 = 1_000_000;

/// What a scene's runs share.
pub(super) struct Trial<'s, 'a> {
    scene: &'s mut Scene<'a>,
    frames: Frames,
    settle: Duration,
}

/// What the lead has told in its events so far.
#[derive(Default)]
struct Told {
    /// Keys of what was asked for and is not over, by circuit.
    acknowledged: BTreeMap<u64, String>,
    /// Directions of the pair that are on the circuit.
    across: BTreeSet<String>,
}

/// What everybody says at one time.
struct Look {
    reservations: Reservations,
    circuits: Vec<Circuit>,
}

impl<'s, 'a> Trial<'s, 'a> {
    /// Starts the numbered frames.
    ///
    /// # Errors
    /// If they do not cross in time.
    pub(super) fn new(scene: &'s mut Scene<'a>, settle: Duration) -> anyhow::Result<Self> {
        let guests = scene.guests("a1", "b1")?;
        let frames = scene.frames(&guests, 0)?;
        Ok(Self { scene, frames, settle })
    }

    /// One run. What goes wrong in it is told in what it returns.
    ///
    /// # Errors
    /// If a signal comes.
    pub(super) fn run(&mut self, number: usize, point: Point) -> anyhow::Result<Run> {
        let mut run = Run::new(number, point);
        let begun = self.frames.mark();
        if let Err(error) = self.kill_and_look(&mut run) {
            interrupt::check()?;
            run.trouble = Some(format!("{error:#}"));
            if run.frames[0].sent == 0 {
                run.frames = self.frames.tally(begun, self.frames.mark());
            }
        }
        self.frames.set_size(Size::Small);
        Ok(run)
    }

    fn kill_and_look(&mut self, run: &mut Run) -> anyhow::Result<()> {
        let point = run.point;
        let mut told = Told::default();
        let booking = self.book().context("make a booking")?;
        run.acknowledged.push(name_of(booking));
        let events = self.reach(&point, &mut told)?;
        let killed = self.frames.mark();
        self.strike(&point)?;
        let restarted = Instant::now();
        if point.kills_lead() {
            // What it had said before it died, it had said. The stream ends with the daemon.
            events.iter().for_each(|happening| told.handle(&happening));
        }
        run.was_on_circuit = told.across.len() == 2;
        if point.moment.is_wanted() {
            run.acknowledged.extend(told.acknowledged.into_values());
        }
        let mut known = BTreeSet::new();
        if point.moment.is_wanted() {
            self.await_carrying(run, restarted, &mut known)?;
        }
        self.frames.set_size(Size::Small);
        let ended = self.frames.mark();
        self.cancel(run, booking, restarted, &mut known)?;
        self.await_release(run, restarted, &mut known)?;
        run.forgotten = run.acknowledged.iter().filter(|key| !known.contains(*key)).cloned().collect();
        self.count(run, killed, ended)
    }

    /// Makes a booking of the run's own, far in the future; as soon as its ends have joined.
    fn book(&mut self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            self.scene.check()?;
            let start = now_ms() + AHEAD_MS;
            let window = [start, start + AHEAD_MS];
            match self.scene.api(LEAD).book(BOOKED_ENDS, BOOKED_RATE, window) {
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(LOOK_EVERY),
                Ok(booking) => return Ok(booking),
            }
        }
    }

    /// Looks for the run's booking and ends it. One that is forgotten cannot be found.
    fn cancel(
        &mut self,
        run: &mut Run,
        booking: u64,
        restarted: Instant,
        known: &mut BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let deadline = (restarted + self.settle).max(Instant::now() + RELEASE);
        while Instant::now() < deadline {
            self.look(run, restarted, known)?;
            let api = self.scene.api(LEAD);
            match api.bookings() {
                Ok(bookings) if !bookings.contains(&booking) => return Ok(()),
                Ok(_) => {
                    known.insert(name_of(booking));
                    if api.cancel(booking).is_ok() {
                        return Ok(());
                    }
                }
                Err(_) => {}
            }
        }
        bail!("the booking could not be ended")
    }

    /// Brings the circuit's life to the point.
    fn reach(&mut self, point: &Point, told: &mut Told) -> anyhow::Result<Receiver<Happening>> {
        let events = self.scene.api(LEAD).follow()?;
        let since = now_ms();
        self.frames.set_size(Size::Large);
        let deadline = Instant::now() + PATIENCE;
        let mut is_ending = point.moment.is_wanted();
        loop {
            interrupt::check()?;
            self.scene.check()?;
            if Instant::now() >= deadline {
                bail!("no {} within {} s", point.event, PATIENCE.as_secs());
            }
            let happening = match events.recv_timeout(LOOK_EVERY) {
                Ok(happening) => happening,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => bail!("the lead's events ended"),
            };
            if happening.at_ms < since {
                continue;
            }
            told.handle(&happening);
            if is_ending && point.is_at(&happening) {
                break;
            }
            if !is_ending && happening.event == "carrying" {
                self.frames.set_size(Size::Small);
                is_ending = true;
            }
        }
        std::thread::sleep(Duration::from_millis(point.delay_ms));
        if !point.kills_lead() {
            events.try_iter().for_each(|happening| told.handle(&happening));
        }
        Ok(events)
    }

    /// Kills who is to be killed, and starts them again at once.
    fn strike(&mut self, point: &Point) -> anyhow::Result<()> {
        if point.kills_lead() {
            self.scene.kill_node(LEAD)?;
        }
        if point.kills_provider() {
            self.scene.kill_provider()?;
            self.scene.start_provider()?;
        }
        if point.kills_lead() {
            self.scene.start_node(LEAD)?;
        }
        Ok(())
    }

    /// Looks until a circuit carries again, or the time is up.
    fn await_carrying(
        &mut self,
        run: &mut Run,
        restarted: Instant,
        known: &mut BTreeSet<String>,
    ) -> anyhow::Result<()> {
        while restarted.elapsed() < self.settle {
            let Some(look) = self.look(run, restarted, known)? else { continue };
            if look.reservations.is_carrying() {
                run.carrying_ms = Some(millis(restarted));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks until nobody holds anything, or the time is up; then judges what is left.
    fn await_release(
        &mut self,
        run: &mut Run,
        restarted: Instant,
        known: &mut BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let deadline = (restarted + self.settle).max(Instant::now() + RELEASE);
        let mut last = None;
        while Instant::now() < deadline {
            let Some(look) = self.look(run, restarted, known)? else { continue };
            if look.circuits.is_empty() && look.reservations.circuits.is_empty() {
                run.settled_ms = Some(millis(restarted));
                return Ok(());
            }
            last = Some(look);
        }
        let last = last.context("the lead or the provider does not answer any more")?;
        let held: BTreeSet<_> =
            last.reservations.circuits.iter().filter_map(|held| held.native_id.clone()).collect();
        let leaked = last.circuits.iter().filter(|circuit| !held.contains(&circuit.id));
        run.leaked = leaked.map(|circuit| format!("{} ({})", circuit.id, circuit.state)).collect();
        run.stuck = last.reservations.circuits.iter().map(describe).collect();
        for circuit in &last.circuits {
            self.scene.provider().remove(circuit)?;
        }
        Ok(())
    }

    /// One look at both, if both answer.
    fn look(
        &mut self,
        run: &mut Run,
        restarted: Instant,
        known: &mut BTreeSet<String>,
    ) -> anyhow::Result<Option<Look>> {
        interrupt::check()?;
        std::thread::sleep(LOOK_EVERY);
        self.scene.check()?;
        let Ok(reservations) = self.scene.reservations() else { return Ok(None) };
        run.answered_ms.get_or_insert_with(|| millis(restarted));
        known.extend(reservations.keys().map(str::to_owned));
        let Ok(circuits) = self.scene.provider().circuits() else { return Ok(None) };
        run.doubled = run.doubled.max(doubled(&circuits)).max(doubled_at_lead(&reservations));
        Ok(Some(Look { reservations, circuits }))
    }

    /// Counts the run's frames.
    fn count(&mut self, run: &mut Run, killed: Mark, ended: Mark) -> anyhow::Result<()> {
        let last = self.frames.mark();
        self.frames.collect(killed, last)?;
        run.frames = self.frames.tally(killed, last);
        if run.was_on_circuit && run.point.moment.is_wanted() && !run.point.kills_provider() {
            let lost = self.frames.tally(killed, ended).iter().map(|tally| tally.lost).sum();
            run.lost_on_circuit = Some(lost);
        }
        self.frames.forget(last);
        Ok(())
    }
}

impl Told {
    fn handle(&mut self, happening: &Happening) {
        let circuit = happening.field("circuit").as_u64().unwrap_or(0);
        let way = happening.text("source").to_owned();
        match happening.event.as_str() {
            "reservation_submitted" => {
                self.acknowledged.insert(circuit, happening.text("key").to_owned());
            }
            "released" | "circuit_failed" => drop(self.acknowledged.remove(&circuit)),
            _ if happening.is_switch(true) => drop(self.across.insert(way)),
            _ if happening.is_switch(false) => drop(self.across.remove(&way)),
            _ => {}
        }
    }
}

/// How many live circuits the lead has beyond one for the same two ends, of those that demand wants.
fn doubled_at_lead(reservations: &Reservations) -> usize {
    let is_live = |held: &&Held| {
        let is_on_its_way =
            matches!(held.phase.as_str(), "wanted" | "cutting_back" | "unlinking" | "releasing");
        held.booking.is_none() && !is_on_its_way
    };
    let live: Vec<_> = reservations.circuits.iter().filter(is_live).map(|held| (&held.a, &held.z)).collect();
    live.len() - live.iter().collect::<BTreeSet<_>>().len()
}

fn describe(held: &Held) -> String {
    let failure = held.last_failure.as_deref().unwrap_or("no failure");
    format!("{} ({}, {}, {failure})", held.circuit, held.phase, held.state)
}

/// A booking among keys.
fn name_of(booking: u64) -> String {
    format!("booking {booking}")
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
