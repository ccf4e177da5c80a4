//! The reservation backends by network, with those that were replaced and still hold circuits.
//!
//! Every circuit remembers the generation of the backend that it was first asked of, and all its calls go there. A
//! former backend is closed (dropped) when its last circuit is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vreserve_core::lead::CircuitId;

use crate::plugin::Backend;

/// One opening of a backend; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

/// One open backend.
#[derive(Clone)]
pub(super) struct OpenBackend {
    /// Which.
    pub(super) generation: Generation,
    /// Itself.
    pub(super) backend: Arc<dyn Backend>,
}

/// What a replacement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replaced {
    /// The one that takes no new requests any more.
    pub(super) former: Option<Generation>,
    /// The one that does now.
    pub(super) new: Option<Generation>,
}

/// All open backends.
#[derive(Default)]
pub(super) struct Backends {
    last: u64,
    current: BTreeMap<String, OpenBackend>,
    former: BTreeMap<Generation, Arc<dyn Backend>>,
    asked: BTreeMap<CircuitId, Generation>,
}

impl Backends {
    /// The first backends, by network.
    pub(super) fn new(backends: BTreeMap<String, Arc<dyn Backend>>) -> Self {
        let mut all = Backends::default();
        for (network, backend) in backends {
            all.replace(&network, Some(backend), []);
        }
        all
    }

    /// Those that new requests go to.
    pub(super) fn current(&self) -> impl Iterator<Item = (&String, &OpenBackend)> {
        self.current.iter()
    }

    /// The one that new requests for `network` go to.
    pub(super) fn current_of(&self, network: &str) -> Option<Arc<dyn Backend>> {
        self.current.get(network).map(|open| open.backend.clone())
    }

    /// The one that new requests for `network` go to, if it is `generation`: what another says is not about it.
    pub(super) fn current_if(&self, network: &str, generation: Generation) -> Option<&Arc<dyn Backend>> {
        self.current.get(network).filter(|open| open.generation == generation).map(|open| &open.backend)
    }

    /// The one that a circuit's calls go to. A circuit that has been asked of none yet is the current one's from
    /// now on.
    pub(super) fn of_circuit(&mut self, circuit: CircuitId, network: &str) -> Option<Arc<dyn Backend>> {
        let current = self.current.get(network);
        let generation = match self.asked.get(&circuit) {
            Some(generation) => *generation,
            None => {
                let generation = current?.generation;
                self.asked.insert(circuit, generation);
                generation
            }
        };
        match current {
            Some(open) if open.generation == generation => Some(open.backend.clone()),
            _ => self.former.get(&generation).cloned(),
        }
    }

    /// From now on new requests for `network` go to `backend`, or nowhere; `held` are the circuits of the network that
    /// have been asked for, which stay with the former one.
    pub(super) fn replace(
        &mut self,
        network: &str,
        backend: Option<Arc<dyn Backend>>,
        held: impl IntoIterator<Item = CircuitId>,
    ) -> Replaced {
        let former = self.current.remove(network).map(|former| self.retire(former, held));
        let open = backend.map(|backend| self.number(backend));
        let new = open.as_ref().map(|open| open.generation);
        self.current.extend(open.map(|open| (network.to_owned(), open)));
        Replaced { former, new }
    }

    /// A backend that takes no new requests; `held` are the circuits that an earlier run has asked it for.
    pub(super) fn add_former(
        &mut self,
        backend: Arc<dyn Backend>,
        held: impl IntoIterator<Item = CircuitId>,
    ) -> Generation {
        let open = self.number(backend);
        self.retire(open, held)
    }

    fn number(&mut self, backend: Arc<dyn Backend>) -> OpenBackend {
        self.last += 1;
        OpenBackend { generation: Generation(self.last), backend }
    }

    fn retire(&mut self, open: OpenBackend, held: impl IntoIterator<Item = CircuitId>) -> Generation {
        let OpenBackend { generation, backend } = open;
        self.former.insert(generation, backend);
        for circuit in held {
            self.asked.entry(circuit).or_insert(generation);
        }
        generation
    }

    /// Closes the former backends that none of the `live` circuits was asked of, and returns which.
    pub(super) fn close_idle(&mut self, live: impl Iterator<Item = CircuitId>) -> Vec<Generation> {
        if self.former.is_empty() && self.asked.is_empty() {
            return Vec::new();
        }
        let live: BTreeSet<_> = live.collect();
        self.asked.retain(|circuit, _| live.contains(circuit));
        let used: BTreeSet<_> = self.asked.values().copied().collect();
        let idle: Vec<_> = self.former.keys().copied().filter(|former| !used.contains(former)).collect();
        for generation in &idle {
            self.former.remove(generation);
        }
        idle
    }

