//! The replay itself: frames in, time with them, and at every interval what a running overlay does then: nodes report,
//! inference merges and infers, the planner plans, the lead follows. Plugins and lead are the daemon's.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use vreserve_core::key::PublicKey;
use vreserve_core::lead::{Action, Attachment, BackOff, Lead, LeadConfig, NodeDescription, NodeRole};
use vreserve_model::{Capabilities, Timestamp};

use super::account::Account;
use super::capture::CapturedFrame;
use super::places::{Passage, Places};
use super::shadow::{Shadow, capabilities_of};
use crate::config::{ConfigErrors, Instance, OverlayConfig};
use crate::loader::{Registry, StartError};
use crate::plugin::{AdaptInstance, Backend, HostServices, InferInstance, PluginKind};

/// The overlay has been up and silent for so long when the capture begins.
const BEFORE: Duration = Duration::from_secs(10);
/// How long after the capture's end its circuits are followed to theirs.
const AFTER: Duration = Duration::from_secs(3_600);

/// Why nothing, or nothing more, can be replayed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A plugin says that its keys are wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// A plugin cannot be loaded, or does not open.
    #[error("{instance} did not start")]
    Start {
        /// Which.
        instance: String,
        /// Why.
        source: StartError,
    },
    /// A plugin failed on the way.
    #[error("{instance} failed")]
    Failed {
        /// Which.
        instance: String,
        /// How.
        source: vreserve_model::Failure,
    },
}

/// An overlay in the capture's time.
pub(super) struct World {
    lead: Lead,
    shadow: Shadow,
    pub(super) places: Places,
    pub(super) account: Account,
    observers: Vec<InferInstance>,
    inference: InferInstance,
    planner: AdaptInstance,
    /// The names of the two, for errors.
    names: (String, String),
    interval: Duration,
    next_plan: Timestamp,
    /// Before this nothing happens by itself.
    next_event: Timestamp,
    now: Timestamp,
    /// True if nodes, inference and planner had nothing to say at the last interval.
    is_quiet: bool,
}

impl World {
    /// Opens the plugins, and lets the overlay come up.
    pub(super) fn new(
        overlay: &OverlayConfig,
        registry: &Registry,
        state_dir: &Path,
    ) -> Result<Self, WorldError> {
        let opening = Opening { overlay, registry, services: HostServices::new(state_dir) };
        let places = Places::new(overlay);
        let observers = places.names().map(|_| opening.infer()).collect::<Result<_, _>>()?;
        let begin = Timestamp::ZERO + BEFORE;
        let mut world = World {
            lead: Lead::new(lead_config(overlay)),
            shadow: Shadow::new(places.names(), opening.providers()?),
            places,
            account: Account::new(begin),
            observers,
            inference: opening.infer()?,
            planner: opening.adapt()?,
            names: (label(&overlay.infer.instance), label(&overlay.adapt)),
            interval: overlay.infer.report_interval,
            next_plan: Timestamp::ZERO,
            next_event: Timestamp::ZERO,
            now: Timestamp::ZERO,
            is_quiet: false,
        };
        world.join(overlay);
        world.advance(begin)?;
        Ok(world)
    }

    /// What the providers can do.
    pub(super) fn providers(&self) -> &BTreeMap<String, Capabilities> {
        self.shadow.providers()
    }

    fn join(&mut self, overlay: &OverlayConfig) {
        let at = |network: &str, node: &str| Attachment { endpoint: network.into(), address: node.into() };
        for ((name, networks), number) in overlay.nodes.iter().zip(0_u64..) {
            let role = if *name == overlay.proxy { NodeRole::Proxy } else { NodeRole::Spoke };
            let networks = networks.iter().map(|network| (network.clone(), at(network, name)));
            let star = at("star", name);
            let node = NodeDescription { name: name.clone(), role, star, networks: networks.collect() };
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            self.lead.handle_node_joined(Timestamp::ZERO, node, PublicKey(key));
        }
        for (network, capabilities) in self.shadow.providers() {
            self.lead.handle_backend_up(Timestamp::ZERO, network, capabilities.clone());
        }
        self.tell_guests(Timestamp::ZERO);
        self.carry_out();
    }

