//! The reservations: what is asked is admitted or refused, and each goes through its states by time. Pure.
//!
//! A request becomes a [`Record`], a proposal; it counts once it is [entered](Book::enter), which the caller does
//! when it is on disk. States only go forward, also when the clock goes back: an active reservation keeps its
//! slots from the beginning of time, so that whatever a stepped clock says, nobody is promised what runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use vreserve_rsl::{Binding, Change, NetworkRequest, Protocol};

use super::plant::{Lane, Plant, Way};
use super::protocol::{Code, Refusal, Reservation, State};
use super::slots::{Slot, SlotTable};

/// Minors of classes, which are preferences of filters too: above those of the lab, and as many as filters can be.
const CLASSES: std::ops::RangeInclusive<u16> = 0x100..=0xeff;
/// Reservations of one owner that may hold capacity at once: with the longest labels, all of them fit one line.
const MOST_OF_ONE_OWNER: usize = 75;
/// Reservations that are over and still remembered.
const MOST_REMEMBERED: usize = 1000;

/// A reservation as the server keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number: from 1, growing.
    pub number: u64,
    /// Its name for its owner.
    pub handle: String,
    /// Common name of the client's certificate.
    pub owner: String,
    /// The client's own key.
    pub label: Option<String>,
    /// One end.
    pub endpoint_a: Ipv4Addr,
    /// The other end.
    pub endpoint_b: Ipv4Addr,
    /// In milliseconds since the Unix epoch.
    pub start: u64,
    /// In milliseconds since the Unix epoch; `None`: until cancelled.
    pub end: Option<u64>,
    /// Bandwidth in kbit/s, in each direction.
    pub kbps: u64,
    /// What the request said its flow would be.
    pub protocol: Option<Protocol>,
    /// Its flow.
    pub binding: Option<Binding>,
    /// What it is doing.
    pub state: State,
    /// Minor of its class at every egress.
    pub class: u16,
    /// Number of its last change.
    pub seq: u64,
}

/// What becomes of a request to create.
#[derive(Debug, Clone, PartialEq)]
pub enum Creation {
    /// The owner has a reservation of this label.
    Existing(Record),
    /// To be entered.
    New(Record),
}

/// All reservations.
#[derive(Debug)]
pub struct Book {
    plant: Plant,
    /// First part of every handle.
    prefix: String,
    records: BTreeMap<u64, Record>,
    tables: BTreeMap<Lane, SlotTable>,
    last_number: u64,
    last_seq: u64,
}

type Proposed<T> = std::result::Result<T, Refusal>;

impl Record {
    /// As its owner sees it.
    pub fn reservation(&self, is_enforced: bool) -> Reservation {
        Reservation {
            handle: self.handle.clone(),
            label: self.label.clone(),
            state: self.state,
            endpoint_a: self.endpoint_a.to_string(),
            endpoint_b: self.endpoint_b.to_string(),
            start: self.start,
            end: self.end,
            kbps: self.kbps,
            bound: self.binding.is_some(),
            enforced: is_enforced,
        }
    }

    fn is_over_at(&self, now: u64) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    fn slot(&self) -> Slot {
        let start = if self.state == State::Active { 0 } else { self.start };
        Slot { start, end: self.end.unwrap_or(u64::MAX), kbps: self.kbps }
    }
}

impl Book {
    /// A book without reservations.
    pub fn new(plant: Plant, prefix: String) -> Self {
        let tables = plant.capacities().iter();
        let tables = tables.map(|(lane, capacity)| (lane.clone(), SlotTable::new(*capacity))).collect();
        Self { plant, prefix, records: BTreeMap::new(), tables, last_number: 0, last_seq: 0 }
    }

    /// A book with what an earlier server left; `last_number` and `last_seq` were given already.
    pub fn restored(
        plant: Plant,
        prefix: String,
        (last_number, last_seq): (u64, u64),
        records: impl IntoIterator<Item = Record>,
    ) -> Self {
        let mut book = Self { last_number, last_seq, ..Self::new(plant, prefix) };
        records.into_iter().for_each(|record| book.enter(record));
        book
    }

    /// Highest number given.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// The network.
    pub fn plant(&self) -> &Plant {
        &self.plant
    }

    /// First part of every handle.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Number of the last change.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Every reservation, by number.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The reservation of this owner with this handle.
    pub fn record(&self, owner: &str, handle: &str) -> Proposed<&Record> {
        let found = self.records.values().find(|record| record.handle == handle && record.owner == owner);
        found.ok_or_else(|| refusal(Code::NoSuchHandle, format!("no reservation {}", shown(handle))))
    }