    /// How many former backends still hold circuits.
    pub(super) fn former(&self) -> usize {
        self.former.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use vreserve_model::{Capabilities, Changes, Failure, Observed, Request, RequestKey};
    use vreserve_sdk::Handle;

    /// A backend that nobody calls.
    struct Idle;

    macro_rules! never {
        ($($verb:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
            #[async_trait]
            impl Backend for Idle {
                fn capabilities(&self) -> Capabilities {
                    Capabilities::default()
                }
                $(async fn $verb(&self, $($arg: $type),*) -> Result<$answer, Failure> {
                    $(let _ = $arg;)*
                    Err(Failure::unavailable("nobody is here"))
                })*
            }
        };
    }

    never! {
        submit(request: Request) -> Observed;
        cancel(handle: Handle) -> ();
        query(handle: Handle) -> Option<Observed>;
        commit(handle: Handle) -> Observed;
        abort(handle: Handle) -> ();
        activate(handle: Handle, request: Request) -> Observed;
        deactivate(handle: Handle) -> Observed;
        modify(handle: Handle, request: Request) -> Observed;
        find(key: RequestKey) -> Vec<Observed>;
        list_owned(owner: String) -> Vec<Observed>;
        gc(valid: Vec<RequestKey>) -> Vec<RequestKey>;
        events(since: u64) -> Changes;
        health() -> ();
    }

    fn is_same(found: Option<Arc<dyn Backend>>, expected: &Arc<dyn Backend>) -> bool {
        found.is_some_and(|found| Arc::ptr_eq(&found, expected))
    }

    /// Not zero-sized in effect: each `Arc` is an allocation of its own.
    fn backend() -> Arc<dyn Backend> {
        Arc::new(Idle)
    }

    #[test]
    fn a_circuit_stays_with_the_backend_it_was_asked_of_until_it_is_over() {
        let (old, new) = (backend(), backend());
        let watch = Arc::downgrade(&old);
        let [first, restored, second] = [1, 2, 3].map(CircuitId);
        let mut backends = Backends::new(BTreeMap::from([("net".to_owned(), old.clone())]));
        assert!(is_same(backends.of_circuit(first, "net"), &old));
        // One that was restored, and of which nothing has been asked in this run.
        backends.replace("net", Some(new.clone()), [first, restored]);
        assert!(is_same(backends.of_circuit(first, "net"), &old));
        assert!(is_same(backends.of_circuit(restored, "net"), &old));
        assert!(is_same(backends.of_circuit(second, "net"), &new));
        drop(old);
        assert_eq!(backends.close_idle([restored, second].into_iter()), []);
        assert!(watch.upgrade().is_some(), "open while it holds a circuit");
        assert_eq!(backends.close_idle([second].into_iter()).len(), 1);
        assert!(watch.upgrade().is_none(), "closed with its last circuit");
        assert!(is_same(backends.of_circuit(second, "net"), &new));
    }

    #[test]
    fn a_backend_of_an_earlier_run_has_what_it_held_and_takes_nothing_new() {
        let [old, older] = [backend(), backend()];
        let mut backends = Backends::default();
        let first = backends.add_former(old.clone(), [CircuitId(1)]);
        let second = backends.add_former(older, [CircuitId(1)]);
        assert!(is_same(backends.of_circuit(CircuitId(1), "net"), &old), "the later one is asked first");
        assert!(backends.of_circuit(CircuitId(2), "net").is_none() && backends.current_of("net").is_none());
        assert_eq!(backends.close_idle([CircuitId(1)].into_iter()), [second]);
        assert_eq!(backends.close_idle([].into_iter()), [first]);
    }

    #[test]
    fn without_a_successor_only_what_is_held_has_a_backend() {
        let old = backend();
        let mut backends = Backends::new(BTreeMap::from([("net".to_owned(), old.clone())]));
        assert_eq!(backends.replace("net", None, [CircuitId(1)]).new, None);
        assert!(is_same(backends.of_circuit(CircuitId(1), "net"), &old));
        assert!(backends.of_circuit(CircuitId(2), "net").is_none());
        assert_eq!(backends.former(), 1);
    }
}
