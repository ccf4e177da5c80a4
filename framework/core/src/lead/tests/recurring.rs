//! Windows that the planner books ahead of demand that recurs, over weeks of a clock that the test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use vreserve_model::{BitsPerSecond, Capabilities, Failure, RequestKey, ReservationState, Wanted};

use super::world::*;
use crate::lead::*;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const STEP: Duration = Duration::from_secs(300);
const RATE: u64 = 40_000_000;

/// A world with a wall clock and a provider that answers well.
struct Weeks {
    world: World,
    /// Midnight of the first day.
    start: u64,
    states: BTreeMap<RequestKey, ReservationState>,
    /// Everything that the planner has booked, with its window and rate.
    booked: BTreeMap<BookingId, (u64, u64, BitsPerSecond)>,
    withdrawn: Vec<(BookingId, String)>,
}

/// What is wanted between `n1` and `n2`, by the time since the start.
type Demand = dyn Fn(u64) -> Option<u64>;

/// Every day from this hour on for so many.
fn daily(hour: u64, hours: u64) -> impl Fn(u64) -> Option<u64> {
    move |ms| (hour * HOUR..(hour + hours) * HOUR).contains(&(ms % DAY)).then_some(RATE)
}

fn wanted(rate: Option<u64>) -> Wanted {
    let Some(rate) = rate else { return Wanted::default() };
    let mut wanted = want(&[(1, 2)]);
    wanted.links[0].rate = BitsPerSecond(rate);
    wanted
}

impl Weeks {
    fn new(capabilities: Capabilities, ahead_hours: u64) -> Self {
        let mut world = World::with(3, capabilities);
        world.auto.submit = false;
        world.wall_set_by = (20_000 * DAY - world.wall()) as i64;
        world.recurring = Some(Recurring { ahead: Duration::from_secs(ahead_hours * 3600) });
        world.lead.handle_recurring(world.now, world.recurring);
        let (start, states) = (world.wall(), BTreeMap::new());
        Weeks { world, start, states, booked: BTreeMap::new(), withdrawn: Vec::new() }
    }

    fn since_start(&self) -> u64 {
        self.world.wall() - self.start
    }

    /// Lives to the end of this day since the start, or rather to its last five minutes.
    fn live(&mut self, days: u64, demand: &Demand) {
        while self.since_start() + 300_000 < days * DAY {
            self.step(demand(self.since_start()));
        }
    }

    fn step(&mut self, rate: Option<u64>) {
        let world = &mut self.world;
        world.lead.handle_clock(world.now, world.wall());
        world.run();
        if world.lead.is_stopped() {
            return;
        }
        world.lead.handle_wanted(world.now, &wanted(rate));
        world.run();
        self.serve();
        self.world.pass(STEP);
        self.serve();
    }

    /// The provider answers, and events are noted.
    fn serve(&mut self) {
        let world = &mut self.world;
        loop {
            if let Some((_, _, request)) = world.submits.first() {
                let state = match request.start_ms {
                    Some(_) => ReservationState::Booked,
                    None => ReservationState::Active,
                };
                self.states.insert(request.key.clone(), state);
                world.answer_submit(state);
            } else if let Some(step) = world.steps.first() {
                let (call, state) = match step {
                    Action::Activate { call, .. } => (call, ReservationState::Active),
                    Action::Deactivate(call) => (call, ReservationState::Booked),
                    Action::Modify { call, .. } => (call, self.states[&call.key]),
                    other => panic!("{other:?} is not called for"),
                };
                self.states.insert(call.key.clone(), state);
                world.answer_step(Ok(state));
            } else if let Some((_, _, key)) = world.finds.first() {
                let state = self.states.get(key).copied();
                world.answer_find(Ok(state));
            } else {
                break;
            }
        }
        for event in world.events.drain(..) {
            match event {
                Event::Booked { booking, origin: Origin::Planner, rate, start_ms, end_ms, .. } => {
                    self.booked.insert(booking, (start_ms, end_ms, rate));
                }
                Event::BookingWithdrawn { booking, reason } => self.withdrawn.push((booking, reason)),
                _ => {}
            }
        }
        self.check();
    }

