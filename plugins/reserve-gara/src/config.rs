//! The keys of a `reserve-gara` table, and the checks that their types cannot make.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_sdk::Failure;
use vreserve_sdk::model::duration::{self, DurationText};

/// What exceeds it is a mistake in the unit.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Time-outs that fit into a lease: half of it passes before the renewal, and that must be able to fail once.
const TIMEOUTS_PER_LEASE: u32 = 4;

/// The keys of `[reserve.<instance>]` with `use = "reserve-gara"`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server's address and port.
    pub server: SocketAddr,
    /// The authority whose certificate the server must show: a PEM file, an absolute path.
    pub ca: PathBuf,
    /// Our certificate, by whose common name the server knows its owner: a PEM file, an absolute path.
    pub certificate: PathBuf,
    /// The key of our certificate: a PEM file, an absolute path, readable by its owner only.
    pub key: PathBuf,
    /// The name that the server's certificate must bear; the address in `server` if left out.
    pub server_name: Option<String>,
    /// How long a reservation without an end is asked for at a time. It is renewed at half of this.
    #[serde(default = "default_duration", with = "duration")]
    #[schemars(with = "DurationText")]
    pub duration: Duration,
    /// After this long a request counts as unanswered.
    #[serde(default = "default_timeout", with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// Factor from the rate of frames to that of the datagrams on the wire, headers included.
    #[serde(default = "default_overhead")]
    pub overhead: f64,
}

/// A dead owner's capacity is back after a minute.
const fn default_duration() -> Duration {
    Duration::from_secs(60)
}

const fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

/// link-udp adds up to 78 octets to a frame of 1,414 (5.5 %), Ethernet's own header among them, which HTB counts; the
/// rest is for probes, key exchanges and shorter frames.
const fn default_overhead() -> f64 {
    1.08
}

impl Config {
    /// Checks what the types cannot, without side effects.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for (key, path) in [("ca", &self.ca), ("certificate", &self.certificate), ("key", &self.key)] {
            if !path.is_absolute() {
                return Err(Failure::invalid(key, format!("{} is not an absolute path", path.display())));
            }
        }
        if self.server.port() == 0 {
            return Err(Failure::invalid("server", "nobody listens on port 0"));
        }
        self.name()?;
        if self.timeout.is_zero() {
            return Err(Failure::invalid("timeout", "no server answers within 0 seconds"));
        }
        if self.duration > LONGEST {
            return Err(Failure::invalid("duration", "longer than a day is no lease"));
        }
        if self.duration < self.timeout * TIMEOUTS_PER_LEASE {
            return Err(Failure::invalid(
                "duration",
                format!(
                    "must be {TIMEOUTS_PER_LEASE} times `timeout` at least, so that a renewal can be repeated"
                ),
            ));
        }
        if !(1.0..=2.0).contains(&self.overhead) {
            return Err(Failure::invalid("overhead", "must be from 1 to 2"));
        }
        Ok(())
    }

    /// The name that the server's certificate must bear.
    pub(crate) fn name(&self) -> Result<ServerName<'static>, Failure> {
        let Some(name) = &self.server_name else { return Ok(ServerName::IpAddress(self.server.ip().into())) };
        ServerName::try_from(name.clone())
            .map_err(|_| Failure::invalid("server_name", format!("{name:?} is no host name and no address")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::read_config;

    const LEAST: &str = r#""server":"192.0.2.1:2119","ca":"/c","certificate":"/d","key":"/e""#;

    fn checked(text: &str) -> Result<Config, Failure> {
        let config: Config = read_config(text)?;
        config.check().map(|()| config)
    }

    #[test]
    fn four_keys_are_enough() {
        let config = checked(&format!("{{{LEAST}}}")).unwrap();
        assert_eq!((config.duration, config.timeout), (default_duration(), default_timeout()));
        assert_eq!(config.name().unwrap(), ServerName::try_from("192.0.2.1").unwrap());
    }

    #[test]
    fn the_wrong_key_is_named() {
        for (key, value) in [
            ("server", "\"192.0.2.1:0\""),
            ("server", "\"gara\""),
            ("ca", "\"ca.pem\""),
            ("certificate", "\"./c.pem\""),
            ("key", "\"k.pem\""),
            ("server_name", "\"no name\""),
            ("duration", "\"19s\""),
            ("duration", "\"25h\""),
            ("duration", "60"),
            ("timeout", "\"0s\""),
            ("overhead", "0.9"),
            ("overhead", "3"),
        ] {
            let mut table: serde_json::Value = serde_json::from_str(&format!("{{{LEAST}}}")).unwrap();
            table[key] = serde_json::from_str(value).unwrap();
            let failure = checked(&table.to_string()).unwrap_err();
            assert_eq!(failure.key.as_deref(), Some(key), "{value}: {failure}");
        }
        let unknown = format!(r#"{{{LEAST},"lease":"60s"}}"#);
        assert!(checked(&unknown).unwrap_err().reason.contains("unknown field `lease`"));
    }
}
