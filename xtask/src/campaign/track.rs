//! What became of numbered datagrams: lost, duplicated, overtaken, altered. Pure; sockets are in
//! [`super::traffic`].

use serde::Serialize;

/// Numbers that are remembered behind the largest one seen. A datagram that comes later still counts as both lost
/// and overtaken; at the rates of a campaign that is minutes late.
const WINDOW: u64 = 1 << 17;
/// Octets of number in front of a payload.
pub(crate) const NUMBER: usize = 8;

/// The receiving end of one numbered flow, whose numbers count from 0.
pub(crate) struct Track {
    /// One more than the largest number seen.
    next: u64,
    /// Which of the last numbers came, by number modulo the window.
    seen: Vec<bool>,
    arrived: u64,
    tally: Tally,
}

/// What was found out about a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Came after one with a larger number.
    pub(crate) reordered: u64,
    /// Payload other than what was sent.
    pub(crate) altered: u64,
}

impl Track {
    /// Nothing seen yet.
    pub(crate) fn new() -> Self {
        Self { next: 0, seen: vec![false; WINDOW as usize], arrived: 0, tally: Tally::default() }
    }

    /// A datagram came.
    pub(crate) fn handle_payload(&mut self, payload: &[u8]) {
        match number_of(payload) {
            Some(number) => self.handle_number(number),
            None => self.tally.altered += 1,
        }
    }

    /// What became of `sent` datagrams.
    pub(crate) fn tally(&self, sent: u64) -> Tally {
        Tally { sent, lost: sent.saturating_sub(self.arrived + self.tally.altered), ..self.tally }
    }

    fn handle_number(&mut self, number: u64) {
        if number >= self.next {
            // What is passed over has not come yet; after a gap longer than the window nothing is known.
            for passed in self.next.max(number.saturating_sub(WINDOW - 1))..number {
                self.seen[slot(passed)] = false;
            }
            self.next = number + 1;
        } else if number + WINDOW < self.next {
            self.tally.reordered += 1;
            return;
        } else if self.seen[slot(number)] {
            self.tally.duplicated += 1;
            return;
        } else {
            self.tally.reordered += 1;
        }
        self.seen[slot(number)] = true;
        self.arrived += 1;
    }
}

fn slot(number: u64) -> usize {
    (number % WINDOW) as usize
}

/// Writes the payload of a number: the number itself, then octets that follow from number and place.
pub(crate) fn fill(payload: &mut [u8], number: u64) {
    let (head, rest) = payload.split_at_mut(NUMBER);
    head.copy_from_slice(&number.to_be_bytes());
    for (place, octet) in rest.iter_mut().enumerate() {
        *octet = octet_of(number, place);
    }
}

/// The number of a payload that is as [`fill`] wrote it.
fn number_of(payload: &[u8]) -> Option<u64> {
    let (head, rest) = payload.split_first_chunk::<NUMBER>()?;
    let number = u64::from_be_bytes(*head);
    let is_whole = rest.iter().enumerate().all(|(place, octet)| *octet == octet_of(number, place));
    is_whole.then_some(number)
}

fn octet_of(number: u64, place: usize) -> u8 {
    (number.wrapping_mul(31) as usize).wrapping_add(place.wrapping_mul(7)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: impl IntoIterator<Item = u64>, sent: u64) -> Tally {
        let mut track = Track::new();
        for number in numbers {
            let mut payload = [0; 65];
            fill(&mut payload, number);
            track.handle_payload(&payload);
        }
        track.tally(sent)
    }

    #[test]
    fn what_comes_in_order_is_whole() {
        assert_eq!(tally(0..300_000, 300_000), Tally { sent: 300_000, ..Tally::default() });
    }

    #[test]
    fn gaps_are_lost_late_ones_reordered_and_second_ones_duplicates() {
        let found = tally([0, 1, 4, 3, 3, 0, 5], 7);
        assert_eq!(found, Tally { sent: 7, lost: 2, duplicated: 2, reordered: 1, altered: 0 });
    }

    #[test]
    fn a_number_may_take_the_place_of_one_a_window_before() {
        let found = tally([0, WINDOW + 7, WINDOW, 8, 7], WINDOW + 8);
        assert_eq!((found.reordered, found.duplicated), (3, 0));
        assert_eq!(found.lost, WINDOW + 8 - 4, "one a window late is no longer told from a lost one");
    }

    #[test]
    fn an_altered_octet_is_found_wherever_it_is() {
        for place in [7, 8, 64] {
            let mut payload = [0; 65];
            fill(&mut payload, 3);
            payload[place] ^= 1;
            let mut track = Track::new();
            track.handle_payload(&payload);
            assert_eq!(track.tally(1), Tally { sent: 1, altered: 1, ..Tally::default() }, "octet {place}");
        }
    }
}
