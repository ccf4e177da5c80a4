//! Learning: which guest sits behind which local ingress, from the source addresses of their frames.
//!
//! Learned is only what comes from interfaces and static links, never what comes over the overlay: where
//! remote guests are is the lead's word. The number of guests per ingress is limited, a guest can move at
//! most once per hold time, and a silent one is forgotten, so that a hostile guest can neither fill the
//! table nor make it flap at the rate of its frames.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vreserve_model::{MacAddr, Timestamp};

use crate::ids::Ingress;

/// Limits of learning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnLimits {
    /// Guests per local ingress.
    pub guests_per_ingress: usize,
    /// Silence after which a guest is forgotten.
    pub ageing: Duration,
    /// How long a guest stays where it was last seen to be before it may move again.
    pub move_hold: Duration,
    /// Events kept for [`GuestTable::poll_event`]; later ones are counted as lost.
    pub events: usize,
}

impl Default for LearnLimits {
    fn default() -> Self {
        LearnLimits {
            guests_per_ingress: 1024,
            ageing: Duration::from_secs(300),
            move_hold: Duration::from_secs(1),
            events: 4096,
        }
    }
}

/// A change of what is known about local guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnEvent {
    /// A guest was seen for the first time.
    Learned {
        /// The guest.
        guest: MacAddr,
        /// Where it is.
        at: Ingress,
    },
    /// A guest sends from another place than before.
    Moved {
        /// The guest.
        guest: MacAddr,
        /// Where it was.
        from: Ingress,
        /// Where it is now.
        to: Ingress,
    },
    /// A guest was silent for the ageing time, its ingress was removed, or it was told to be elsewhere.
    Expired {
        /// The guest.
        guest: MacAddr,
        /// Where it was.
        at: Ingress,
    },
    /// An ingress has as many guests as it may; others are not learned. Said once until one leaves.
    LimitReached {
        /// The ingress.
        at: Ingress,
    },
}

/// What seeing a sender changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// Nothing that a verdict depends on.
    Unchanged,
    /// A guest is in a new place: verdicts may differ.
    Changed,
    /// The guest moved too soon after its last move; look again at its next frame.
    TooSoon,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: Ingress,
    since: Timestamp,
    seen: Timestamp,
    /// Seen here, not only told of.
    is_own: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Occupancy {
    guests: usize,
    limit_reported: bool,
}

/// The local guests as one worker knows them.
#[derive(Debug)]
pub struct GuestTable {
    limits: LearnLimits,
    places: BTreeMap<MacAddr, Place>,
    occupancy: BTreeMap<Ingress, Occupancy>,
    events: VecDeque<LearnEvent>,
    lost_events: u64,
}

impl GuestTable {
    /// An empty table.
    pub fn new(limits: LearnLimits) -> Self {
        GuestTable {
            limits,
            places: BTreeMap::new(),
            occupancy: BTreeMap::new(),
            events: VecDeque::new(),
            lost_events: 0,
        }
    }

    /// Where a guest is.
    pub fn locate(&self, guest: MacAddr) -> Option<Ingress> {
        self.places.get(&guest).map(|place| place.at)
    }

