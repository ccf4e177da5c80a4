//! What backends say unasked or in lists: changes, what they hold for us, what nobody has on record.
//!
//! A report never changes a circuit by itself: it only makes the lead look the request up, so that a lost,
//! doubled or late one does no harm.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vreserve_model::{Capabilities, Changes, Failure, Observed, RequestKey, ReservationState, Timestamp};

use super::circuit::Circuit;
use super::{Action, CircuitId, Event, Lead, Phase};

/// Capacity that a backend holds for us and that is not on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanStatus {
    /// The network.
    pub network: String,
    /// The key it was requested under.
    pub key: RequestKey,
    /// The provider's id.
    pub native_id: Option<String>,
    /// Since when it has been seen.
    pub since: Timestamp,
    /// Why it still is there, if an attempt to give it back failed.
    pub reason: Option<String>,
}

/// Network, key and the provider's id: one key may have been granted twice.
pub(super) type OrphanKey = (String, RequestKey, Option<String>);

#[derive(Clone, Debug)]
pub(super) struct Orphan {
    since: Timestamp,
    /// When it is given back, if it is still there.
    due: Timestamp,
    is_called: bool,
    failures: u32,
    reason: Option<String>,
}

/// How far comparing with one backend has come.
#[derive(Clone, Debug)]
pub(super) struct Holdings {
    lists: bool,
    /// When it is asked next; none if that is over.
    due: Option<Timestamp>,
    is_called: bool,
}

impl Lead {
    /// A backend's events (its verb `events`): what changed is looked up at once. Everything of the network
    /// is, if events may have been missed.
    pub fn handle_changes(&mut self, now: Timestamp, network: &str, changes: &Changes) {
        self.advance_clock(now);
        let is_hit = |circuit: &Circuit| {
            let is_named = changes.observed.iter().any(|seen| Some(&seen.key) == circuit.key());
            circuit.link.network == network && (changes.missed || is_named)
        };
        self.look_up(is_hit);
        self.settle();
    }

    fn look_up(&mut self, is_hit: impl Fn(&Circuit) -> bool) {
        let is_known = |circuit: &Circuit| {
            circuit.state().may_hold_capacity() && circuit.state() != ReservationState::Submitted
        };
        for circuit in self.circuits.values_mut().filter(|circuit| is_known(circuit) && is_hit(circuit)) {
            circuit.look_up = true;
            // A call that is being repeated after a failure keeps its delay.
            if circuit.failed_calls == 0 && circuit.phase != Phase::Releasing {
                circuit.retry_at = None;
            }
        }
    }

    /// The answer to [`Action::ListOwned`]. What is on record and differs is looked up; what is ours and on no
    /// record is an orphan, given back after a grace.
    pub fn handle_listed(&mut self, now: Timestamp, network: &str, answer: Result<Vec<Observed>, Failure>) {
        self.advance_clock(now);
        let next = self.now + self.config.list_every;
        if let Some(holdings) = self.holdings.get_mut(network) {
            (holdings.is_called, holdings.due) = (false, Some(next));
        }
        if let Ok(listed) = answer {
            self.compare(network, &listed);
        }
        self.settle();
    }

    fn compare(&mut self, network: &str, listed: &[Observed]) {
        let differs = |circuit: &Circuit| {
            let entry = listed.iter().find(|seen| Some(&seen.key) == circuit.key());
            let is_settled = circuit.call.is_none() && circuit.phase != Phase::Releasing;
            let state = circuit.state();
            is_settled && circuit.link.network == network && entry.is_none_or(|seen| seen.state != state)
        };
        self.look_up(differs);
        let seen: Vec<_> = listed.iter().filter(|seen| self.is_orphan(network, seen)).cloned().collect();
        let is_seen = |key: &OrphanKey| seen.iter().any(|seen| seen.key == key.1 && seen.native_id == key.2);
        let is_gone =
            |key: &OrphanKey, orphan: &Orphan| key.0 == network && !orphan.is_called && !is_seen(key);
        let gone: Vec<_> =
            self.orphans.iter().filter(|(k, o)| is_gone(k, o)).map(|(k, _)| k.clone()).collect();
        gone.into_iter().for_each(|key| self.forget_orphan(&key));
        let due = self.now + self.config.orphan_grace;
        seen.into_iter().for_each(|seen| self.note_orphan(network, seen, due));
    }

