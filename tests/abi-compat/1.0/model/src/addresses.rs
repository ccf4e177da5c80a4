//! The Ethernet address and its text form.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A 48-bit Ethernet (MAC) address, in transmission order.
///
/// Its text form is six lower-case hexadecimal pairs with colons; reading accepts either case, and
/// hyphens for colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

/// The text is not six hexadecimal pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacParseError;

impl MacAddr {
    /// The address that every station listens to.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// All zeroes: never a station.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// True for group addresses, the broadcast address included (IEEE 802: the I/G bit).
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// True if a station can own the address: not a group address and not all zeroes.
    pub const fn is_station(self) -> bool {
        !self.is_multicast() && self.to_u64() != 0
    }

    /// The address as the low 48 bits of an integer, first octet highest.
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl fmt::Display for MacParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: expected six hexadecimal pairs such as 02:00:00:00:00:01")
    }
}

impl std::error::Error for MacParseError {}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, MacParseError> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let is_pair = |part: &&str| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit());
            let part = parts.next().filter(is_pair).ok_or(MacParseError)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacParseError)?;
        }
        if parts.next().is_some() { Err(MacParseError) } else { Ok(MacAddr(octets)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for MacAddr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MacAddr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_accepts_hyphens() {
        let mac: MacAddr = "02:00:AB:cd:00:0f".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:ab:cd:00:0f");
        assert_eq!("02-00-ab-cd-00-0f".parse::<MacAddr>().unwrap(), mac);
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "02:00:ab:cd:00",
            "02:00:ab:cd:00:0f:11",
            "2:0:ab:cd:00:0f",
            "zz:00:ab:cd:00:0f",
            "+2:00:ab:cd:00:0f",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn group_and_zero_addresses_are_not_stations() {
        assert!(!MacAddr::BROADCAST.is_station());
        assert!(!MacAddr::ZERO.is_station());
        assert!(MacAddr([0x33, 0x33, 0, 0, 0, 1]).is_multicast());
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_station());
    }
}
