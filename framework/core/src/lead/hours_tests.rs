//! Weeks of demand, hour by hour, without a lead.

use proptest::prelude::*;

use super::*;

/// A Monday.
const MONDAY: u64 = 20_000 * DAY + 4 * DAY;
const AHEAD: Duration = Duration::from_secs(6 * 3600);

fn link() -> LinkKey {
    LinkKey::new("n1", "n2", "omninet")
}

fn pair() -> NodePair {
    pair_of(&link())
}

/// A history, and the time that has passed.
#[derive(Default)]
struct Weeks {
    history: DemandHistory,
    now: Timestamp,
}

impl Weeks {
    /// Lives through an hour of the wall clock in which `rate` is wanted, or nothing.
    fn hour(&mut self, hour: u64, rate: Option<u64>) {
        let link = link();
        for minute in (0..60).step_by(5) {
            self.now = self.now + Duration::from_secs(300);
            let wanted = rate.map(|rate| (&link, BitsPerSecond(rate)));
            let changed = self.history.note(self.now, hour * HOUR_MS + minute * 60_000, wanted.into_iter());
            assert!(changed.is_empty() || minute == 0, "written once an hour at most");
        }
    }

    /// The windows that are expected, each as it is seen first, in these days since that Monday; `rate_in` says what is
    /// wanted in an hour.
    fn live(&mut self, days: std::ops::Range<u64>, rate_in: impl Fn(u64) -> Option<u64>) -> Vec<Expected> {
        let mut seen: Vec<Expected> = Vec::new();
        for hour in MONDAY + days.start * DAY..MONDAY + days.end * DAY {
            self.hour(hour, rate_in(hour));
            let expected = self.history.expected(self.now, hour * HOUR_MS + 59 * 60_000, AHEAD);
            let is_new = |new: &Expected| seen.iter().all(|old| old.window.0 != new.window.0);
            let new: Vec<_> = expected.into_iter().filter(is_new).collect();
            seen.extend(new);
        }
        seen
    }
}

fn hour_of_day(hour: u64) -> u64 {
    hour % DAY
}

/// When windows open: days since that Monday, and the hour.
fn openings(windows: &[Expected]) -> Vec<(u64, u64)> {
    windows.iter().map(|e| e.window.0 / HOUR_MS - MONDAY).map(|hour| (hour / DAY, hour % DAY)).collect()
}

#[test]
fn an_hour_that_was_busy_on_five_days_is_expected_on_the_sixth_and_hours_that_touch_are_one_window() {
    let mut weeks = Weeks::default();
    let windows = weeks.live(0..14, |hour| (9..12).contains(&hour_of_day(hour)).then_some(50_000_000));
    assert_eq!(openings(&windows), (5..14).map(|day| (day, 9)).collect::<Vec<_>>());
    for expected in &windows {
        assert_eq!(expected.window.1 - expected.window.0, 3 * HOUR_MS);
        assert_eq!((&expected.link, expected.rate), (&link(), BitsPerSecond(50_000_000)));
    }
}

#[test]
fn one_outlier_does_not_decide_the_rate() {
    let mut weeks = Weeks::default();
    let rate = |hour: u64| match hour / DAY - MONDAY / DAY {
        2 => 900_000_000,
        day => 10_000_000 + day * 1_000_000,
    };
    let windows = weeks.live(0..7, |hour| (hour_of_day(hour) == 3).then(|| rate(hour)));
    let rates: Vec<_> = windows.iter().map(|expected| expected.rate.0 / 1_000_000).collect();
    assert_eq!(rates, [14, 15, 16], "of 10, 11, 900, 13, 14 and so on");
}

#[test]
fn a_few_minutes_make_no_hour_busy() {
    let (mut weeks, link) = (Weeks::default(), link());
    for hour in MONDAY..MONDAY + 14 * DAY {
        for minute in (0..60).step_by(5) {
            weeks.now = weeks.now + Duration::from_secs(300);
            let wanted = (minute == 20 || minute == 25).then_some((&link, BitsPerSecond(1_000)));
            drop(weeks.history.note(weeks.now, hour * HOUR_MS + minute * 60_000, wanted.into_iter()));
        }
    }
    assert_eq!(weeks.history.pairs().count(), 0);
}

#[test]
fn a_working_week_has_no_weekend_once_one_was_seen() {
    let mut weeks = Weeks::default();
    let is_working = |hour: u64| (hour - MONDAY) / DAY % 7 < 5 && hour_of_day(hour) == 9;
    let windows = weeks.live(0..28, |hour| is_working(hour).then_some(1_000_000));
    let from_second_week: Vec<_> = openings(&windows).into_iter().filter(|(day, _)| *day >= 7).collect();
    let expected: Vec<_> = (7..28).filter(|day| day % 7 < 5).map(|day| (day, 9)).collect();
    assert_eq!(from_second_week, expected);
}

#[test]
fn what_stops_is_expected_for_two_more_days() {
    let mut weeks = Weeks::default();
    let windows = weeks.live(0..30, |hour| (hour < MONDAY + 14 * DAY && hour_of_day(hour) == 9).then_some(1));
    assert_eq!(openings(&windows).last(), Some(&(16, 9)));
}

#[test]
fn chance_is_no_pattern() {
    for seed in 0..20_u64 {
        // One hour of every day, by splitmix64.
        let mixed = |day: u64| {
            let mut z = (seed << 32 | day).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % DAY
        };
        let mut weeks = Weeks::default();
        let windows = weeks.live(0..28, |hour| (hour_of_day(hour) == mixed(hour / DAY)).then_some(1_000_000));
        assert_eq!(windows, [], "seed {seed}");
    }
}

