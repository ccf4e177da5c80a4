//! Points in time as operators write and read them.

use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use vreserve_model::duration;

use crate::clock::Clock;

/// A point in time: milliseconds since the Unix epoch, or so long after now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Milliseconds since the Unix epoch.
    At(u64),
    /// Milliseconds after now.
    In(u64),
}

impl Moment {
    /// In milliseconds since the Unix epoch.
    pub(super) fn at_ms(self) -> u64 {
        match self {
            Moment::At(ms) => ms,
            Moment::In(ms) => Clock::wall_ms().saturating_add(ms),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "expected a time such as 2026-03-01T08:00:00Z, seconds since the epoch, or +10m".to_owned();
        if let Some(later) = text.strip_prefix('+') {
            let later = duration::parse(later).map_err(|error| error.to_string())?;
            return u64::try_from(later.as_millis()).map(Moment::In).map_err(|_| wrong());
        }
        if let Ok(seconds) = text.parse::<u64>() {
            return seconds.checked_mul(1000).map(Moment::At).ok_or_else(wrong);
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
        u64::try_from(time.unix_timestamp_nanos() / 1_000_000).map(Moment::At).map_err(|_| wrong())
    }
}

/// A moment as RFC 3339 has it, in UTC, to the second.
pub(super) fn text(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).ok();
    let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_all_three_forms_and_nonsense_is_refused() {
        assert_eq!("1700000000".parse(), Ok(Moment::At(1_700_000_000_000)));
        assert_eq!("+10m".parse(), Ok(Moment::In(600_000)));
        assert_eq!("2023-11-14T23:13:20.5+01:00".parse(), Ok(Moment::At(1_700_000_000_500)));
        assert_eq!(text(1_700_000_000_500), "2023-11-14T22:13:20Z");
        for text in
            ["", "-5", "soon", "+", "+10", "2023-11-14", "18446744073709551615", "1969-01-01T00:00:00Z"]
        {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
