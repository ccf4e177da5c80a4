//! What is noted down while a capture is replayed: each reservation from its request to its end, what its circuit
//! carried, and what was believed of the traffic at its strongest.

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::HashMap;
use serde::Serialize;
use vreserve_core::counters::Weight;
use vreserve_core::ids::LinkId;
use vreserve_core::lead::{CircuitId, CircuitName, Event, Lead};
use vreserve_core::plan::LinkKey;
use vreserve_model::{BitsPerSecond, Demand, MacAddr, Pattern, Timestamp, TopologyReport, Wanted};

use super::report::{PatternFacts, TopologyFacts};
use super::series::Series;
use super::{seconds, seconds_or_none};

/// More reservations than this are counted, and not listed.
const MAX_RESERVATIONS: usize = 10_000;
/// Changes of the pattern that are listed.
const MAX_PATTERNS: usize = 200;
/// Edges of the strongest topology that are listed.
const MAX_EDGES: usize = 500;
/// Pairs whose part of the circuits' traffic is told apart.
const MAX_PAIRS: usize = 100_000;

/// One reservation that would have been made. Times are from the first frame on.
#[derive(Clone, Debug, Serialize)]
pub struct Reservation {
    /// Between which nodes, on which network.
    #[serde(flatten)]
    pub link: LinkKey,
    /// The rate asked for last.
    pub rate: BitsPerSecond,
    /// Why the planner wanted it, when it was asked for.
    pub reason: String,
    /// When the planner began to want it.
    #[serde(rename = "wanted_at_s", serialize_with = "seconds")]
    pub wanted_at: Duration,
    /// When it would have been asked for.
    #[serde(rename = "asked_at_s", serialize_with = "seconds")]
    pub asked_at: Duration,
    /// When the circuit would have been there.
    #[serde(rename = "active_at_s", serialize_with = "seconds_or_none")]
    pub active_at: Option<Duration>,
    /// When guests' traffic would have begun to use it.
    #[serde(rename = "carrying_at_s", serialize_with = "seconds_or_none")]
    pub carrying_at: Option<Duration>,
    /// When it would have been emptied.
    #[serde(rename = "ending_at_s", serialize_with = "seconds_or_none")]
    pub ending_at: Option<Duration>,
    /// When it would have been given back; none if it still was not long after the capture's end.
    #[serde(rename = "released_at_s", serialize_with = "seconds_or_none")]
    pub released_at: Option<Duration>,
    /// True if it was in use when the capture ended: when it ends is then by silence, which nobody has captured.
    pub open_at_end: bool,
    /// Ordered pairs of guests on it, at first.
    pub pairs: usize,
    /// What it would have carried.
    pub bytes: u64,
    /// Frames of that.
    pub frames: u64,
}

/// The notes.
pub(super) struct Account {
    /// When the capture begins, on the lead's clock.
    begin: Timestamp,
    pub(super) reservations: Vec<Reservation>,
    /// Those that found no room.
    pub(super) unlisted: u64,
    /// Where each circuit's reservation is in the list.
    position: BTreeMap<CircuitId, usize>,
    /// The reservation under each link; another may take a link over.
    under: HashMap<LinkId, usize>,
    reasons: BTreeMap<LinkKey, String>,
    pub(super) series: Series,
    /// What pairs of guests had on circuits.
    pub(super) on_circuits: HashMap<(MacAddr, MacAddr), Weight>,
    pub(super) carried: Weight,
    pub(super) topology: TopologyFacts,
    strongest: u64,
    pub(super) notes: Vec<String>,
    pub(super) refused_reports: u64,
}

impl Account {
    pub(super) fn new(begin: Timestamp) -> Self {
        Account {
            begin,
            reservations: Vec::new(),
            unlisted: 0,
            position: BTreeMap::new(),
            under: HashMap::new(),
            reasons: BTreeMap::new(),
            series: Series::default(),
            on_circuits: HashMap::new(),
            carried: Weight::ZERO,
            topology: TopologyFacts::default(),
            strongest: 0,
            notes: Vec::new(),
            refused_reports: 0,
        }
    }

    /// A time of the lead's as one of the capture's.
    pub(super) fn since_begin(&self, at: Timestamp) -> Duration {
        at.since(self.begin)
    }

    /// A frame went from node to node, over these circuit links if any.
    pub(super) fn note_frame(&mut self, at: Timestamp, pair: (MacAddr, MacAddr), bytes: u64, way: &[LinkId]) {
        self.series.add(at.since(self.begin), bytes, !way.is_empty());
        if way.is_empty() {
            return;
        }
        self.carried += Weight::frame(bytes);
        if self.on_circuits.len() < MAX_PAIRS || self.on_circuits.contains_key(&pair) {
            *self.on_circuits.entry(pair).or_default() += Weight::frame(bytes);
        }
        for link in way {
            if let Some(&index) = self.under.get(link) {
                self.reservations[index].bytes += bytes;
                self.reservations[index].frames += 1;
            }
        }
    }

