//! What inference sees, what backends can do, what the planner wants; and following the plan.

use vreserve_model::{Capabilities, Timestamp, TopologyReport, Wanted};

use super::circuit::Circuit;
use super::{CircuitId, Event, Lead, Phase, Setback};
use crate::plan::{self, Layout, LinkKey, PairKey, Plan, PlannedLink, Step};

/// Why nothing is asked for yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Shadow,
    Hopeless,
    BackingOff,
    NodeAbsent,
    NotAttached,
    NoBackend,
    FormerBackend,
    NoRoom,
    OverBudget,
    Journal,
    Queue,
}

impl Obstacle {
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Obstacle::Shadow => "would be asked for now: in shadow mode nothing is reserved",
            Obstacle::Hopeless => "the backend can never provide it",
            Obstacle::BackingOff => "waits before the next attempt",
            Obstacle::NodeAbsent => "waits for a node to join",
            Obstacle::NotAttached => "an end has no endpoint on the network",
            Obstacle::NoBackend => "waits for the reservation backend",
            Obstacle::FormerBackend => "waits until the former backend has given back its circuit",
            Obstacle::NoRoom => "waits until the backend has room for another circuit",
            Obstacle::OverBudget => "waits until the budget of its network has room for it",
            Obstacle::Journal => "waits until the journal can be written",
            Obstacle::Queue => "waits for the backend to answer another request",
        }
    }
}

impl Lead {
    /// Inference has a new view.
    pub fn handle_topology(&mut self, now: Timestamp, report: TopologyReport) {
        self.advance_clock(now);
        let edges = |report: &TopologyReport| report.demands.iter().filter(|d| d.confidence > 0.0).count();
        let key = |r: &TopologyReport| (r.pattern, edges(r), r.settled, r.silent_nodes.clone());
        if key(&report) != key(&self.topology) {
            let (pattern, edges, settled, silent_nodes) = key(&report);
            self.publish(Event::TopologyChanged { pattern, edges, settled, silent_nodes });
        }
        self.topology = report;
        self.settle();
    }

    /// A backend can be used. What its predecessor could never do, it may be able to.
    pub fn handle_backend_up(&mut self, now: Timestamp, network: &str, capabilities: Capabilities) {
        self.advance_clock(now);
        self.watch_holdings(network, &capabilities);
        self.backends.insert(network.into(), capabilities);
        self.withdrawn.remove(network);
        self.forgive(network);
        self.review_at = self.now;
        self.publish(Event::BackendUp { network: network.into() });
        self.settle();
    }

    /// What a backend could never do, its successor may.
    fn forgive(&mut self, network: &str) {
        let is_never = |link: &LinkKey, setback: &Setback| link.network == network && setback.is_for_ever();
        self.setbacks.retain(|link, setback| !is_never(link, setback));
        for state in self.bookings.values_mut().filter(|state| state.booking.link.network == network) {
            state.setback = state.setback.take().filter(|setback| !setback.is_for_ever());
        }
        for circuit in self.circuits.values_mut().filter(|circuit| circuit.link.network == network) {
            circuit.resizing.not_before = circuit.resizing.not_before.filter(|at| *at != Setback::NEVER);
        }
    }

    /// A backend cannot be used for now. Circuits that carry traffic go on; calls wait until it is back.
    pub fn handle_backend_down(&mut self, now: Timestamp, network: &str, reason: &str) {
        self.advance_clock(now);
        if self.backends.remove(network).is_some() {
            self.holdings.remove(network);
            self.publish(Event::BackendDown { network: network.into(), reason: reason.into() });
        }
        self.settle();
    }

    /// The planner wants this overlay from now on.
    pub fn handle_wanted(&mut self, now: Timestamp, wanted: &Wanted) {
        self.advance_clock(now);
        let wanted = &self.without_withdrawn(wanted);
        let nothing = Wanted::default();
        let wanted = if self.is_stopping { &nothing } else { wanted };
        let (planned, left_out) = Layout::from_wanted(wanted);
        let goal = self.with_bookings(planned.clone());
        let is_other = goal.ways != self.goal.ways || !goal.links.keys().eq(self.goal.links.keys());
        let plan = plan::diff(&self.in_force(), &goal, self.config.rate_margin);
        if is_other && !plan.is_empty() {
            self.publish_plan(&plan, wanted, left_out);
        }
        self.publish_undersized(&plan, &goal);
        self.planned = planned;
        self.wanted_since.retain(|link, _| goal.links.contains_key(link));
        for link in goal.links.keys() {
            self.wanted_since.entry(link.clone()).or_insert(now);
        }
        self.goal = goal;
        self.update_intents();
        self.settle();
    }

