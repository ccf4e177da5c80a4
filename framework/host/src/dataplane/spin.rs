//! Adaptive polling: whether to look again at once, or to sleep, when no frame is left.
//!
//! A sleep costs the next frame a wake-up, a spin costs a core. So the worker spins only while recent gaps
//! between frames were mostly shorter than the spin: traffic that answers itself (a request and its reply)
//! finds the worker awake, an idle node and one with rare frames sleep.

use std::time::Duration;

use vreserve_model::Timestamp;

/// What a wake-up adds to a gap at most: a gap seen by a sleeping worker is longer by that.
const WAKE_UP: Duration = Duration::from_micros(20);
/// Once it spins, the worker stays awake for so many times the limit: whoever was to answer may have been held up
/// for a moment, and two sleeps and two wake-ups would only make that longer.
const PATIENCE: u32 = 4;
/// The most that recent gaps can speak for spinning.
const MOST: u8 = 64;
/// From here on the worker spins.
const ENOUGH: u8 = 32;
/// A gap over the limit weighs as much as so many short ones.
const LATE: u8 = 4;
/// So much weighs one that outlasted the patience: at most one spin in seventeen is in vain, over time.
const MISS: u8 = 16;

/// The decision, and what it follows from.
#[derive(Clone, Debug)]
pub(super) struct Spin {
    /// A gap that is worth spinning through; zero never spins.
    limit: Duration,
    last_frame: Timestamp,
    confidence: u8,
}

impl Spin {
    pub(super) fn new(limit: Duration) -> Self {
        Spin { limit, last_frame: Timestamp::ZERO, confidence: 0 }
    }

    /// Frames have come.
    #[inline]
    pub(super) fn handle_frames(&mut self, now: Timestamp) {
        let gap = now.since(self.last_frame);
        self.last_frame = now;
        self.confidence = if gap <= self.limit + WAKE_UP {
            (self.confidence + 1).min(MOST)
        } else if gap <= self.limit * PATIENCE {
            self.confidence.saturating_sub(LATE)
        } else {
            self.confidence.saturating_sub(MISS)
        };
    }

    /// True if the next frame is likely to come before a sleep would be worth it.
    pub(super) fn is_on(&self, now: Timestamp) -> bool {
        self.confidence >= ENOUGH && now.since(self.last_frame) < self.limit * PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(50);

    /// Lets frames come with these gaps in microseconds, over and over, for a second; returns the share of
    /// the time that was spun.
    fn spun(limit: Duration, gaps: &[u64]) -> f64 {
        let mut spin = Spin::new(limit);
        let (mut now, mut spun) = (Timestamp::from_millis(1000), Duration::ZERO);
        for gap in gaps.iter().cycle().map(|gap| Duration::from_micros(*gap)) {
            spin.handle_frames(now);
            if spin.is_on(now) {
                spun += gap.min(limit * PATIENCE);
            }
            now = now + gap;
            if now > Timestamp::from_millis(2000) {
                break;
            }
        }
        spun.as_secs_f64()
    }

    #[test]
    fn a_conversation_is_spun_through_and_rare_frames_are_slept_through() {
        assert!(spun(LIMIT, &[10, 30]) > 0.99, "request and reply");
        assert_eq!(spun(LIMIT, &[10_000]), 0.0, "a hundred frames a second");
        assert_eq!(spun(LIMIT, &[30, 10_000]), 0.0, "a hundred pings a second");
        assert_eq!(spun(LIMIT, &[100]), 0.0, "just too rare");
        assert!(spun(LIMIT, &[5, 5, 5, 5, 5, 5, 5, 5, 5, 10_000]) < 0.01, "bursts");
    }

    #[test]
    fn a_conversation_that_was_held_up_goes_on_awake() {
        let mut spin = Spin::new(LIMIT);
        let mut now = Timestamp::from_millis(1000);
        let mut after = |micros: u64| {
            now = now + Duration::from_micros(micros);
            let was_awake = spin.is_on(now);
            spin.handle_frames(now);
            was_awake
        };
        (0..100).for_each(|_| drop(after(10)));
        assert!(after(150), "three times the limit is waited for");
        assert!(!after(1_000), "this long is slept through");
        assert!(after(10), "and the next is waited for again");
    }

    #[test]
    fn spinning_ends_after_the_limit_and_zero_never_begins() {
        let mut spin = Spin::new(LIMIT);
        let at = |micros: u64| Timestamp(micros * 1000);
        (0..80).for_each(|n| spin.handle_frames(at(n)));
        assert!(spin.is_on(at(79 + 199)));
        assert!(!spin.is_on(at(79 + 200)));
        assert_eq!(spun(Duration::ZERO, &[1]), 0.0);
    }
}
