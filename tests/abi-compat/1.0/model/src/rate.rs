//! Rates in bits per second, with the usual decimal suffixes in text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A rate in bits per second.
///
/// In text: an integer or decimal with `bit`, `kbit`, `mbit`, `gbit` (powers of 1000), as `tc` writes them.
/// In documents: an integer of bits per second, or that text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitsPerSecond(pub u64);

/// The text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateParseError;

impl BitsPerSecond {
    /// The rate in Mbit/s.
    pub fn as_mbps(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for RateParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a rate: expected a number with bit, kbit, mbit or gbit, such as 100mbit")
    }
}

impl std::error::Error for RateParseError {}

impl fmt::Display for BitsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")];
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) if self.0.is_multiple_of(*unit) => write!(f, "{}{name}", self.0 / unit),
            Some((unit, name)) => write!(f, "{:.2}{name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{}bit", self.0),
        }
    }
}

impl FromStr for BitsPerSecond {
    type Err = RateParseError;

    fn from_str(text: &str) -> Result<Self, RateParseError> {
        const UNITS: [(&str, f64); 4] = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];
        let text = text.trim().to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number.trim(), *unit)))
            .unwrap_or((text.as_str(), 1.0));
        let starts_with_digit = number.starts_with(|c: char| c.is_ascii_digit());
        let value: f64 = number.parse().map_err(|_| RateParseError)?;
        let bits = value * unit;
        if starts_with_digit && bits.is_finite() && bits < u64::MAX as f64 {
            Ok(BitsPerSecond(bits.round() as u64))
        } else {
            Err(RateParseError)
        }
    }
}

impl Serialize for BitsPerSecond {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for BitsPerSecond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = BitsPerSecond;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as \"100mbit\" or an integer of bits per second")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<BitsPerSecond, E> {
                Ok(BitsPerSecond(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<BitsPerSecond, E> {
                u64::try_from(value).map(BitsPerSecond).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<BitsPerSecond, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for BitsPerSecond {
    fn schema_name() -> Cow<'static, str> {
        "BitsPerSecond".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "bits per second: an integer, or text such as \"100mbit\"",
            "type": ["integer", "string"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_and_written_with_decimal_units() {
        for (text, bits) in
            [("100mbit", 100_000_000), ("1.5 gbit", 1_500_000_000), ("9600", 9_600), ("7bit", 7)]
        {
            assert_eq!(text.parse(), Ok(BitsPerSecond(bits)), "{text}");
        }
        assert_eq!(BitsPerSecond(100_000_000).to_string(), "100mbit");
        assert_eq!(BitsPerSecond(1_234_000).to_string(), "1.23mbit");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "mbit", "-3mbit", "infgbit", "nan", "1e300gbit", "12 parsecs"] {
            assert!(text.parse::<BitsPerSecond>().is_err(), "{text}");
        }
    }
}