    /// Takes every step of the plan that may be taken now; true if any was.
    pub(super) fn follow_plan(&mut self) -> bool {
        let plan = plan::diff(&self.in_force(), &self.goal, self.config.rate_margin);
        let mut changed = self.return_misplaced();
        for step in plan.make {
            changed |= self.take_step(step);
        }
        if !self.is_making() {
            for step in plan.unmake {
                changed |= !self.is_premature(&step) && self.take_step(step);
            }
        }
        changed
    }

    fn take_step(&mut self, step: Step) -> bool {
        match step {
            Step::Add { link, planned } => self.want(link, planned),
            Step::Move { pair, way } => self.switch_over(pair, &way),
            Step::CutBack { pair } => self.switch_back(pair),
            Step::Remove { link } => self.remove(&link),
        }
    }

    /// True for the end of what was found on record and is to be kept for a while, and of what is booked, which
    /// its booking ends.
    fn is_premature(&self, step: &Step) -> bool {
        let id = match step {
            Step::CutBack { pair } => {
                self.pairs.get(pair).and_then(|pair| pair.told).map(|route| route.first)
            }
            Step::Remove { link } => self.circuit_of.get(link).copied(),
            Step::Add { .. } | Step::Move { .. } => None,
        };
        let is_booked =
            |circuit: &Circuit| matches!(step, Step::Remove { .. }) && self.booking_of(circuit).is_some();
        let circuit = id.and_then(|id| self.circuits.get(&id));
        circuit.is_some_and(|circuit| circuit.is_kept(self.now) || is_booked(circuit))
    }

    /// The links that are wanted or set up and not on their way out, and the pairs that were told to use them.
    fn in_force(&self) -> Layout {
        let is_current = |circuit: &&Circuit| self.circuit_of.get(&circuit.link) == Some(&circuit.id);
        let is_live = |circuit: &&Circuit| !circuit.phase.is_ending() && !circuit.is_doomed;
        let live = self.circuits.values().filter(is_current).filter(is_live);
        let planned = |c: &Circuit| PlannedLink { rate: c.rate_in_force(), rank: c.rank };
        let way = |(key, pair): (&PairKey, &super::Pair)| Some((*key, self.way_told(pair)?));
        Layout {
            links: live.map(|circuit| (circuit.link.clone(), planned(circuit))).collect(),
            ways: self.pairs.iter().filter_map(way).collect(),
        }
    }

    /// True while something new may still come to carry traffic, so that nothing may be removed yet. What
    /// waits for room, for a node or for its next attempt does not count: it may need the removal.
    fn is_making(&self) -> bool {
        self.circuits.values().filter(|circuit| self.is_wanted(circuit)).any(|circuit| match circuit.phase {
            Phase::Wanted => matches!(self.obstacle(circuit), None | Some(Obstacle::Queue)),
            Phase::Reserving => {
                circuit.state() != vreserve_model::ReservationState::Unknown && self.may_link(circuit)
            }
            Phase::Linking | Phase::Probing => true,
            Phase::Switching => self.has_pending_pairs(circuit.id),
            _ => false,
        })
    }

    /// Why a wanted circuit is not asked for now; none if it can be.
    pub(super) fn obstacle(&self, circuit: &Circuit) -> Option<Obstacle> {
        let link = &circuit.link;
        if self.journal_failure.is_some() {
            return Some(Obstacle::Journal);
        }
        if let Some(setback) = self.setback_of(circuit).filter(|setback| setback.until > self.now) {
            return Some(if setback.is_for_ever() { Obstacle::Hopeless } else { Obstacle::BackingOff });
        }
        let ends = link.ends().map(|end| self.nodes.get(end));
        if ends.iter().any(Option::is_none) {
            return Some(Obstacle::NodeAbsent);
        }
        if ends.into_iter().flatten().any(|node| !node.networks.contains_key(&link.network)) {
            return Some(Obstacle::NotAttached);
        }
        let Some(backend) = self.backends.get(&link.network) else { return Some(Obstacle::NoBackend) };
        if self.waits_for_former(link) {
            return Some(Obstacle::FormerBackend);
        }
        let window = self.booking_of(circuit).map(|booking| (booking.start_ms, booking.end_ms));
        let is_queueing =
            backend.serial && self.is_submitting(&link.network) || self.is_collecting(&link.network);
        let obstacle = self.room_obstacle(link, circuit.rate, window);
        obstacle.or(is_queueing.then_some(Obstacle::Queue)).or(self.config.shadow.then_some(Obstacle::Shadow))
    }

