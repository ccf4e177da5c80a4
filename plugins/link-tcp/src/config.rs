//! The keys of a `link-tcp` table, and the checks that their types cannot make.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_packet::ifreq::is_name;
use vreserve_sdk::Failure;
use vreserve_sdk::model::duration::{self, DurationText};

/// A queue holds at least a few super-frames, and no more than anybody waits for.
const BUFFER_RANGE: std::ops::RangeInclusive<u32> = 262_144..=1_073_741_824;
const TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_secs(300);

/// The keys of `[link.<instance>]` with `use = "link-tcp"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The underlay address and port of this endpoint, such as `198.51.100.10:4789` or `[2001:db8::1]:4789`: here it
    /// listens, and from this address it dials. One address, not all of them. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// The wire format.
    #[serde(default)]
    pub format: Format,
    /// Which node of a link opens the connection.
    #[serde(default)]
    pub dial: Dial,
    /// Bytes of frames that may wait for one far node, 262144 to 1073741824; beyond that frames are refused.
    #[serde(default = "default_buffer")]
    pub buffer: u32,
    /// A far node that is silent for so long is given up and dialled anew, 500ms to 5m. Silence is broken by keep-alives
    /// four times as often.
    #[serde(default = "default_timeout", with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// The underlay device that the endpoint is tied to; unset, the routing table decides.
    pub device: Option<String>,
}

/// A wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// TLS 1.3 between nodes that prove their keys to each other.
    #[default]
    Secure,
    /// Clear text; far nodes are known by their IP address.
    Clear,
}

/// Which node of a link opens the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dial {
    /// The one with the lesser public key; in clear text, with the lesser address.
    #[default]
    Auto,
    /// This one, to every far node.
    Always,
    /// The far nodes.
    Never,
}

const fn default_buffer() -> u32 {
    4 << 20
}

const fn default_timeout() -> Duration {
    Duration::from_secs(3)
}

impl Config {
    /// Checks what the types cannot, without side effects.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let ip = self.bind.ip();
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Failure::invalid("bind", format!("{ip} is not the address of one endpoint")));
        }
        if !BUFFER_RANGE.contains(&self.buffer) {
            let reason = format!("not between {} and {}", BUFFER_RANGE.start(), BUFFER_RANGE.end());
            return Err(Failure::invalid("buffer", reason));
        }
        if !TIMEOUT_RANGE.contains(&self.timeout) {
            return Err(Failure::invalid("timeout", "not between 500ms and 5m"));
        }
        match &self.device {
            Some(device) if !is_name(device) => {
                Err(Failure::invalid("device", format!("{device:?} cannot be the name of a device")))
            }
            _ => Ok(()),
        }
    }
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
        let config = checked(r#"{"bind":"192.0.2.1:4789"}"#).unwrap();
        assert_eq!((config.format, config.dial), (Format::Secure, Dial::Auto));
        assert_eq!((config.buffer, config.timeout), (4_194_304, Duration::from_secs(3)));
        let config = checked(r#"{"bind":"[2001:db8::1]:0","format":"clear","dial":"never"}"#).unwrap();
        assert_eq!((config.format, config.dial), (Format::Clear, Dial::Never));
    }

    #[test]
    fn the_wrong_key_is_named() {
        for (rest, key) in [
            (r#""format":"vxlan""#, "format"),
            (r#""dial":"me""#, "dial"),
            (r#""buffer":262143"#, "buffer"),
            (r#""buffer":1073741825"#, "buffer"),
            (r#""timeout":"499ms""#, "timeout"),
            (r#""timeout":3"#, "timeout"),
            (r#""timeout":"6m""#, "timeout"),
            (r#""device":"a/b""#, "device"),
        ] {
            let text = format!(r#"{{"bind":"192.0.2.1:4789",{rest}}}"#);
            assert_eq!(checked(&text).unwrap_err().key.as_deref(), Some(key), "{rest}");
        }
        for bind in ["0.0.0.0:4789", "[::]:4789", "224.0.0.1:4789", "localhost:4789", "192.0.2.1"] {
            let text = format!(r#"{{"bind":"{bind}"}}"#);
            assert_eq!(checked(&text).unwrap_err().key.as_deref(), Some("bind"), "{bind}");
        }
        assert!(checked(r#"{"bind":"192.0.2.1:4789","mtu":9000}"#).unwrap_err().reason.contains("mtu"));
    }
}