    /// A frame was sent `at` after the capture's first.
    pub(super) fn handle_frame(&mut self, at: Duration, frame: &CapturedFrame) -> Result<(), WorldError> {
        let at = (Timestamp::ZERO + BEFORE + at).max(self.now);
        self.advance(at)?;
        let Ok(header) = &frame.header else { return Ok(()) };
        if let Passage::Between { from, .. } = self.places.count(header, frame.length) {
            let pair = (header.source(), header.destination());
            let way = self.shadow.way(from, pair.0, pair.1);
            self.account.note_frame(at, pair, frame.length, &way);
        }
        Ok(())
    }

    /// No more frames come. What is reserved is followed to its end in silence.
    pub(super) fn finish(&mut self) -> Result<Duration, WorldError> {
        let end = self.now;
        self.account.note_end();
        loop {
            self.advance(self.next_plan)?;
            if self.is_idle() || self.now >= end + AFTER {
                break;
            }
        }
        Ok(self.account.since_begin(end))
    }

    /// Time passes up to `until`.
    fn advance(&mut self, until: Timestamp) -> Result<(), WorldError> {
        while self.next_plan <= until {
            let at = self.next_plan;
            self.pass(at);
            self.plan(at)?;
            self.next_plan = at + self.interval;
            self.skip_silence(until);
        }
        self.pass(until);
        self.now = until;
        Ok(())
    }

    /// While nothing is wanted, held or awaited, intervals without a frame change nothing: all but the last before
    /// `until` are left out.
    fn skip_silence(&mut self, until: Timestamp) {
        let left = until.since(self.next_plan).as_nanos() / self.interval.as_nanos().max(1);
        if left > 2 && self.is_idle() {
            let skipped = self.interval.as_nanos().saturating_mul(left - 1);
            self.next_plan =
                self.next_plan + Duration::from_nanos(u64::try_from(skipped).unwrap_or(u64::MAX));
        }
    }

    fn is_idle(&self) -> bool {
        self.is_quiet && self.shadow.is_idle() && self.lead.circuits().next().is_none()
    }

    /// Everything that is due by itself up to `until`, in order.
    fn pass(&mut self, until: Timestamp) {
        while self.next_event <= until {
            let at = self.next_event;
            match self.shadow.next_time() {
                Some(due) if due <= at => self.shadow.give_answer(at, &mut self.lead),
                _ => self.lead.tick(at),
            }
            self.now = self.now.max(at);
            self.carry_out();
        }
    }

    /// Carries out what the lead wants, and finds out when something happens next.
    fn carry_out(&mut self) {
        while let Some(action) = self.lead.poll_action() {
            match action {
                Action::Publish { at, event } => self.account.note_event(at, &event, &self.lead),
                action => self.shadow.handle_action(self.now, action),
            }
        }
        let never = Timestamp(u64::MAX);
        let next = self.lead.poll_timeout().into_iter().chain(self.shadow.next_time()).min();
        self.next_event = next.unwrap_or(never);
    }

    fn tell_guests(&mut self, now: Timestamp) {
        for (node, guests) in self.places.take_news() {
            self.lead.handle_guests(now, &node, &guests);
        }
    }

