//! The configuration file read again: checked, compared with what is in force, opened, and only then put into effect.
//!
//! Everything that can fail comes before anything changes: the file, the plugins' word on it, what a running node
//! cannot change, new instances, new backends' health, the record of where backends keep their state.

mod opening;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use vreserve_core::lead::{BackOff, Recurring};

use super::former::FormerBackends;
use super::start::check;
use crate::clock::Clock;
use crate::config::{Admitted, Change, Config, ConfigErrors, diff};
use crate::control::events::{EventLog, NodeEvent};
use crate::control::lead::{Input, LeadChanges};
use crate::loader::Registry;
use crate::plugin::{HostServices, PluginKind};

use opening::Opened;

/// When the configuration was read, for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigStatus {
    /// The file.
    pub file: PathBuf,
    /// When what is in force was read, in milliseconds since the Unix epoch.
    pub loaded_ms: u64,
    /// Why the last reload was refused; none after one that was not.
    pub last_error: Option<String>,
}

/// What the parts of a lead are told of a new configuration.
pub(super) struct LeadHandles {
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) admit: watch::Sender<Vec<Admitted>>,
    pub(super) former: FormerBackends,
}

/// Reloads. May be used from any thread.
pub struct Reloader {
    path: PathBuf,
    /// What is in force; locked while a reload runs.
    running: tokio::sync::Mutex<Config>,
    status: Mutex<ConfigStatus>,
    registry: Arc<Registry>,
    services: Arc<HostServices>,
    events: EventLog,
    lead: Option<LeadHandles>,
}

impl Reloader {
    pub(super) fn new(
        running: Config,
        registry: Arc<Registry>,
        services: Arc<HostServices>,
        events: EventLog,
        lead: Option<LeadHandles>,
    ) -> Self {
        let path = running.file().to_owned();
        let status = ConfigStatus { file: path.clone(), loaded_ms: Clock::wall_ms(), last_error: None };
        let (running, status) = (tokio::sync::Mutex::new(running), Mutex::new(status));
        Reloader { path, running, status, registry, services, events, lead }
    }

    /// When the configuration in force was read, and what became of the last attempt.
    pub fn status(&self) -> ConfigStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again and follows it, or changes nothing. Returns what changed, a line each.
    ///
    /// # Errors
    /// Why nothing changed, a line for each reason.
    pub async fn reload(&self) -> Result<Vec<String>, String> {
        let Ok(mut running) = self.running.try_lock() else {
            return Err("another reload is under way".to_owned());
        };
        let outcome = self.follow(&mut running).await;
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok(changes) => {
                *status = ConfigStatus { loaded_ms: Clock::wall_ms(), last_error: None, ..status.clone() };
                tracing::info!(changes = changes.len(), "configuration reloaded");
                self.events.node(NodeEvent::ConfigurationReloaded { changes: changes.clone() });
            }
            Err(error) => {
                tracing::error!("configuration not reloaded, nothing has changed: {error}");
                status.last_error = Some(error.clone());
                let reasons = error.lines().map(str::to_owned).collect();
                self.events.node(NodeEvent::ReloadRefused { reasons });
            }
        }
        outcome
    }

    async fn follow(&self, running: &mut Config) -> Result<Vec<String>, String> {
        let located = |errors: ConfigErrors| errors.to_string();
        let wanted = Config::load(&self.path).map_err(located)?;
        let trial = self.registry.trial();
        check(&wanted, &trial).map_err(located)?;
        let changes = diff(running, &wanted).map_err(located)?;
        if let Some(lead) = &self.lead {
            self.change_lead(lead, running, &wanted, &trial, &changes).await?;
        }
        *running = wanted;
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    async fn change_lead(
        &self,
        lead: &LeadHandles,
        running: &Config,
        wanted: &Config,
        trial: &Registry,
        changes: &[Change],
    ) -> Result<(), String> {
        let opened = Opened::of(self, lead, running, wanted, trial, changes).await?;
        for change in changes {
            if let Change::Admit(nodes) = change {
                lead.admit.send_replace(nodes.clone());
            }
        }
        let back_off = changes.iter().find_map(|change| match change {
            Change::BackOff { min, max } => Some(BackOff { min: *min, max: *max }),
            _ => None,
        });
        let names = opened.names;
        let budgets = changes.iter().find_map(|change| match change {
            Change::Budgets(budgets) => Some(budgets.clone()),
            _ => None,
        });
        let recurring = changes.iter().find_map(|change| match change {
            Change::Recurring(ahead) => Some(ahead.map(|ahead| Recurring { ahead })),
            _ => None,
        });
        let (backends, adapt) = (opened.backends, opened.adapt);
        let told = LeadChanges { backends, adapt, back_off, budgets, recurring };
        let (done, in_effect) = oneshot::channel();
        drop(lead.inputs.send(Input::Changed(told, done)).await);
        in_effect.await.map_err(|_| "the lead has ended".to_owned())?;
        for kind in [PluginKind::Adapt, PluginKind::Reserve] {
            self.registry.adopt(trial, kind, &names);
        }
        Ok(())
    }

    /// Reloads at every SIGHUP, for as long as the daemon runs.
    pub(super) async fn follow_signals(self: Arc<Self>) {
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
            return tracing::warn!("SIGHUP cannot be waited for; it ends the daemon");
        };
        while hang_up.recv().await.is_some() {
            // The outcome is in the log.
            drop(self.reload().await);
        }
    }
}
