//! Ethernet addresses of guests: read, written, and made up where the lab file gives none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An individual (not group) Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of the guest of this name: locally administered, the same in every run.
    pub fn of_guest(name: &str) -> Self {
        // FNV-1a; only spread matters, and clashes within a lab are refused when the file is read.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
        Self([0x02, a, b, c, d, e])
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an Ethernet address: write 02:00:00:00:00:01");
        let mut octets = [0_u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let is_octet = |part: &&str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
            let part = parts.next().filter(is_octet).ok_or_else(wrong)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() || octets == [0; 6] {
            return Err(wrong());
        }
        if octets[0] & 1 == 1 {
            return Err(format!("`{text}` is a group address: a guest needs one with an even first octet"));
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_addresses_are_stable_individual_and_local() {
        let mac = Mac::of_guest("a1");
        assert_eq!(mac, Mac::of_guest("a1"));
        assert_ne!(mac, Mac::of_guest("b1"));
        assert_eq!(mac.0[0], 0x02);
        assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
    }

    #[test]
    fn what_is_no_guest_address_is_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "0x:00:00:00:00:01",
            "01:00:5e:00:00:01",
            "+2:00:00:00:00:01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
