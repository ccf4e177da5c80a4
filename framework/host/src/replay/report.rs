//! What a replay has found, as a document: its JSON form is part of the program's interface, its text and HTML forms
//! are made from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use vreserve_core::counters::Weight;
use vreserve_model::{BitsPerSecond, Demand, MacAddr, Pattern};

use super::account::Reservation;
use super::capture::{CapturedFrame, Format};
use super::clock::ClockFacts;
use super::seconds;
use super::series::Series;
use super::world::World;
use crate::config::OverlayConfig;

/// Pairs of guests that are listed, the most active first.
const MAX_PAIRS: usize = 1_000;
const HOUR: f64 = 3_600.0;

/// A replay's findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file and what could be read of it.
    pub capture: CaptureFacts,
    /// The overlay it was replayed in.
    pub overlay: OverlayFacts,
    /// What would have been reserved, in the order of requests.
    pub reservations: Vec<Reservation>,
    /// Further reservations that are only counted.
    pub unlisted_reservations: u64,
    /// What that would have brought.
    pub gain: Gain,
    /// What it would have taken.
    pub cost: Cost,
    /// What inference believed.
    pub topology: TopologyFacts,
    /// The most active pairs of guests.
    pub pairs: Vec<PairFacts>,
    /// Traffic between nodes over time.
    pub traffic: Series,
    /// The planner's notes when demand was largest: what it left out, and why.
    pub notes: Vec<String>,
    /// Reports of nodes that inference did not take.
    pub refused_reports: u64,
}

/// Frames and their octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Octets, as sent.
    pub bytes: u64,
    /// Frames.
    pub frames: u64,
}

impl From<Weight> for Volume {
    fn from(weight: Weight) -> Self {
        Volume { bytes: weight.bytes, frames: weight.frames }
    }
}

/// The capture.
#[derive(Clone, Debug, Serialize)]
pub struct CaptureFacts {
    /// The file.
    pub file: String,
    /// `pcap` or `pcapng`.
    pub format: &'static str,
    /// The first frame's time by the file, in milliseconds since the Unix epoch.
    pub begin_ms: Option<u64>,
    /// From the first frame to the last.
    #[serde(rename = "lasted_s", serialize_with = "seconds")]
    pub lasted: Duration,
    /// Everything in it.
    pub all: Volume,
    /// Frames that nothing could be made of, by reason.
    pub unusable: BTreeMap<&'static str, u64>,
    /// Frames whose length the file contradicts; they count as long as they were captured.
    pub wrong_lengths: u64,
    /// What was odd about the stamps.
    pub clock: ClockFacts,
    /// Where and why reading ended before the file did.
    pub damage: Option<String>,
}

/// The overlay.
#[derive(Clone, Debug, Serialize)]
pub struct OverlayFacts {
    /// The hub of the star.
    pub proxy: String,
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
    /// The networks that can be reserved on.
    pub networks: Vec<NetworkFacts>,
    /// Between guests of different nodes.
    pub between_nodes: Volume,
    /// Between guests of one node.
    pub within_nodes: Volume,
    /// From a guest to a group, or to somebody that nobody lists.
    pub flooded: Volume,
    /// From somebody that nobody lists.
    pub other: Volume,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The networks it is on.
    pub networks: Vec<String>,
    /// How many guests it has.
    pub guests: usize,
}

/// A network.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkFacts {
    /// Its name.
    pub network: String,
    /// From request to circuit.
    #[serde(rename = "setup_s", serialize_with = "seconds")]
    pub setup: Duration,
    /// From cancel to gone.
    #[serde(rename = "teardown_s", serialize_with = "seconds")]
    pub teardown: Duration,
    /// What every circuit has, if that is fixed.
    pub rate: Option<BitsPerSecond>,
    /// The price of a circuit for an hour.
    pub price: Option<f64>,
}