    /// Ours by its key, of this epoch or an earlier one, held, and not on record. What a later lead of the same
    /// installation asked for is that one's.
    fn is_orphan(&self, network: &str, seen: &Observed) -> bool {
        let prefix = format!("{}-", self.config.installation);
        let epoch =
            seen.key.0.strip_prefix(&prefix).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let is_ours = epoch.is_some_and(|epoch| epoch <= self.config.epoch);
        let known = self.circuits.values().find(|circuit| circuit.key() == Some(&seen.key));
        let is_double = |circuit: &Circuit| {
            circuit.link.network == network
                && circuit.native_id.is_some()
                && seen.native_id.is_some()
                && circuit.native_id != seen.native_id
        };
        let is_left_alone = self.left_alone.iter().any(|record| record.key == seen.key);
        is_ours && !is_left_alone && seen.state.may_hold_capacity() && known.is_none_or(is_double)
    }

    fn note_orphan(&mut self, network: &str, seen: Observed, due: Timestamp) {
        let key = (network.to_owned(), seen.key, seen.native_id);
        if self.orphans.contains_key(&key) {
            return;
        }
        let orphan = Orphan { since: self.now, due, is_called: false, failures: 0, reason: None };
        let (network, request, native_id) = key.clone();
        self.orphans.insert(key, orphan);
        self.publish(Event::OrphanFound { network, key: request, native_id });
    }

    fn forget_orphan(&mut self, key: &OrphanKey) {
        if self.orphans.remove(key).is_some() {
            let (network, request, native_id) = key.clone();
            self.publish(Event::OrphanGone { network, key: request, native_id });
            self.offer_room(&key.0);
        }
    }

    /// Which of several reservations under one key is the circuit's: the one known by the provider's id, else
    /// the one that has come furthest. A request that was doubled gives the others back.
    pub(super) fn pick(&mut self, id: CircuitId, mut found: Vec<Observed>) -> Option<Observed> {
        let circuit = self.circuits.get(&id)?;
        let native_id = circuit.native_id.clone();
        let network = circuit.link.network.clone();
        let rank = |seen: &Observed| {
            let is_own = native_id.is_some() && seen.native_id == native_id;
            (is_own, seen.state.may_hold_capacity(), seen.state <= ReservationState::Active, seen.state)
        };
        let best = (0..found.len()).max_by_key(|index| rank(&found[*index]))?;
        let chosen = found.swap_remove(best);
        for other in found {
            let is_other = other.native_id.is_some() && other.native_id != chosen.native_id;
            if is_other && other.state.may_hold_capacity() {
                self.note_orphan(&network, other, self.now);
            }
        }
        Some(chosen)
    }

    /// The answer to [`Action::CancelOrphan`].
    pub fn handle_orphan_cancelled(
        &mut self,
        now: Timestamp,
        network: &str,
        key: &RequestKey,
        answer: Result<(), Failure>,
    ) {
        self.advance_clock(now);
        let back_off = self.config.back_off;
        let is_it = |of: &&OrphanKey, orphan: &Orphan| of.0 == network && of.1 == *key && orphan.is_called;
        let asked = self.orphans.iter().find(|(of, orphan)| is_it(of, orphan)).map(|(of, _)| of.clone());
        match (answer, asked) {
            (Ok(()), Some(key)) => self.forget_orphan(&key),
            (Err(failure), Some(key)) => {
                if let Some(orphan) = self.orphans.get_mut(&key) {
                    orphan.failures += 1;
                    orphan.is_called = false;
                    let delay = back_off.delay(orphan.failures).max(failure.retry_after.unwrap_or_default());
                    orphan.due = self.now + delay;
                    orphan.reason = Some(failure.to_string());
                }
            }
            (_, None) => {}
        }
        self.settle();
    }

