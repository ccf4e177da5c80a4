//! Calls to backends: each is a task, and its answer comes back as an input.

use std::sync::Arc;

use vreserve_core::lead::{Action, Call, CircuitId};
use vreserve_model::{Failure, Observed, RequestKey};
use vreserve_sdk::Handle;

use super::{Answer, Input, Running};
use crate::plugin::Backend;

impl Running {
    /// Makes the call to a backend that the lead has decided on.
    pub(super) fn call_backend(&mut self, action: Action) {
        match action {
            Action::Submit { circuit, network, request } => self.call_of(
                circuit,
                &network,
                move |backend| async move { backend.submit(request).await },
                move |answer| Answer::Submitted(circuit, answer),
            ),
            Action::Activate { call, request } => {
                let (circuit, network, handle) = take_apart(call);
                self.call_of(
                    circuit,
                    &network,
                    move |backend| async move { backend.activate(handle, request).await },
                    move |answer| Answer::Activated(circuit, answer),
                );
            }
            Action::Modify { call, request } => {
                let (circuit, network, handle) = take_apart(call);
                self.call_of(
                    circuit,
                    &network,
                    move |backend| async move { backend.modify(handle, request).await },
                    move |answer| Answer::Modified(circuit, answer),
                );
            }
            Action::Commit(call) => {
                let (circuit, network, handle) = take_apart(call);
                self.call_of(
                    circuit,
                    &network,
                    move |backend| async move { backend.commit(handle).await },
                    move |answer| Answer::Committed(circuit, answer),
                );
            }
            Action::Abort(call) => {
                let (circuit, network, handle) = take_apart(call);
                self.call_of(
                    circuit,
                    &network,
                    move |backend| async move { backend.abort(handle).await },
                    move |answer| Answer::Aborted(circuit, answer),
                );
            }
            Action::Deactivate(call) => {
                let (circuit, network, handle) = take_apart(call);
                self.call_of(
                    circuit,
                    &network,
                    move |backend| async move { backend.deactivate(handle).await },
                    move |answer| Answer::Deactivated(circuit, answer),
                );
            }
            Action::Cancel(call) => {
                let (circuit, network, handle) = take_apart(call);
                self.call_of(
                    circuit,
                    &network,
                    move |backend| async move { backend.cancel(handle).await },
                    move |answer| Answer::Cancelled(circuit, answer),
                );
            }
            Action::Find(call) => {
                let (circuit, network, handle) = take_apart(call);
                self.call_of(
                    circuit,
                    &network,
                    move |backend| async move { look_up(backend, handle).await },
                    move |answer| Answer::Found(circuit, answer),
                );
            }
            Action::ListOwned { network, owner } => {
                let listed = network.clone();
                self.call(
                    &network,
                    move |backend| async move { backend.list_owned(owner).await },
                    move |answer| Answer::Listed(listed, answer),
                );
            }
            Action::CancelOrphan { network, key, native_id } => self.cancel_orphan(network, key, native_id),
            Action::Gc { network, mut valid } => {
                let collected = network.clone();
                valid.extend(self.ledger.status().unreadable.keys().cloned().map(RequestKey));
                self.call(
                    &network,
                    move |backend| async move { backend.gc(valid).await },
                    move |answer| Answer::Collected(collected, answer),
                );
            }
            Action::Record(_)
            | Action::Forget(_)
            | Action::Rewrite(_)
            | Action::Configure { .. }
            | Action::Probe { .. }
            | Action::Publish { .. } => {}
        }
    }

    /// What nobody has on record is given back; not what a record stands for that cannot be read.
    fn cancel_orphan(&self, network: String, key: RequestKey, native_id: Option<String>) {
        let is_recorded = self.ledger.status().unreadable.contains_key(&key.0);
        let (cancelled, handle) = ((network.clone(), key.clone()), Handle { key, native_id });
        self.call(
            &network,
            move |backend| async move {
                match is_recorded {
                    true => Err(Failure::refused("there is a record of it, which cannot be read")),
                    false => backend.cancel(handle).await,
                }
            },
            move |answer| Answer::OrphanCancelled(cancelled.0, cancelled.1, answer),
        );
    }

    /// Runs one call about a circuit, at the backend that the circuit was first asked of.
    fn call_of<T: Send, F: Future<Output = Result<T, Failure>> + Send + 'static>(
        &mut self,
        circuit: CircuitId,
        network: &str,
        work: impl FnOnce(Arc<dyn Backend>) -> F + Send + 'static,
        answer: impl FnOnce(Result<T, Failure>) -> Answer + Send + 'static,
    ) {
        let backend = self.shell.backends.of_circuit(circuit, network);
        self.run(backend, network, work, answer);
    }

    /// Runs one call about a network, at the backend that reserves on it now.
    fn call<T: Send, F: Future<Output = Result<T, Failure>> + Send + 'static>(
        &self,
        network: &str,
        work: impl FnOnce(Arc<dyn Backend>) -> F + Send + 'static,
        answer: impl FnOnce(Result<T, Failure>) -> Answer + Send + 'static,
    ) {
        self.run(self.shell.backends.current_of(network), network, work, answer);
    }

    /// Runs one call as a task.
    fn run<T: Send, F: Future<Output = Result<T, Failure>> + Send + 'static>(
        &self,
        backend: Option<Arc<dyn Backend>>,
        network: &str,
        work: impl FnOnce(Arc<dyn Backend>) -> F + Send + 'static,
        answer: impl FnOnce(Result<T, Failure>) -> Answer + Send + 'static,
    ) {
        let missing = Failure::unavailable(format!("no reservation backend for {network}"));
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let outcome = match backend {
                Some(backend) => work(backend).await,
                None => Err(missing),
            };
            drop(inputs.send(Input::Answered(answer(outcome))).await);
        });
    }
}

fn take_apart(call: Call) -> (CircuitId, String, Handle) {
    (call.circuit, call.network, Handle { key: call.key, native_id: call.native_id })
}

/// What the backend holds under a key: by the key where it can find, else by the provider's id.
async fn look_up(backend: Arc<dyn Backend>, handle: Handle) -> Result<Vec<Observed>, Failure> {
    if !backend.capabilities().find && handle.native_id.is_some() {
        return backend.query(handle).await.map(|found| found.into_iter().collect());
    }
    backend.find(handle.key).await
}
