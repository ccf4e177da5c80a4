//! The journal as the lead sees it: records leave before the effects they cover, and while they cannot be
//! written no capacity is asked for.

use std::time::Duration;

use vreserve_model::{RequestKey, Timestamp};

use super::circuit::{Age, Circuit};
use super::hours::{NodePair, pair_of};
use super::{
    Action, Booking, CircuitId, CircuitRecord, DemandRecord, Event, Lead, Phase, Record, RecordBody,
    RecordedPair, Stage,
};

impl Lead {
    /// The wall clock, in milliseconds since the Unix epoch: at the start before anything else, and then about
    /// once a second. It may step; windows follow it, nothing else does.
    pub fn handle_clock(&mut self, now: Timestamp, wall_ms: u64) {
        self.advance_clock(now);
        self.wall = Some((self.now, wall_ms));
        self.note_demand();
        self.review_recurring();
        self.settle();
    }

    /// A record could not be written (torn, full, read-only). From now on nothing new is asked for; what
    /// carries traffic goes on, and what ends is still given back. A `Submit` whose record is not on disk
    /// must not be made: answer it with `Failure::unavailable`.
    pub fn handle_journal_failed(&mut self, now: Timestamp, reason: &str) {
        self.advance_clock(now);
        if self.journal_failure.as_deref() != Some(reason) {
            self.journal_failure = Some(reason.into());
            self.publish(Event::JournalFailed { reason: reason.into() });
        }
        self.settle();
    }

    /// Records can be written again: everything that should be on disk leaves once more as
    /// [`Action::Rewrite`].
    pub fn handle_journal_ok(&mut self, now: Timestamp) {
        self.advance_clock(now);
        if self.journal_failure.take().is_some() {
            let ids: Vec<_> = self.circuits.keys().copied().collect();
            let circuits: Vec<_> = ids.into_iter().filter_map(|id| self.take_record(id, true)).collect();
            let bookings: Vec<_> = self.bookings.values().map(|state| state.booking.clone()).collect();
            let bookings: Vec<_> = bookings.into_iter().map(|b| self.booking_record(b)).collect();
            let demand = self.demand_history.pairs().filter_map(|pair| self.demand_history.record(pair));
            let demand = demand.map(|record| self.demand_record(record));
            let left_alone = self.left_alone.iter().cloned();
            let all = circuits.into_iter().chain(bookings).chain(demand).chain(left_alone).collect();
            self.actions.push_back(Action::Rewrite(all));
            self.publish(Event::JournalRestored);
        }
        self.settle();
    }

    /// Why the journal cannot be written; none if it can.
    pub fn journal_failure(&self) -> Option<&str> {
        self.journal_failure.as_deref()
    }

    /// The wall clock now, as far as it is known.
    pub(super) fn wall_ms(&self) -> Option<u64> {
        let (at, ms) = self.wall?;
        Some(ms.saturating_add(u64::try_from(self.now.since(at).as_millis()).unwrap_or(u64::MAX)))
    }

    /// When the wall clock will show `ms`, if it goes on as it is; now if it has.
    pub(super) fn time_of(&self, ms: u64) -> Option<Timestamp> {
        Some(self.now + Duration::from_millis(ms.saturating_sub(self.wall_ms()?)))
    }

    /// Puts on record what is to be covered before an effect.
    pub(super) fn journal(&mut self, id: CircuitId) {
        if self.journal_failure.is_none()
            && let Some(record) = self.take_record(id, false)
        {
            self.actions.push_back(Action::Record(record));
        }
    }

    /// Puts on record whatever else has changed.
    pub(super) fn journal_changes(&mut self) {
        let ids: Vec<_> = self.circuits.keys().copied().collect();
        ids.into_iter().for_each(|id| self.journal(id));
    }

    pub(super) fn journal_booking(&mut self, booking: Booking) {
        if self.journal_failure.is_none() {
            let record = self.booking_record(booking);
            self.actions.push_back(Action::Record(record));
        }
    }

    pub(super) fn journal_pair(&mut self, record: DemandRecord) {
        if self.journal_failure.is_none() {
            let record = self.demand_record(record);
            self.actions.push_back(Action::Record(record));
        }
    }

