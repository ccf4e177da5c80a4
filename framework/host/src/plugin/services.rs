//! What the host offers plugin instances: logs, counters, a directory for state, the pool, the node's keys.
//!
//! The C functions below are called from any thread of any plugin, at any time, also after an instance was
//! closed; so what they look up is registered for the rest of the process. They must not panic.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tracing::level_filters::LevelFilter;
use vreserve_abi::export::WithMetadata;
use vreserve_abi::{HostContext, HostTable, HostTableRef, Identity, Pool, Queue, RStr, RString};

use super::counters::{Counters, cut};
use super::{CounterReading, PluginKind, PoolRegion};
use crate::keys::KeyPair;

/// Longest log line in bytes; longer ones are cut.
const MAX_LOG_LINE: usize = 8 * 1024;

/// Every instance ever registered, by context number: a daemon has as many as its configuration names.
static REGISTERED: RwLock<Vec<Arc<Registration>>> = RwLock::new(Vec::new());

/// Takes what a counter adds to whose context number is wrong.
static NOBODYS_COUNTER: AtomicU64 = AtomicU64::new(0);

struct Registration {
    kind: PluginKind,
    name: String,
    state_dir: PathBuf,
    /// Shared by all queues of one name.
    counters: Arc<Counters>,
    opening: Mutex<Opening>,
    /// None for all but link instances.
    identity: Option<Arc<KeyPair>>,
}

/// Kind, name, and the queue's index.
type InstanceKey = (PluginKind, String, u32);

/// What the next opening of an instance gets.
#[derive(Clone, Copy)]
struct Opening {
    pool: Option<PoolRegion>,
    queue: Queue,
}

/// The host's services for the instances of one daemon.
pub struct HostServices {
    state_dir: PathBuf,
    identity: Option<Arc<KeyPair>>,
    instances: Mutex<BTreeMap<InstanceKey, InstanceHost>>,
}

/// The host's services for one instance: handed to the instance when it is opened.
#[derive(Clone)]
pub struct InstanceHost {
    context: usize,
    registration: Arc<Registration>,
}

impl HostServices {
    /// Services that keep instances' durable state in `<state_dir>/<kind>/<instance>`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        HostServices { state_dir: state_dir.into(), identity: None, instances: Mutex::new(BTreeMap::new()) }
    }

    /// The same, with the key pair that link instances are told.
    #[must_use]
    pub fn with_identity(self, keys: KeyPair) -> Self {
        HostServices { identity: Some(Arc::new(keys)), ..self }
    }

    /// The services of one instance. A name stands for the same counters and state however often its
    /// instance is opened; `pool` is the one that the next opening gets.
    pub fn instance(&self, kind: PluginKind, name: &str, pool: Option<PoolRegion>) -> InstanceHost {
        self.queue_instance(kind, name, pool, Queue::ONLY)
    }

    /// The services of one of several instances of a name, each of which serves one queue. They share their
    /// counters and their directory.
    pub fn queue_instance(
        &self,
        kind: PluginKind,
        name: &str,
        pool: Option<PoolRegion>,
        queue: Queue,
    ) -> InstanceHost {
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = |instances: &BTreeMap<InstanceKey, InstanceHost>| {
            let all = (kind, name.to_owned(), 0)..=(kind, name.to_owned(), u32::MAX);
            instances.range(all).next().map(|(_, host)| host.registration.counters.clone())
        };
        let counters = of_name(&instances).unwrap_or_default();
        let opening = Opening { pool, queue };
        let host = instances.entry((kind, name.to_owned(), queue.index)).or_insert_with(|| {
            InstanceHost::register(Registration {
                kind,
                name: name.to_owned(),
                state_dir: self.state_dir.join(kind.name()).join(name),
                counters,
                opening: Mutex::new(opening),
                identity: self.identity.clone().filter(|_| kind == PluginKind::Link),
            })
        });
        *host.registration.opening.lock().unwrap_or_else(PoisonError::into_inner) = opening;
        host.clone()
    }

    /// The services of a backend that keeps its state in `<state_dir>/reserve/<place>`. One that takes over from another
    /// of its name shares the counters, but never the state, as both are open for a while.
    pub fn backend_instance(&self, name: &str, place: &str) -> InstanceHost {
        let kind = PluginKind::Reserve;
        let of_name = self.instance(kind, name, None);
        if place == name {
            return of_name;
        }
        InstanceHost::register(Registration {
            kind,
            name: name.to_owned(),
            state_dir: self.state_dir.join(kind.name()).join(place),
            counters: of_name.registration.counters.clone(),
            opening: Mutex::new(Opening { pool: None, queue: Queue::ONLY }),
            identity: None,
        })
    }

    /// Every counter of every instance, by kind, instance and name.
    pub fn counters(&self) -> Vec<CounterReading> {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts: Vec<_> = instances.iter().collect();
        hosts.dedup_by(|(later, _), (first, _)| (later.0, &later.1) == (first.0, &first.1));
        hosts.into_iter().flat_map(|(_, host)| host.counters()).collect()
    }
}

