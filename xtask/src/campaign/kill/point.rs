//! When somebody is killed, and who: drawn from the seed and the run's number alone. Pure.

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::campaign::reservation::Happening;

/// The provider's original delays, in seconds, unscaled (odin-server's documentation).
const SETUP_SECONDS: f64 = 17.5;
const TEARDOWN_SECONDS: f64 = 12.0;
/// One kill in so many comes with the event itself.
const AT_ONCE: u32 = 4;

/// A part of a circuit's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Moment {
    Reserve,
    Activate,
    CutOver,
    Carry,
    Release,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Victim {
    Lead,
    Provider,
    Both,
}

/// Who is killed when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Point {
    pub(super) victim: Victim,
    pub(super) moment: Moment,
    /// The lead's event that is waited for.
    pub(super) event: &'static str,
    /// From there on.
    pub(super) delay_ms: u64,
}

impl Moment {
    pub(super) const ALL: [Self; 5] =
        [Self::Reserve, Self::Activate, Self::CutOver, Self::Carry, Self::Release];

    /// For tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Activate => "activate",
            Self::CutOver => "cut over",
            Self::Carry => "carry",
            Self::Release => "release",
        }
    }

    /// Whether the guests' demand wants the circuit at this time.
    pub(super) fn is_wanted(self) -> bool {
        self != Self::Release
    }

    /// The events that it has.
    fn events(self) -> &'static [&'static str] {
        match self {
            Self::Reserve => &["planned", "reservation_submitted"],
            Self::Activate => &["reservation_active", "linked"],
            Self::CutOver => &["probed", "pair_switched"],
            Self::Carry => &["carrying"],
            Self::Release => &["cutting_back", "pair_switched", "unlinking", "releasing"],
        }
    }

    /// How long it lasts about, from its first event.
    fn length(self, time_scale: f64) -> Duration {
        match self {
            Self::Reserve => Duration::from_secs_f64(SETUP_SECONDS * time_scale),
            Self::Activate => Duration::from_millis(120),
            Self::CutOver => Duration::from_millis(30),
            Self::Carry => Duration::from_millis(300),
            Self::Release => {
                Duration::from_secs_f64(TEARDOWN_SECONDS * time_scale) + Duration::from_millis(50)
            }
        }
    }
}

impl Point {
    /// The point of a run: any moment, any of its events, and any delay from there on within the moment's length.
    pub(super) fn draw(seed: u64, number: usize, time_scale: f64, provider_percent: u8) -> Self {
        let mut chance = Rng::with_seed(seed.wrapping_mul(1 << 32).wrapping_add(number as u64));
        let moment = Moment::ALL[chance.usize(..Moment::ALL.len())];
        let events = moment.events();
        let event = events[chance.usize(..events.len())];
        let is_at_once = chance.u32(..AT_ONCE) == 0;
        let length = moment.length(time_scale).as_millis() as f64;
        let delay_ms = (length * chance.f64()) as u64;
        let victim = match (chance.u8(..100) < provider_percent, chance.bool()) {
            (false, _) => Victim::Lead,
            (true, false) => Victim::Provider,
            (true, true) => Victim::Both,
        };
        Self { victim, moment, event, delay_ms: if is_at_once { 0 } else { 1 + delay_ms } }
    }

    /// Whether this is the event that is waited for.
    pub(super) fn is_at(&self, happening: &Happening) -> bool {
        match self.event {
            "pair_switched" => happening.is_switch(self.moment.is_wanted()),
            event => happening.event == event,
        }
    }

    /// Whether the lead, the provider is killed.
    pub(super) fn kills_lead(&self) -> bool {
        self.victim != Victim::Provider
    }

    pub(super) fn kills_provider(&self) -> bool {
        self.victim != Victim::Lead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn draw(seed: u64, provider_percent: u8) -> Vec<Point> {
        (1..=1000).map(|number| Point::draw(seed, number, 0.01, provider_percent)).collect()
    }

    #[test]
    fn a_seed_draws_the_same_points_and_another_seed_others() {
        assert_eq!(draw(1, 10), draw(1, 10));
        assert_ne!(draw(1, 10), draw(2, 10));
    }

    #[test]
    fn a_thousand_runs_meet_every_event_at_once_and_later() {
        let points = draw(1, 10);
        let of = |is_at_once: bool| -> BTreeSet<_> {
            let of = points.iter().filter(|point| (point.delay_ms == 0) == is_at_once);
            of.map(|point| (point.moment, point.event)).collect()
        };
        let all: BTreeSet<_> =
            Moment::ALL.into_iter().flat_map(|m| m.events().iter().map(move |event| (m, *event))).collect();
        assert_eq!((of(true), of(false)), (all.clone(), all));
        let killed = |victim| points.iter().filter(|point| point.victim == victim).count();
        assert!((850..950).contains(&killed(Victim::Lead)), "{}", killed(Victim::Lead));
        assert!(killed(Victim::Provider) > 20 && killed(Victim::Both) > 20);
        assert!(draw(1, 0).iter().all(|point| point.victim == Victim::Lead));
    }
}
