//! What a reload opens before it changes anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use vreserve_model::{Failure, FailureKind};

use super::{LeadHandles, Reloader};
use crate::config::{Change, Config, Instance, ReserveConfig};
use crate::control::lead::BackendChange;
use crate::control::revive::Revived;
use crate::daemon::places::Places;
use crate::daemon::start::{failure_of, label};
use crate::daemon::wrapping::wrapped;
use crate::loader::{Registry, StartError};
use crate::plugin::{AdaptInstance, Backend, PluginKind};

/// A new backend says within this time that it is well.
const HEALTH_TIME: Duration = Duration::from_secs(10);

/// Open instances that nobody uses yet. Dropped, they are closed.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) backends: Vec<BackendChange>,
    pub(super) adapt: Option<Option<Revived<AdaptInstance>>>,
    /// The names of the instances.
    pub(super) names: Vec<String>,
}

/// One network's backend before and after.
struct Swap<'a> {
    network: String,
    former: Option<&'a ReserveConfig>,
    successor: Option<Successor>,
}

/// An open backend, and the directory of its state.
struct Successor {
    name: String,
    place: String,
    backend: Arc<dyn Backend>,
}

/// What is opened from.
struct Opening<'a> {
    reloader: &'a Reloader,
    running: &'a Config,
    wanted: &'a Config,
    trial: &'a Registry,
}

impl Opened {
    /// Opens everything that `changes` ask for, and records where backends are from now on.
    ///
    /// # Errors
    /// If an instance does not open, a backend is not well, or nothing can be recorded.
    pub(super) async fn of(
        reloader: &Reloader,
        lead: &LeadHandles,
        running: &Config,
        wanted: &Config,
        trial: &Registry,
        changes: &[Change],
    ) -> Result<Self, String> {
        let opening = Opening { reloader, running, wanted, trial };
        let mut places = lead.former.places().clone();
        let mut opened = Opened::default();
        let mut swaps = Vec::new();
        for change in changes {
            match change {
                Change::OpenPlanner(instance) => {
                    opened.adapt = Some(Some(opening.planner(instance)?));
                    opened.names.push(instance.name.clone());
                }
                Change::ClosePlanner => opened.adapt = Some(None),
                Change::OpenBackend(reserve) | Change::ReplaceBackend(reserve) => {
                    let successor = Some(opening.backend(reserve, &places).await?);
                    opened.names.push(reserve.instance.name.clone());
                    swaps.push(opening.swap(&reserve.network, successor));
                }
                Change::CloseBackend { network } => swaps.push(opening.swap(network, None)),
                Change::BackOff { .. } | Change::Recurring(_) | Change::Budgets(_) | Change::Admit(_) => {}
            }
        }
        let former: Vec<_> = swaps.iter().map(|swap| swap.retire(&mut places)).collect();
        swaps.iter().for_each(|swap| swap.settle(&mut places));
        if !swaps.is_empty() {
            let dir = wanted.node.state_dir.display();
            places.save().map_err(|error| format!("nothing can be recorded in {dir}: {error}"))?;
            *lead.former.places() = places;
        }
        opened.backends =
            swaps.into_iter().zip(former).map(|(swap, place)| swap.change(lead, place)).collect();
        Ok(opened)
    }
}

impl<'a> Opening<'a> {
    fn swap(&self, network: &str, successor: Option<Successor>) -> Swap<'a> {
        let former = self.running.reserves.iter().find(|reserve| reserve.network == network);
        Swap { network: network.to_owned(), former, successor }
    }

    fn planner(&self, instance: &Instance) -> Result<Revived<AdaptInstance>, String> {
        let host = self.reloader.services.instance(PluginKind::Adapt, &instance.name, None);
        let opened = self.trial.open_adapt(instance, &host).map_err(|error| self.located(instance, error))?;
        let (registry, kept) = (self.reloader.registry.clone(), instance.clone());
        let opener = Box::new(move || registry.open_adapt(&kept, &host).map_err(failure_of));
        Ok(Revived::new(label(instance), opened, opener, self.reloader.events.clone()))
    }

    /// Circuits are given up for a new backend, so it must be well before it is used.
    async fn backend(&self, reserve: &ReserveConfig, places: &Places) -> Result<Successor, String> {
        let instance = &reserve.instance;
        let place = places.fresh(&instance.name, &self.running.reserves);
        let host = self.reloader.services.backend_instance(&instance.name, &place);
        let deadline = self.wanted.lead.reserve_timeout;
        let opened = self.trial.open_reserve(instance, &host, deadline);
        let opened = opened.map_err(|error| self.located(instance, error))?;
        let backend = wrapped(self.trial, reserve, Arc::new(opened), &host, deadline);
        let health = timeout(HEALTH_TIME, backend.health()).await;
        let health = health.unwrap_or_else(|_| Err(Failure::unavailable("it does not say how it is")));
        match health {
            Err(failure) if failure.kind != FailureKind::Unsupported => {
                Err(self.located(instance, StartError::Open(failure)))
            }
            _ => Ok(Successor { name: instance.name.clone(), place, backend }),
        }
    }

    /// As `vreserve check` says it: with the place in the file.
    fn located(&self, instance: &Instance, error: StartError) -> String {
        self.wanted.plugin_error(instance, &failure_of(error)).to_string()
    }
}

impl Swap<'_> {
    /// The former backend is one from now on; returns its directory.
    fn retire(&self, places: &mut Places) -> Option<String> {
        let former = self.former?;
        let place = places.of(&former.instance.name).to_owned();
        places.retire(former);
        Some(place)
    }

    fn settle(&self, places: &mut Places) {
        if let Some(successor) = &self.successor {
            places.settle(&successor.name, &successor.place);
        }
    }

    /// What the lead is told. The former backend is seen off when the lead has closed it.
    fn change(self, lead: &LeadHandles, former: Option<String>) -> BackendChange {
        let (former_closed, closed) = oneshot::channel();
        let seeing_off = lead.former.clone();
        if let Some(place) = former {
            tokio::spawn(async move {
                if closed.await.is_ok() {
                    seeing_off.see_off(place).await;
                }
            });
        }
        let backend = self.successor.map(|successor| successor.backend);
        BackendChange { network: self.network, backend, former_closed }
    }
}
