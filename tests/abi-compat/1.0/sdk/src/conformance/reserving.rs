//! A reservation instance with its state directory, and what is asked of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use vreserve_model::{Capabilities, Failure, FailureKind, Observed, Request, RequestKey};

use super::backend::Backend;
use super::case::{Subject, Unmet, Verdict, ensure, fail, said};
use super::host::StateDir;
use super::opened::{PATIENCE, opened};
use crate::{Handle, Verb};

/// The name of the kit's installation: its owners and keys begin with it.
pub(super) const INSTALLATION: &str = "kit";
/// A provider may take its time; what has not come by then will not come.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// An open instance.
pub(super) struct Site {
    /// Closed before its state goes.
    pub(super) backend: Backend,
    pub(super) state: StateDir,
    pub(super) capabilities: Capabilities,
    /// What the provider held before, if its books can be read: what a former case left behind is not this one's.
    before: Result<usize, String>,
}

impl Site {
    /// Instance `number`, without any history.
    pub(super) fn open(subject: &Subject, number: u32) -> Result<Self, Unmet> {
        Self::open_on(subject, number, StateDir::new()?)
    }

    /// Closes it and opens it again, as when the host restarts.
    pub(super) fn reopen(self, subject: &Subject, number: u32) -> Result<Self, Unmet> {
        let Site { backend, state, before, .. } = self;
        drop(backend);
        Ok(Site { before, ..Self::open_on(subject, number, state)? })
    }

    fn open_on(subject: &Subject, number: u32, state: StateDir) -> Result<Self, Unmet> {
        let plugin = subject.plugin;
        let open = |config: &Value| Backend::open(plugin, config, state.path());
        let backend = opened(subject, number, &open)?;
        let capabilities = backend.capabilities()?;
        Ok(Site { backend, state, capabilities, before: subject.surroundings.held() })
    }

    /// Reserves, as far as it goes without the window's beginning: submitted, and committed if that is a second
    /// step.
    pub(super) fn reserve(&self, request: &Request) -> Result<Observed, Unmet> {
        let observed = self.wait::<Observed>(Verb::Submit, &to_value(request), "submit")?;
        let observed = if self.capabilities.two_phase {
            self.wait(Verb::Commit, &to_value(&handle_of(&observed)), "commit")?
        } else {
            observed
        };
        let (asked, named) = (&request.key, &observed.key);
        ensure_unmet(named == asked, || format!("asked for {asked} it answers with {named}"))?;
        let state = observed.state;
        ensure_unmet(state.may_hold_capacity(), || format!("it says yes to {asked} and calls it {state}"))?;
        Ok(observed)
    }

    /// That the provider's own books, if they can be read, say that it holds this much more than when the instance
    /// was opened.
    pub(super) fn provider_holds(&self, subject: &Subject, count: usize) -> Verdict {
        if let (Ok(held), Ok(before)) = (subject.surroundings.held(), &self.before) {
            ensure!(
                held == before + count,
                "by its own books the provider holds {held} reservations, not {}",
                before + count
            );
        }
        Ok(())
    }

    /// Gives back what is held under a key, as the host does: again until it succeeds.
    pub(super) fn release(&self, key: &RequestKey) -> Verdict {
        let since = Instant::now();
        loop {
            let handle = Handle { key: key.clone(), native_id: None };
            match self.wait_for::<()>(Verb::Cancel, &to_value(&handle), LONG) {
                Some(Ok(())) => return Ok(()),
                Some(Err(failure)) if is_repeatable(&failure) && since.elapsed() < PATIENCE => {}
                Some(Err(failure)) => fail!("cancel of {key}: {}", said(&failure)),
                None => fail!("cancel of {key} has not returned for {LONG:?}"),
            }
        }
    }

    /// What is found under a key that may hold capacity.
    pub(super) fn live(&self, key: &RequestKey) -> Result<Vec<Observed>, Unmet> {
        let found: Vec<Observed> = self.look(Verb::Find, &to_value(key))?;
        let wrong = found.iter().find(|observed| observed.key != *key);
        ensure_unmet(wrong.is_none(), || format!("find of {key} answers with another key"))?;
        Ok(found.into_iter().filter(|observed| observed.state.may_hold_capacity()).collect())
    }

    pub(super) fn must_be_gone(&self, key: &RequestKey) -> Verdict {
        let live = self.live(key)?;
        ensure!(live.is_empty(), "after its release {key} is found as {}", live[0].state);
        Ok(())
    }

    /// The keys of what is listed for `owner` that may hold capacity, in order.
    pub(super) fn listed(&self, owner: &str) -> Result<Vec<RequestKey>, Unmet> {
        let listed: Vec<Observed> = self.look(Verb::ListOwned, &owner.into())?;
        let live = listed.into_iter().filter(|observed| observed.state.may_hold_capacity());
        let mut keys: Vec<_> = live.map(|observed| observed.key).collect();
        keys.sort();
        Ok(keys)
    }

    /// Looks something up, as the host does: again while nobody can say.
    fn look<T: serde::de::DeserializeOwned>(&self, verb: Verb, document: &Value) -> Result<T, Unmet> {
        let since = Instant::now();
        loop {
            match self.wait_for(verb, document, LONG) {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(failure)) if is_passing(&failure) && since.elapsed() < PATIENCE => {}
                Some(Err(failure)) => return Err(Unmet::Failed(format!("{verb}: {}", said(&failure)))),
                None => return Err(Unmet::Failed(format!("{verb} has not returned for {LONG:?}"))),
            }
        }
    }

    /// Carries out a verb, which must succeed.
    pub(super) fn wait<T: serde::de::DeserializeOwned>(
        &self,
        verb: Verb,
        document: &Value,
        what: &str,
    ) -> Result<T, Unmet> {
        match self.wait_for(verb, document, LONG) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(failure)) => Err(Unmet::Failed(format!("{what}: {}", said(&failure)))),
            None => Err(Unmet::Failed(format!("{what} has not returned for {LONG:?}"))),
        }
    }

    pub(super) fn wait_for<T: serde::de::DeserializeOwned>(
        &self,
        verb: Verb,
        document: &Value,
        patience: Duration,
    ) -> Option<Result<T, Failure>> {
        self.backend.finish_within(self.backend.start(verb, document), patience)
    }
}

/// Whether a look-up that failed so may succeed a little later.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Retry | FailureKind::Unavailable)
}

/// Whether the host would repeat a cancel that failed so.
pub(super) fn is_repeatable(failure: &Failure) -> bool {
    use FailureKind::{Refused, Retry, Unavailable, UnknownOutcome};
    matches!(failure.kind, Retry | Refused | Unavailable | UnknownOutcome)
        && !failure.reason.starts_with("panicked")
}

/// A request that can be granted beside those of other numbers, under a key that nobody has used.
pub(super) fn request(subject: &Subject, number: u32) -> Result<Request, Unmet> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let mut request = subject.surroundings.request(number).map_err(Unmet::Skipped)?;
    let (epoch, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    request.key = RequestKey(format!("{INSTALLATION}-{epoch}-{number}"));
    request.owner = format!("{INSTALLATION}/{epoch}");
    Ok(request)
}

pub(super) fn handle_of(observed: &Observed) -> Handle {
    Handle { key: observed.key.clone(), native_id: observed.native_id.clone() }
}

pub(super) fn to_value<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("documents of the model are plain JSON")
}

fn ensure_unmet(condition: bool, reason: impl FnOnce() -> String) -> Verdict {
    if condition { Ok(()) } else { Err(Unmet::Failed(reason())) }
}