/// What reservations would have brought.
#[derive(Clone, Debug, Serialize)]
pub struct Gain {
    /// What circuits would have carried in place of the star.
    pub carried: Volume,
    /// Its part of all bytes between nodes, 0 to 1.
    pub share: f64,
    /// The largest rate between nodes, in bits per second, over a slice of `traffic`.
    pub peak: f64,
    /// The largest rate that the star would have been left with.
    pub peak_on_star: f64,
}

/// What reservations would have taken.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// How many.
    pub reservations: u64,
    /// Time for which capacity would have been asked for or held, added up.
    #[serde(rename = "held_s", serialize_with = "seconds")]
    pub held: Duration,
    /// Time of that in which circuits would have been in use.
    #[serde(rename = "carrying_s", serialize_with = "seconds")]
    pub carrying: Duration,
    /// Rate times time held, in bits.
    pub reserved_bits: f64,
    /// The part of that which traffic would have filled, 0 to 1; both directions of a circuit count as one.
    pub filled: f64,
    /// By the prices of the networks that have one.
    pub price: Option<f64>,
}

/// What inference believed.
#[derive(Clone, Debug, Serialize)]
pub struct TopologyFacts {
    /// When demand was largest.
    #[serde(rename = "at_s", serialize_with = "seconds")]
    pub at: Duration,
    /// The pattern then.
    pub pattern: Pattern,
    /// The edges then, the largest first.
    pub edges: Vec<Demand>,
    /// The patterns in turn.
    pub patterns: Vec<PatternFacts>,
}

impl Default for TopologyFacts {
    fn default() -> Self {
        TopologyFacts {
            at: Duration::ZERO,
            pattern: Pattern::Silent,
            edges: Vec::new(),
            patterns: Vec::new(),
        }
    }
}

/// A pattern from one moment on.
#[derive(Clone, Debug, Serialize)]
pub struct PatternFacts {
    /// When it was first seen.
    #[serde(rename = "at_s", serialize_with = "seconds")]
    pub at: Duration,
    /// Which.
    pub pattern: Pattern,
    /// Of how many edges.
    pub edges: usize,
}

/// An ordered pair of guests.
#[derive(Clone, Debug, Serialize)]
pub struct PairFacts {
    /// The sender.
    pub source: MacAddr,
    /// Its node.
    pub from: String,
    /// The receiver.
    pub destination: MacAddr,
    /// Its node; none for groups and for those that nobody lists.
    pub to: Option<String>,
    /// What it sent.
    #[serde(flatten)]
    pub volume: Volume,
    /// Bytes of that which circuits would have carried.
    pub on_circuits: u64,
}

/// What is counted while a capture is read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    begin: Option<u64>,
    all: Weight,
    unusable: BTreeMap<&'static str, u64>,
    wrong_lengths: u64,
    pub(super) damage: Option<String>,
}

impl Reading {
    pub(super) fn take(&mut self, frame: &CapturedFrame) {
        self.begin = self.begin.or(frame.at);
        self.all += Weight::frame(frame.length);
        self.wrong_lengths += u64::from(frame.is_length_wrong);
        if let Err(reason) = frame.header {
            *self.unusable.entry(reason.label()).or_default() += 1;
        }
    }

    pub(super) fn facts(
        self,
        file: &Path,
        format: Format,
        lasted: Duration,
        clock: ClockFacts,
    ) -> CaptureFacts {
        CaptureFacts {
            file: file.display().to_string(),
            format: match format {
                Format::Pcap => "pcap",
                Format::PcapNg => "pcapng",
            },
            begin_ms: self.begin.map(|nanos| nanos / 1_000_000),
            lasted,
            all: self.all.into(),
            unusable: self.unusable,
            wrong_lengths: self.wrong_lengths,
            clock,
            damage: self.damage,
        }
    }
}

impl Reservation {
    /// For how long it would have been paid for: from the request until it is given back.
    pub fn held(&self, end: Duration) -> Duration {
        self.released_at.unwrap_or(end).saturating_sub(self.asked_at)
    }

    /// For how long guests would have used it.
    pub fn carrying(&self, end: Duration) -> Duration {
        let until = self.ending_at.unwrap_or(end);
        self.carrying_at.map_or(Duration::ZERO, |from| until.saturating_sub(from))
    }
}

