//! A lead that takes over from an earlier one: what was on record is looked up before anything else.
//!
//! Each recorded circuit keeps its identity. One that was in use keeps its link and its pairs in every node's
//! part, so that nothing moves while it is looked up; what nobody wants when the grace has passed is given
//! back in good order.

use std::collections::BTreeSet;

use vreserve_model::{ReservationState, Timestamp, Wanted};

use super::booking::BookingState;
use super::circuit::Circuit;
use super::switching::Pair;
use super::{CircuitId, CircuitRecord, Event, Lead, NodeRole, Phase, Record, RecordBody, Stage};
use crate::ids::{LinkClass, LinkId};
use crate::overlay::{OverlayLink, PairWay};
use crate::plan::PairKey;
use crate::reservation::Reservation;
use crate::route::Route;

impl Lead {
    /// What an earlier lead left on record; called once, after the first `handle_clock` and before anything
    /// else. Records of a newer version are left alone, as is what backends hold under their keys; they are
    /// given back to be told of.
    pub fn restore(&mut self, now: Timestamp, records: Vec<Record>) -> Vec<Record> {
        self.advance_clock(now);
        let (mut left_alone, mut circuits) = (Vec::new(), Vec::new());
        for record in records {
            match record.body {
                _ if record.version > Record::VERSION => left_alone.push(record),
                RecordBody::Booking(booking) => {
                    self.bookings.insert(booking.id, BookingState::new(booking));
                }
                RecordBody::Circuit(circuit) => circuits.push(*circuit),
                RecordBody::Demand(demand) => {
                    if !self.restore_demand(demand) {
                        self.forget(record.key);
                    }
                }
            }
        }
        // Where two claim one link, the later one has taken it over, and the earlier one was to be given back.
        circuits.sort_by_key(|record| std::cmp::Reverse(record.circuit));
        circuits.into_iter().for_each(|record| self.restore_circuit(record));
        self.drop_halves();
        self.left_alone.clone_from(&left_alone);
        self.settle();
        left_alone
    }

    /// The lead is to stop: whatever the planner wanted is given back. What is booked stays on record, and with
    /// the pairs that use it, for the next lead; `is_stopped` says when nothing else is left.
    pub fn handle_stop(&mut self, now: Timestamp) {
        self.advance_clock(now);
        self.is_stopping = true;
        for circuit in self.circuits.values_mut().filter(|circuit| circuit.booking.is_none()) {
            circuit.kept_until = None;
        }
        self.handle_wanted(now, &Wanted::default());
    }

    /// True when a lead that is to stop has nothing left to give back.
    pub fn is_stopped(&self) -> bool {
        self.is_stopping && self.circuits.values().all(|c| c.booking.is_some() && c.call.is_none())
    }

    fn restore_circuit(&mut self, record: CircuitRecord) {
        let id = record.circuit;
        if self.circuits.contains_key(&id) {
            return;
        }
        let is_taken = self.circuit_of.contains_key(&record.link);
        let stage = match record.stage {
            Stage::InUse if is_taken => Stage::Releasing,
            stage => stage,
        };
        let circuit = self.circuit_from(record, stage);
        let (name, booking) = (circuit.name(), circuit.booking);
        // A booking that has not begun does not stand in the way of what is wanted now.
        if stage == Stage::InUse || stage == Stage::Reserving && booking.is_none() && !is_taken {
            self.circuit_of.insert(circuit.link.clone(), id);
        }
        let mut pairs = 0;
        if stage == Stage::InUse {
            for pair in circuit.recorded.iter().flat_map(|record| &record.pairs) {
                let key = PairKey { source: pair.source, destination: pair.destination };
                self.pairs.insert(key, Pair::on(&pair.node, Route { first: id, onward: pair.onward }));
                pairs += 1;
            }
        }
        let state = booking.and_then(|booking| self.bookings.get_mut(&booking));
        if let Some(state) = state.filter(|_| stage != Stage::Releasing) {
            state.circuit = Some(id);
        }
        self.circuits.insert(id, circuit);
        self.publish(Event::Restored { name, stage, pairs });
    }

    /// A pair that went on over a circuit which is not in use any more is on the star: its relay has seen to that.
    fn drop_halves(&mut self) {
        let circuits = &self.circuits;
        let is_in_use = |id: &CircuitId| circuits.get(id).is_some_and(|circuit| circuit.phase.takes_pairs());
        self.pairs.retain(|_, pair| pair.told.is_none_or(|route| route.hops().all(is_in_use)));
    }

    fn circuit_from(&self, record: CircuitRecord, stage: Stage) -> Circuit {
        let now = self.now;
        let mut circuit = Circuit::new(record.circuit, record.link.clone(), 0, record.request.rate, now);
        circuit.link_id = record.link_id;
        circuit.granted = record.granted;
        circuit.resizing.unsure = record.modifying;
        circuit.window = (record.start_ms, record.end_ms);
        circuit.booking = record.booking;
        circuit.attempt = record.attempt;
        // Whatever it was: nobody has looked since.
        circuit.reservation = Reservation::resume(record.flow, ReservationState::Unknown);
        circuit.is_fused = record.is_fused;
        circuit.is_committed = record.is_committed;
        circuit.request = Some(record.request.clone());
        circuit.native_id.clone_from(&record.native_id);
        circuit.labels.clone_from(&record.labels);
        circuit.submitted = Some(self.age_of(record.submitted_ms));
        circuit.held = record.held_since_ms.map(|_| self.age_of(record.held_since_ms));
        circuit.times.submitted_at = Some(now);
        match stage {
            Stage::Reserving => circuit.phase = Phase::Reserving,
            Stage::Releasing => circuit.phase = Phase::Releasing,
            Stage::InUse => {
                circuit.phase = Phase::Carrying;
                let times = &mut circuit.times;
                (times.active_at, times.linked_at) = (Some(now), Some(now));
                (times.probed_at, times.switched_at) = (Some(now), Some(now));
            }
        }
        if stage != Stage::Releasing {
            circuit.kept_until = Some(now + self.config.restore_grace);
        }
        circuit.recorded = Some(record);
        circuit
    }

