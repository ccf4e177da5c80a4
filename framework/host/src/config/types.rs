//! A node's configuration as a value. What is wrong with one never gets here: see [`ConfigErrors`](super::ConfigErrors).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vreserve_core::lead::Budget;
use vreserve_core::probe::RateTerms;

use crate::keys::PublicKey;
use crate::plugin::{FaultPlan, PluginKind};

/// One node's configuration, complete and consistent in itself.
///
/// Names (of nodes, instances, networks, static links) have 1 to 64 of `A-Z a-z 0-9 . _ -` and begin with a
/// letter or digit.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[node]`.
    pub node: NodeConfig,
    /// `[plugins] dirs`: where shared objects are looked for, in order; absolute.
    pub plugin_dirs: Vec<PathBuf>,
    /// `[capture.<instance>]`, in the file's order.
    pub captures: Vec<Instance>,
    /// `[link.<instance>]`, in the file's order; one of them is the star's.
    pub links: Vec<LinkConfig>,
    /// `[infer.<instance>]`.
    pub infer: InferConfig,
    /// `[adapt.<instance>]`; only on the proxy.
    pub adapt: Option<Instance>,
    /// `[reserve.<instance>]`, in the file's order; only on the proxy; one per network.
    pub reserves: Vec<ReserveConfig>,
    /// `[[static_link]]`, in the file's order.
    pub static_links: Vec<StaticLink>,
    /// `[lead]`.
    pub lead: LeadConfig,
    /// The text it was read from, so that errors found later can name line and column.
    pub(super) source: Source,
}

/// The text of a configuration, and the name of its file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: Arc<str>,
}

/// `[node]`: who this node is.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name, unique in the installation.
    pub name: String,
    /// The file of its private key.
    pub key: PathBuf,
    /// Where durable state lives; `/var/lib/vreserve` unless given.
    pub state_dir: PathBuf,
    /// The unix socket of the control API; `/run/vreserve/<name>.sock` unless given.
    pub socket: PathBuf,
    /// The link instance over which the star runs.
    pub star: String,
    /// `workers`: threads of the data plane, 1 to 64; half the CPUs that the daemon may use unless given, at
    /// least 1 and at most 8.
    pub workers: usize,
    /// `pin`: the CPUs that workers stay on; nowhere in particular unless given.
    pub pin: Pin,
    /// `spin`: the gaps between frames that a worker polls through instead of sleeping; 50 us unless given, 0 s
    /// to 10 ms; 0 s never polls.
    pub spin: Duration,
    /// `prove_for` and `least_delivered`: how the rate of a circuit is proven from here.
    pub rate_terms: RateTerms,
    /// What it is in the star.
    pub role: Role,
}

/// Where workers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Wherever the scheduler puts them (`false`).
    #[default]
    Anywhere,
    /// Each on the next of the CPUs that the daemon may use, in order (`true`).
    InOrder,
    /// Each on the CPU of this list at its place; as many as there are workers.
    Cpus(Vec<usize>),
}

/// What a node is in the star.
#[derive(Clone, Debug)]
pub enum Role {
    /// A node with a proxy.
    Node {
        /// Its proxy.
        proxy: ProxyConfig,
    },
    /// The proxy, which is also the lead.
    Proxy {
        /// Where it listens for nodes (`control`).
        listen: SocketAddr,
        /// The nodes it admits; names and keys are unique.
        admit: Vec<Admitted>,
    },
}

/// `proxy`: the node's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The proxy's name.
    pub name: String,
    /// The proxy's key.
    pub public_key: PublicKey,
    /// Where it listens for nodes: `host:port`.
    pub address: String,
}

/// One entry of `admit`: a node that the proxy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The node's name.
    pub name: String,
    /// The node's key.
    pub public_key: PublicKey,
}

/// One plugin instance: the keys that every kind has, and the plugin's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it is for.
    pub kind: PluginKind,
    /// Its name, unique within its kind.
    pub name: String,
    /// `use`: the plugin's name.
    pub plugin: String,
    /// `path`: this shared object instead of a search of the directories; absolute.
    pub path: Option<PathBuf>,
    /// `required`: whether the node cannot run without it; true unless given.
    pub required: bool,
    /// `sha256`: the digest that the shared object must have.
    pub sha256: Option<[u8; 32]>,
    /// Everything else, as the plugin takes it: a JSON object.
    pub settings: String,
}

/// A link instance: one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// The instance.
    pub instance: Instance,
    /// `network`: the network it is attached to, which makes it reservable; no two endpoints share one.
    pub network: Option<String>,
    /// `advertise`: the address that other nodes should use instead of the endpoint's own.
    pub advertise: Option<String>,
}

/// An inference instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferConfig {
    /// The instance.
    pub instance: Instance,
    /// `report_interval`: time between two reports; 500 ms unless given, 10 ms to 1 h.
    pub report_interval: Duration,
}

/// A reservation instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveConfig {
    /// The instance.
    pub instance: Instance,
    /// `network`: the network it reserves on.
    pub network: String,
    /// `max_circuits`, `max_rate`: what may be held on it at once; unless given, what the backend has room for.
    pub budget: Budget,
    /// `faults`, with `wrap = "faults"`: what is injected into its calls on purpose; nothing unless given.
    pub faults: Option<FaultPlan>,
}

/// `[[static_link]]`: a link to a device outside the overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticLink {
    /// Its name, unique among static links.
    pub name: String,
    /// The link instance it leaves by.
    pub endpoint: String,
    /// The device's address, in the link plugin's own terms.
    pub address: String,
    /// `public_key`: the device's key, if the link plugin's format asks for one.
    pub public_key: Option<PublicKey>,
}

/// `[lead]`: how patient the lead is with reservations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeadConfig {
    /// First wait after a refused or broken reservation; 2 s unless given.
    pub retry_min: Duration,
    /// Longest wait; 60 s unless given; not below `retry_min`.
    pub retry_max: Duration,
    /// How long one call to a reservation backend may take; 120 s unless given.
    pub reserve_timeout: Duration,
    /// How long a circuit that a new lead finds on record is kept though nobody wants it yet; 15 s unless given.
    pub restore_grace: Duration,
    /// How long capacity that is on no record is watched before it is given back; 30 s unless given.
    pub orphan_grace: Duration,
    /// How often a backend that can is asked what it holds; 30 s unless given.
    pub list_every: Duration,
    /// `shadow`: whether it plans and shows what it would reserve, and reserves nothing; false unless given.
    pub shadow: bool,
    /// `recurring` and `recurring_ahead`: how long before a window opens it is booked for demand that recurs; none
    /// unless given.
    pub recurring: Option<Duration>,
}

impl Config {
    /// Every plugin instance: captures, links, infer, adapt, reserves.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let links = self.links.iter().map(|link| &link.instance);
        let reserves = self.reserves.iter().map(|reserve| &reserve.instance);
        self.captures.iter().chain(links).chain([&self.infer.instance]).chain(&self.adapt).chain(reserves)
    }

    /// The file that it was read from.
    pub fn file(&self) -> &Path {
        &self.source.file
    }

    /// The endpoint over which the star runs.
    pub fn star(&self) -> &LinkConfig {
        let star = self.links.iter().find(|link| link.instance.name == self.node.star);
        star.expect("a configuration whose star is not an endpoint is refused when it is read")
    }
}