    /// At no time two windows of one pair at once, or two that have not opened.
    fn check(&self) {
        let wall = self.world.wall();
        let own = self.world.lead.calendar();
        let own: Vec<_> = own
            .iter()
            .filter(|entry| entry.booking.is_some() && entry.phase != Some(BookingPhase::Ending))
            .map(|entry| (entry.origin, entry.start_ms.expect("a window"), entry.end_ms.expect("a window")))
            .collect();
        for (number, (_, start, end)) in own.iter().enumerate() {
            let overlapping =
                own.iter().skip(number + 1).find(|(_, other, till)| other < end && start < till);
            assert_eq!(overlapping, None, "booked twice");
        }
        let ahead = own.iter().filter(|(origin, start, _)| *origin == Origin::Planner && *start > wall);
        assert!(ahead.count() <= 1, "one ahead at a time");
    }

    /// The days and hours at which what was booked opens, with its hours.
    fn windows(&self) -> Vec<(u64, u64, u64)> {
        let of = |(start, end, _): &(u64, u64, BitsPerSecond)| {
            let since = start.wrapping_sub(self.start);
            (since / DAY, since % DAY / HOUR, (end - start) / HOUR)
        };
        self.booked.values().map(of).collect()
    }

    fn rates(&self) -> BTreeSet<u64> {
        self.booked.values().map(|(_, _, rate)| rate.0).collect()
    }

    fn restart(&mut self) {
        self.world.crash();
        self.world.come_back("hub", NodeRole::Proxy, 100);
        (1..=3).for_each(|last| self.world.come_back(&format!("n{last}"), NodeRole::Spoke, last));
        self.world.lead.handle_backend_up(self.world.now, NET, gara());
        self.world.run();
        self.serve();
    }

    fn own(&self) -> CalendarEntry {
        let mut own = self.world.lead.calendar();
        own.retain(|entry| entry.booking.is_some() && entry.origin == Origin::Planner);
        assert_eq!(own.len(), 1);
        own.remove(0)
    }
}

#[test]
fn a_daily_pattern_gives_one_booking_a_day_that_is_asked_for_ahead_and_used() {
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(5, &daily(9, 2));
    assert_eq!(weeks.windows(), []);
    while weeks.since_start() < 5 * DAY + 4 * HOUR {
        weeks.step(None);
    }
    let entry = weeks.own();
    assert_eq!((entry.phase, entry.rate), (Some(BookingPhase::Booked), BitsPerSecond(RATE)));
    assert_eq!((entry.from.as_str(), entry.to.as_str()), ("n1", "n2"));
    let asked = weeks.world.lead.circuits().next().expect("it was asked for at once");
    assert_eq!((asked.booking, asked.rate), (entry.booking, BitsPerSecond(RATE)));
    while weeks.since_start() < 5 * DAY + 10 * HOUR {
        weeks.step(daily(9, 2)(weeks.since_start()));
    }
    assert_eq!(weeks.own().phase, Some(BookingPhase::Open));
    assert_eq!(weeks.world.only().booking, entry.booking, "the planner needs none of its own");
    assert_eq!(weeks.world.pairs_at("n1").len(), 1);
    weeks.live(14, &daily(9, 2));
    assert_eq!(weeks.windows(), (5..14).map(|day| (day, 9, 2)).collect::<Vec<_>>());
    assert_eq!(weeks.rates(), BTreeSet::from([RATE]));
    assert_eq!(weeks.withdrawn, []);
}

#[test]
fn a_pattern_that_stops_is_booked_no_more_and_the_lead_holds_nothing_for_it() {
    let mut weeks = Weeks::new(gara(), 6);
    let demand = daily(9, 2);
    weeks.live(30, &move |ms| demand(ms).filter(|_| ms < 10 * DAY));
    assert_eq!(weeks.windows(), (5..13).map(|day| (day, 9, 2)).collect::<Vec<_>>());
    assert_eq!(weeks.world.lead.calendar(), []);
    assert_eq!(weeks.world.phases(), []);
}