    /// What a node had in force when it joined: all its links and the pairs on them. To be called right
    /// after `handle_node_joined` and before the next `poll_action`, so that the part that the node is sent
    /// keeps what it has. Star links keep their identity; pairs keep a restored circuit; a restored circuit
    /// whose link the node has lost is linked and probed anew.
    pub fn handle_present(&mut self, now: Timestamp, node: &str, links: &[OverlayLink], pairs: &[PairWay]) {
        self.advance_clock(now);
        if self.nodes.contains_key(node) {
            self.keep_star(node, links);
            self.keep_pairs(node, pairs);
            self.relink_lost(node, links);
        }
        self.settle();
    }

    /// The star goes on under the identities that it has: a link that is made anew drops what is under way.
    fn keep_star(&mut self, node: &str, links: &[OverlayLink]) {
        let role = self.nodes.get(node).map(|node| node.role);
        for link in links.iter().filter(|link| link.class == LinkClass::Star) {
            match role {
                _ if !self.is_former(link.id) => {}
                Some(NodeRole::Proxy) => self.keep_star_of(&link.far_node, link.id, false),
                _ if self.proxy.as_ref() == Some(&link.far_node) => self.keep_star_of(node, link.id, true),
                _ if self.proxy.is_none() => drop(self.known_stars.insert(node.into(), link.id)),
                _ => {}
            }
        }
    }

    /// `is_own`: the spoke says so itself, which counts more than what the proxy says of it.
    fn keep_star_of(&mut self, spoke: &str, id: LinkId, is_own: bool) {
        let is_taken = self.circuits.values().any(|circuit| circuit.link_id == id)
            || self.nodes.values().any(|node| node.star_link == Some(id));
        if is_taken {
            return;
        }
        let Some(node) = self.nodes.get_mut(spoke) else {
            self.known_stars.insert(spoke.into(), id);
            return;
        };
        let base = u64::from(self.config.epoch) << 32;
        let is_new = node.star_link.is_some_and(|current| current.0 >= base);
        if node.role == NodeRole::Spoke && (is_own || is_new) && node.star_link.is_some() {
            node.star_link = Some(id);
            self.touch(spoke);
            self.touch_proxy();
        }
    }

    /// Given out by an earlier lead: below all identities of this one, and none of a node's own.
    fn is_former(&self, id: LinkId) -> bool {
        let epoch = u64::from(self.config.epoch);
        (1..epoch).contains(&(id.0 >> 32))
    }

    /// Where the node says otherwise than the record, the node is right: a pair that it has on the circuit
    /// stays there, and one that it has on the star is on the star.
    fn keep_pairs(&mut self, node: &str, present: &[PairWay]) {
        let restored = |lead: &Self, link: &LinkId| {
            let is_it = |c: &&Circuit| c.link_id == *link && c.phase.takes_pairs() && c.is_kept(lead.now);
            lead.circuits.values().find(is_it).map(|circuit| circuit.id)
        };
        let mut kept: BTreeSet<(PairKey, Route<CircuitId>)> = BTreeSet::new();
        for way in present {
            let route = way.route().map(|link| restored(self, link));
            let Some(route) = route.filter(|route| self.begins_at(route, node)) else { continue };
            let key = PairKey { source: way.source, destination: way.destination };
            kept.insert((key, route));
            self.pairs.entry(key).or_insert_with(|| Pair::on(node, route));
        }
        let is_lost = |(key, pair): &(&PairKey, &Pair)| {
            let is_restored = |id: &CircuitId| self.circuits.get(id).is_some_and(|c| c.is_kept(self.now));
            let told = pair.told.filter(|route| is_restored(&route.first));
            let told = told.filter(|_| pair.pending.is_none() && pair.node == node);
            told.is_some_and(|route| !kept.contains(&(**key, route)))
        };
        let lost: Vec<_> = self.pairs.iter().filter(is_lost).map(|(key, _)| *key).collect();
        for key in lost {
            self.pairs.remove(&key);
            self.touch(node);
        }
    }

    fn begins_at(&self, route: &Route<CircuitId>, node: &str) -> bool {
        self.circuits.get(&route.first).is_some_and(|circuit| circuit.link.far_end(node).is_some())
    }

    /// A node that has come back without the link of a restored circuit has to make it again, and so has one
    /// that meets such an end.
    fn relink_lost(&mut self, node: &str, links: &[OverlayLink]) {
        let now = self.now;
        let is_restored = |c: &&mut Circuit| c.is_kept(now) && c.link.far_end(node).is_some();
        for circuit in self.circuits.values_mut().filter(is_restored) {
            let own = links.iter().find(|link| link.id == circuit.link_id);
            circuit.present.extend(own.map(|link| (node.to_owned(), link.clone())));
        }
        let is_lost = |circuit: &&Circuit| {
            let lacks = circuit.phase.takes_pairs() && !circuit.present.contains_key(node);
            let is_hit = lacks || circuit.phase == Phase::Linking;
            is_hit && circuit.is_kept(now) && circuit.link.far_end(node).is_some()
        };
        let lost: Vec<_> = self.circuits.values().filter(is_lost).map(|circuit| circuit.id).collect();
        for id in lost {
            self.force_pairs_off(id);
            self.await_ends(id, Phase::Linking, self.config.patience.linking);
        }
    }
}
