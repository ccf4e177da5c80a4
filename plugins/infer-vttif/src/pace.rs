//! Whether a node's reports keep pace with the lead's clock. Clocks of nodes are never compared with the lead's, so
//! they may stand anywhere; but nobody can have watched for longer than has passed, or made more reports.
//!
//! Clocks may differ in speed by an eighth, and reports may wait on their way and then arrive together: what a node
//! did not claim for a while it may claim later, up to a minute, and a minute more at once.

use std::time::Duration;

/// Clocks run no faster than nine to eight.
const SKEW: (u128, u128) = (9, 8);
const SLACK: i128 = Duration::from_secs(60).as_nanos() as i128;
/// More reports than one in a millisecond are not made, and so many may be lost before one arrives.
const REPORTS_PER_SECOND: u128 = 1_000;
const MOST_LOST: u128 = 10_000;

/// How far a node's claims are ahead of the lead's clock, in nanoseconds; under zero, behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace(i128);

impl Pace {
    /// Takes the interval of a report that is `steps` after the last one, which arrived `elapsed` ago. False, and
    /// nothing changes, if that is more than there can be.
    pub(crate) fn keep(&mut self, elapsed: Duration, steps: u64, interval: Duration) -> bool {
        let most_steps = elapsed.as_nanos() * REPORTS_PER_SECOND / 1_000_000_000 + MOST_LOST;
        // Both fit: a duration has less than 2^94 nanoseconds.
        let elapsed = (elapsed.as_nanos() * SKEW.0 / SKEW.1) as i128;
        let ahead = (self.0 + interval.as_nanos() as i128 - elapsed).max(-SLACK);
        let is_possible = u128::from(steps) <= most_steps && ahead <= SLACK;
        if is_possible {
            self.0 = ahead;
        }
        is_possible
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lead_that_stood_still_takes_all_that_waited() {
        let mut pace = Pace::default();
        let half = Duration::from_millis(500);
        assert!(pace.keep(Duration::from_secs(50), 1, half));
        assert!((0..99).all(|_| pace.keep(Duration::ZERO, 1, half)));
    }

    #[test]
    fn a_node_that_invents_time_is_found_out() {
        let mut pace = Pace::default();
        let told = (0..1_000).filter(|_| pace.keep(Duration::from_millis(500), 1, Duration::from_secs(5)));
        assert!(told.count() < 150, "ten times as much as has passed");
        assert!(pace.keep(Duration::from_secs(60), 1, Duration::from_millis(500)), "it is heard again");
    }

    proptest! {
        #[test]
        fn skewed_clocks_late_and_lost_reports_keep_pace(
            speed in 0.9_f64..1.12,
            reports in proptest::collection::vec((0_u64..20_000, any::<bool>()), 1..300),
        ) {
            let mut pace = Pace::default();
            let (mut last, mut steps) = (0, 0);
            for (nth, (late_ms, is_lost)) in (1_u64..).zip(reports) {
                steps += 1;
                if !is_lost {
                    let arrival = last.max(nth * 500 + late_ms);
                    let interval = Duration::from_millis(500).mul_f64(speed);
                    prop_assert!(pace.keep(Duration::from_millis(arrival - last), steps, interval));
                    (last, steps) = (arrival, 0);
                }
            }
        }
    }
}
