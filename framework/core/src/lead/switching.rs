//! Pairs of guests: onto a circuit and back to the star, one switch at a time.
//!
//! `told` is what the ingress node's part of the overlay says, `at` where the node last said the pair is.
//! While the two differ the node holds and releases frames around its barrier, and the pair is left alone.
//! What goes over two circuits is relayed by the node between, which is told before the ingress node is (`laid`) and
//! relays until the pair is elsewhere.

use vreserve_model::Timestamp;

use super::linking::{micros, millis};
use super::outcome::Cause;
use super::relaying::Laid;
use super::{CircuitId, Event, Lead, PairOutcome, Phase};
use crate::plan::{PairKey, Way};
use crate::route::Route;

#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The ingress node.
    pub(super) node: String,
    pub(super) told: Option<Route<CircuitId>>,
    pub(super) at: Option<Route<CircuitId>>,
    /// What its relay is being told of.
    pub(super) laid: Option<Laid>,
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
    pub(super) fn on(node: &str, route: Route<CircuitId>) -> Self {
        Pair { told: Some(route), at: Some(route), ..Self::on_star(node) }
    }

    fn on_star(node: &str) -> Self {
        Pair {
            node: node.into(),
            told: None,
            at: None,
            laid: None,
            pending: None,
            failures: 0,
            retry_at: None,
            reason: None,
        }
    }

    pub(super) fn next_time(&self) -> Option<Timestamp> {
        let laid = self.laid.as_ref().map(|laid| laid.deadline);
        self.pending.map(|pending| pending.deadline).or(laid).or(self.retry_at)
    }

    fn is_idle(&self) -> bool {
        self.told.is_none() && self.at.is_none() && self.is_at_rest()
    }

    /// True if it is where it was told to be, and nothing is laid for it.
    fn is_at_rest(&self) -> bool {
        self.pending.is_none() && self.laid.is_none()
    }

    fn may_switch(&self, now: Timestamp) -> bool {
        self.is_at_rest() && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Every route that frames of it may be on, or soon.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route<CircuitId>> {
        self.told.iter().chain(&self.at).chain(self.laid.as_ref().map(|laid| &laid.route))
    }

    /// The circuit `old` goes on as `new`.
    pub(super) fn rename(&mut self, old: CircuitId, new: CircuitId) {
        let laid = self.laid.as_mut().map(|laid| &mut laid.route);
        for route in self.told.iter_mut().chain(&mut self.at).chain(laid) {
            for hop in route.hops_mut().filter(|hop| **hop == old) {
                *hop = new;
            }
        }
    }

    fn uses(&self, id: CircuitId) -> bool {
        self.routes().any(|route| route.takes(&id))
    }

    pub(super) fn is_told(&self, id: CircuitId) -> bool {
        self.told.is_some_and(|route| route.takes(&id))
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
        let left = std::mem::replace(&mut pair.at, pair.told);
        (pair.pending, pair.failures, pair.retry_at, pair.reason) = (None, 0, None, None);
        let onto = pair.told.and_then(|route| self.circuits.get(&route.first)).map(|circuit| circuit.link_id);
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
        self.touch_relay(left);
    }

    /// The pair is where it was. It is told so, and switched again later; only if it should have left a
    /// circuit that is ending, the removal of the link will force it.
    fn abort_switch(&mut self, key: PairKey, reason: &str, outcome: Option<&PairOutcome>) {
        let back_off = self.config.back_off;
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        let laid = pair.laid.take().map(|laid| laid.route);
        let refused = laid.or(pair.told);
        let onto = refused.and_then(|route| self.circuits.get(&route.first)).map(|circuit| circuit.link_id);
        pair.pending = None;
        pair.failures += 1;
        pair.reason = Some(reason.into());
        let is_ending =
            |id: &CircuitId| self.circuits.get(id).is_none_or(|circuit| circuit.phase.is_ending());
        if pair.at.is_some_and(|route| route.hops().any(is_ending)) {
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
        self.touch_relay(refused);
    }

    pub(super) fn expire_switches(&mut self) {
        let now = self.now;
        let late = self.pairs.iter().filter_map(|(key, pair)| match (&pair.pending, &pair.laid) {
            (Some(pending), _) if pending.deadline <= now => {
                Some((*key, "the node did not tell the outcome in time"))
            }
            (_, Some(laid)) if laid.deadline <= now => {
                Some((*key, "the relay did not set up its part in time"))
            }
            _ => None,
        });
        for (key, reason) in late.collect::<Vec<_>>() {
            self.abort_switch(key, reason, None);
        }
    }

    pub(super) fn takes_pairs(&self, id: &CircuitId) -> bool {
        self.circuits.get(id).is_some_and(|circuit| circuit.phase.takes_pairs())
    }

    /// The circuits of a wanted way, if all of them take pairs.
    fn open_route(&self, way: &Way) -> Option<Route<CircuitId>> {
        way.route.map(|link| self.circuit_of.get(link).copied().filter(|id| self.takes_pairs(id)))
    }

    /// Switches a pair onto the circuits of its wanted way, if they take pairs and both guests are where the
    /// plan believes them.
    pub(super) fn switch_over(&mut self, key: PairKey, way: &Way) -> bool {
        let route = self.open_route(way).filter(|_| self.is_placed(key, way));
        let Some(route) = route else { return false };
        let now = self.now;
        let pair = self.pairs.entry(key).or_insert_with(|| Pair::on_star(&way.node));
        if pair.is_idle() {
            pair.node.clone_from(&way.node);
        }
        // A pair whose source has moved first comes back to the star at its old node; and so does one that only
        // goes on elsewhere from the same circuit, which its ingress node cannot tell apart.
        if pair.node != way.node || pair.told == Some(route) {
            return false;
        }
        if pair.told.is_some_and(|told| told.first == route.first) {
            return self.switch_back(key);
        }
        match way.relay() {
            None => self.tell(key, Some(route)),
            Some(relay) if pair.may_switch(now) => self.lay(key, route, relay),
            Some(_) => false,
        }
    }

    pub(super) fn switch_back(&mut self, key: PairKey) -> bool {
        self.tell(key, None)
    }

    /// True if any of these pairs was told to go back.
    fn switch_all_back(&mut self, pairs: impl IntoIterator<Item = PairKey>) -> bool {
        let mut changed = false;
        for key in pairs {
            changed |= self.switch_back(key);
        }
        changed
    }

    /// Guests that have moved away are no longer reached over the circuit: their pairs go back at once.
    pub(super) fn return_misplaced(&mut self) -> bool {
        let is_misplaced = |key: &PairKey, pair: &Pair| {
            let Some(way) = self.way_told(pair) else { return true };
            // While nodes still come back, a guest that nobody has listed yet is where it was.
            let is_elsewhere =
                |guest, node: Option<&str>| self.guests.node_of(guest).is_some_and(|at| Some(at) != node);
            let is_kept =
                |id: &CircuitId| self.circuits.get(id).is_some_and(|circuit| circuit.is_kept(self.now));
            if pair.told.is_some_and(|route| route.hops().any(is_kept)) {
                return is_elsewhere(key.source, Some(&pair.node))
                    || is_elsewhere(key.destination, way.egress());
            }
            !self.is_placed(*key, &way)
        };
        let told = self.pairs.iter().filter(|(_, pair)| pair.told.is_some());
        let misplaced: Vec<_> =
            told.filter(|(key, pair)| is_misplaced(key, pair)).map(|(key, _)| *key).collect();
        self.switch_all_back(misplaced)
    }

    pub(super) fn is_placed(&self, key: PairKey, way: &Way) -> bool {
        self.guests.node_of(key.source) == Some(&way.node)
            && self.guests.node_of(key.destination) == way.egress()
    }

    /// The way that a pair was told to take; none for the star, or if a circuit of it is gone.
    pub(super) fn way_told(&self, pair: &Pair) -> Option<Way> {
        let link_of = |id: &CircuitId| self.circuits.get(id).map(|circuit| circuit.link.clone());
        Some(Way { node: pair.node.clone(), route: pair.told?.map(link_of)? })
    }

    pub(super) fn tell(&mut self, key: PairKey, onto: Option<Route<CircuitId>>) -> bool {
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
        self.pairs.values().any(|pair| pair.uses(id) && !pair.is_at_rest())
    }

    /// A circuit carries once every pair planned for it has had its turn and one at least is across.
    pub(super) fn advance_switching(&mut self, id: CircuitId) -> bool {
        let Some(circuit) = self.circuits.get(&id) else { return false };
        // A pair that is to go on over another circuit waits for that one, and this one not for the pair.
        let is_due = |way: &Way| way.route.takes(&circuit.link) && self.open_route(way).is_some();
        let planned = self.goal.ways.iter().filter(|(_, way)| is_due(way));
        let planned: Vec<_> = planned.filter(|(key, way)| self.is_placed(**key, way)).collect();
        let pair_of = |key: &PairKey| self.pairs.get(key);
        let had_turn = |key: &PairKey| pair_of(key).is_some_and(|p| p.is_at_rest() && p.failures > 0);
        let takes = |pair: &Pair| pair.is_at_rest() && pair.at.is_some_and(|route| route.takes(&id));
        let is_across = |key: &PairKey| pair_of(key).is_some_and(takes);
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
        let users: Vec<_> = users.map(|(key, pair)| (*key, pair.is_told(id))).collect();
        if users.is_empty() {
            if let Some(circuit) = self.circuits.get_mut(&id) {
                circuit.times.cut_back_at = Some(self.now);
            }
            self.unlink(id);
            return true;
        }
        let told = users.into_iter().filter(|(_, is_told)| *is_told);
        self.switch_all_back(told.map(|(key, _)| key))
    }

    /// The link goes: whoever leaves its own node by it is elsewhere from now on, without waiting. For whom it is the
    /// second of two, the node between sends frames back or to the star by itself; the pair follows in good order.
    pub(super) fn force_pairs_off(&mut self, id: CircuitId) {
        let begins_with = |route: &Option<Route<CircuitId>>| route.is_some_and(|route| route.first == id);
        let mut behind = Vec::new();
        for (key, pair) in self.pairs.iter_mut().filter(|(_, pair)| pair.uses(id)) {
            pair.laid.take_if(|laid| laid.route.takes(&id));
            if begins_with(&pair.at) {
                pair.at = None;
            }
            if begins_with(&pair.told) {
                pair.told = pair.at;
                (pair.pending, pair.retry_at, pair.failures) = (None, None, 0);
            } else if pair.is_told(id) {
                (pair.pending, pair.retry_at) = (None, None);
                behind.push(*key);
            }
        }
        self.switch_all_back(behind);
    }

    /// A pair on the star needs no record, except of the failures that its live circuit has to know.
    pub(super) fn forget_idle_pairs(&mut self) {
        let is_open =
            |key: &PairKey| self.goal.ways.get(key).is_some_and(|way| self.open_route(way).is_some());
        let idle = self.pairs.iter().filter(|(key, pair)| pair.is_idle() && !is_open(key));
        for key in idle.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.pairs.remove(&key);
        }
    }
}
