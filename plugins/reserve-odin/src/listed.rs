//! What the administrator's list of the server's paths changes: requests of unknown outcome are explained, and
//! paths that are no longer ours are noticed.
//!
//! A list is made after the record was read, and believed only if the record is still the same: a request that
//! ran meanwhile is not judged by a list from before.

use std::time::{Duration, Instant};

use vreserve_sdk::Failure;
use vreserve_sdk::model::{Observed, RequestKey};

use crate::circuit::{Circuit, Stage};
use crate::client::Client;
use crate::listing::{Listed, listed};
use crate::odin::{Odin, lock, wall_ms};
use crate::resolve::{Resolution, resolve};

/// The server answers a list at once.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

impl Odin {
    /// The server's paths; `None` if no command is configured.
    async fn list(&self) -> Option<Result<Vec<Listed>, String>> {
        let (program, arguments) = self.config.list.as_ref()?.split_first()?;
        let client = Client { program: program.into(), server: self.config.server.clone() };
        Some(listed(&client.run(arguments, LIST_TIMEOUT.min(self.config.timeout())).await))
    }

    /// What is known of a request, by the server's list where there is one.
    pub(crate) async fn find(&self, key: &RequestKey) -> Option<Observed> {
        let circuit = self.journal().circuit(key).cloned()?;
        let observed = circuit.observed(self.config.rate, wall_ms());
        if !is_in_question(&circuit) {
            return Some(observed);
        }
        match self.list().await {
            None => Some(observed),
            Some(Err(reason)) => Some(doubtful(observed, &reason)),
            Some(Ok(list)) => match self.resolve(&circuit, &list) {
                Resolution::Is(_) => self.observed(key),
                Resolution::Pending(words) => {
                    let now = self.journal().circuit(key).cloned()?;
                    Some(Circuit { words, ..now }.observed(self.config.rate, wall_ms()))
                }
                Resolution::Gone => None,
            },
        }
    }

    /// Brings the whole record up to date, and returns the list; empty if there is none.
    pub(crate) async fn resolve_all(&self) -> Vec<Listed> {
        let circuits: Vec<Circuit> = self.journal().circuits().cloned().collect();
        match self.list().await {
            Some(Ok(list)) => {
                for circuit in circuits.iter().filter(|circuit| is_in_question(circuit)) {
                    self.resolve(circuit, &list);
                }
                list
            }
            Some(Err(reason)) => {
                tracing::warn!(reason, "the server's paths cannot be listed");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Before anything is torn down: an id that is another's now must not be.
    pub(crate) async fn resolve_to_cancel(&self, key: &RequestKey) -> Result<(), Failure> {
        let Some(circuit) = self.journal().circuit(key).cloned() else { return Ok(()) };
        match self.list().await {
            None => Ok(()),
            Some(Err(reason)) => Err(Failure::unavailable(format!("the server's paths: {reason}"))),
            Some(Ok(list)) => match self.resolve(&circuit, &list) {
                Resolution::Pending(words) if circuit.is_quarantined() => {
                    let lambda = circuit.lambda;
                    let reason = format!("{words}; lambda {lambda} is quarantined");
                    Err(Failure::unknown_outcome(reason))
                }
                _ => Ok(()),
            },
        }
    }

    /// Records what the list says of a circuit.
    fn resolve(&self, circuit: &Circuit, list: &[Listed]) -> Resolution {
        let is_settled = self.is_settled(circuit);
        let mut journal = self.journal();
        if journal.circuit(&circuit.key) != Some(circuit) {
            return Resolution::Pending("it has changed while the list was made".to_owned());
        }
        let others = journal.circuits().filter(|other| other.key != circuit.key);
        let claimed: Vec<&str> = others.filter_map(Circuit::path).collect();
        let resolution = resolve(circuit, list, is_settled, &claimed);
        match &resolution {
            Resolution::Is(now) if now != circuit => {
                tracing::info!(key = %circuit.key, stage = ?now.stage, words = now.words, "by the server's list");
                self.learn_way(now);
                journal.update(now.clone());
                self.count_resolution(now.stage == Stage::Lost);
            }
            Resolution::Gone => {
                tracing::info!(key = %circuit.key, lambda = circuit.lambda, "the server has nothing of it");
                journal.forget(&circuit.key);
                self.count_resolution(false);
            }
            _ => {}
        }
        if !matches!(resolution, Resolution::Pending(_)) {
            lock(&self.unsettled).remove(&circuit.key);
        }
        resolution
    }

    /// Whether whoever asked for it has reached the server or never will. By the wall clock, which may have been
    /// set, or by this process's own.
    fn is_settled(&self, circuit: &Circuit) -> bool {
        let settle = self.config.settle_time();
        let seen = *lock(&self.unsettled).entry(circuit.key.clone()).or_insert_with(Instant::now);
        let waited = Duration::from_millis(wall_ms().saturating_sub(circuit.asked_ms));
        // A client of this run has ended before its outcome became unknown; one of an earlier run may live on.
        seen.elapsed() >= settle || circuit.asked_ms > 0 && waited >= settle + self.config.timeout()
    }
}

fn doubtful(observed: Observed, reason: &str) -> Observed {
    let words = format!("{}; the server's paths cannot be listed: {reason}", observed.native_state);
    Observed { native_state: words, ..observed }
}

/// Whether a list can say more than the record.
fn is_in_question(circuit: &Circuit) -> bool {
    matches!(circuit.stage, Stage::Unknown | Stage::Up { .. } | Stage::Booked { .. })
}
