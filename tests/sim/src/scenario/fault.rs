//! What goes wrong, and when. Every fault that lasts is over when it is to be calm.

use std::time::Duration;

use vreserve_model::Timestamp;

use crate::topology::Topology;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing passes between a node and the hub, neither frames nor control messages.
    Partition { node: usize },
    /// Datagrams between a node and the hub are lost at this share.
    Lossy { node: usize, share: f64 },
    /// A node's daemon dies, and is started again when it is over. Node 0 is the hub with the lead.
    Crash { node: usize },
    /// A provider cannot be reached: calls and their answers are lost.
    Unreachable { network: usize },
    /// At once: a provider is started again. Calls under way are lost, what it holds is not.
    ProviderRestarts { network: usize },
    /// At once: a provider has forgotten all it held.
    Amnesia { network: usize },
    /// This share of the calls to a provider is refused, lost on the way there or back, or hangs.
    Unreliable { network: usize, share: f64 },
    /// A circuit that carries drops everything without a word.
    Dark { network: usize },
    /// A circuit that carries loses this share.
    Leaky { network: usize, share: f64 },
    /// A circuit delivers a fraction of its rate.
    Slow { network: usize },
    /// At once: a provider ends a circuit of its own accord.
    Ends { network: usize },
    /// The lead's disk takes nothing.
    DiskFull,
    /// Reports of nodes arrive once more, late, or torn.
    Replay,
}

/// A fault with its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blow {
    pub(crate) fault: Fault,
    pub(crate) at: Timestamp,
    pub(crate) until: Timestamp,
}

/// Names of faults, for counts.
pub(crate) const NAMES: [&str; 13] = [
    "partition",
    "lossy",
    "crash",
    "unreachable",
    "provider_restarts",
    "amnesia",
    "unreliable",
    "dark",
    "leaky",
    "slow",
    "ends",
    "disk_full",
    "replay",
];

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        NAMES[match self {
            Fault::Partition { .. } => 0,
            Fault::Lossy { .. } => 1,
            Fault::Crash { .. } => 2,
            Fault::Unreachable { .. } => 3,
            Fault::ProviderRestarts { .. } => 4,
            Fault::Amnesia { .. } => 5,
            Fault::Unreliable { .. } => 6,
            Fault::Dark { .. } => 7,
            Fault::Leaky { .. } => 8,
            Fault::Slow { .. } => 9,
            Fault::Ends { .. } => 10,
            Fault::DiskFull => 11,
            Fault::Replay => 12,
        }]
    }

    fn draw(topology: &Topology, rng: &mut fastrand::Rng) -> Self {
        let network = rng.usize(..topology.networks.len().max(1));
        let node = rng.usize(..topology.nodes.len());
        let spoke = rng.usize(1..topology.nodes.len());
        match rng.u32(0..16) {
            0 | 1 => Fault::Partition { node: spoke },
            2 => Fault::Lossy { node: spoke, share: 0.1 + rng.f64() * 0.4 },
            3 => Fault::Crash { node },
            4 | 5 => Fault::Crash { node: 0 },
            6 => Fault::Unreachable { network },
            7 => Fault::ProviderRestarts { network },
            8 => Fault::Amnesia { network },
            9 | 10 => Fault::Unreliable { network, share: 0.1 + rng.f64() * 0.6 },
            11 => Fault::Dark { network },
            12 => Fault::Leaky { network, share: 0.3 + rng.f64() * 0.5 },
            13 => Fault::Slow { network },
            14 => Fault::Ends { network },
            _ if rng.bool() => Fault::DiskFull,
            _ => Fault::Replay,
        }
    }
}

impl Blow {
    /// Up to a dozen, all over before `calm_at`; and at times several at once.
    pub(super) fn draw(topology: &Topology, calm_at: Timestamp, rng: &mut fastrand::Rng) -> Vec<Blow> {
        let latest = calm_at.0 / 1_000_000;
        let mut blows: Vec<_> = (0..rng.usize(1..=12))
            .map(|_| {
                let at = Timestamp::from_millis(rng.u64(500..latest - 500));
                let until = at + Duration::from_millis(rng.u64(50..10_000));
                Blow { fault: Fault::draw(topology, rng), at, until: until.min(calm_at) }
            })
            .collect();
        blows.retain(|blow| !topology.networks.is_empty() || !blow.fault.needs_network());
        blows.sort_by_key(|blow| blow.at);
        blows
    }
}

impl Fault {
    fn needs_network(self) -> bool {
        !matches!(
            self,
            Fault::Partition { .. }
                | Fault::Lossy { .. }
                | Fault::Crash { .. }
                | Fault::DiskFull
                | Fault::Replay
        )
    }
}
