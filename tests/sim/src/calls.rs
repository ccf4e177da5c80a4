//! Calls of the lead to a provider: made, answered, lost on the way there or back, refused, left hanging.
//!
//! As in the daemon every call is answered exactly once, within the backend's deadline; what changes something
//! and may have done so is then of unknown outcome, what only looks is unavailable.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use vreserve_core::lead::{Action, Call, CircuitId, Lead};
use vreserve_model::{Failure, Observed, RequestKey, Timestamp};
use vreserve_sdk::{Handle, Reserve};

use crate::provider::Provider;

/// How long a call may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives and is answered.
    Answered,
    /// It never arrives.
    LostThere,
    /// It arrives, and its answer does not.
    LostBack,
    /// The provider says no.
    Refused,
    /// Nobody is there.
    Unavailable,
}

/// A provider's answer, as the lead's shell gets it.
pub(crate) enum Answer {
    Submitted(CircuitId, Result<Observed, Failure>),
    Committed(CircuitId, Result<Observed, Failure>),
    Aborted(CircuitId, Result<(), Failure>),
    Activated(CircuitId, Result<Observed, Failure>),
    Deactivated(CircuitId, Result<Observed, Failure>),
    Modified(CircuitId, Result<Observed, Failure>),
    Cancelled(CircuitId, Result<(), Failure>),
    Found(CircuitId, Result<Vec<Observed>, Failure>),
    Listed(String, Result<Vec<Observed>, Failure>),
    OrphanCancelled(String, RequestKey, Result<(), Failure>),
    Collected(String, Result<Vec<RequestKey>, Failure>),
}

impl Answer {
    /// Tells the lead.
    pub(crate) fn tell(self, lead: &mut Lead, now: Timestamp) {
        match self {
            Answer::Submitted(circuit, answer) => lead.handle_submitted(now, circuit, answer),
            Answer::Committed(circuit, answer) => lead.handle_committed(now, circuit, answer),
            Answer::Aborted(circuit, answer) => lead.handle_aborted(now, circuit, answer),
            Answer::Activated(circuit, answer) => lead.handle_activated(now, circuit, answer),
            Answer::Deactivated(circuit, answer) => lead.handle_deactivated(now, circuit, answer),
            Answer::Modified(circuit, answer) => lead.handle_modified(now, circuit, answer),
            Answer::Cancelled(circuit, answer) => lead.handle_cancelled(now, circuit, answer),
            Answer::Found(circuit, answer) => lead.handle_found(now, circuit, answer),
            Answer::Listed(network, answer) => lead.handle_listed(now, &network, answer),
            Answer::OrphanCancelled(network, key, answer) => {
                lead.handle_orphan_cancelled(now, &network, &key, answer);
            }
            Answer::Collected(network, answer) => lead.handle_collected(now, &network, answer),
        }
    }
}

/// The network of a call to a backend, its verb, and the key that it is about; none for what is no call.
pub(crate) fn about(action: &Action) -> Option<(&str, &'static str, Option<&RequestKey>)> {
    Some(match action {
        Action::Submit { network, request, .. } => (network, "submit", Some(&request.key)),
        Action::Commit(call) => (&call.network, "commit", Some(&call.key)),
        Action::Abort(call) => (&call.network, "abort", Some(&call.key)),
        Action::Activate { call, .. } => (&call.network, "activate", Some(&call.key)),
        Action::Deactivate(call) => (&call.network, "deactivate", Some(&call.key)),
        Action::Modify { call, .. } => (&call.network, "modify", Some(&call.key)),
        Action::Cancel(call) => (&call.network, "cancel", Some(&call.key)),
        Action::Find(call) => (&call.network, "find", Some(&call.key)),
        Action::ListOwned { network, .. } => (network, "list_owned", None),
        Action::CancelOrphan { network, key, .. } => (network, "cancel", Some(key)),
        Action::Gc { network, .. } => (network, "gc", None),
        _ => return None,
    })
}

/// True if a call changes nothing at the provider.
pub(crate) fn only_looks(action: &Action) -> bool {
    matches!(action, Action::Find(_) | Action::ListOwned { .. })
}

/// Makes a call.
pub(crate) fn make(provider: &Provider, action: Action) -> Option<Answer> {
    let handle = |call: &Call| Handle { key: call.key.clone(), native_id: call.native_id.clone() };
    Some(match action {
        Action::Submit { circuit, request, .. } => {
            Answer::Submitted(circuit, ready(provider.submit(request)))
        }
        Action::Commit(call) => Answer::Committed(call.circuit, ready(provider.commit(handle(&call)))),
        Action::Abort(call) => Answer::Aborted(call.circuit, ready(provider.abort(handle(&call)))),
        Action::Activate { call, request } => {
            Answer::Activated(call.circuit, ready(provider.activate(handle(&call), request)))
        }
        Action::Deactivate(call) => {
            Answer::Deactivated(call.circuit, ready(provider.deactivate(handle(&call))))
        }
        Action::Modify { call, request } => {
            Answer::Modified(call.circuit, ready(provider.modify(handle(&call), request)))
        }
        Action::Cancel(call) => Answer::Cancelled(call.circuit, ready(provider.cancel(handle(&call)))),
        Action::Find(call) => Answer::Found(call.circuit, ready(provider.find(call.key))),
        Action::ListOwned { network, owner } => Answer::Listed(network, ready(provider.list_owned(owner))),
        Action::CancelOrphan { network, key, native_id } => {
            let answer = ready(provider.cancel(Handle { key: key.clone(), native_id }));
            Answer::OrphanCancelled(network, key, answer)
        }
        Action::Gc { network, valid } => Answer::Collected(network, ready(provider.gc(valid))),
        _ => return None,
    })
}

/// The answer to a call that fails.
pub(crate) fn fail(action: Action, failure: Failure) -> Option<Answer> {
    Some(match action {
        Action::Submit { circuit, .. } => Answer::Submitted(circuit, Err(failure)),
        Action::Commit(call) => Answer::Committed(call.circuit, Err(failure)),
        Action::Abort(call) => Answer::Aborted(call.circuit, Err(failure)),
        Action::Activate { call, .. } => Answer::Activated(call.circuit, Err(failure)),
        Action::Deactivate(call) => Answer::Deactivated(call.circuit, Err(failure)),
        Action::Modify { call, .. } => Answer::Modified(call.circuit, Err(failure)),
        Action::Cancel(call) => Answer::Cancelled(call.circuit, Err(failure)),
        Action::Find(call) => Answer::Found(call.circuit, Err(failure)),
        Action::ListOwned { network, .. } => Answer::Listed(network, Err(failure)),
        Action::CancelOrphan { network, key, .. } => Answer::OrphanCancelled(network, key, Err(failure)),
        Action::Gc { network, .. } => Answer::Collected(network, Err(failure)),
        _ => return None,
    })
}

/// What nobody knows the outcome of.
pub(crate) fn lost(action: &Action) -> Failure {
    if only_looks(action) {
        Failure::unavailable("no answer in time")
    } else {
        Failure::unknown_outcome("no answer in time")
    }
}

/// The outcome of a call that waits for nothing: the provider's own answers take no time, the way does.
fn ready<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("the provider waits for nothing"),
    }
}
