//! A changed configuration, as the running lead takes it: all at once, after everything that can fail has been done.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use vreserve_core::lead::{BackOff, Budget, CircuitId, CircuitStatus, Phase, Recurring};
use vreserve_model::{Timestamp, Wanted};

use super::Running;
use super::view::BackendStatus;
use crate::control::revive::Revived;
use crate::plugin::{AdaptInstance, Backend};

/// What changes. Everything in it is open already.
#[derive(Default)]
pub struct LeadChanges {
    /// Networks whose backend is another one from now on.
    pub backends: Vec<BackendChange>,
    /// The planner; the inner none closes it.
    pub adapt: Option<Option<Revived<AdaptInstance>>>,
    /// The delays after failures.
    pub back_off: Option<BackOff>,
    /// What may be held on each network.
    pub budgets: Option<BTreeMap<String, Budget>>,
    /// Whether windows are booked ahead of demand that recurs; the inner none ends that.
    pub recurring: Option<Option<Recurring>>,
}

/// One network's backend.
pub struct BackendChange {
    /// The network.
    pub network: String,
    /// The new one, which has said that it is well; none closes the network.
    pub backend: Option<Arc<dyn Backend>>,
    /// Told when the former one, if there was one, holds nothing any more and has been closed.
    pub former_closed: oneshot::Sender<()>,
}

/// A backend whose network nobody reserves on any more: what an earlier run has asked it for is still its own.
pub struct FormerBackend {
    /// The network.
    pub network: String,
    /// Itself.
    pub backend: Arc<dyn Backend>,
    /// Told when it holds nothing any more that is on record, and has been closed.
    pub closed: oneshot::Sender<()>,
}

impl Running {
    pub(super) fn handle_configuration(&mut self, now: Timestamp, changes: LeadChanges) {
        if let Some(back_off) = changes.back_off {
            self.shell.lead.handle_back_off(now, back_off);
        }
        if let Some(budgets) = changes.budgets {
            self.shell.lead.handle_budgets(now, budgets);
        }
        if let Some(recurring) = changes.recurring {
            self.shell.lead.handle_recurring(now, recurring);
        }
        if let Some(adapt) = changes.adapt {
            let is_closed = adapt.is_none();
            self.shell.adapt = adapt;
            if is_closed {
                self.last_notes.clear();
                self.shell.lead.handle_wanted(now, &Wanted::default());
            }
        }
        let (coming, going): (Vec<_>, Vec<_>) =
            changes.backends.into_iter().partition(|change| change.backend.is_some());
        for change in coming.into_iter().chain(going) {
            self.replace_backend(now, change);
        }
        // The planner is shown the new networks before anything of the old ones ends.
        self.infer();
    }

    fn replace_backend(&mut self, now: Timestamp, change: BackendChange) {
        let BackendChange { network, backend, former_closed } = change;
        let held = self.held_on(&network);
        let capabilities = backend.as_ref().map(|backend| backend.capabilities());
        let replaced = self.shell.backends.replace(&network, backend, held);
        if let Some(former) = replaced.former {
            self.closing.insert(former, former_closed);
        }
        // Ends the former one's tasks.
        drop(self.watches.remove(&network));
        if replaced.new.is_some() {
            let well = BackendStatus { network: network.clone(), up: true, reason: None, is_known: true };
            self.backend_states.insert(network.clone(), well);
            self.watch_backends();
        } else {
            self.backend_states.remove(&network);
        }
        self.shell.lead.handle_backend_replaced(now, &network, capabilities);
    }

    /// Leaves to backends of an earlier run what they were asked for, as if they had been replaced just now.
    pub(super) fn take_former_backends(&mut self, now: Timestamp) {
        for FormerBackend { network, backend, closed } in std::mem::take(&mut self.former) {
            let held = self.held_on(&network);
            let generation = self.shell.backends.add_former(backend, held);
            self.closing.insert(generation, closed);
            self.shell.lead.handle_backend_replaced(now, &network, None);
        }
    }

    /// The circuits on a network that have been asked for.
    fn held_on(&self, network: &str) -> Vec<CircuitId> {
        let is_held =
            |circuit: &CircuitStatus| circuit.link.network == network && circuit.phase != Phase::Wanted;
        self.shell.lead.circuits().filter(is_held).map(|circuit| circuit.circuit).collect()
    }

    /// Closes the former backends whose last circuit is over.
    pub(super) fn close_former_backends(&mut self) {
        let live = self.shell.lead.circuits().map(|circuit| circuit.circuit);
        for generation in self.shell.backends.close_idle(live) {
            if let Some(closed) = self.closing.remove(&generation) {
                // Nobody keeps its state any more: fine.
                let _ = closed.send(());
            }
        }
    }
}
