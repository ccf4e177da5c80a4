//! The keys of a `link-udp` table, and the checks that their types cannot make.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::Failure;

use crate::secure::{self, PathLimits};
use crate::vxlan;

/// The largest VXLAN network identifier: 24 bits (RFC 7348 §5).
const MAX_VNI: u32 = 0xff_ffff;
/// Bytes of an IPv4 header without options; with DF set the kernel adds none.
const IPV4_HEADER: u32 = 20;
/// Bytes of an IPv6 header.
const IPV6_HEADER: u32 = 40;
/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;
/// The smallest datagram that every IPv4 host takes (RFC 791), header included.
const MIN_IPV4_MTU: u32 = 576;
/// The smallest MTU of an IPv6 link (RFC 8200 §5).
const MIN_IPV6_MTU: u32 = 1280;
/// The largest IP datagram.
const MAX_MTU: u32 = 65_535;
/// The largest socket buffer that may be asked for: half of what the kernel's `int` holds, as it doubles it.
const MAX_SOCKET_BUFFER: u32 = i32::MAX as u32 / 2;

/// The keys of `[link.<instance>]` with `use = "link-udp"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The underlay address and port of this endpoint, such as `198.51.100.10:4789` or `[2001:db8::1]:4789`.
    /// One address, not all of them: far nodes admit this node by it. Port 0 takes a free one.
    #[schemars(example = &"127.0.0.1:0")]
    pub bind: SocketAddr,
    /// The wire format.
    #[serde(default)]
    pub format: Format,
    /// The VXLAN network identifier, 0 to 16777215; datagrams with another one are dropped. 1 if unset; the
    /// secure format has none.
    pub vni: Option<u32>,
    /// The underlay's MTU in bytes, 576 (IPv6: 1280) to 65535.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
    /// Bytes of socket buffer asked for in each direction, 4096 to 1073741823. Without CAP_NET_ADMIN the
    /// kernel gives at most `net.core.rmem_max` and `net.core.wmem_max`.
    #[serde(default = "default_socket_buffer")]
    pub socket_buffer: u32,
    /// The underlay device that the endpoint is tied to; unset, the routing table decides.
    pub device: Option<String>,
}

/// A wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Sealed between nodes that know each other's public key.
    #[default]
    Secure,
    /// RFC 7348, in clear text: a kernel VXLAN device or a switch can be the far node.
    Vxlan,
}

const DEFAULT_VNI: u32 = 1;

const fn default_mtu() -> u32 {
    1500
}

const fn default_socket_buffer() -> u32 {
    8 << 20
}

impl Config {
    /// The largest frame, Ethernet header included, that one unfragmented datagram can carry.
    pub fn largest_frame(&self) -> u32 {
        let overhead = match self.format {
            Format::Secure => secure::OVERHEAD,
            Format::Vxlan => vxlan::HEADER,
        };
        self.largest_datagram().saturating_sub(overhead as u32)
    }

    /// The VXLAN network identifier.
    pub(crate) fn vni(&self) -> u32 {
        self.vni.unwrap_or(DEFAULT_VNI)
    }

    /// How large the payload of a datagram can be, and how small the path's largest may turn out to be: what
    /// every IPv6 path takes, and nearly every IPv4 path.
    pub(crate) fn path_limits(&self) -> PathLimits {
        let floor = (MIN_IPV6_MTU - self.ip_header() - UDP_HEADER) as usize;
        let ceiling = self.largest_datagram() as usize;
        PathLimits { floor: floor.min(ceiling), ceiling }
    }

    fn largest_datagram(&self) -> u32 {
        self.mtu.saturating_sub(self.ip_header() + UDP_HEADER)
    }

