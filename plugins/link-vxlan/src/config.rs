//! The keys of a `link-vxlan` table, and the checks that their types cannot make.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use vreserve_packet::ifreq::is_name;
use vreserve_sdk::Failure;

/// The port of VXLAN (RFC 7348 §8).
const VXLAN_PORT: u16 = 4789;
/// The largest VXLAN network identifier: 24 bits (RFC 7348 §5).
const MAX_VNI: u32 = 0xff_ffff;
/// The smallest datagram that every IPv4 host takes (RFC 791), header included, and the largest.
pub(crate) const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=65_535;

/// The keys of `[link.<instance>]` with `use = "link-vxlan"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The underlay address of this endpoint (IPv4), with a port other than 4789 if wanted, such as
    /// `198.51.100.10` or `198.51.100.10:4790`. All far nodes use the same port.
    #[serde(deserialize_with = "address")]
    #[schemars(with = "String", example = &"127.0.0.1")]
    pub bind: SocketAddrV4,
    /// The VXLAN network identifier, 0 to 16777215; frames with another one are dropped.
    #[serde(default = "default_vni")]
    pub vni: u32,
    /// The underlay's MTU in bytes, 576 to 65535. Unset, that of the interface that has the address of `bind`.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The name of the VXLAN device that the endpoint makes, at most 15 bytes. Unset, `vrx` and the port.
    #[serde(default)]
    pub device: Option<String>,
}

const fn default_vni() -> u32 {
    1
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddrV4, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.parse::<SocketAddr>();
    match parsed.or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, VXLAN_PORT))) {
        Ok(SocketAddr::V4(address)) => Ok(address),
        Ok(SocketAddr::V6(_)) => {
            Err(de::Error::custom("link-vxlan needs an IPv4 underlay; link-udp takes IPv6"))
        }
        Err(_) => Err(de::Error::custom(format!("{text:?} is not an IPv4 address, with or without a port"))),
    }
}

impl Config {
    /// The device's name.
    pub(crate) fn device(&self) -> String {
        self.device.clone().unwrap_or_else(|| format!("vrx{}", self.bind.port()))
    }

    /// Checks what the types cannot, without side effects.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if !is_unicast(*self.bind.ip()) || self.bind.port() == 0 {
            return Err(Failure::invalid(
                "bind",
                format!("{} is not the address of one endpoint", self.bind),
            ));
        }
        if self.vni > MAX_VNI {
            return Err(Failure::invalid("vni", format!("{} is not between 0 and {MAX_VNI}", self.vni)));
        }
        if self.mtu.is_some_and(|mtu| !MTU_RANGE.contains(&mtu)) {
            let reason = format!("not between {} and {}", MTU_RANGE.start(), MTU_RANGE.end());
            return Err(Failure::invalid("mtu", reason));
        }
        match &self.device {
            Some(device) if !is_name(device) => {
                Err(Failure::invalid("device", format!("{device:?} cannot be the name of a device")))
            }
            _ => Ok(()),
        }
    }
}

/// Whether it can be the address of one node.
pub(crate) fn is_unicast(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::read_config;

    fn checked(text: &str) -> Result<Config, Failure> {
        let config: Config = read_config(text)?;
        config.check().map(|()| config)
    }

    #[test]
    fn the_port_is_vxlans_own_unless_it_is_given() {
        let config = checked(r#"{"bind":"192.0.2.1"}"#).unwrap();
        assert_eq!((config.bind.to_string().as_str(), config.vni), ("192.0.2.1:4789", 1));
        assert_eq!(config.device(), "vrx4789");
        let config = checked(r#"{"bind":"192.0.2.1:7001","vni":7,"device":"vx9"}"#).unwrap();
        assert_eq!((config.bind.port(), config.device().as_str()), (7001, "vx9"));
    }

    #[test]
    fn the_wrong_key_is_named() {
        for (rest, key) in [
            (r#""vni":16777216"#, "vni"),
            (r#""mtu":575"#, "mtu"),
            (r#""mtu":65536"#, "mtu"),
            (r#""device":"a/b""#, "device"),
            (r#""device":"vx%d""#, "device"),
            (r#""device":"a-name-of-sixteen""#, "device"),
        ] {
            let text = format!(r#"{{"bind":"192.0.2.1",{rest}}}"#);
            assert_eq!(checked(&text).unwrap_err().key.as_deref(), Some(key), "{rest}");
        }
        for bind in
            ["0.0.0.0", "224.0.0.1:4789", "192.0.2.1:0", "localhost", "[2001:db8::1]:4789", "2001:db8::1"]
        {
            let text = format!(r#"{{"bind":"{bind}"}}"#);
            assert_eq!(checked(&text).unwrap_err().key.as_deref(), Some("bind"), "{bind}");
        }
        assert!(checked(r#"{"bind":"192.0.2.1","format":"vxlan"}"#).unwrap_err().reason.contains("format"));
    }
}