#[test]
fn a_restart_forgets_neither_the_demand_nor_the_window() {
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(3, &daily(9, 2));
    weeks.restart();
    weeks.live(5, &daily(9, 2));
    while weeks.since_start() < 5 * DAY + 5 * HOUR {
        weeks.step(None);
    }
    let before = weeks.own();
    weeks.restart();
    assert_eq!(weeks.own().booking, before.booking);
    weeks.live(9, &daily(9, 2));
    assert_eq!(weeks.windows(), (5..9).map(|day| (day, 9, 2)).collect::<Vec<_>>(), "once each");
    assert_eq!(weeks.withdrawn, []);
}

#[test]
fn a_backend_that_takes_nothing_ahead_is_asked_for_nothing_ahead() {
    let mut weeks = Weeks::new(Capabilities { advance: false, ..gara() }, 6);
    weeks.live(8, &daily(9, 2));
    assert_eq!(weeks.windows(), []);
    // Nor is one that replaces another asked for what was booked there.
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(6, &daily(9, 2));
    let incapable = Capabilities { advance: false, ..gara() };
    while weeks.since_start() < 6 * DAY + 5 * HOUR {
        weeks.step(None);
    }
    assert_eq!(weeks.windows().last(), Some(&(6, 9, 2)));
    weeks.world.lead.handle_backend_replaced(weeks.world.now, NET, Some(incapable));
    weeks.world.run();
    weeks.step(None);
    assert_eq!(weeks.withdrawn.len(), 1);
    assert_eq!(weeks.world.lead.calendar(), []);
}

#[test]
fn off_it_books_nothing_and_turned_off_it_withdraws_and_forgets() {
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(5, &daily(9, 2));
    while weeks.since_start() < 5 * DAY + 5 * HOUR {
        weeks.step(None);
    }
    assert_eq!(weeks.windows(), [(5, 9, 2)]);
    let is_demand = |record: &Record| matches!(record.body, RecordBody::Demand(_));
    assert_eq!(weeks.world.disk.values().filter(|record| is_demand(record)).count(), 1);
    weeks.world.lead.handle_recurring(weeks.world.now, None);
    weeks.world.run();
    weeks.serve();
    assert_eq!(weeks.withdrawn.len(), 1);
    assert_eq!(weeks.world.lead.calendar(), []);
    assert!(weeks.world.disk.is_empty(), "{:?}", weeks.world.disk.keys());
    weeks.live(9, &daily(9, 2));
    assert_eq!(weeks.windows(), [(5, 9, 2)]);
}

#[test]
fn a_lead_that_starts_with_it_off_forgets_what_an_earlier_one_knew() {
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(3, &daily(9, 2));
    weeks.world.recurring = None;
    weeks.restart();
    assert!(weeks.world.disk.is_empty());
}

#[test]
fn an_operator_comes_first() {
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(5, &daily(9, 2));
    let by_operator = |weeks: &mut Weeks, day: u64, hour: u64| {
        let start_ms = weeks.start + day * DAY + hour * HOUR;
        let wish = BookingWish {
            from: "n2".into(),
            to: "n1".into(),
            network: None,
            rate: BitsPerSecond(1_000_000),
            start_ms: Some(start_ms),
            end_ms: start_ms + HOUR,
        };
        let id = weeks.world.lead.book(weeks.world.now, wish).expect("an operator may");
        weeks.world.run();
        weeks.serve();
        id
    };
    // Booked by an operator before: nothing is proposed on top.
    by_operator(&mut weeks, 5, 10);
    weeks.live(6, &daily(9, 2));
    assert_eq!(weeks.windows(), []);
    // Booked by the planner before: that gives way.
    while weeks.since_start() < 6 * DAY + 5 * HOUR {
        weeks.step(None);
    }
    assert_eq!(weeks.windows(), [(6, 9, 2)]);
    by_operator(&mut weeks, 6, 9);
    assert_eq!(weeks.withdrawn.len(), 1);
    assert!(weeks.withdrawn[0].1.contains("operator"));
    weeks.live(7, &daily(9, 2));
    // Cancelled by an operator: not booked again, and the next one is.
    while weeks.since_start() < 7 * DAY + 5 * HOUR {
        weeks.step(None);
    }
    let own = weeks.own().booking.expect("a booking");
    weeks.world.lead.cancel_booking(weeks.world.now, own).expect("it is there");
    weeks.world.run();
    weeks.serve();
    weeks.restart();
    weeks.live(9, &daily(9, 2));
    assert_eq!(weeks.windows(), [(6, 9, 2), (7, 9, 2), (8, 9, 2)]);
}