    /// The reservation with this handle, whoever's it is: for the administrator.
    pub fn record_of_anyone(&self, handle: &str) -> Option<&Record> {
        self.records.values().find(|record| record.handle == handle)
    }

    /// Both directions of a reservation's flow.
    pub fn ways(&self, record: &Record) -> Option<[Way; 2]> {
        ways(&self.plant, record.endpoint_a, record.endpoint_b)
    }

    /// Admits a request or says why not.
    pub fn create(&self, owner: &str, request: &NetworkRequest, now: u64) -> Proposed<Creation> {
        let is_same = |record: &&Record| {
            record.owner == owner && record.label == request.label && record.state.holds_capacity()
        };
        if request.label.is_some()
            && let Some(existing) = self.records.values().find(is_same)
        {
            return Ok(Creation::Existing(existing.clone()));
        }
        let (a, b) = (address(request.endpoint_a)?, address(request.endpoint_b)?);
        let begins = request.start_ms.unwrap_or(now);
        let span = request.duration.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        let record = Record {
            number: self.last_number + 1,
            handle: format!("{}-{}", self.prefix, self.last_number + 1),
            owner: owner.to_owned(),
            label: request.label.clone(),
            endpoint_a: a,
            endpoint_b: b,
            // A start that has passed on the way here is now; the end stays.
            start: begins.max(now),
            end: span.map(|span| begins.saturating_add(span)),
            kbps: request.kbps,
            protocol: request.protocol,
            binding: None,
            state: if begins <= now { State::Active } else { State::Booked },
            class: self.free_class(owner)?,
            seq: self.last_seq + 1,
        };
        self.admit(&record, now)?;
        Ok(Creation::New(record))
    }

    /// Changes window or bandwidth, if there is room.
    pub fn modify(&self, owner: &str, handle: &str, change: &Change, now: u64) -> Proposed<Record> {
        let mut record = self.live(owner, handle)?;
        if let Some(start) = change.start_ms {
            if record.state == State::Active {
                return Err(refusal(Code::WrongState, "it has begun: its start cannot change".to_owned()));
            }
            let span = record.end.map(|end| end.saturating_sub(record.start));
            record.start = start.max(now);
            record.end = span.map(|span| record.start.saturating_add(span));
        }
        if let Some(span) = change.duration {
            let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            record.end = Some(record.start.saturating_add(span));
        }
        record.kbps = change.kbps.unwrap_or(record.kbps);
        self.admit(&record, now)?;
        Ok(record)
    }

    /// Gives the reservation its flow.
    pub fn bind(&self, owner: &str, handle: &str, binding: Binding) -> Proposed<Record> {
        let mut record = self.live(owner, handle)?;
        let protocol = binding.protocol.or(record.protocol);
        if record.protocol.is_some() && protocol != record.protocol {
            return Err(refusal(Code::Invalid, "the reservation is for the other protocol".to_owned()));
        }
        record.binding = Some(Binding { protocol, ..binding });
        Ok(record)
    }

    /// Takes its flow from the reservation.
    pub fn unbind(&self, owner: &str, handle: &str) -> Proposed<Record> {
        let mut record = self.live(owner, handle)?;
        record.binding = None;
        Ok(record)
    }

    /// Ends the reservation; `None` if it is over already.
    pub fn cancel(&self, owner: &str, handle: &str) -> Proposed<Option<Record>> {
        let record = self.record(owner, handle)?;
        Ok(record.state.holds_capacity().then(|| self.changed(record, State::Cancelled)))
    }

    /// Ends a reservation at the administrator's word; `None` if there is none that is not over.
    pub fn terminate(&self, handle: &str) -> Option<Record> {
        let record = self.record_of_anyone(handle).filter(|record| record.state.holds_capacity())?;
        Some(self.changed(record, State::Terminated))
    }

    /// A reservation that time has moved on, if there is one. To be asked until there is none.
    pub fn due(&self, now: u64) -> Option<Record> {
        let state_at = |record: &Record| match record.state {
            State::Booked | State::Active if record.is_over_at(now) => State::Completed,
            State::Booked if record.start <= now => State::Active,
            state => state,
        };
        // Ends first: what begins may need what they free.
        let mut moved: Vec<_> =
            self.records.values().filter(|record| state_at(record) != record.state).collect();
        moved.sort_by_key(|record| state_at(record) == State::Active);
        moved.first().map(|record| self.changed(record, state_at(record)))
    }