#[test]
fn demand_around_the_clock_has_no_window_and_a_long_one_ends_after_a_day() {
    let mut weeks = Weeks::default();
    let windows = weeks.live(0..14, |_| Some(1_000_000));
    assert_eq!(openings(&windows), [(5, 0)], "before it was known to be around the clock");
    // Round the clock on working days.
    let mut weeks = Weeks::default();
    let windows = weeks.live(0..21, |hour| ((hour - MONDAY) / DAY % 7 < 5).then_some(1_000_000));
    let mondays = &windows[windows.len() - 2..];
    assert_eq!(openings(mondays), [(14, 0), (21, 0)]);
    assert!(mondays.iter().all(|expected| expected.window.1 - expected.window.0 == LONGEST * HOUR_MS));
    assert_eq!(weeks.history.record(&pair()).map(|known| known.hours.len()), Some(HOURS));
}

#[test]
fn a_day_off_does_not_break_a_daily_pattern() {
    let mut weeks = Weeks::default();
    let is_off = |hour: u64| (hour - MONDAY) / DAY == 8;
    let windows = weeks.live(0..21, |hour| (hour_of_day(hour) == 9 && !is_off(hour)).then_some(1_000_000));
    assert_eq!(openings(&windows), (5..21).map(|day| (day, 9)).collect::<Vec<_>>());
}

#[test]
fn pairs_are_bounded_and_the_least_active_goes() {
    let (mut history, mut now) = (DemandHistory::default(), Timestamp::ZERO);
    let daily = link();
    let mut others = (0..).map(|number| LinkKey::new("n1", &format!("x{number}"), "omninet"));
    let mut gone = 0;
    for hour in MONDAY..MONDAY + 14 * DAY {
        // Other pairs in every hour of the second week.
        let other: Vec<_> = others.by_ref().take(if hour < MONDAY + 7 * DAY { 0 } else { 3 }).collect();
        for minute in (0..60).step_by(5) {
            now = now + Duration::from_secs(300);
            let wanted = other.iter().chain((hour_of_day(hour) == 9).then_some(&daily));
            let wanted = wanted.map(|link| (link, BitsPerSecond(1)));
            let changed = history.note(now, hour * HOUR_MS + minute * 60_000, wanted);
            gone += changed.iter().filter(|pair| history.record(pair).is_none()).count();
        }
        assert!(history.pairs().count() <= PAIRS);
    }
    assert_eq!(history.pairs().count() + gone, 3 * 7 * 24 - 3 + 1, "whoever goes is named");
    assert_eq!(history.record(&pair()).map(|known| known.hours.len()), Some(14));
}

#[test]
fn what_is_on_record_is_taken_over() {
    let mut weeks = Weeks::default();
    weeks.live(0..6, |hour| (hour_of_day(hour) == 9).then_some(7));
    let record = weeks.history.record(&pair()).expect("it is remembered");
    let mut later = DemandHistory::default();
    assert!(later.restore(record.clone()));
    assert_eq!(later.record(&pair()), Some(record));
    let at = (MONDAY + 6 * DAY + 8) * HOUR_MS;
    assert_eq!(later.expected(Timestamp::ZERO, at, AHEAD), weeks.history.expected(weeks.now, at, AHEAD));
    assert_eq!(later.expected(Timestamp::ZERO, at, AHEAD).len(), 1);
}

#[test]
fn a_window_that_was_declined_is_not_expected_again_and_the_next_one_is() {
    let mut weeks = Weeks::default();
    weeks.live(0..7, |hour| (hour_of_day(hour) == 9).then_some(7));
    let (today, tomorrow) = ((MONDAY + 7 * DAY) * HOUR_MS, (MONDAY + 8 * DAY) * HOUR_MS);
    let at = |weeks: &Weeks, midnight: u64| weeks.history.expected(weeks.now, midnight + 4 * HOUR_MS, AHEAD);
    assert_eq!(at(&weeks, today).len(), 1);
    weeks.history.decline(&pair(), today + 10 * HOUR_MS);
    assert_eq!(at(&weeks, today), []);
    assert_eq!(at(&weeks, tomorrow).len(), 1);
    weeks.history.rest(&pair(), weeks.now + Duration::from_secs(1));
    assert_eq!(at(&weeks, tomorrow), []);
}

proptest! {
    #[test]
    fn no_clock_does_harm(
        walls in proptest::collection::vec(
            prop_oneof![any::<u64>(), 0..40 * HOUR_MS, (MONDAY * HOUR_MS)..(MONDAY + 400) * HOUR_MS, Just(u64::MAX)],
            1..60,
        ),
        rate in any::<u64>(),
    ) {
        let (mut history, link) = (DemandHistory::default(), link());
        let mut now = Timestamp::ZERO;
        for wall in walls {
            for step in 0..6 {
                now = now + GAP;
                drop(history.note(now, wall.saturating_add(step * 300_000), [(&link, BitsPerSecond(rate))].into_iter()));
                for expected in history.expected(now, wall, Duration::MAX) {
                    prop_assert!(expected.window.0 > wall && expected.window.0 < expected.window.1);
                    prop_assert_eq!(expected.rate, BitsPerSecond(rate));
                }
                prop_assert!(!history.is_expected(&pair(), (wall, u64::MAX), wall) || wall > u64::MAX - 25 * HOUR_MS);
                prop_assert!(!history.is_expected(&pair(), (0, u64::MAX), 0));
            }
            prop_assert!(history.record(&pair()).is_none_or(|known| known.hours.len() <= HOURS));
        }
    }
}
