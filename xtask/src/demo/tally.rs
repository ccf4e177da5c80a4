//! Counting numbered datagrams: lost, reordered, repeated. Pure.

/// One datagram that arrived; its place in the list is its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Its number; the numbers are those of the sender, from 0.
    pub(crate) number: usize,
}

/// A span of time, in microseconds since the Unix epoch; the end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from_us: u64,
    pub(crate) until_us: u64,
}

/// What happened to the datagrams of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Sent in the window.
    pub(crate) sent: usize,
    /// Of these, never arrived.
    pub(crate) lost: usize,
    /// Of these, arrived after one with a higher number (RFC 4737 §3.3).
    pub(crate) reordered: usize,
    /// Arrivals of these beyond the first.
    pub(crate) repeated: usize,
}

impl Window {
    /// From `margin_ms` before one event to `margin_ms` after another, both in milliseconds.
    pub(crate) fn around(from_ms: u64, until_ms: u64, margin_ms: u64) -> Self {
        Self {
            from_us: from_ms.saturating_sub(margin_ms) * 1000,
            until_us: until_ms.saturating_add(margin_ms).saturating_mul(1000),
        }
    }
}

impl Tally {
    /// Counts. `sent[n]` is when number n was sent; arrivals come in their order.
    pub(crate) fn of(sent: &[u64], arrivals: &[Arrival], window: Window) -> Self {
        let is_in =
            |number: usize| sent.get(number).is_some_and(|at| (window.from_us..window.until_us).contains(at));
        let mut tally = Self { sent: (0..sent.len()).filter(|n| is_in(*n)).count(), ..Self::default() };
        let mut seen = vec![false; sent.len()];
        let mut expected = 0;
        for &Arrival { number } in arrivals {
            if is_in(number) {
                tally.repeated += usize::from(seen[number]);
                tally.reordered += usize::from(number < expected && !seen[number]);
                seen[number] = true;
            }
            expected = expected.max(number.saturating_add(1));
        }
        tally.lost = (0..sent.len()).filter(|n| is_in(*n) && !seen[*n]).count();
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Window = Window { from_us: 0, until_us: u64::MAX };

    fn tally(sent: usize, arrivals: &[usize], window: Window) -> Tally {
        let sent: Vec<u64> = (0..sent as u64).map(|n| n * 1000).collect();
        let arrivals: Vec<_> = arrivals.iter().map(|&number| Arrival { number }).collect();
        Tally::of(&sent, &arrivals, window)
    }

    #[test]
    fn all_in_order_is_nothing_to_report() {
        assert_eq!(tally(4, &[0, 1, 2, 3], ALWAYS), Tally { sent: 4, ..Tally::default() });
    }

    #[test]
    fn a_gap_is_loss_until_it_is_filled_and_then_reordering() {
        assert_eq!(tally(4, &[0, 2, 3], ALWAYS), Tally { sent: 4, lost: 1, ..Tally::default() });
        assert_eq!(tally(4, &[0, 2, 3, 1], ALWAYS), Tally { sent: 4, reordered: 1, ..Tally::default() });
    }

    #[test]
    fn a_repeat_is_neither_loss_nor_reordering() {
        assert_eq!(tally(3, &[0, 1, 0, 2], ALWAYS), Tally { sent: 3, repeated: 1, ..Tally::default() });
    }

    #[test]
    fn only_what_was_sent_in_the_window_counts() {
        let window = Window { from_us: 2000, until_us: 4000 };
        assert_eq!(tally(6, &[1, 0, 3, 2], window), Tally { sent: 2, reordered: 1, ..Tally::default() });
        assert_eq!(tally(6, &[0, 5], window), Tally { sent: 2, lost: 2, ..Tally::default() });
    }

    #[test]
    fn numbers_that_were_never_sent_are_passed_over() {
        assert_eq!(tally(1, &[0, usize::MAX, 7], ALWAYS), Tally { sent: 1, ..Tally::default() });
    }

    #[test]
    fn a_window_has_its_margin_on_both_sides() {
        assert_eq!(Window::around(5000, 5100, 1000), Window { from_us: 4_000_000, until_us: 6_100_000 });
    }
}
