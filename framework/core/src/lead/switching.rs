//! Pairs of guests: onto a circuit and back to the star, one switch at a time.
//!
//! `told` is what the ingress node's part of the overlay says, `at` where the node last said the pair is.
//! While the two differ the node holds and releases frames around its barrier, and the pair is left alone.

use vreserve_model::Timestamp;

use super::linking::{micros, millis};
use super::outcome::Cause;
use super::{CircuitId, Event, Lead, PairOutcome, Phase};
use crate::plan::{PairKey, Way};

#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The ingress node.
    pub(super) node: String,
    pub(super) told: Option<CircuitId>,
    pub(super) at: Option<CircuitId>,
    pub(super) pending: Option<Pending>,
    pub(super) failures: u32,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) reason: Option<String>,
}

/// A switch whose outcome the node has yet to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) revision: u64,
    pub(super) deadline: Timestamp,
}

impl Pair {
    pub(super) fn on(node: &str, id: CircuitId) -> Self {
        Pair { told: Some(id), at: Some(id), ..Self::on_star(node) }
    }

    fn on_star(node: &str) -> Self {
        Pair {
            node: node.into(),
            told: None,
            at: None,
            pending: None,
            failures: 0,
            retry_at: None,
            reason: None,
        }
    }

    pub(super) fn next_time(&self) -> Option<Timestamp> {
        self.pending.map(|pending| pending.deadline).or(self.retry_at)
    }

    fn is_idle(&self) -> bool {
        self.told.is_none() && self.at.is_none() && self.pending.is_none()
    }

    fn may_switch(&self, now: Timestamp) -> bool {
        self.pending.is_none() && self.retry_at.is_none_or(|at| at <= now)
    }

    fn uses(&self, id: CircuitId) -> bool {
        self.told == Some(id) || self.at == Some(id)
    }
}

impl Lead {
    /// A node tells how the switches that began with `revision` ended. What the lead has given up waiting
    /// for, or told otherwise since, is not heard.
    pub fn handle_switched(&mut self, now: Timestamp, node: &str, revision: u64, outcomes: &[PairOutcome]) {
        self.advance_clock(now);
        for outcome in outcomes {
            let key = PairKey { source: outcome.source, destination: outcome.destination };
            let is_awaited = self.pairs.get(&key).is_some_and(|pair| {
                pair.node == node && pair.pending.is_some_and(|pending| pending.revision <= revision)
            });
            if is_awaited {
                match &outcome.aborted {
                    None => self.complete_switch(key, outcome),
                    Some(reason) => self.abort_switch(key, reason, Some(outcome)),
                }
            }
        }
        self.settle();
    }

    fn complete_switch(&mut self, key: PairKey, outcome: &PairOutcome) {
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        pair.at = pair.told;
        (pair.pending, pair.failures, pair.retry_at, pair.reason) = (None, 0, None, None);
        let onto = pair.told.and_then(|id| self.circuits.get(&id)).map(|circuit| circuit.link_id);
        let event = Event::PairSwitched {
            node: pair.node.clone(),
            source: key.source,
            destination: key.destination,
            onto,
            held_frames: outcome.held_frames,
            held_bytes: outcome.held_bytes,
            held_us: micros(outcome.held_for),
            dropped_frames: outcome.dropped_frames,
        };
        self.publish(event);
    }

    /// The pair is where it was. It is told so, and switched again later; only if it should have left a
    /// circuit that is ending, the removal of the link will force it.
    fn abort_switch(&mut self, key: PairKey, reason: &str, outcome: Option<&PairOutcome>) {
        let back_off = self.config.back_off;
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        let onto = pair.told.and_then(|id| self.circuits.get(&id)).map(|circuit| circuit.link_id);
        pair.pending = None;
        pair.failures += 1;
        pair.reason = Some(reason.into());
        let old = pair.at.and_then(|id| self.circuits.get(&id)).map(|circuit| circuit.phase);
        if old.is_some_and(Phase::is_ending) {
            (pair.told, pair.at, pair.retry_at) = (None, None, None);
        } else {
            pair.told = pair.at;
            pair.retry_at = Some(self.now + back_off.delay(pair.failures));
        }
        let event = Event::PairAborted {
            node: pair.node.clone(),
            source: key.source,
            destination: key.destination,
            onto,
            held_frames: outcome.map_or(0, |outcome| outcome.held_frames),
            held_us: outcome.map_or(0, |outcome| micros(outcome.held_for)),
            dropped_frames: outcome.map_or(0, |outcome| outcome.dropped_frames),
            reason: reason.into(),
            retry_at: pair.retry_at,
        };
        let node = pair.node.clone();
        self.touch(&node);
        self.publish(event);
    }