    /// Checks what the types cannot, without side effects.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let ip = self.bind.ip();
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Failure::invalid("bind", format!("{ip} is not the address of one endpoint")));
        }
        if self.format == Format::Secure && self.vni.is_some() {
            return Err(Failure::invalid("vni", "only format = \"vxlan\" has a network identifier"));
        }
        if self.vni() > MAX_VNI {
            return Err(Failure::invalid("vni", format!("{} is not between 0 and {MAX_VNI}", self.vni())));
        }
        let least = if ip.is_ipv4() { MIN_IPV4_MTU } else { MIN_IPV6_MTU };
        if !(least..=MAX_MTU).contains(&self.mtu) {
            return Err(Failure::invalid(
                "mtu",
                format!("{} is not between {least} and {MAX_MTU}", self.mtu),
            ));
        }
        if !(4096..=MAX_SOCKET_BUFFER).contains(&self.socket_buffer) {
            let reason = format!("{} is not between 4096 and {MAX_SOCKET_BUFFER}", self.socket_buffer);
            return Err(Failure::invalid("socket_buffer", reason));
        }
        match &self.device {
            Some(device) if !is_device_name(device) => {
                Err(Failure::invalid("device", format!("{device:?} cannot be the name of a device")))
            }
            _ => Ok(()),
        }
    }

    fn ip_header(&self) -> u32 {
        match self.bind.ip() {
            IpAddr::V4(_) => IPV4_HEADER,
            IpAddr::V6(_) => IPV6_HEADER,
        }
    }
}

/// As the kernel's `dev_valid_name`: 1 to 15 bytes without slashes, colons or white space.
fn is_device_name(name: &str) -> bool {
    let is_plain = |c: char| c != '/' && c != ':' && c != '\0' && !c.is_whitespace();
    (1..=15).contains(&name.len()) && name != "." && name != ".." && name.chars().all(is_plain)
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
    fn clear_text_must_be_asked_for() {
        assert_eq!(checked(r#"{"bind":"192.0.2.1:4789"}"#).unwrap().format, Format::Secure);
        let failure = checked(r#"{"bind":"192.0.2.1:4789","vni":5}"#).unwrap_err();
        assert_eq!(failure.key.as_deref(), Some("vni"));
        let failure = checked(r#"{"bind":"192.0.2.1:4789","format":"clear"}"#).unwrap_err();
        assert_eq!(failure.key.as_deref(), Some("format"));
    }

    #[test]
    fn the_largest_frame_leaves_room_for_the_outer_headers() {
        let config = checked(r#"{"bind":"192.0.2.1:4789","format":"vxlan"}"#).unwrap();
        assert_eq!(config.largest_frame(), 1464);
        let config = checked(r#"{"bind":"[2001:db8::1]:4789","format":"vxlan","mtu":9000}"#).unwrap();
        assert_eq!(config.largest_frame(), 8944);
        let config = checked(r#"{"bind":"192.0.2.1:4789"}"#).unwrap();
        assert_eq!(config.largest_frame(), 1440);
    }

    #[test]
    fn the_wrong_key_is_named() {
        for (rest, key) in [
            (r#""vni":16777216"#, "vni"),
            (r#""mtu":575"#, "mtu"),
            (r#""mtu":65536"#, "mtu"),
            (r#""socket_buffer":0"#, "socket_buffer"),
            (r#""device":"a/b""#, "device"),
            (r#""device":"a-name-of-sixteen""#, "device"),
        ] {
            let text = format!(r#"{{"bind":"192.0.2.1:4789","format":"vxlan",{rest}}}"#);
            assert_eq!(checked(&text).unwrap_err().key.as_deref(), Some(key), "{rest}");
        }
        for bind in ["0.0.0.0:4789", "[::]:4789", "224.0.0.1:4789", "localhost:4789", "192.0.2.1"] {
            let text = format!(r#"{{"bind":"{bind}","format":"vxlan"}}"#);
            assert_eq!(checked(&text).unwrap_err().key.as_deref(), Some("bind"), "{bind}");
        }
        let text = r#"{"bind":"192.0.2.1:4789","format":"vxlan","peers":[]}"#;
        assert!(checked(text).unwrap_err().reason.contains("unknown field `peers`"));
    }
}
