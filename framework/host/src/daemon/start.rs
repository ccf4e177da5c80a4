//! Checking and opening everything that a configuration names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use thiserror::Error;
use vreserve_abi::Queue;
use vreserve_core::ids::{InterfaceId, LinkClass, LinkId};
use vreserve_core::lead::{Attachment, NodeDescription, NodeRole};
use vreserve_model::{Failure, FailureKind};

use super::places::Places;
use super::ports;
use super::wrapping::wrapped;
use crate::config::{Config, ConfigErrors, Instance, Pin, Role, did_you_mean};
use crate::control::events::EventLog;
use crate::control::revive::Revived;
use crate::dataplane::ports::{Endpoint, Interface, Port};
use crate::dataplane::{CapturePort, LinkSpec, WorkerConfig};
use crate::keys::KeyPair;
use crate::loader::{LoadError, Registry, StartError};
use crate::plugin::{
    AdaptInstance, Backend, CaptureInstance, HostServices, InferInstance, LinkInstance, PluginKind,
    PoolRegion,
};

/// Identities of static links: a lead's begin above 2^32, its epoch being at least 1.
const STATIC_LINKS: u64 = 1;

/// Why a node did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartFailure {
    /// Its configuration is wrong; nothing was started.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// Something it needs is not there.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl StartFailure {
    pub(super) fn other(error: impl Into<anyhow::Error>) -> Self {
        StartFailure::Other(error.into())
    }
}

/// Checks everything that can be checked without a side effect: plugins are loaded, their configurations
/// read, no instance is opened. Returns what the node will run without: plugins that are not `required` and
/// cannot be loaded.
///
/// # Errors
/// Everything that is wrong.
pub fn check(config: &Config, registry: &Registry) -> Result<Vec<String>, ConfigErrors> {
    registry.declare(config.instances());
    let (mut errors, mut missing) = (Vec::new(), Vec::new());
    for instance in config.instances() {
        match registry.validate(instance) {
            Ok(()) => {}
            Err(StartError::Load(error)) if !instance.required => {
                registry.fail(instance, &error);
                missing.push(format!("{} will not run: {error}", label(instance)));
            }
            Err(StartError::Load(error)) => {
                errors.extend(load_error(config, registry, instance, &error).iter().cloned());
            }
            Err(StartError::Open(failure)) => {
                errors.extend(config.plugin_error(instance, &failure).iter().cloned());
            }
        }
    }
    ConfigErrors::of(errors).map_or(Ok(missing), Err)
}

fn load_error(config: &Config, registry: &Registry, instance: &Instance, error: &LoadError) -> ConfigErrors {
    let suggestion = match error {
        LoadError::NotFound { plugin, .. } => {
            did_you_mean(plugin, registry.plausible_names().iter().map(String::as_str))
        }
        _ => None,
    };
    let key = if instance.path.is_some() { "path" } else { "use" };
    config.error(&[instance.kind.name(), &instance.name], key, error.to_string(), suggestion)
}

/// `kind.instance`.
pub(super) fn label(instance: &Instance) -> String {
    format!("{}.{}", instance.kind.name(), instance.name)
}

/// Everything that a node is made of, open.
pub(super) struct Parts {
    pub(super) services: Arc<HostServices>,
    pub(super) workers: Vec<WorkerConfig>,
    pub(super) interfaces: Vec<(InterfaceId, String)>,
    pub(super) static_links: Vec<(LinkSpec, String)>,
    pub(super) infer: Revived<InferInstance>,
    pub(super) lead: Option<LeadParts>,
    /// The addresses of endpoints by their name.
    addresses: BTreeMap<String, String>,
}

/// What only the lead has.
pub(super) struct LeadParts {
    pub(super) infer: Revived<InferInstance>,
    pub(super) adapt: Option<Revived<AdaptInstance>>,
    pub(super) backends: BTreeMap<String, Arc<dyn Backend>>,
    pub(super) failed_backends: BTreeMap<String, String>,
    pub(super) places: Places,
}

/// Opens instances, and decides what a failure means.
pub(super) struct Opener<'a> {
    pub(super) config: &'a Config,
    registry: &'a Arc<Registry>,
    services: Arc<HostServices>,
    events: &'a EventLog,
}