    /// What happens at every interval.
    fn plan(&mut self, now: Timestamp) -> Result<(), WorldError> {
        self.now = self.now.max(now);
        self.tell_guests(now);
        let is_silent = self.report(now)?;
        let failed = |instance: &String| {
            let instance = instance.clone();
            |source| WorldError::Failed { instance, source }
        };
        let topology = self.inference.infer(now).map_err(failed(&self.names.0))?;
        self.account.note_topology(now, &topology);
        let has_demand = !topology.demands.is_empty();
        self.lead.handle_topology(now, topology);
        let snapshot = self.lead.snapshot(now);
        let wanted = self.planner.adapt(&snapshot).map_err(failed(&self.names.1))?;
        self.account.note_plan(now, &wanted);
        self.is_quiet = is_silent && !has_demand && wanted.links.is_empty();
        self.lead.handle_wanted(now, &wanted);
        self.carry_out();
        Ok(())
    }

    /// Every node reports what it has counted; true if none has counted anything.
    fn report(&mut self, now: Timestamp) -> Result<bool, WorldError> {
        let names: Vec<String> = self.places.names().map(str::to_owned).collect();
        let mut is_silent = true;
        for (number, (name, observer)) in names.iter().zip(&mut self.observers).enumerate() {
            let counts = self.places.take_counts(number);
            is_silent &= counts.is_empty();
            let cells: Vec<_> = counts.iter().map(crate::control::agent::record_of).collect();
            let failed = |source| WorldError::Failed { instance: self.names.0.clone(), source };
            let report = observer.observe(now, &cells).map_err(failed)?;
            if !report.is_empty() && self.inference.merge(now, name, &report).is_err() {
                self.account.refused_reports += 1;
            }
        }
        Ok(is_silent)
    }
}

fn lead_config(overlay: &OverlayConfig) -> LeadConfig {
    let mut config = LeadConfig::new(overlay.proxy.clone(), 1);
    config.back_off = BackOff { min: overlay.lead.retry_min, max: overlay.lead.retry_max };
    config.budgets = overlay.budgets();
    // What is over is in the account.
    config.history = 1;
    config
}

fn label(instance: &Instance) -> String {
    format!("{}.{}", instance.kind.name(), instance.name)
}

/// Opens the plugins of an overlay.
struct Opening<'a> {
    overlay: &'a OverlayConfig,
    registry: &'a Registry,
    services: HostServices,
}

impl Opening<'_> {
    fn infer(&self) -> Result<InferInstance, WorldError> {
        let instance = &self.overlay.infer.instance;
        let host = self.services.instance(PluginKind::Infer, &instance.name, None);
        self.opened(instance, self.registry.open_infer(instance, &host))
    }

    fn adapt(&self) -> Result<AdaptInstance, WorldError> {
        let instance = &self.overlay.adapt;
        let host = self.services.instance(PluginKind::Adapt, &instance.name, None);
        self.opened(instance, self.registry.open_adapt(instance, &host))
    }

    /// What each network's backend can do: by its `[provider]` table, or by the plugin's own word. The plugin is
    /// opened with an empty state directory, asked nothing else, and closed.
    fn providers(&self) -> Result<BTreeMap<String, Capabilities>, WorldError> {
        let given = &self.overlay.providers;
        let mut providers: BTreeMap<_, _> = given
            .iter()
            .map(|(network, provider)| (network.clone(), capabilities_of(provider.capabilities.clone())))
            .collect();
        for reserve in self.overlay.reserves.iter().filter(|reserve| !given.contains_key(&reserve.network)) {
            let instance = &reserve.instance;
            let host = self.services.instance(PluginKind::Reserve, &instance.name, None);
            let patience = self.overlay.lead.reserve_timeout;
            let backend = self.opened(instance, self.registry.open_reserve(instance, &host, patience))?;
            providers.insert(reserve.network.clone(), capabilities_of(backend.capabilities()));
        }
        Ok(providers)
    }

    fn opened<T>(&self, instance: &Instance, opened: Result<T, StartError>) -> Result<T, WorldError> {
        opened.map_err(|error| match &error {
            StartError::Open(failure) if failure.kind == vreserve_model::FailureKind::Invalid => {
                WorldError::Config(self.overlay.plugin_error(instance, failure))
            }
            _ => WorldError::Start { instance: label(instance), source: error },
        })
    }
}