    /// All guests with their places, by address.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (MacAddr, Ingress)> + '_ {
        self.places.iter().map(|(guest, place)| (*guest, place.at))
    }

    /// The oldest event not yet taken.
    pub fn poll_event(&mut self) -> Option<LearnEvent> {
        self.events.pop_front()
    }

    /// Events that found the queue full, ever; after a change of it, [`Self::iter`] is the truth.
    pub fn lost_events(&self) -> u64 {
        self.lost_events
    }

    /// A frame from `guest` came in at the local ingress `at`.
    pub(crate) fn observe(&mut self, guest: MacAddr, at: Ingress, now: Timestamp) -> Observation {
        let known = self.places.get_mut(&guest);
        let from = match known {
            Some(place) if place.at == at => {
                place.seen = now;
                if !std::mem::replace(&mut place.is_own, true) {
                    self.report(LearnEvent::Learned { guest, at });
                }
                return Observation::Unchanged;
            }
            Some(place) if now.since(place.since) < self.limits.move_hold => return Observation::TooSoon,
            Some(place) => Some(place.at),
            None => None,
        };
        if !self.enter(at) {
            return Observation::Unchanged;
        }
        if let Some(from) = from {
            self.leave(from);
        }
        self.places.insert(guest, Place { at, since: now, seen: now, is_own: true });
        self.report(match from {
            Some(from) => LearnEvent::Moved { guest, from, to: at },
            None => LearnEvent::Learned { guest, at },
        });
        Observation::Changed
    }

    /// Another worker has seen `guest` at the local ingress `at`: true if that is news. It is no event here until
    /// a frame of the guest comes here too, or it expires.
    pub(crate) fn tell(&mut self, guest: MacAddr, at: Ingress, now: Timestamp) -> bool {
        let from = self.locate(guest);
        if from == Some(at) || !self.enter(at) {
            return false;
        }
        if let Some(from) = from {
            self.leave(from);
        }
        self.places.insert(guest, Place { at, since: now, seen: now, is_own: false });
        true
    }

    /// The guest, if it is known, was active up to `now`.
    pub(crate) fn refresh(&mut self, guest: MacAddr, now: Timestamp) {
        if let Some(place) = self.places.get_mut(&guest) {
            place.seen = now;
        }
    }

    /// Forgets those who were silent for the ageing time; true if there were any.
    pub(crate) fn expire(&mut self, now: Timestamp) -> bool {
        let ageing = self.limits.ageing;
        self.forget_where(|_, place| now.since(place.seen) >= ageing)
    }

    /// Forgets one guest, who is known to be elsewhere; true if it was here.
    pub(crate) fn forget(&mut self, guest: MacAddr) -> bool {
        self.forget_where(|other, _| other == guest)
    }

    /// Forgets the guests of every ingress that is not `kept`; true if there were any.
    pub(crate) fn retain_ingresses(&mut self, kept: impl Fn(Ingress) -> bool) -> bool {
        self.forget_where(|_, place| !kept(place.at))
    }

    fn forget_where(&mut self, gone: impl Fn(MacAddr, &Place) -> bool) -> bool {
        let leaving: Vec<_> = self
            .places
            .iter()
            .filter(|(guest, place)| gone(**guest, place))
            .map(|(guest, place)| (*guest, place.at))
            .collect();
        for (guest, at) in &leaving {
            self.places.remove(guest);
            self.leave(*at);
            self.report(LearnEvent::Expired { guest: *guest, at: *at });
        }
        !leaving.is_empty()
    }

    /// Takes a place at the ingress, if there is one left.
    fn enter(&mut self, at: Ingress) -> bool {
        let limit = self.limits.guests_per_ingress;
        let occupancy = self.occupancy.entry(at).or_default();
        if occupancy.guests < limit {
            occupancy.guests += 1;
            return true;
        }
        if !std::mem::replace(&mut occupancy.limit_reported, true) {
            self.report(LearnEvent::LimitReached { at });
        }
        false
    }

    fn leave(&mut self, at: Ingress) {
        let occupancy = self.occupancy.get_mut(&at).expect("whoever leaves has entered");
        occupancy.guests -= 1;
        occupancy.limit_reported = false;
        if occupancy.guests == 0 {
            self.occupancy.remove(&at);
        }
    }

    fn report(&mut self, event: LearnEvent) {
        if self.events.len() < self.limits.events {
            self.events.push_back(event);
        } else {
            self.lost_events += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InterfaceId, LinkId};

    const ONE: Ingress = Ingress::Interface(InterfaceId(1));
    const TWO: Ingress = Ingress::Link(LinkId(2));
    const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn guest(number: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 1, number])
    }

    fn events(table: &mut GuestTable) -> Vec<LearnEvent> {
        std::iter::from_fn(|| table.poll_event()).collect()
    }

    #[test]
    fn a_guest_is_learned_once_moves_and_expires_when_silent() {
        let mut table = GuestTable::new(LearnLimits::default());
        assert_eq!(table.observe(GUEST, ONE, at(0)), Observation::Changed);
        assert_eq!(table.observe(GUEST, ONE, at(1)), Observation::Unchanged);
        assert_eq!(table.observe(GUEST, TWO, at(2)), Observation::Changed);
        assert_eq!(table.locate(GUEST), Some(TWO));
        table.refresh(GUEST, at(100));
        assert!(!table.expire(at(399)));
        assert!(table.expire(at(400)));
        assert_eq!(table.locate(GUEST), None);
        assert_eq!(
            events(&mut table),
            [
                LearnEvent::Learned { guest: GUEST, at: ONE },
                LearnEvent::Moved { guest: GUEST, from: ONE, to: TWO },
                LearnEvent::Expired { guest: GUEST, at: TWO },
            ]
        );
    }

    #[test]
    fn an_address_claimed_in_two_places_moves_once_per_hold_time() {
        let mut table = GuestTable::new(LearnLimits::default());
        let mut moves = 0;
        for millis in 0..10_000 {
            let ingress = if millis % 2 == 0 { ONE } else { TWO };
            let seen = table.observe(GUEST, ingress, Timestamp::from_millis(millis));
            moves += usize::from(seen == Observation::Changed);
        }
        assert!((2..=10).contains(&moves), "{moves} moves in 10 seconds");
    }

    #[test]
    fn what_another_worker_has_seen_is_no_event_before_it_is_seen_here() {
        let mut table = GuestTable::new(LearnLimits::default());
        assert!(table.tell(GUEST, ONE, at(0)));
        assert!(!table.tell(GUEST, ONE, at(1)), "no news");
        assert_eq!(table.locate(GUEST), Some(ONE));
        assert_eq!(events(&mut table), []);
        assert_eq!(table.observe(GUEST, ONE, at(2)), Observation::Unchanged);
        assert_eq!(events(&mut table), [LearnEvent::Learned { guest: GUEST, at: ONE }]);
        assert!(table.tell(GUEST, TWO, at(2)), "it has moved, and there is no hold for another's word");
        assert_eq!(table.locate(GUEST), Some(TWO));
    }

    #[test]
    fn an_ingress_takes_its_limit_and_says_so_once_until_one_leaves() {
        let limits = LearnLimits { guests_per_ingress: 2, ..LearnLimits::default() };
        let mut table = GuestTable::new(limits);
        (0..9).for_each(|number| _ = table.observe(guest(number), ONE, at(0)));
        table.observe(guest(8), TWO, at(0));
        assert_eq!(table.iter().len(), 3);
        let limit = LearnEvent::LimitReached { at: ONE };
        assert_eq!(events(&mut table).iter().filter(|event| **event == limit).count(), 1);
        // A guest from elsewhere finds the ingress full too, and stays where it was.
        assert_eq!(table.observe(guest(8), ONE, at(5)), Observation::Unchanged);
        assert_eq!(table.locate(guest(8)), Some(TWO));
        assert!(table.forget(guest(0)));
        assert_eq!(table.observe(guest(8), ONE, at(5)), Observation::Changed);
        table.observe(guest(5), ONE, at(5));
        assert_eq!(events(&mut table).last(), Some(&limit));
    }

    #[test]
    fn guests_of_a_removed_ingress_are_forgotten() {
        let mut table = GuestTable::new(LearnLimits::default());
        table.observe(guest(1), ONE, at(0));
        table.observe(guest(2), TWO, at(0));
        assert!(table.retain_ingresses(|ingress| ingress == TWO));
        assert!(!table.retain_ingresses(|ingress| ingress == TWO));
        assert_eq!(table.iter().collect::<Vec<_>>(), [(guest(2), TWO)]);
    }

    #[test]
    fn a_full_event_queue_counts_what_it_loses() {
        let mut table = GuestTable::new(LearnLimits { events: 3, ..LearnLimits::default() });
        (0..5).for_each(|number| _ = table.observe(guest(number), ONE, at(0)));
        assert_eq!(events(&mut table).len(), 3);
        assert_eq!(table.lost_events(), 2);
    }
}
