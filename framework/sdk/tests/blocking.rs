//! A backend without `async` through its C table: calls that block, wait, are dropped and panic.
#![allow(unsafe_code, reason = "calls the C functions as the host does")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use vreserve_sdk::abi::export::PrefixTypeTrait;
use vreserve_sdk::abi::{
    FfiFuture, HostContext, HostTable, Identity, PluginFailure, Pool, Queue, RResult, RStr, RString,
    RawReserve,
};
use vreserve_sdk::model::{Capabilities, FailureKind, Observed, Request, RequestKey};
use vreserve_sdk::serde::de::DeserializeOwned;
use vreserve_sdk::{Blocking, BlockingReserve, Failure, Handle, Host, JsonSchema, export_plugin, shim};

/// Blocks every submit until its gate is opened.
#[derive(Default)]
struct Gated(Arc<Gate>);

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    inside: usize,
    most_inside: usize,
    done: BTreeSet<String>,
}

thread_local! {
    /// The gate of the instance that this thread opened last.
    static OPENED: RefCell<Option<Arc<Gate>>> = const { RefCell::new(None) };
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait_until(&self, mut is_so: impl FnMut(&State) -> bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, Duration::from_secs(30), |state| !is_so(state));
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "not within 30 s");
    }

    fn open(&self) {
        self.change(|state| state.is_open = true);
    }
}

fn observed(key: RequestKey) -> Observed {
    serde_json::from_value(serde_json::json!({ "key": key, "state": "booked" })).unwrap()
}

impl BlockingReserve for Gated {
    type Config = Config;

    const THREADS: usize = 3;

    fn open(_: Config, _: Host) -> Result<Self, Failure> {
        let gated = Gated::default();
        OPENED.set(Some(Arc::clone(&gated.0)));
        Ok(gated)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { find: true, ..Capabilities::default() }
    }

    fn submit(&self, request: Request) -> Result<Observed, Failure> {
        assert!(request.rate.0 != 13, "13 makes this plugin panic");
        self.0.change(|state| {
            state.inside += 1;
            state.most_inside = state.most_inside.max(state.inside);
        });
        self.0.wait_until(|state| state.is_open);
        self.0.change(|state| {
            state.inside -= 1;
            state.done.insert(request.key.0.clone());
        });
        Ok(observed(request.key))
    }

    fn cancel(&self, _: Handle) -> Result<(), Failure> {
        Ok(())
    }
}

export_plugin!(name = "blocking-test", reserve = Blocking<Gated>);

extern "C" fn log(_: usize, _: u8, _: RStr<'_>, _: RStr<'_>) {}
extern "C" fn max_level(_: usize) -> u8 {
    0
}
extern "C" fn counter(_: usize, _: RStr<'_>, _: RStr<'_>) -> &'static AtomicU64 {
    static CELL: AtomicU64 = AtomicU64::new(0);
    &CELL
}
extern "C" fn state_dir(_: usize) -> RString {
    RString::new()
}
extern "C" fn pool(_: usize) -> Pool {
    Pool::NONE
}
extern "C" fn queue(_: usize) -> Queue {
    Queue::ONLY
}
extern "C" fn identity(_: usize) -> Identity {
    Identity::NONE
}

struct Backend(RawReserve, Arc<Gate>);

type Call = FfiFuture<RResult<RString, PluginFailure>>;

impl Backend {
    fn open() -> Self {
        let table =
            HostTable { log, max_level, counter, state_dir, pool, queue, identity }.leak_into_prefix();
        let raw = plugin().open_reserve()(HostContext { table, context: 0 }, "{}".into()).unwrap();
        Backend(raw, OPENED.take().expect("it was opened on this thread"))
    }

    fn start(&self, verb: &str, document: &str) -> Call {
        // SAFETY: the instance is open until it is dropped.
        unsafe { self.0.table.call()(self.0.instance, verb.into(), document.into()) }
    }

    fn submit(&self, key: &str, rate: u64) -> Call {
        let request = format!(r#"{{"key":"{key}","owner":"o","a":"x","z":"y","rate":{rate}}}"#);
        self.start("submit", &request)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: called once, last.
        unsafe { self.0.table.close()(self.0.instance) }
    }
}

async fn answer<T: DeserializeOwned>(call: Call) -> Result<T, Failure> {
    let document = call.await.into_result().map_err(|failure| shim::failure_in(&failure))?;
    Ok(serde_json::from_str(document.as_str()).unwrap())
}

#[tokio::test]
async fn calls_that_block_leave_others_be() {
    let backend = Backend::open();
    let calls = [backend.submit("k1", 1), backend.submit("k2", 1)];
    backend.1.wait_until(|state| state.inside == 2);
    answer::<()>(backend.start("cancel", r#"{"key":"k3"}"#)).await.unwrap();
    backend.1.open();
    for call in calls {
        answer::<Observed>(call).await.unwrap();
    }
}

#[tokio::test]
async fn no_more_run_at_once_than_there_are_threads() {
    let backend = Backend::open();
    let calls: Vec<_> = (0..12).map(|n| backend.submit(&format!("k{n}"), 1)).collect();
    backend.1.wait_until(|state| state.inside == 3);
    backend.1.open();
    for call in calls {
        answer::<Observed>(call).await.unwrap();
    }
    backend.1.wait_until(|state| state.done.len() == 12 && state.most_inside == 3);
}

#[tokio::test]
async fn a_call_that_is_dropped_goes_on_to_its_end_and_one_that_waits_is_never_made() {
    let backend = Backend::open();
    let begun: Vec<_> = (0..3).map(|n| backend.submit(&format!("k{n}"), 1)).collect();
    backend.1.wait_until(|state| state.inside == 3);
    let waiting = backend.submit("late", 1);
    drop(waiting);
    drop(begun);
    backend.1.open();
    backend.1.wait_until(|state| state.done.len() == 3);
    answer::<()>(backend.start("cancel", r#"{"key":"late"}"#)).await.unwrap();
    backend.1.wait_until(|state| !state.done.contains("late"));
}

#[tokio::test]
async fn a_panic_is_told_and_the_instance_goes_on() {
    let backend = Backend::open();
    let panicked = answer::<Observed>(backend.submit("k1", 13)).await.unwrap_err();
    assert_eq!(panicked.kind, FailureKind::UnknownOutcome);
    assert!(panicked.reason.contains("13 makes this plugin panic"), "{panicked}");
    backend.1.open();
    answer::<Observed>(backend.submit("k2", 1)).await.unwrap();
    let missing = answer::<()>(backend.start("health", "null")).await.unwrap_err();
    assert_eq!(missing.kind, FailureKind::Unsupported);
    // SAFETY: the instance is open.
    let capabilities = unsafe { backend.0.table.capabilities()(backend.0.instance) };
    assert!(capabilities.contains(r#""find":true"#), "{capabilities}");
}