impl InstanceHost {
    fn register(registration: Registration) -> Self {
        let registration = Arc::new(registration);
        let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
        registered.push(Arc::clone(&registration));
        InstanceHost { context: registered.len() - 1, registration }
    }

    /// This instance's counters, by name.
    pub fn counters(&self) -> Vec<CounterReading> {
        self.registration.counters.readings(self.registration.kind, &self.registration.name)
    }

    /// The cell of the instance's counter `name`, also for what the host itself counts of it.
    pub fn counter(&self, name: &str, help: &str) -> &'static AtomicU64 {
        self.registration.counters.cell(name, help)
    }

    pub(super) fn pool(&self) -> Option<PoolRegion> {
        self.registration.opening().pool
    }

    /// The host as the instance sees it.
    pub(super) fn context(&self) -> HostContext {
        const TABLE: &WithMetadata<HostTable> =
            &WithMetadata::new(HostTable { log, max_level, counter, state_dir, pool, queue, identity });
        HostContext { table: HostTableRef(TABLE.static_as_prefix()), context: self.context }
    }
}

impl Registration {
    fn opening(&self) -> Opening {
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn registration(context: usize) -> Option<Arc<Registration>> {
    REGISTERED.read().unwrap_or_else(PoisonError::into_inner).get(context).cloned()
}

extern "C" fn log(context: usize, level: u8, target: RStr<'_>, message: RStr<'_>) {
    thread_local! { static LOGGING: Cell<bool> = const { Cell::new(false) }; }
    // Where a plugin is linked statically and no subscriber is set, the plugin's own forwarder becomes the
    // process's subscriber: what the host logs would come back here without end.
    if LOGGING.try_with(|logging| logging.replace(true)).unwrap_or(true) {
        return;
    }
    forward(context, level, cut(target.as_str(), 128), cut(message.as_str(), MAX_LOG_LINE));
    let _ = LOGGING.try_with(|logging| logging.set(false));
}

fn forward(context: usize, level: u8, module: &str, message: &str) {
    let registration = registration(context);
    let instance = registration.as_ref().map_or("?", |registration| registration.name.as_str());
    match level {
        1 => tracing::error!(target: "plugin", instance, module, "{message}"),
        2 => tracing::warn!(target: "plugin", instance, module, "{message}"),
        3 => tracing::info!(target: "plugin", instance, module, "{message}"),
        4 => tracing::debug!(target: "plugin", instance, module, "{message}"),
        _ => tracing::trace!(target: "plugin", instance, module, "{message}"),
    }
}

extern "C" fn max_level(_: usize) -> u8 {
    match LevelFilter::current() {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        _ => 5,
    }
}

extern "C" fn counter(context: usize, name: RStr<'_>, help: RStr<'_>) -> &'static AtomicU64 {
    match registration(context) {
        Some(registration) => registration.counters.cell(name.as_str(), help.as_str()),
        None => &NOBODYS_COUNTER,
    }
}

extern "C" fn state_dir(context: usize) -> RString {
    let Some(registration) = registration(context) else { return RString::new() };
    let dir = &registration.state_dir;
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        // The plugin finds out when it writes there, and says so in its own words.
        tracing::warn!(instance = registration.name, dir = %dir.display(), %error, "no state directory");
    }
    dir.display().to_string().into()
}

