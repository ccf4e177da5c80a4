//! One request at a time: admit, configure, wait as long as the optical switches did, answer.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::fabric::{Due, Fabric, Path};
use super::protocol::{PathId, PathState, Refusal, Reply, Request};
use super::server::lock;
use super::switching::Wiring;
use super::timing::Timing;
use super::window::Window;
use crate::error::Error;
use crate::lab::spec::Network;

/// Raised once, when the server is to end; cuts every wait short.
#[derive(Debug, Default)]
pub(super) struct Stop {
    is_raised: Mutex<bool>,
    raised: Condvar,
}

impl Stop {
    pub(super) fn raise(&self) {
        *self.is_raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.raised.notify_all();
    }

    /// Waits until `deadline`.
    ///
    /// # Errors
    /// When raised, at once.
    fn wait_until(&self, deadline: Instant) -> Result<(), Refusal> {
        let left = deadline.saturating_duration_since(Instant::now());
        let guard = self.is_raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.raised.wait_timeout_while(guard, left, |is_raised| !*is_raised);
        let (is_raised, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *is_raised { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }
}

/// The one that configures switches.
#[derive(Debug)]
pub(super) struct Worker {
    fabric: Arc<Mutex<Fabric>>,
    network: Network,
    timing: Timing,
    /// Whether `start=` and `end=` are acted on.
    is_deferring: bool,
    stop: Arc<Stop>,
}

impl Worker {
    pub(super) fn new(
        fabric: Arc<Mutex<Fabric>>,
        network: Network,
        timing: Timing,
        is_deferring: bool,
        stop: Arc<Stop>,
    ) -> Self {
        Self { fabric, network, timing, is_deferring, stop }
    }

    /// Carries a request out, start to end. Once it is a path or refused, it no longer shows as waiting.
    pub(super) fn handle(&self, request: Request, ticket: u64) -> Reply {
        let outcome = match request {
            Request::Create { source, destination, lambda, flags } => {
                self.admit(source, destination, lambda, &flags, ticket).and_then(|path| self.create(&path))
            }
            Request::Teardown { path } => self.tear_down(path),
            Request::List => Ok(Reply::Paths(lock(&self.fabric).reports())),
        };
        outcome.unwrap_or_else(Reply::Refused)
    }

    /// Does what a path's time has come for; nobody waits for the answer.
    pub(super) fn handle_due(&self, due: Due) {
        let outcome = match &due {
            Due::SetUp(path) => self.create(path),
            Due::End(path) => self.tear_down(*path),
        };
        match outcome {
            Ok(reply) => tracing::info!(?reply, "done in time"),
            Err(refusal) => tracing::warn!(?due, %refusal, "a booked path has failed"),
        }
    }

    fn admit(
        &self,
        source: std::net::Ipv4Addr,
        destination: std::net::Ipv4Addr,
        lambda: u16,
        flags: &[String],
        ticket: u64,
    ) -> Result<Path, Refusal> {
        self.stop.wait_until(Instant::now())?;
        let now = wall_ms();
        let window = if self.is_deferring { Window::of(flags, now)? } else { Window::open(now) };
        let mut fabric = lock(&self.fabric);
        let admitted = fabric.admit(source, destination, lambda, window);
        fabric.end_wait(ticket);
        admitted
    }

    fn create(&self, path: &Path) -> Result<Reply, Refusal> {
        if path.report.state == PathState::Booked {
            return Ok(Reply::Booked { path: path.report.clone() });
        }
        let wiring = Wiring::of(path);
        let id = path.report.id;
        match self.set_up(&wiring, path.report.switches.len()) {
            Ok((software, hardware)) => {
                let mut fabric = lock(&self.fabric);
                fabric.mark_up(id);
                let path = fabric.report(id).expect("marked up above");
                let (software_seconds, hardware_seconds) = (software.as_secs_f64(), hardware.as_secs_f64());
                Ok(Reply::Up { path, software_seconds, hardware_seconds })
            }
            Err(refusal) => {
                if let Err(error) = wiring.remove() {
                    tracing::warn!(%error, path = id.0, "leavings of a refused path");
                }
                lock(&self.fabric).release(id);
                Err(refusal)
            }
        }
    }

    /// Returns the software and the hardware time.
    fn set_up(&self, wiring: &Wiring, switches: usize) -> Result<(Duration, Duration), Refusal> {
        let begun = Instant::now();
        wiring.prepare(&self.network).map_err(switch_failed)?;
        let mut deadline = begun;
        for nth in 0..switches {
            wiring.configure(nth).map_err(switch_failed)?;
            deadline += self.timing.of_switch(nth);
            self.stop.wait_until(deadline)?;
        }
        let configured = Instant::now();
        self.stop.wait_until(configured + self.timing.stabilisation())?;
        wiring.light().map_err(switch_failed)?;
        Ok((configured - begun, configured.elapsed()))
    }

    /// Traffic stops first; the time passes afterwards.
    fn tear_down(&self, id: PathId) -> Result<Reply, Refusal> {
        let path = lock(&self.fabric).begin_teardown(id)?;
        if path.report.state == PathState::Booked {
            lock(&self.fabric).release(id);
            return Ok(Reply::Down { path: id, hardware_seconds: 0.0 });
        }
        let begun = Instant::now();
        let removed = Wiring::of(&path).remove();
        let waited = self.stop.wait_until(begun + self.timing.teardown());
        lock(&self.fabric).release(id);
        removed.map_err(switch_failed)?;
        waited?;
        Ok(Reply::Down { path: id, hardware_seconds: begun.elapsed().as_secs_f64() })
    }
}

/// The wall clock in milliseconds since the epoch: deferred requests are dated by it.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn switch_failed(error: Error) -> Refusal {
    Refusal::SwitchFailed { reason: error.to_string() }
}