    /// What inference believes; the moment of the largest demand is kept.
    pub(super) fn note_topology(&mut self, at: Timestamp, report: &TopologyReport) {
        let edges = || report.demands.iter().filter(|demand| demand.confidence > 0.0);
        let sum = edges().fold(0_u64, |sum, demand| sum.saturating_add(demand.rate.0));
        if sum > self.strongest {
            self.strongest = sum;
            self.topology.at = at.since(self.begin);
            self.topology.pattern = report.pattern;
            self.topology.edges = edges().take(MAX_EDGES).copied().collect::<Vec<Demand>>();
        }
    }

    /// What the planner wants. Its notes are kept from the last plan that was made while demand was at its strongest.
    pub(super) fn note_plan(&mut self, at: Timestamp, wanted: &Wanted) {
        for link in &wanted.links {
            let key = LinkKey::new(&link.a, &link.z, &link.network);
            self.reasons.entry(key).or_insert_with(|| link.reason.clone());
        }
        let is_wanted = |key: &LinkKey| {
            wanted.links.iter().any(|link| LinkKey::new(&link.a, &link.z, &link.network) == *key)
        };
        self.reasons.retain(|key, _| is_wanted(key));
        if at.since(self.begin) == self.topology.at {
            self.notes.clone_from(&wanted.notes);
        }
    }

    /// What the lead tells.
    pub(super) fn note_event(&mut self, at: Timestamp, event: &Event, lead: &Lead) {
        let now = at.since(self.begin);
        match event {
            Event::ReservationSubmitted { name, rate, .. } => self.begin_one(now, name, *rate, lead),
            Event::ReservationActive { name, .. } => self.change(name, |one| one.active_at = Some(now)),
            Event::Resized { name, to, .. } => self.change(name, |one| one.rate = *to),
            Event::TookOver { name, from } => {
                let index = self.position.get(&name.circuit).copied();
                let taken = self.position.get(from).copied();
                if let Some(index) = index {
                    self.under.values_mut().filter(|under| Some(**under) == taken).for_each(|u| *u = index);
                    self.reservations[index].carrying_at.get_or_insert(now);
                }
                if let Some(taken) = taken {
                    self.reservations[taken].ending_at.get_or_insert(now);
                }
            }
            Event::Carrying { name, pairs, .. } => self.change(name, |one| {
                one.carrying_at.get_or_insert(now);
                one.pairs = *pairs;
            }),
            Event::CuttingBack { name, .. }
            | Event::CircuitFailed { name, .. }
            | Event::Releasing { name } => {
                self.change(name, |one| {
                    one.ending_at.get_or_insert(now);
                });
            }
            Event::Released { name, .. } => self.change(name, |one| one.released_at = Some(now)),
            Event::TopologyChanged { pattern, edges, .. } => self.note_pattern(now, *pattern, *edges),
            _ => {}
        }
    }

    fn begin_one(&mut self, now: Duration, name: &CircuitName, rate: BitsPerSecond, lead: &Lead) {
        if self.reservations.len() >= MAX_RESERVATIONS {
            self.unlisted += 1;
            return;
        }
        let index = self.reservations.len();
        let wanted_at = lead.circuit(name.circuit).map(|circuit| circuit.times.wanted_at.since(self.begin));
        self.position.insert(name.circuit, index);
        self.under.insert(name.circuit.link(), index);
        self.reservations.push(Reservation {
            link: name.link.clone(),
            rate,
            reason: self.reasons.get(&name.link).cloned().unwrap_or_default(),
            wanted_at: wanted_at.unwrap_or(now),
            asked_at: now,
            active_at: None,
            carrying_at: None,
            ending_at: None,
            released_at: None,
            open_at_end: false,
            pairs: 0,
            bytes: 0,
            frames: 0,
        });
    }

    fn change(&mut self, name: &CircuitName, change: impl FnOnce(&mut Reservation)) {
        if let Some(&index) = self.position.get(&name.circuit) {
            change(&mut self.reservations[index]);
        }
    }

    fn note_pattern(&mut self, now: Duration, pattern: Pattern, edges: usize) {
        let is_same = |last: &PatternFacts| (last.pattern, last.edges) == (pattern, edges);
        let is_new = !self.topology.patterns.last().is_some_and(is_same);
        if is_new && self.topology.patterns.len() < MAX_PATTERNS {
            self.topology.patterns.push(PatternFacts { at: now, pattern, edges });
        }
    }

    /// The capture is over; what happens from now on, silence brings about.
    pub(super) fn note_end(&mut self) {
        for one in self.reservations.iter_mut().filter(|one| one.ending_at.is_none()) {
            one.open_at_end = true;
        }
    }
}