extern "C" fn pool(context: usize) -> Pool {
    let pool = registration(context).and_then(|registration| registration.opening().pool);
    pool.as_ref().map_or(Pool::NONE, PoolRegion::as_pool)
}

extern "C" fn queue(context: usize) -> Queue {
    registration(context).map_or(Queue::ONLY, |registration| registration.opening().queue)
}

extern "C" fn identity(context: usize) -> Identity {
    let registration = registration(context);
    let keys = registration.as_ref().and_then(|registration| registration.identity.as_ref());
    keys.map_or(Identity::NONE, |keys| Identity { secret: *keys.private, public: keys.public.0 })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn reopening_an_instance_keeps_its_counters() {
        let services = HostServices::new("/nonexistent");
        for _ in 0..2 {
            let context = services.instance(PluginKind::Link, "internet", None).context();
            let counter = context.table.counter();
            counter(context.context, "sent".into(), "frames".into()).fetch_add(1, Ordering::Relaxed);
        }
        services.instance(PluginKind::Capture, "internet", None);
        let counters = services.counters();
        assert_eq!(counters.len(), 1);
        assert_eq!((counters[0].name.as_str(), counters[0].value), ("sent", 2));
    }

    #[test]
    fn queues_of_one_name_share_their_counters_and_know_their_places() {
        let services = HostServices::new("/nonexistent");
        for index in 0..3 {
            let queue = Queue { index, count: 3 };
            let context = services.queue_instance(PluginKind::Link, "internet", None, queue).context();
            let (counter, asked) = (context.table.counter(), context.table.queue());
            counter(context.context, "sent".into(), "frames".into()).fetch_add(1, Ordering::Relaxed);
            assert_eq!(asked(context.context), queue);
        }
        let counters = services.counters();
        assert_eq!(counters.iter().map(|counter| counter.value).collect::<Vec<_>>(), [3], "one sum");
        let alone = services.instance(PluginKind::Link, "internet", None).context();
        let asked = alone.table.queue();
        assert_eq!(asked(alone.context), Queue::ONLY, "opened again, alone");
    }

    #[test]
    fn the_state_directory_is_made_on_demand_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let services = HostServices::new(dir.path());
        let context = services.instance(PluginKind::Reserve, "omninet", None).context();
        assert!(!dir.path().join("reserve").exists());
        let state_dir = context.table.state_dir();
        let made = PathBuf::from(state_dir(context.context).into_string());
        assert_eq!(made, dir.path().join("reserve/omninet"));
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_nodes_keys_are_told_to_links_alone() {
        let keys = KeyPair::generate();
        let services = HostServices::new("/nonexistent").with_identity(keys.clone());
        let told = |kind| {
            let context = services.instance(kind, "internet", None).context();
            let identity = context.table.identity();
            identity(context.context)
        };
        let link = told(PluginKind::Link);
        assert_eq!((link.secret, link.public), (*keys.private, keys.public.0));
        for kind in [PluginKind::Capture, PluginKind::Infer, PluginKind::Adapt, PluginKind::Reserve] {
            assert_eq!((told(kind).secret, told(kind).public), ([0; 32], [0; 32]), "{kind}");
        }
    }

    #[test]
    fn a_wrong_context_number_does_no_harm() {
        let context = HostServices::new("/nonexistent").instance(PluginKind::Link, "x", None).context();
        let (log, counter, pool) = (context.table.log(), context.table.counter(), context.table.pool());
        log(usize::MAX, 9, "t".into(), "m".into());
        counter(usize::MAX, "n".into(), "h".into()).fetch_add(1, Ordering::Relaxed);
        assert!(pool(usize::MAX).base.is_null());
        let identity = context.table.identity();
        assert_eq!(identity(usize::MAX).secret, [0; 32]);
    }
}