    pub(super) fn expire_switches(&mut self) {
        let is_overdue = |pair: &Pair| pair.pending.is_some_and(|pending| pending.deadline <= self.now);
        let overdue: Vec<_> = self.pairs.iter().filter(|(_, p)| is_overdue(p)).map(|(key, _)| *key).collect();
        for key in overdue {
            self.abort_switch(key, "the node did not tell the outcome in time", None);
        }
    }

    /// Switches a pair onto the circuit of its wanted way, if that takes pairs and both guests are where the
    /// plan believes them.
    pub(super) fn switch_over(&mut self, key: PairKey, way: &Way) -> bool {
        let id = self.circuit_of.get(&way.link).copied();
        let takes_pairs = |id: &CircuitId| self.circuits.get(id).is_some_and(|c| c.phase.takes_pairs());
        let Some(id) = id.filter(takes_pairs).filter(|_| self.is_placed(key, way)) else { return false };
        let pair = self.pairs.entry(key).or_insert_with(|| Pair::on_star(&way.node));
        if pair.is_idle() {
            pair.node.clone_from(&way.node);
        }
        // A pair whose source has moved first comes back to the star at its old node.
        pair.node == way.node && self.tell(key, Some(id))
    }

    pub(super) fn switch_back(&mut self, key: PairKey) -> bool {
        self.tell(key, None)
    }

    /// Guests that have moved away are no longer reached over the circuit: their pairs go back at once.
    pub(super) fn return_misplaced(&mut self) -> bool {
        let is_misplaced = |key: &PairKey, id: CircuitId| {
            let Some((circuit, pair)) = self.circuits.get(&id).zip(self.pairs.get(key)) else { return true };
            // While nodes still come back, a guest that nobody has listed yet is where it was.
            let is_elsewhere =
                |guest, node: Option<&str>| self.guests.node_of(guest).is_some_and(|at| Some(at) != node);
            if circuit.is_kept(self.now) {
                return is_elsewhere(key.source, Some(&pair.node))
                    || is_elsewhere(key.destination, circuit.link.far_end(&pair.node));
            }
            !self.is_placed(*key, &Way { node: pair.node.clone(), link: circuit.link.clone() })
        };
        let told = self.pairs.iter().filter_map(|(key, pair)| Some((*key, pair.told?)));
        let misplaced: Vec<_> = told.filter(|(key, id)| is_misplaced(key, *id)).collect();
        misplaced.into_iter().fold(false, |changed, (key, _)| self.switch_back(key) || changed)
    }

    pub(super) fn is_placed(&self, key: PairKey, way: &Way) -> bool {
        let far = way.link.far_end(&way.node);
        self.guests.node_of(key.source) == Some(&way.node) && self.guests.node_of(key.destination) == far
    }