impl Opener<'_> {
    /// One instance; none if it failed and is not required.
    fn open<T>(&self, instance: &Instance, opened: Result<T, StartError>) -> Result<Option<T>, StartFailure> {
        let error = match opened {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => error,
        };
        match &error {
            StartError::Open(failure) if failure.kind == FailureKind::Invalid => {
                Err(self.config.plugin_error(instance, failure).into())
            }
            _ if instance.required => Err(StartFailure::Other(
                anyhow::Error::new(error).context(format!("{} did not start", label(instance))),
            )),
            _ => {
                tracing::warn!(instance = label(instance), reason = %error, "plugin not started; going on without it");
                Ok(None)
            }
        }
    }

    pub(super) fn capture(
        &self,
        instance: &Instance,
        region: PoolRegion,
        queue: Queue,
    ) -> Result<Option<Port<dyn Interface>>, StartFailure> {
        let host = self.services.queue_instance(PluginKind::Capture, &instance.name, Some(region), queue);
        let Some(opened) = self.open(instance, self.registry.open_capture(instance, &host))? else {
            return Ok(None);
        };
        let (registry, kept) = (self.registry.clone(), instance.clone());
        let opener = move || {
            let opened: CaptureInstance = registry.open_capture(&kept, &host).map_err(failure_of)?;
            Ok(Box::new(opened) as Box<dyn Interface>)
        };
        Ok(Some(Port::new(label(instance), Box::new(opened), Box::new(opener))))
    }

    pub(super) fn link(
        &self,
        instance: &Instance,
        region: PoolRegion,
        queue: Queue,
    ) -> Result<Option<Port<dyn Endpoint>>, StartFailure> {
        let host = self.services.queue_instance(PluginKind::Link, &instance.name, Some(region), queue);
        let Some(opened) = self.open(instance, self.registry.open_link(instance, &host))? else {
            return Ok(None);
        };
        let (registry, kept) = (self.registry.clone(), instance.clone());
        let opener = move || {
            let opened: LinkInstance = registry.open_link(&kept, &host).map_err(failure_of)?;
            Ok(Box::new(opened) as Box<dyn Endpoint>)
        };
        Ok(Some(Port::new(label(instance), Box::new(opened), Box::new(opener))))
    }

    fn infer(&self) -> Result<Revived<InferInstance>, StartFailure> {
        let instance = &self.config.infer.instance;
        let host = self.services.instance(PluginKind::Infer, &instance.name, None);
        let missing = || {
            let message = "a node cannot run without inference";
            StartFailure::Config(self.config.error(&["infer", &instance.name], "use", message, None))
        };
        let opened = self.open(instance, self.registry.open_infer(instance, &host))?.ok_or_else(missing)?;
        let (registry, kept) = (self.registry.clone(), instance.clone());
        let opener = Box::new(move || registry.open_infer(&kept, &host).map_err(failure_of));
        Ok(Revived::new(label(instance), opened, opener, self.events.clone()))
    }

    fn adapt(&self, instance: &Instance) -> Result<Option<Revived<AdaptInstance>>, StartFailure> {
        let host = self.services.instance(PluginKind::Adapt, &instance.name, None);
        let Some(opened) = self.open(instance, self.registry.open_adapt(instance, &host))? else {
            return Ok(None);
        };
        let (registry, kept) = (self.registry.clone(), instance.clone());
        let opener = Box::new(move || registry.open_adapt(&kept, &host).map_err(failure_of));
        Ok(Some(Revived::new(label(instance), opened, opener, self.events.clone())))
    }

    fn lead(&self) -> Result<LeadParts, StartFailure> {
        let adapt = match &self.config.adapt {
            Some(instance) => self.adapt(instance)?,
            None => None,
        };
        let (mut backends, mut failed_backends) = (BTreeMap::new(), BTreeMap::new());
        let places = Places::open(&self.config.node.state_dir).map_err(StartFailure::other)?;
        for reserve in &self.config.reserves {
            let instance = &reserve.instance;
            let host = self.services.backend_instance(&instance.name, places.of(&instance.name));
            let deadline = self.config.lead.reserve_timeout;
            let opened = self.registry.open_reserve(instance, &host, deadline);
            let reason = opened.as_ref().err().map(ToString::to_string);
            match self.open(instance, opened)? {
                Some(backend) => {
                    let backend = wrapped(self.registry, reserve, Arc::new(backend), &host, deadline);
                    backends.insert(reserve.network.clone(), backend);
                }
                None => {
                    failed_backends.insert(reserve.network.clone(), reason.unwrap_or_default());
                }
            }
        }
        Ok(LeadParts { infer: self.infer()?, adapt, backends, failed_backends, places })
    }
}

