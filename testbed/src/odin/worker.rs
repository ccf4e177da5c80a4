//! One request at a time: admit, configure, wait as long as the optical switches did, answer.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::fabric::Fabric;
use super::protocol::{PathId, Refusal, Reply, Request};
use super::server::lock;
use super::switching::Wiring;
use super::timing::Timing;
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
    stop: Arc<Stop>,
}

impl Worker {
    pub(super) fn new(fabric: Arc<Mutex<Fabric>>, network: Network, timing: Timing, stop: Arc<Stop>) -> Self {
        Self { fabric, network, timing, stop }
    }

    /// Carries a request out, start to end.
    pub(super) fn handle(&self, request: Request) -> Reply {
        let outcome = match request {
            Request::Create { source, destination, lambda, .. } => self.create(source, destination, lambda),
            Request::Teardown { path } => self.tear_down(path),
            Request::List => Ok(Reply::Paths(lock(&self.fabric).reports())),
        };
        outcome.unwrap_or_else(Reply::Refused)
    }

    fn create(
        &self,
        source: std::net::Ipv4Addr,
        destination: std::net::Ipv4Addr,
        lambda: u16,
    ) -> Result<Reply, Refusal> {
        self.stop.wait_until(Instant::now())?;
        let path = lock(&self.fabric).admit(source, destination, lambda)?;
        let wiring = Wiring::of(&path);
        let id = path.report.id;
        match self.set_up(&wiring, path.report.switches.len()) {
            Ok((software, hardware)) => {
                let mut fabric = lock(&self.fabric);
                fabric.mark_up(id);
                let path =
                    fabric.reports().into_iter().find(|report| report.id == id).expect("marked up above");
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
        let begun = Instant::now();
        let removed = Wiring::of(&path).remove();
        let waited = self.stop.wait_until(begun + self.timing.teardown());
        lock(&self.fabric).release(id);
        removed.map_err(switch_failed)?;
        waited?;
        Ok(Reply::Down { path: id, hardware_seconds: begun.elapsed().as_secs_f64() })
    }
}

fn switch_failed(error: Error) -> Refusal {
    Refusal::SwitchFailed { reason: error.to_string() }
}