#[test]
fn an_operator_has_the_room_of_other_windows_too() {
    let mut weeks = Weeks::new(gara(), 6);
    let budget = Budget { circuits: Some(1), rate: None };
    weeks.world.lead.handle_budget(weeks.world.now, NET, budget);
    weeks.live(5, &daily(9, 2));
    while weeks.since_start() < 5 * DAY + 5 * HOUR {
        weeks.step(None);
    }
    assert_eq!(weeks.windows(), [(5, 9, 2)]);
    let start_ms = weeks.start + 5 * DAY + 9 * HOUR;
    let wish = |rate, to: &str| BookingWish {
        from: "n1".into(),
        to: to.into(),
        network: None,
        rate: BitsPerSecond(rate),
        start_ms: Some(start_ms),
        end_ms: start_ms + HOUR,
    };
    weeks.world.lead.book(weeks.world.now, wish(1, "n3")).expect("the planner's gives way");
    weeks.world.run();
    weeks.serve();
    assert_eq!(weeks.withdrawn.len(), 1);
    let refused = weeks.world.lead.book(weeks.world.now, wish(1, "n2"));
    assert_eq!(refused, Err(BookingError::NoRoom(NET.into())), "an operator's does not");
}

#[test]
fn it_never_books_over_the_budget_or_beside_a_circuit_in_use() {
    // The budget is less than the rate; or all of it is another pair's, as long as that is in use.
    let mut weeks = Weeks::new(gara(), 6);
    let budget = Budget { circuits: None, rate: Some(BitsPerSecond(RATE - 1)) };
    weeks.world.lead.handle_budget(weeks.world.now, NET, budget);
    weeks.live(8, &daily(9, 2));
    assert_eq!(weeks.windows(), []);
    weeks.world.lead.handle_budget(
        weeks.world.now,
        NET,
        Budget { circuits: None, rate: Some(BitsPerSecond(RATE)) },
    );
    weeks.live(9, &daily(9, 2));
    assert_eq!(weeks.windows(), [(8, 9, 2)]);
    // The pair's own circuit is in use all day, but for two hours before the window.
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(6, &daily(9, 2));
    while weeks.since_start() < 6 * DAY + 7 * HOUR {
        weeks.step(Some(RATE));
    }
    assert_eq!(weeks.windows(), [(5, 9, 2)]);
    weeks.step(None);
    weeks.step(None);
    assert_eq!(weeks.windows(), [(5, 9, 2), (6, 9, 2)]);
}

#[test]
fn a_window_whose_pattern_goes_before_it_opens_is_withdrawn() {
    // Booked when yesterday's second hour is not over yet, and with it only four of the last seven days agree.
    let mut weeks = Weeks::new(gara(), 23);
    weeks.live(5, &daily(11, 2));
    weeks.live(12, &daily(11, 1));
    let reasons: Vec<_> = weeks.withdrawn.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(reasons, ["the demand no longer recurs"]);
    let eighth: Vec<_> = weeks.windows().into_iter().filter(|(day, ..)| *day == 8).collect();
    assert_eq!(eighth, [(8, 11, 2), (8, 11, 1)], "booked anew without the hour that is gone");
}

