//! Durations in text: how configurations and documents for people write them.
//!
//! What lives here: reading `500ms` and `2s`, writing them back, and the serde functions for both. A bare
//! number is refused, so that nobody has to guess its unit.
//!
//! ```ignore
//! #[serde(with = "vreserve_model::duration")]
//! #[schemars(with = "vreserve_model::duration::DurationText")]
//! window: Duration,
//! ```

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de};

/// Units with their length in nanoseconds, longest first.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationParseError;

impl fmt::Display for DurationParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a duration: expected a number with ns, us, ms, s, m or h, such as 500ms")
    }
}

impl std::error::Error for DurationParseError {}

/// Reads an integer or decimal with one unit, such as `500ms`, `1.5s` or `2 m`.
///
/// # Errors
/// [`DurationParseError`] for anything else: no unit, a sign, or more than 584 years.
pub fn parse(text: &str) -> Result<Duration, DurationParseError> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(DurationParseError)?;
    let (number, suffix) = text.split_at(unit_at);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == suffix).ok_or(DurationParseError)?;
    nanoseconds(number.trim(), *unit).map(Duration::from_nanos).ok_or(DurationParseError)
}

fn nanoseconds(number: &str, unit: u64) -> Option<u64> {
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let nanos = number.parse::<f64>().ok()? * unit as f64;
    (nanos.is_finite() && nanos < u64::MAX as f64).then(|| nanos.round() as u64)
}

/// The duration in its longest unit that is exact: `1500ms`, `2s`, `1h`. [`parse`] reads it back unchanged.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let exact = UNITS.iter().find(|(_, unit)| nanos.is_multiple_of(u128::from(*unit)));
    let (name, unit) = exact.expect("every duration is a multiple of a nanosecond");
    format!("{}{name}", nanos / u128::from(*unit))
}

/// Writes a duration as text.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Reads a duration from text.
///
/// # Errors
/// What is not text, or not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    parse(&text).map_err(de::Error::custom)
}

/// As the functions beside it, for a duration that may be left out.
pub mod option {
    use super::{Cow, Deserialize, Deserializer, Duration, Serializer, de, format, parse};

    /// Writes a duration as text, or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&format(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration from text, or none from null.
    ///
    /// # Errors
    /// What is neither null nor a duration in text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
        text.map(|text| parse(&text)).transpose().map_err(de::Error::custom)
    }
}

/// Stands for a duration in a JSON Schema: `#[schemars(with = "DurationText")]`.
#[derive(Debug)]
pub struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a duration: a number with ns, us, ms, s, m or h, such as \"500ms\"",
            "type": "string",
            "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*(ns|us|ms|s|m|h)\\s*$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_with_its_unit() {
        for (text, millis) in
            [("500ms", 500), ("2s", 2_000), ("1.5s", 1_500), (" 2 m ", 120_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("7us"), Ok(Duration::from_micros(7)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "2", "s", "-2s", "+2s", "nans", "infs", "2 parsecs", "2s5", "999999999999h", "1e300s"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_unchanged() {
        for nanos in [0, 1, 1_000, 1_500_000_000, 2_000_000_000, 90_000_000_000, 3_600_000_000_001] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
        assert_eq!(format(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(format(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn documents_hold_text_and_name_what_is_wrong() {
        #[derive(serde::Deserialize, serde::Serialize)]
        struct Document {
            #[serde(with = "super")]
            hold: Duration,
            #[serde(default, with = "super::option")]
            bound: Option<Duration>,
        }
        let document: Document = serde_json::from_str(r#"{"hold":"2s"}"#).unwrap();
        assert_eq!((document.hold, document.bound), (Duration::from_secs(2), None));
        assert_eq!(serde_json::to_string(&document).unwrap(), r#"{"hold":"2s","bound":null}"#);
        let error = serde_json::from_str::<Document>(r#"{"hold":"2 bars"}"#).err().unwrap().to_string();
        assert!(error.contains("such as 500ms"), "{error}");
        assert!(serde_json::from_str::<Document>(r#"{"hold":2}"#).is_err());
    }
}
