//! The host that instances under test see: counters, logs, a pool, a state directory, a key pair.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vreserve_abi::export::WithMetadata;
use vreserve_abi::{HostContext, HostTable, HostTableRef, Identity, Pool, Queue, RStr, RString};

/// The level of `info`: what is logged more verbosely is not asked for.
const MAX_LEVEL: u8 = 3;
/// Lines of an instance's log that are kept.
const LINES: usize = 20;

/// What the host offers one instance. It may be opened again with the same.
#[derive(Clone)]
pub(super) struct Offer {
    context: usize,
    registration: Arc<Registration>,
}

struct Registration {
    pool: Pool,
    identity: Identity,
    state_dir: PathBuf,
    counters: Mutex<BTreeMap<String, &'static AtomicU64>>,
    log: Mutex<VecDeque<String>>,
}

// SAFETY: the pool is an address that only instances use.
#[allow(unsafe_code, reason = "an address may be told to any thread")]
unsafe impl Send for Registration {}
// SAFETY: as above; nothing here changes it.
#[allow(unsafe_code, reason = "an address may be told to any thread")]
unsafe impl Sync for Registration {}

/// Found again by their index, which is what crosses the boundary.
static OFFERS: Mutex<Vec<Arc<Registration>>> = Mutex::new(Vec::new());

impl Offer {
    pub(super) fn new(pool: Pool, identity: Identity, state_dir: &Path) -> Self {
        let registration = Arc::new(Registration {
            pool,
            identity,
            state_dir: state_dir.to_owned(),
            counters: Mutex::default(),
            log: Mutex::default(),
        });
        let mut offers = lock(&OFFERS);
        offers.push(Arc::clone(&registration));
        Offer { context: offers.len() - 1, registration }
    }

    /// Of an instance that has neither frames nor state.
    pub(super) fn bare() -> Self {
        Self::new(Pool::NONE, Identity::NONE, Path::new("/nonexistent"))
    }

    pub(super) fn context(&self) -> HostContext {
        const TABLE: &WithMetadata<HostTable> =
            &WithMetadata::new(HostTable { log, max_level, counter, state_dir, pool, queue, identity });
        HostContext { table: HostTableRef(TABLE.static_as_prefix()), context: self.context }
    }

    /// The last thing that the instance logged, to be put behind a reason.
    pub(super) fn last_words(&self) -> String {
        lock(&self.registration.log).back().map_or(String::new(), |line| format!(" (its log: {line})"))
    }
}

/// A directory that goes away.
pub(super) struct StateDir(PathBuf);

impl StateDir {
    pub(super) fn new() -> Result<Self, String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vreserve-kit-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(StateDir(path)),
            Err(error) => Err(format!("no state directory {}: {error}", path.display())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // What cannot be removed is in the system's temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn registration(context: usize) -> Option<Arc<Registration>> {
    lock(&OFFERS).get(context).cloned()
}

extern "C" fn log(context: usize, _: u8, target: RStr<'_>, message: RStr<'_>) {
    let Some(registration) = registration(context) else { return };
    let mut log = lock(&registration.log);
    if log.len() == LINES {
        log.pop_front();
    }
    log.push_back(format!("{target}: {message}").chars().take(400).collect());
}

extern "C" fn max_level(_: usize) -> u8 {
    MAX_LEVEL
}

extern "C" fn counter(context: usize, name: RStr<'_>, _help: RStr<'_>) -> &'static AtomicU64 {
    static NOBODYS: AtomicU64 = AtomicU64::new(0);
    let Some(registration) = registration(context) else { return &NOBODYS };
    let mut counters = lock(&registration.counters);
    counters.entry(name.to_string()).or_insert_with(|| Box::leak(Box::default()))
}

extern "C" fn state_dir(context: usize) -> RString {
    registration(context).map_or(RString::new(), |offer| offer.state_dir.display().to_string().into())
}

extern "C" fn pool(context: usize) -> Pool {
    registration(context).map_or(Pool::NONE, |offer| offer.pool)
}

extern "C" fn queue(_: usize) -> Queue {
    Queue::ONLY
}

extern "C" fn identity(context: usize) -> Identity {
    registration(context).map_or(Identity::NONE, |offer| offer.identity)
}