#[test]
fn a_window_that_the_provider_refuses_is_asked_for_again_and_booked_once() {
    let mut weeks = Weeks::new(gara(), 6);
    weeks.live(5, &daily(9, 2));
    let mut refused = 0;
    while weeks.booked.is_empty() {
        let world = &mut weeks.world;
        world.lead.handle_clock(world.now, world.wall());
        world.run();
        if !world.submits.is_empty() {
            world.refuse_submit(Failure::refused("full"));
            refused += 1;
        }
        weeks.step(None);
    }
    assert_eq!(refused, 1);
    assert_eq!(weeks.own().phase, Some(BookingPhase::Booked));
    weeks.live(6, &daily(9, 2));
    assert_eq!(weeks.windows(), [(5, 9, 2)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_daily_pattern_is_booked_once_a_day_at_its_time_and_rate(
        hour in 0u64..24,
        length in 1u64..6,
        ahead in 1u64..23,
        rate in 1u64..1_000_000,
        restart in 0u64..14,
    ) {
        let mut weeks = Weeks::new(gara(), ahead);
        let demand = move |ms: u64| ((ms % DAY / HOUR + 24 - hour) % 24 < length).then_some(rate * 1000);
        weeks.live(restart, &demand);
        weeks.restart();
        weeks.live(14, &demand);
        // The first week is learnt from, and its first hours may be in the middle of demand.
        let windows: Vec<_> = weeks.windows().into_iter().filter(|(day, ..)| (8..14).contains(day)).collect();
        prop_assert_eq!(windows, (8..14).map(|day| (day, hour, length)).collect::<Vec<_>>());
        prop_assert_eq!(weeks.rates(), BTreeSet::from([rate * 1000]));
    }

    #[test]
    fn demand_by_chance_is_not_booked(hours in proptest::collection::vec(0u64..24, 21)) {
        // An hour may not come up on five of seven days: the chance of that is another test's.
        let is_frequent = |hour: u64| hours.windows(7).any(|week| week.iter().filter(|h| **h == hour).count() >= 5);
        prop_assume!(!(0..24).any(is_frequent));
        let mut weeks = Weeks::new(gara(), 12);
        weeks.live(21, &move |ms| (ms % DAY / HOUR == hours[(ms / DAY) as usize]).then_some(RATE));
        prop_assert_eq!(weeks.windows(), []);
    }

    #[test]
    fn clocks_that_step_bring_no_flood(
        steps in proptest::collection::vec((0u64..14 * 288, prop_oneof![
            Just(DAY as i64), Just(-(DAY as i64)), Just(HOUR as i64), Just(-(HOUR as i64)),
            Just(3650 * DAY as i64), Just(-(3650 * DAY as i64)), -90_000i64..90_000,
        ]), 0..8),
    ) {
        let mut weeks = Weeks::new(gara(), 6);
        let demand = daily(9, 2);
        for number in 0..14 * 288 {
            for (_, by) in steps.iter().filter(|(at, _)| *at == number) {
                weeks.world.wall_set_by += by;
            }
            weeks.step(demand(weeks.world.wall()));
        }
        // One a day, and one more for each time that the clock was set.
        prop_assert!(weeks.booked.len() <= 14 + steps.len(), "{:?}", weeks.windows());
        prop_assert!(weeks.withdrawn.len() <= steps.len() * 2, "{:?}", weeks.withdrawn);
    }
}

#[test]
fn a_clock_that_was_a_day_off_for_a_while_costs_a_window_at_most() {
    for by in [DAY as i64, -(DAY as i64)] {
        let mut weeks = Weeks::new(gara(), 6);
        weeks.live(7, &daily(9, 2));
        let before = weeks.booked.len();
        weeks.world.wall_set_by += by;
        for _ in 0..96 {
            weeks.step(None);
        }
        weeks.world.wall_set_by -= by;
        weeks.live(14, &daily(9, 2));
        let after: Vec<_> = weeks.windows().into_iter().skip(before).collect();
        let right = after.iter().filter(|window| (window.1, window.2) == (9, 2)).count();
        assert!((6..=8).contains(&right), "{after:?}");
        assert_eq!(right, after.len(), "{after:?}");
    }
}
