//! When a deferred path is wanted, and when it occupies its lambda. Pure; times are milliseconds since the epoch.
//!
//! A path must carry from its start to its end, so its switches are busy with it for longer: from before the
//! start, by the set-up, until after the end, by the tear-down.

use std::time::Duration;

use super::protocol::Refusal;
use super::timing::Timing;

/// When a path is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When the request was made.
    pub now: u64,
    /// From when on it must carry; none: as soon as it can.
    pub start: Option<u64>,
    /// Until when; none: until it is torn down.
    pub end: Option<u64>,
}

/// When a path occupies its lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occupied {
    pub(super) from: u64,
    /// For ever, if none.
    pub(super) until: Option<u64>,
}

impl Window {
    /// From now on, until it is torn down.
    pub fn open(now: u64) -> Self {
        Self { now, start: None, end: None }
    }

    /// What the flags say: `start=SECONDS`, `end=SECONDS`, each at most once; other words are not acted on.
    ///
    /// # Errors
    /// `BadWindow`, if they say something that cannot be served.
    pub fn of(flags: &[String], now: u64) -> Result<Self, Refusal> {
        let bad = |reason: String| Refusal::BadWindow { reason };
        let value = |word: &str| {
            let mut values = flags.iter().filter_map(|flag| flag.strip_prefix(word)?.strip_prefix('='));
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(text), None) => match milliseconds(text) {
                    Some(ms) => Ok(Some(ms)),
                    None => Err(bad(format!("`{word}={text}` is no time in seconds since the epoch"))),
                },
                (Some(_), Some(_)) => Err(bad(format!("{word} is given twice"))),
            }
        };
        let (start, end) = (value("start")?.filter(|start| *start > now), value("end")?);
        if end.is_some_and(|end| end <= start.unwrap_or(now)) {
            return Err(bad("it ends before it begins".to_owned()));
        }
        Ok(Self { now, start, end })
    }

    pub(super) fn occupied(&self, timing: &Timing, switches: usize) -> Occupied {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let from = self.start.map_or(self.now, |start| start.saturating_sub(ms(timing.setup(switches))));
        Occupied {
            from: from.max(self.now),
            until: self.end.map(|end| end.saturating_add(ms(timing.teardown()))),
        }
    }
}

impl Occupied {
    pub(super) fn overlaps(&self, other: &Occupied) -> bool {
        let ends_before =
            |one: &Occupied, other: &Occupied| one.until.is_some_and(|until| until <= other.from);
        !ends_before(self, other) && !ends_before(other, self)
    }
}

/// Seconds with up to three decimals.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !are_digits(whole) || !are_digits(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths: u64 = format!("{decimals:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::odin::timing::SwitchOrder;

    const NOW: u64 = 1_000_000;

    fn of(flags: &[&str]) -> Result<Window, Refusal> {
        Window::of(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>(), NOW)
    }

    #[test]
    fn flags_say_when_and_other_words_say_nothing() {
        assert_eq!(of(&["0", "gold", "startle=5"]), Ok(Window::open(NOW)));
        let window = Window { now: NOW, start: Some(1_060_500), end: Some(1_120_000) };
        assert_eq!(of(&["start=1060.5", "0", "end=1120"]), Ok(window));
        assert_eq!(of(&["start=10"]), Ok(Window::open(NOW)), "what has begun begins now");
    }

    #[test]
    fn times_that_cannot_be_served_are_refused() {
        for flags in [
            &["start="][..],
            &["start=x"],
            &["start=-5"],
            &["start=1.2345"],
            &["end=99999999999999999999"],
            &["start=2000", "start=2000"],
            &["end=900"],
            &["start=2000", "end=2000"],
        ] {
            assert!(matches!(of(flags), Err(Refusal::BadWindow { .. })), "{flags:?}");
        }
    }

    #[test]
    fn a_lambda_is_occupied_from_set_up_to_tear_down() {
        let timing = Timing::new(1.0, SwitchOrder::Serial).unwrap();
        let window = of(&["start=2000", "end=3000"]).unwrap();
        let occupied = window.occupied(&timing, 2);
        assert_eq!(occupied, Occupied { from: 2_000_000 - 17_500, until: Some(3_012_000) });
        let at = |from, until| Occupied { from, until };
        assert!(occupied.overlaps(&at(3_011_999, None)) && occupied.overlaps(&at(0, None)));
        assert!(!occupied.overlaps(&at(3_012_000, None)) && !occupied.overlaps(&at(0, Some(1_982_500))));
    }
}
