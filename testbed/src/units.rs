//! Rates and sizes as `tc` writes them: `100mbit`, `2mb`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A rate in bits per second; written `100mbit`, with decimal multiples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitsPerSecond(pub u64);

/// A size in bytes; written `2mb`, with binary multiples as in `tc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

const RATES: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];
const SIZES: [(&str, u64); 4] = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10), ("b", 1)];

/// Bytes of a super-frame, and a margin for its headers: a token bucket smaller than this would cut
/// super-frames apart in software (measured: retransmissions at 64 KiB, none at 80 KiB).
const SUPER_FRAME: u64 = 80 << 10;

impl BitsPerSecond {
    /// The token bucket that lets this rate through whole: one millisecond of it, or one super-frame.
    pub fn bucket(self) -> Bytes {
        Bytes((self.0 / 8 / 1000).max(SUPER_FRAME))
    }
}

impl FromStr for BitsPerSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &RATES).map(Self).ok_or_else(|| format!("`{text}` is not a rate: write 100mbit or 1gbit"))
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &SIZES).map(Self).ok_or_else(|| format!("`{text}` is not a size: write 512kb or 2mb"))
    }
}

impl fmt::Display for BitsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &RATES)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZES)
    }
}

/// A positive whole number and one of the units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, multiple) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*multiple).filter(|value| *value > 0)
}

/// The largest unit that divides the value.
fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (unit, multiple) =
        units.iter().find(|(_, multiple)| value.is_multiple_of(*multiple)).unwrap_or(&units[3]);
    write!(f, "{}{unit}", value / multiple)
}

impl TryFrom<String> for BitsPerSecond {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<BitsPerSecond> for String {
    fn from(rate: BitsPerSecond) -> Self {
        rate.to_string()
    }
}

impl From<Bytes> for String {
    fn from(size: Bytes) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_read_back_as_written() {
        for text in ["1bit", "100mbit", "1gbit", "1500kbit"] {
            assert_eq!(text.parse::<BitsPerSecond>().unwrap().to_string(), text);
        }
        assert_eq!("2mb".parse::<Bytes>().unwrap(), Bytes(2 * 1024 * 1024));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "100", "mbit", "0mbit", "-1mbit", "1.5gbit", "99999999999999gbit", "1 gbit"] {
            assert!(text.parse::<BitsPerSecond>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bucket_holds_a_super_frame_at_any_rate() {
        assert_eq!(BitsPerSecond(1000).bucket(), Bytes(80 << 10));
        assert_eq!(BitsPerSecond(10_000_000_000).bucket(), Bytes(1_250_000));
    }
}