pub(super) fn failure_of(error: StartError) -> Failure {
    match error {
        StartError::Open(failure) => failure,
        other => Failure::unavailable(other.to_string()),
    }
}

impl Parts {
    /// Opens every instance of a checked configuration.
    ///
    /// # Errors
    /// If a required one does not open.
    pub(super) fn open(
        config: &Config,
        registry: &Arc<Registry>,
        events: &EventLog,
        keys: &KeyPair,
    ) -> Result<Self, StartFailure> {
        let services = HostServices::new(config.node.state_dir.clone()).with_identity(keys.clone());
        let services = Arc::new(services);
        let opener = Opener { config, registry, services: services.clone(), events };
        let mut workers = ports::open(&opener)?;
        let addresses = addresses(config, &mut workers[0]);
        if !addresses.contains_key(&config.node.star) {
            let message = "the star's endpoint did not start";
            return Err(config.error(&["link", &config.node.star], "use", message, None).into());
        }
        pin(&config.node.pin, &mut workers)?;
        let named = |port: &CapturePort| (port.id, config.captures[usize::from(port.id.0)].name.clone());
        let interfaces = workers[0].captures.iter().map(named).collect();
        let lead = match config.node.role {
            Role::Proxy { .. } => Some(opener.lead()?),
            Role::Node { .. } => None,
        };
        let infer = opener.infer()?;
        let static_links = static_links(config);
        Ok(Parts { services, workers, interfaces, static_links, infer, lead, addresses })
    }

    /// The node as the lead sees it.
    pub(super) fn describe(&self, config: &Config) -> NodeDescription {
        let attachment = |endpoint: &str| {
            let address = self.addresses.get(endpoint)?.clone();
            Some(Attachment { endpoint: endpoint.to_owned(), address })
        };
        let networks = config
            .links
            .iter()
            .filter_map(|link| Some((link.network.clone()?, attachment(&link.instance.name)?)));
        NodeDescription {
            name: config.node.name.clone(),
            role: match config.node.role {
                Role::Proxy { .. } => NodeRole::Proxy,
                Role::Node { .. } => NodeRole::Spoke,
            },
            star: attachment(&config.node.star).expect("`open` fails without the star's endpoint"),
            networks: networks.collect(),
        }
    }
}

/// The addresses by which other nodes reach the endpoints, by their names.
fn addresses(config: &Config, worker: &mut WorkerConfig) -> BTreeMap<String, String> {
    let mut addresses = BTreeMap::new();
    for endpoint in &mut worker.endpoints {
        let name = endpoint.endpoint().to_owned();
        let link = config.links.iter().find(|link| link.instance.name == name);
        let info = endpoint.port.instance().map(|open| open.info());
        let own = || info.map(|info| info.address);
        let address = link.and_then(|link| link.advertise.clone()).or_else(own);
        addresses.extend(address.map(|address| (name, address)));
    }
    addresses
}

/// Gives each worker its CPU.
fn pin(pin: &Pin, workers: &mut [WorkerConfig]) -> Result<(), StartFailure> {
    let cpus = match pin {
        Pin::Anywhere => return Ok(()),
        Pin::Cpus(cpus) => cpus.clone(),
        Pin::InOrder => {
            let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(StartFailure::other)?;
            (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect()
        }
    };
    for (worker, cpu) in workers.iter_mut().zip(cpus.iter().cycle()) {
        worker.cpu = Some(*cpu);
    }
    Ok(())
}

fn static_links(config: &Config) -> Vec<(LinkSpec, String)> {
    let links = config.static_links.iter().zip(STATIC_LINKS..);
    links
        .map(|(link, id)| {
            let spec = LinkSpec {
                id: LinkId(id),
                class: LinkClass::Static,
                endpoint: link.endpoint.clone(),
                far_address: link.address.clone(),
                far_key: link.public_key,
            };
            (spec, link.name.clone())
        })
        .collect()
}

/// A secret for hashes and nonces.
pub(super) fn random_seed() -> io::Result<u64> {
    let mut seed = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(u64::from_ne_bytes(seed))
}
