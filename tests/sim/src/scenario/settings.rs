//! Settings of lead, inference, planner, providers and network, drawn within what an operator would choose.

use std::collections::BTreeMap;
use std::time::Duration;

use vreserve_core::lead::{BackOff, Budget, LeadConfig};
use vreserve_model::{BitsPerSecond, Capabilities};

use crate::topology::{Network, Topology};

/// From a demand's end to an empty overlay, what is not set but takes time: messages, switches with their
/// barriers, links that are taken down.
const FORMALITIES: Duration = Duration::from_secs(20);

/// All settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) infer: vreserve_infer_vttif::Config,
    pub(crate) adapt: vreserve_adapt_vadapt::Config,
    pub(crate) report_interval: Duration,
    pub(crate) infer_interval: Duration,
    pub(crate) budgets: BTreeMap<String, Budget>,
    pub(crate) back_off: BackOff,
    pub(crate) restore_grace: Duration,
    pub(crate) list_every: Duration,
    pub(crate) orphan_grace: Duration,
    /// Share of datagrams lost and doubled on the commodity network, 0 to 1.
    pub(crate) loss: f64,
    pub(crate) doubled: f64,
    /// One way between each node and the hub on the commodity network, by node.
    pub(crate) delays: Vec<Duration>,
    pub(crate) providers: Vec<ProviderSettings>,
}

/// A provider and how long it takes.
#[derive(Clone, Debug)]
pub(crate) struct ProviderSettings {
    pub(crate) capabilities: Capabilities,
    pub(crate) set_up: Duration,
    pub(crate) tear_down: Duration,
    /// One way over a circuit.
    pub(crate) delay: Duration,
}

fn millis(rng: &mut fastrand::Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..=to))
}

impl Settings {
    pub(super) fn draw(topology: &Topology, is_faulty: bool, rng: &mut fastrand::Rng) -> Self {
        let infer = vreserve_infer_vttif::Config {
            window: millis(rng, 800, 2_500),
            hold: millis(rng, 0, 3_000),
            union_period: if rng.bool() { Duration::ZERO } else { millis(rng, 4_000, 15_000) },
            ..Default::default()
        };
        let adapt = vreserve_adapt_vadapt::Config {
            max_links: rng.usize(1..=5),
            min_rate: BitsPerSecond(1_000_000),
            release_after: millis(rng, 300, 2_000),
            min_hold: millis(rng, 0, 4_000),
            ..Default::default()
        };
        let providers: Vec<_> =
            topology.networks.iter().map(|network| ProviderSettings::draw(network, rng)).collect();
        let budgets = topology.networks.iter().filter_map(|network| {
            let circuits = rng.bool().then(|| rng.u32(1..=4));
            let rate = rng.bool().then(|| BitsPerSecond(network.rate.0 * rng.u64(1..=4)));
            (rng.u32(0..3) == 0).then(|| (network.name.clone(), Budget { circuits, rate }))
        });
        let budgets = budgets.collect();
        let is_bad = |rng: &mut fastrand::Rng| is_faulty && rng.u32(0..3) > 0;
        Settings {
            infer,
            adapt,
            report_interval: millis(rng, 200, 500),
            infer_interval: millis(rng, 200, 500),
            budgets,
            back_off: BackOff { min: millis(rng, 200, 1_000), max: millis(rng, 2_000, 4_000) },
            restore_grace: millis(rng, 3_000, 8_000),
            list_every: millis(rng, 2_000, 6_000),
            orphan_grace: millis(rng, 2_000, 6_000),
            loss: if is_bad(rng) { rng.f64() * 0.1 } else { 0.0 },
            doubled: if is_bad(rng) { rng.f64() * 0.05 } else { 0.0 },
            delays: topology.nodes.iter().map(|_| millis(rng, 1, 40)).collect(),
            providers,
        }
    }

    /// The lead's, for one that takes office in this epoch.
    pub(crate) fn lead(&self, epoch: u32) -> LeadConfig {
        LeadConfig {
            back_off: self.back_off,
            restore_grace: self.restore_grace,
            list_every: self.list_every,
            orphan_grace: self.orphan_grace,
            budgets: self.budgets.clone(),
            ..LeadConfig::new("sim", epoch)
        }
    }

    /// True if the network neither loses nor doubles anything.
    pub(super) fn is_clear(&self) -> bool {
        self.loss == 0.0 && self.doubled == 0.0
    }

    /// How long inference believes in what has ended.
    pub(crate) fn seeing(&self) -> Duration {
        self.infer.window + self.infer.hold.max(self.infer.union_period)
    }

    /// From the last demand's end until nothing may be held any more: hold plus teardown, with all that lies
    /// between. A circuit may just have been asked for.
    pub(crate) fn release_bound(&self) -> Duration {
        let slowest =
            |of: fn(&ProviderSettings) -> Duration| self.providers.iter().map(of).max().unwrap_or_default();
        let circuits = u32::try_from(self.adapt.max_links).unwrap_or(u32::MAX).saturating_mul(2);
        let seeing = self.seeing() + (self.report_interval + self.infer_interval) * 2;
        let holding = self.adapt.min_hold + self.adapt.release_after;
        let providing = (slowest(|p| p.set_up) + slowest(|p| p.tear_down)) * circuits;
        let orphans = self.orphan_grace + self.list_every * 2 + self.back_off.max;
        seeing + holding + providing + orphans + FORMALITIES
    }
}

impl ProviderSettings {
    fn draw(network: &Network, rng: &mut fastrand::Rng) -> Self {
        let (set_up, tear_down) = (millis(rng, 100, 2_000), millis(rng, 50, 1_200));
        let granularity = BitsPerSecond(1_000);
        let base =
            Capabilities { find: true, list: true, max_concurrent: network.room, ..Default::default() };
        let kind = if network.is_shared { 4 } else { rng.u32(0..6) };
        let capabilities = match kind {
            // ODIN, one request after the other or not.
            0 | 1 => Capabilities {
                fused_activation: true,
                serial: kind == 0,
                fixed_rate: Some(network.rate),
                list: rng.u32(0..4) > 0,
                ..base
            },
            // NSI.
            2 => Capabilities { two_phase: true, hold_time: Some(Duration::from_secs(20)), ..base },
            3 => Capabilities {
                two_phase: true,
                fused_activation: true,
                hold_time: Some(Duration::from_secs(20)),
                ..base
            },
            // GARA.
            4 => Capabilities { advance: true, modify: true, granularity, ..base },
            _ => Capabilities { granularity, ..base },
        };
        let capabilities = Capabilities { setup_time: set_up, teardown_time: tear_down, ..capabilities };
        ProviderSettings { capabilities, set_up, tear_down, delay: millis(rng, 1, 15) }
    }
}