    /// Takes a key off the record. While the journal fails that waits for the rewriting.
    pub(super) fn forget(&mut self, key: RequestKey) {
        if self.journal_failure.is_none() {
            self.actions.push_back(Action::Forget(key));
        }
    }

    pub(super) fn booking_record(&self, booking: Booking) -> Record {
        let key = self.booking_key(booking.id);
        self.record(key, RecordBody::Booking(booking))
    }

    fn demand_record(&self, record: DemandRecord) -> Record {
        let key = self.demand_key(&pair_of(&record.link));
        self.record(key, RecordBody::Demand(record))
    }

    /// Names of nodes have no slash, and request keys have none where this one has its first.
    pub(super) fn demand_key(&self, (a, z): &NodePair) -> RequestKey {
        RequestKey(format!("{}/demand/{a}/{z}", self.config.installation))
    }

    fn record(&self, key: RequestKey, body: RecordBody) -> Record {
        let at_ms = self.wall_ms().unwrap_or(0);
        Record { version: Record::VERSION, key, epoch: self.config.epoch, at_ms, body }
    }

    /// The record of a circuit, if it has one and (unless `always`) is not on record just so.
    fn take_record(&mut self, id: CircuitId, always: bool) -> Option<Record> {
        let new = self.record_of(self.circuits.get(&id)?)?;
        let circuit = self.circuits.get_mut(&id)?;
        if !always && circuit.recorded.as_ref() == Some(&new) {
            return None;
        }
        circuit.recorded = Some(new.clone());
        Some(self.record(new.request.key.clone(), RecordBody::Circuit(Box::new(new))))
    }

    fn record_of(&self, circuit: &Circuit) -> Option<CircuitRecord> {
        let request = circuit.request.clone()?;
        let pairs = self.pairs.iter().filter_map(|(key, pair)| {
            let route = pair.told.filter(|route| route.first == circuit.id)?;
            Some(RecordedPair {
                node: pair.node.clone(),
                source: key.source,
                destination: key.destination,
                onward: route.onward,
            })
        });
        let before = circuit.recorded.as_ref();
        Some(CircuitRecord {
            circuit: circuit.id,
            link_id: circuit.link_id,
            link: circuit.link.clone(),
            stage: stage_of(circuit),
            state: circuit.state(),
            native_id: circuit.native_id.clone(),
            granted: circuit.granted,
            start_ms: circuit.window.0,
            end_ms: circuit.window.1,
            labels: circuit.labels.clone(),
            pairs: pairs.collect(),
            // A moment is worked out once: the clock may have stepped since.
            submitted_ms: before.and_then(|b| b.submitted_ms).or(self.moment(circuit.submitted)),
            held_since_ms: before.and_then(|b| b.held_since_ms).or(self.moment(circuit.held)),
            is_committed: circuit.is_committed,
            flow: circuit.reservation.flow(),
            is_fused: circuit.is_fused,
            modifying: circuit.resizing.asked.or(circuit.resizing.unsure),
            booking: circuit.booking,
            attempt: circuit.attempt,
            request,
        })
    }

    /// When an age began, by the wall clock.
    fn moment(&self, age: Option<Age>) -> Option<u64> {
        let lasted = age?.until(self.now)?;
        self.wall_ms()?.checked_sub(u64::try_from(lasted.as_millis()).ok()?)
    }

    /// How long ago a moment on record was; nothing is known of it if that lies ahead.
    pub(super) fn age_of(&self, moment: Option<u64>) -> Age {
        let before = moment.and_then(|ms| self.wall_ms()?.checked_sub(ms));
        Age { at: self.now, before: before.map(Duration::from_millis) }
    }
}

fn stage_of(circuit: &Circuit) -> Stage {
    match circuit.phase {
        Phase::Switching | Phase::Carrying | Phase::CuttingBack => Stage::InUse,
        Phase::Unlinking | Phase::Releasing | Phase::Gone => Stage::Releasing,
        Phase::Wanted | Phase::Reserving | Phase::Linking | Phase::Probing => Stage::Reserving,
    }
}