    fn want(&mut self, link: LinkKey, planned: PlannedLink) -> bool {
        // What only a booking wants, its own circuit brings; and what the planner wants too, if that is on its way.
        let is_planned = self.planned.links.contains_key(&link) && !self.is_brought_by_booking(&link);
        if self.circuit_of.contains_key(&link) || !is_planned {
            return false;
        }
        // A successor whose predecessor is gone is what is wanted.
        let is_heir = |c: &&mut Circuit| c.replaces.is_some() && c.link == link && !c.phase.is_ending();
        if let Some(heir) = self.circuits.values_mut().find(is_heir).filter(|heir| !heir.is_doomed) {
            heir.replaces = None;
            let id = heir.id;
            self.circuit_of.insert(link, id);
            return true;
        }
        let id = CircuitId(self.new_id());
        self.circuit_of.insert(link.clone(), id);
        self.circuits.insert(id, Circuit::new(id, link, planned.rank, planned.rate, self.now));
        true
    }

    /// What has not been asked for yet is asked for as it is wanted last.
    fn update_intents(&mut self) {
        for circuit in self.circuits.values_mut() {
            let is_automatic = circuit.booking.is_none() && circuit.replaces.is_none();
            if let Some(planned) = self.planned.links.get(&circuit.link).filter(|_| is_automatic) {
                circuit.rank = planned.rank;
                if circuit.phase == Phase::Wanted {
                    circuit.rate = planned.rate;
                }
            }
        }
    }

    pub(super) fn drop_unwanted(&mut self, id: CircuitId) -> bool {
        let is_unwanted = self.circuits.get(&id).is_some_and(|circuit| !self.is_wanted(circuit));
        if is_unwanted {
            self.retire(id);
        }
        is_unwanted
    }

    fn remove(&mut self, link: &LinkKey) -> bool {
        let id = self.circuit_of.get(link).copied();
        let id = id.filter(|id| self.circuits.get(id).is_some_and(|circuit| circuit.phase.takes_pairs()));
        if let Some(id) = id {
            self.cut_back(id, "no longer wanted");
        }
        id.is_some()
    }

    fn publish_plan(&mut self, plan: &Plan, wanted: &Wanted, left_out: Vec<String>) {
        let is_added = |key: &LinkKey| {
            plan.make.iter().any(|step| matches!(step, Step::Add { link, .. } if link == key))
        };
        let added =
            wanted.links.iter().filter(|link| is_added(&LinkKey::new(&link.a, &link.z, &link.network)));
        let removed = plan.unmake.iter().filter_map(|step| match step {
            Step::Remove { link } => Some(link.clone()),
            _ => None,
        });
        let count = |is: fn(&Step) -> bool| plan.steps().filter(|step| is(step)).count();
        self.publish(Event::Planned {
            add: added.cloned().collect(),
            remove: removed.collect(),
            moves: count(|step| matches!(step, Step::Move { .. })),
            cut_backs: count(|step| matches!(step, Step::CutBack { .. })),
            notes: wanted.notes.iter().cloned().chain(left_out).collect(),
        });
    }

    /// Says so once when a wanted rate grows past what a circuit was granted.
    fn publish_undersized(&mut self, plan: &Plan, goal: &Layout) {
        for link in &plan.undersized {
            let circuit = self.circuit_of.get(link).and_then(|id| self.circuits.get(id));
            // What can be resized says by itself when that fails.
            let fixed = circuit.filter(|circuit| self.rate_missing(circuit).is_none());
            let granted = fixed.and_then(|circuit| circuit.granted);
            let before = self.goal.links.get(link).map(|planned| planned.rate.0 as f64);
            if let (Some(granted), Some(wanted)) = (granted, goal.links.get(link).map(|l| l.rate)) {
                let limit = granted.0 as f64 * (1.0 + self.config.rate_margin);
                if before.is_none_or(|before| before <= limit) {
                    self.publish(Event::Undersized { link: link.clone(), wanted, granted });
                }
            }
        }
    }
}