impl Report {
    pub(super) fn new(capture: CaptureFacts, overlay: &OverlayConfig, world: &World) -> Self {
        let account = &world.account;
        let reservations = account.reservations.clone();
        let end = last_moment(capture.lasted, &reservations);
        Report {
            gain: gain(world),
            cost: cost(overlay, &reservations, account.unlisted, end),
            overlay: overlay_facts(overlay, world),
            capture,
            reservations,
            unlisted_reservations: account.unlisted,
            topology: account.topology.clone(),
            pairs: pairs(world),
            traffic: account.series.clone(),
            notes: account.notes.clone(),
            refused_reports: account.refused_reports,
        }
    }

    /// The last moment that the report tells of: of the capture, or of what was reserved in it.
    pub fn end(&self) -> Duration {
        last_moment(self.capture.lasted, &self.reservations)
    }
}

fn last_moment(lasted: Duration, reservations: &[Reservation]) -> Duration {
    let last = |one: &Reservation| one.released_at.or(one.ending_at).unwrap_or_default();
    reservations.iter().map(last).fold(lasted, Duration::max)
}

fn gain(world: &World) -> Gain {
    let (between, carried) = (world.places.between, world.account.carried);
    let (peak, peak_on_star) = world.account.series.peaks();
    let share = part(carried.bytes as f64, between.bytes as f64);
    Gain { carried: carried.into(), share, peak, peak_on_star }
}

fn cost(overlay: &OverlayConfig, reservations: &[Reservation], unlisted: u64, end: Duration) -> Cost {
    let mut cost = Cost {
        reservations: reservations.len() as u64 + unlisted,
        held: Duration::ZERO,
        carrying: Duration::ZERO,
        reserved_bits: 0.0,
        filled: 0.0,
        price: None,
    };
    let mut bits = 0.0;
    for one in reservations {
        let held = one.held(end);
        cost.held += held;
        cost.carrying += one.carrying(end);
        cost.reserved_bits += one.rate.0 as f64 * held.as_secs_f64();
        bits += one.bytes as f64 * 8.0;
        if let Some(price) = overlay.price(&one.link.network) {
            *cost.price.get_or_insert(0.0) += price * held.as_secs_f64() / HOUR;
        }
    }
    cost.filled = part(bits, cost.reserved_bits);
    cost
}

fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 { of / whole } else { 0.0 }
}

fn overlay_facts(overlay: &OverlayConfig, world: &World) -> OverlayFacts {
    let places = &world.places;
    let networks = |name: &str| overlay.nodes.get(name).cloned().unwrap_or_default();
    OverlayFacts {
        proxy: overlay.proxy.clone(),
        nodes: places
            .guests()
            .map(|(name, guests)| NodeFacts { name: name.to_owned(), networks: networks(name), guests })
            .collect(),
        networks: world
            .providers()
            .iter()
            .map(|(network, capabilities)| NetworkFacts {
                network: network.clone(),
                setup: capabilities.lead_time + capabilities.setup_time,
                teardown: capabilities.teardown_time,
                rate: capabilities.fixed_rate,
                price: overlay.price(network),
            })
            .collect(),
        between_nodes: places.between.into(),
        within_nodes: places.local.into(),
        flooded: places.flooded.into(),
        other: places.other.into(),
    }
}

fn pairs(world: &World) -> Vec<PairFacts> {
    let mut totals: Vec<_> = world.places.totals().into_iter().collect();
    totals.sort_by_key(|(pair, weight)| (std::cmp::Reverse(weight.bytes), *pair));
    let node = |guest| world.places.node_of(guest).map(str::to_owned);
    let facts = totals.into_iter().take(MAX_PAIRS).map(|((source, destination), weight)| PairFacts {
        source,
        from: node(source).unwrap_or_default(),
        destination,
        to: node(destination),
        volume: weight.into(),
        on_circuits: world.account.on_circuits.get(&(source, destination)).map_or(0, |own| own.bytes),
    });
    facts.collect()
}