    fn tell(&mut self, key: PairKey, onto: Option<CircuitId>) -> bool {
        let (now, patience) = (self.now, self.config.patience.switching);
        let may = |pair: &&Pair| pair.told != onto && pair.may_switch(now);
        let Some(node) = self.pairs.get(&key).filter(may).map(|pair| pair.node.clone()) else { return false };
        let revision = self.touch(&node);
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.told = onto;
            pair.retry_at = None;
            pair.pending = Some(Pending { revision, deadline: now + patience });
        }
        true
    }

    pub(super) fn has_pending_pairs(&self, id: CircuitId) -> bool {
        self.pairs.values().any(|pair| pair.uses(id) && pair.pending.is_some())
    }

    /// A circuit carries once every pair planned for it has had its turn and one at least is across.
    pub(super) fn advance_switching(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        let planned = self.goal.ways.iter().filter(|(_, way)| way.link == circuit.link);
        let planned: Vec<_> = planned.filter(|(key, way)| self.is_placed(**key, way)).collect();
        let pair_of = |key: &PairKey| self.pairs.get(key);
        let had_turn = |key: &PairKey| pair_of(key).is_some_and(|p| p.pending.is_none() && p.failures > 0);
        let is_across = |key: &PairKey| pair_of(key).is_some_and(|p| p.pending.is_none() && p.at == Some(id));
        let across = planned.iter().filter(|(key, _)| is_across(key)).count();
        if !planned.iter().all(|(key, _)| is_across(key) || had_turn(key)) {
            return false;
        }
        if across > 0 || planned.is_empty() {
            self.start_carrying(id, across);
            return true;
        }
        let attempts = self.config.switch_attempts;
        let is_hopeless = planned.iter().all(|(key, _)| pair_of(key).is_some_and(|p| p.failures >= attempts));
        if is_hopeless {
            let reason = planned.iter().find_map(|(key, _)| pair_of(key)?.reason.clone()).unwrap_or_default();
            self.fail(id, &format!("no pair could be switched to it: {reason}"), Cause::Other);
        }
        is_hopeless
    }

    fn start_carrying(&mut self, id: CircuitId, pairs: usize) {
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.phase = Phase::Carrying;
        circuit.times.switched_at = Some(self.now);
        circuit.resizing.not_before = Some(self.now + self.config.resize_every);
        let wanted_at = self.wanted_since.get(&circuit.link).copied();
        let since_wanted_ms = millis(self.now, wanted_at.or(Some(circuit.times.wanted_at)));
        let name = circuit.name();
        self.publish(Event::Carrying { name, pairs, since_wanted_ms });
    }

    /// Begins the orderly end of a circuit.
    pub(super) fn cut_back(&mut self, id: CircuitId, reason: &str) {
        let pairs = self.pairs.values().filter(|pair| pair.uses(id)).count();
        let Some(circuit) = self.circuits.get_mut(&id) else { return };
        circuit.phase = Phase::CuttingBack;
        circuit.times.ending_at.get_or_insert(self.now);
        let name = circuit.name();
        self.publish(Event::CuttingBack { name, pairs, reason: reason.into() });
    }

    pub(super) fn advance_cutting_back(&mut self, id: CircuitId) -> bool {
        let users = self.pairs.iter().filter(|(_, pair)| pair.uses(id));
        let users: Vec<_> = users.map(|(key, pair)| (*key, pair.told == Some(id))).collect();
        if users.is_empty() {
            if let Some(circuit) = self.circuits.get_mut(&id) {
                circuit.times.cut_back_at = Some(self.now);
            }
            self.unlink(id);
            return true;
        }
        let told = users.into_iter().filter(|(_, is_told)| *is_told);
        told.fold(false, |changed, (key, _)| self.switch_back(key) || changed)
    }

    /// The link goes: whoever uses it is elsewhere from now on, without waiting.
    pub(super) fn force_pairs_off(&mut self, id: CircuitId) {
        for pair in self.pairs.values_mut().filter(|pair| pair.uses(id)) {
            if pair.at == Some(id) {
                pair.at = None;
            }
            if pair.told == Some(id) {
                pair.told = pair.at;
                (pair.pending, pair.retry_at, pair.failures) = (None, None, 0);
            }
        }
    }

    /// A pair on the star needs no record, except of the failures that its live circuit has to know.
    pub(super) fn forget_idle_pairs(&mut self) {
        let keeps = |key: &PairKey| {
            let way = self.goal.ways.get(key);
            let id = way.and_then(|way| self.circuit_of.get(&way.link));
            id.and_then(|id| self.circuits.get(id)).is_some_and(|circuit| circuit.phase.takes_pairs())
        };
        let idle: Vec<_> = self.pairs.iter().filter(|(_, p)| p.is_idle()).map(|(key, _)| *key).collect();
        for key in idle.iter().filter(|key| !keeps(key)) {
            self.pairs.remove(key);
        }
    }
}
