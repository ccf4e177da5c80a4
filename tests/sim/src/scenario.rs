//! What a seed means: topology, settings, who talks to whom and when, what goes wrong and when.
//!
//! ```text
//!  0 ──── flows come and go, faults hit ──── calm_at ── flows go on, nothing goes wrong ── stop_at ── nobody sends ── end
//! ```

mod fault;
mod settings;

use std::time::Duration;

use vreserve_model::{MacAddr, Timestamp};

use crate::topology::Topology;

pub(crate) use fault::{Blow, Fault};
pub(crate) use settings::{ProviderSettings, Settings};

/// What is run, besides the seed.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// A lab's topology in place of a drawn one.
    pub(crate) lab: Option<Topology>,
    /// So many nodes besides the hub, in place of a drawn number.
    pub(crate) nodes: Option<usize>,
}

/// One stream of frames between two guests.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) source: MacAddr,
    pub(crate) destination: MacAddr,
    /// Octets of each frame, and the time between two.
    pub(crate) octets: usize,
    pub(crate) every: Duration,
    /// When it sends: from, until.
    pub(crate) times: Vec<(Timestamp, Timestamp)>,
}

/// Everything that a seed decides before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) topology: Topology,
    pub(crate) settings: Settings,
    pub(crate) flows: Vec<Flow>,
    pub(crate) blows: Vec<Blow>,
    pub(crate) calm_at: Timestamp,
    pub(crate) stop_at: Timestamp,
    pub(crate) end_at: Timestamp,
}

/// After calm, so long until there must be circuits again where there may be any.
const RECOVERY: Duration = Duration::from_secs(30);

impl Scenario {
    pub(crate) fn draw(seed: u64, ground: &Ground) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let others = match rng.u32(0..100) {
            _ if ground.nodes.is_some() => ground.nodes.unwrap_or_default(),
            0 => rng.usize(60..=150),
            1..10 => rng.usize(9..=24),
            _ => rng.usize(2..=8),
        };
        let topology = ground.lab.clone().unwrap_or_else(|| Topology::drawn(others.max(1), &mut rng));
        // One in five runs has no faults: there nothing at all may be lost.
        let is_faulty = rng.u32(0..5) > 0;
        let mut settings = Settings::draw(&topology, is_faulty, &mut rng);
        // In one of four runs three guests talk, and there are two circuits for them: one pair is to take both.
        let is_circle = rng.u32(0..4) == 0;
        if is_circle {
            settings.adapt.max_links = 2;
        }
        let calm_at = Timestamp::from_millis(rng.u64(15_000..40_000));
        let stop_at = calm_at + RECOVERY;
        let end_at = stop_at + settings.release_bound();
        let flows = draw_flows(&topology, is_circle, calm_at, stop_at, &mut rng);
        let blows = if is_faulty { Blow::draw(&topology, calm_at, &mut rng) } else { Vec::new() };
        Scenario { topology, settings, flows, blows, calm_at, stop_at, end_at }
    }

    /// True if nothing at all goes wrong.
    pub(crate) fn is_faultless(&self) -> bool {
        self.blows.is_empty() && self.settings.is_clear()
    }
}

/// A few pairs of guests on different nodes, or each with each of three; both directions, one of which may be a trickle.
fn draw_flows(
    topology: &Topology,
    is_circle: bool,
    calm_at: Timestamp,
    stop_at: Timestamp,
    rng: &mut fastrand::Rng,
) -> Vec<Flow> {
    let guests: Vec<_> = topology.guests().collect();
    let most = topology.nodes.len().clamp(1, 12);
    let count = rng.usize(1..=most.min(6));
    let mut any = || guests[rng.usize(..guests.len())];
    let pairs: Vec<_> = if is_circle {
        let [one, two, three] = [any(), any(), any()];
        vec![(one, two), (two, three), (three, one)]
    } else {
        (0..count).map(|_| (any(), any())).collect()
    };
    let mut flows = Vec::new();
    for (number, ((from, source), (to, destination))) in pairs.into_iter().enumerate() {
        if from == to {
            continue;
        }
        // The last pairs stay until the end, the others come and go.
        let mut times = Vec::new();
        let mut at = Timestamp::from_millis(rng.u64(1_000..8_000));
        let stays = number == 0 || is_circle || rng.bool();
        while at < calm_at && rng.u32(0..4) > 0 {
            let until = at + Duration::from_millis(rng.u64(300..15_000));
            times.push((at, until.min(stop_at)));
            at = until + Duration::from_millis(rng.u64(200..10_000));
        }
        if stays {
            times.push((at.min(calm_at), stop_at));
        }
        // One burst is less than the queue of the slowest circuit.
        for (octets, is_back) in [(rng.usize(8_000..20_000), false), (rng.usize(200..20_000), true)] {
            let every = Duration::from_millis(rng.u64(25..80));
            let flow = Flow { from, to, source, destination, octets, every, times: times.clone() };
            flows.push(if is_back {
                Flow { from: to, to: from, source: destination, destination: source, ..flow }
            } else {
                flow
            });
        }
    }
    flows
}