    /// The answer to [`Action::Gc`]: the keys that were given back.
    pub fn handle_collected(
        &mut self,
        now: Timestamp,
        network: &str,
        answer: Result<Vec<RequestKey>, Failure>,
    ) {
        self.advance_clock(now);
        if let Some(holdings) = self.holdings.get_mut(network) {
            holdings.is_called = false;
        }
        for key in answer.into_iter().flatten() {
            self.publish(Event::OrphanGone { network: network.into(), key, native_id: None });
        }
        self.settle();
    }

    /// Capacity that backends hold for us and that is not on record.
    pub fn orphans(&self) -> impl Iterator<Item = OrphanStatus> + '_ {
        self.orphans.iter().map(|((network, key, native_id), orphan)| OrphanStatus {
            network: network.clone(),
            key: key.clone(),
            native_id: native_id.clone(),
            since: orphan.since,
            reason: orphan.reason.clone(),
        })
    }

    /// A backend that can list is asked what it holds at once and then regularly; another is told once, after
    /// the grace, what to keep.
    pub(super) fn watch_holdings(&mut self, network: &str, capabilities: &Capabilities) {
        let wait = if capabilities.list { Duration::ZERO } else { self.config.orphan_grace };
        let due = Some(self.now + wait);
        let is_same = |holdings: &Holdings| holdings.lists == capabilities.list;
        if !self.holdings.get(network).is_some_and(is_same) {
            self.holdings
                .insert(network.into(), Holdings { lists: capabilities.list, due, is_called: false });
        }
    }

    /// While a backend collects what is under none of our keys, no new key may appear.
    pub(super) fn is_collecting(&self, network: &str) -> bool {
        self.holdings.get(network).is_some_and(|holdings| !holdings.lists && holdings.is_called)
    }

    pub(super) fn review_holdings(&mut self) {
        let now = self.now;
        let is_due = |holdings: &Holdings| !holdings.is_called && holdings.due.is_some_and(|due| due <= now);
        let due: Vec<_> =
            self.holdings.iter().filter(|(_, h)| is_due(h)).map(|(n, h)| (n.clone(), h.lists)).collect();
        for (network, lists) in due {
            if !lists && (self.is_submitting(&network) || self.journal_failure.is_some()) {
                continue;
            }
            if let Some(holdings) = self.holdings.get_mut(&network) {
                (holdings.is_called, holdings.due) = (true, None);
            }
            self.actions.push_back(if lists {
                Action::ListOwned { network, owner: self.config.installation.clone() }
            } else {
                let own = self.circuits.values().filter(|circuit| circuit.link.network == network);
                let keys = own.filter_map(|circuit| circuit.key().cloned());
                let left_alone = self.left_alone.iter().map(|record| record.key.clone());
                let valid = keys.chain(left_alone).collect();
                Action::Gc { network, valid }
            });
        }
        // Without a journal nobody can tell what is an orphan.
        if self.journal_failure.is_some() {
            return;
        }
        let is_due = |key: &OrphanKey, orphan: &Orphan| {
            !orphan.is_called && orphan.due <= now && self.backends.contains_key(&key.0)
        };
        let due: Vec<_> =
            self.orphans.iter().filter(|(k, o)| is_due(k, o)).map(|(key, _)| key.clone()).collect();
        for key in due {
            // The answer names no more than the key: one at a time.
            let is_same = |(of, orphan): (&OrphanKey, &Orphan)| of.1 == key.1 && orphan.is_called;
            if self.orphans.iter().any(is_same) {
                continue;
            }
            if let Some(orphan) = self.orphans.get_mut(&key) {
                orphan.is_called = true;
            }
            let (network, key, native_id) = key;
            self.actions.push_back(Action::CancelOrphan { network, key, native_id });
        }
    }

    pub(super) fn holding_times(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let orphans = self.orphans.iter().filter(|((network, ..), _)| self.backends.contains_key(network));
        let orphans = orphans.filter(|(_, orphan)| !orphan.is_called).map(|(_, orphan)| orphan.due);
        self.holdings.values().filter_map(|holdings| holdings.due).chain(orphans)
    }
}
