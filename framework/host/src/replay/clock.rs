//! One clock from the stamps of a capture: it begins at zero, never runs backwards, and never leaps by a week.

use std::time::Duration;

use serde::Serialize;

use super::seconds;

/// Frames of several interfaces are in one file only roughly in order. A larger step back is a clock that was set.
const DISORDER: u64 = 1_000_000_000;
/// A longer pause is a clock that was set, or a damaged stamp.
const LONGEST_PAUSE: u64 = 7 * 24 * 3600 * 1_000_000_000;
/// No capture is longer; times stay far from the end of what can be counted.
const LONGEST_CAPTURE: u64 = 200 * 365 * 24 * 3600 * 1_000_000_000;

/// What was odd about the stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ClockFacts {
    /// How often a stamp was earlier than one before it. Such a frame counts as sent at the time reached.
    pub stepped_back: u64,
    /// The largest such step, in seconds.
    #[serde(serialize_with = "seconds")]
    pub longest_step_back: Duration,
    /// Pauses of more than a week, which count as none.
    pub leaps: u64,
    /// Frames without a stamp, which count as sent when the one before them was.
    pub unstamped: u64,
}

/// The clock.
#[derive(Debug, Default)]
pub(super) struct CaptureClock {
    /// The stamp that `now` belongs to.
    last: Option<u64>,
    now: Duration,
    pub(super) facts: ClockFacts,
}

impl CaptureClock {
    /// The time at which a frame with this stamp (nanoseconds since the Unix epoch) was sent.
    pub(super) fn read(&mut self, stamp: Option<u64>) -> Duration {
        let Some(stamp) = stamp else {
            self.facts.unstamped += 1;
            return self.now;
        };
        let last = self.last.unwrap_or(stamp);
        if stamp >= last {
            let pause = Duration::from_nanos(stamp - last);
            let is_leap = pause > Duration::from_nanos(LONGEST_PAUSE)
                || self.now + pause > Duration::from_nanos(LONGEST_CAPTURE);
            if is_leap {
                self.facts.leaps += 1;
            } else {
                self.now += pause;
            }
            self.last = Some(stamp);
        } else {
            self.facts.stepped_back += 1;
            let step = last - stamp;
            self.facts.longest_step_back = self.facts.longest_step_back.max(Duration::from_nanos(step));
            // Time goes on from here, or it would stand still until the old time is reached again.
            self.last = Some(if step > DISORDER { stamp } else { last });
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn disorder_stands_still_and_a_clock_that_was_set_goes_on() {
        let mut clock = CaptureClock::default();
        let start = 1_700_000_000 * SECOND;
        let mut at = |stamp: Option<u64>| clock.read(stamp).as_millis();
        assert_eq!(at(Some(start)), 0);
        assert_eq!(at(Some(start + SECOND)), 1_000);
        assert_eq!(at(Some(start + SECOND / 2)), 1_000, "disorder");
        assert_eq!(at(Some(start + 2 * SECOND)), 2_000);
        assert_eq!(at(Some(start - 3_600 * SECOND)), 2_000, "set back by an hour");
        assert_eq!(at(Some(start - 3_599 * SECOND)), 3_000);
        assert_eq!(at(None), 3_000);
        assert_eq!(at(Some(u64::MAX)), 3_000, "set ahead by centuries");
        let facts = clock.facts;
        assert_eq!((facts.stepped_back, facts.leaps, facts.unstamped), (2, 1, 1));
        assert_eq!(facts.longest_step_back, Duration::from_secs(3_602));
    }
}