    /// When the next reservation begins or ends.
    pub fn next_due(&self) -> Option<u64> {
        let due = self.records.values().filter_map(|record| match record.state {
            State::Booked => Some(record.start),
            State::Active => record.end,
            _ => None,
        });
        due.min()
    }

    /// The same reservation with a new number of change: something about it that is not in the book is new.
    pub fn touched(&self, number: u64) -> Option<Record> {
        self.records.get(&number).map(|record| self.changed(record, record.state))
    }

    /// Enters a record, new or changed.
    pub fn enter(&mut self, record: Record) {
        self.last_number = self.last_number.max(record.number);
        self.last_seq = self.last_seq.max(record.seq);
        for lane in lanes(&self.plant, record.endpoint_a, record.endpoint_b) {
            // It may be missing where the lab was changed between two runs of the server.
            let Some(table) = self.tables.get_mut(&lane) else { continue };
            if record.state.holds_capacity() {
                table.enter(record.number, record.slot());
            } else {
                table.release(record.number);
            }
        }
        self.records.insert(record.number, record);
        self.forget_the_oldest();
    }

    fn forget_the_oldest(&mut self) {
        let over = self.records.values().filter(|record| !record.state.holds_capacity());
        let mut over: Vec<_> = over.map(|record| (record.seq, record.number)).collect();
        over.sort_unstable();
        let surplus = over.len().saturating_sub(MOST_REMEMBERED);
        for (_, number) in over.into_iter().take(surplus) {
            self.records.remove(&number);
        }
    }

    fn changed(&self, record: &Record, state: State) -> Record {
        Record { state, seq: self.last_seq + 1, ..record.clone() }
    }

    /// A copy, to be changed, of a reservation that is not over.
    fn live(&self, owner: &str, handle: &str) -> Proposed<Record> {
        let record = self.record(owner, handle)?;
        if !record.state.holds_capacity() {
            return Err(refusal(Code::WrongState, format!("reservation {handle} is over")));
        }
        Ok(self.changed(record, record.state))
    }

    fn admit(&self, record: &Record, now: u64) -> Proposed<()> {
        if record.is_over_at(now) || record.end.is_some_and(|end| end <= record.start) {
            return Err(refusal(Code::Invalid, "the reservation would be over already".to_owned()));
        }
        if record.endpoint_a == record.endpoint_b {
            return Err(refusal(Code::Invalid, format!("{} is both endpoints", record.endpoint_a)));
        }
        for end in [record.endpoint_a, record.endpoint_b] {
            if self.plant.way(end, end).is_none() {
                return Err(refusal(Code::Invalid, format!("{end} is not on this network")));
            }
        }
        for lane in lanes(&self.plant, record.endpoint_a, record.endpoint_b) {
            let room = self.tables.get(&lane).map(|table| table.check(record.number, record.slot()));
            if let Some(Err(full)) = room {
                let text = format!("{} kbit/s asked, {} free on {}", record.kbps, full.free, lane.0);
                return Err(refusal(Code::Declined, text));
            }
        }
        Ok(())
    }

    fn free_class(&self, owner: &str) -> Proposed<u16> {
        let live = || self.records.values().filter(|record| record.state.holds_capacity());
        if live().filter(|record| record.owner == owner).count() >= MOST_OF_ONE_OWNER {
            return Err(refusal(Code::Declined, format!("{owner} has {MOST_OF_ONE_OWNER} reservations")));
        }
        let taken: std::collections::BTreeSet<_> = live().map(|record| record.class).collect();
        let free = CLASSES.into_iter().find(|class| !taken.contains(class));
        free.ok_or_else(|| refusal(Code::Declined, "the routers have no class left".to_owned()))
    }
}

fn ways(plant: &Plant, a: Ipv4Addr, b: Ipv4Addr) -> Option<[Way; 2]> {
    Some([plant.way(a, b)?, plant.way(b, a)?])
}

fn lanes(plant: &Plant, a: Ipv4Addr, b: Ipv4Addr) -> Vec<Lane> {
    ways(plant, a, b).into_iter().flatten().flat_map(|way| way.lanes).collect()
}

fn address(address: IpAddr) -> Proposed<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(refusal(Code::Invalid, format!("{address} is not on this network"))),
    }
}

/// A refusal in the words of the protocol.
pub(super) fn refusal(code: Code, text: String) -> Refusal {
    Refusal { code, text }
}

/// What a stranger wrote, or an error that holds some of it, fit for one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests;
