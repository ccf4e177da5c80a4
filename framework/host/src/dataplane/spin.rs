//! Adaptive polling: whether to look again at once, or to sleep, when no frame is left.
//!
//! A sleep costs the next frame a wake-up, a spin costs a core. So the worker spins only while recent gaps
//! between frames were mostly shorter than the spin: traffic that answers itself (a request and its reply)
//! finds the worker awake, an idle node and one with rare frames sleep.

use std::time::Duration;

use vreserve_model::Timestamp;

/// What a wake-up adds to a gap at most: a gap seen by a sleeping worker is longer by that.
const WAKE_UP: Duration = Duration::from_micros(20);
/// The most that recent gaps can speak for spinning.
const MOST: u8 = 16;
/// From here on the worker spins.
const ENOUGH: u8 = 8;
/// A gap that was too long weighs as much as so many short ones: at most one spin in five is in vain, over
/// time.
const MISS: u8 = 4;

/// The decision, and what it follows from.
#[derive(Clone, Debug)]
pub(super) struct Spin {
    /// How long at most; zero never spins.
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
        } else {
            self.confidence.saturating_sub(MISS)
        };
    }

    /// True if the next frame is likely to come before a sleep would be worth it.
    pub(super) fn is_on(&self, now: Timestamp) -> bool {
        self.confidence >= ENOUGH && now.since(self.last_frame) < self.limit
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
                spun += gap.min(limit);
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
    fn spinning_ends_after_the_limit_and_zero_never_begins() {
        let mut spin = Spin::new(LIMIT);
        let at = |micros: u64| Timestamp(micros * 1000);
        (0..20).for_each(|n| spin.handle_frames(at(n)));
        assert!(spin.is_on(at(19 + 49)));
        assert!(!spin.is_on(at(19 + 50)));
        assert_eq!(spun(Duration::ZERO, &[1]), 0.0);
    }
}
