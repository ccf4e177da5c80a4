//! The keys of a `[capture.<instance>]` table that uses this plugin, and what their types cannot check.

use std::path::PathBuf;

use pcap::{Capture, Linktype};
use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_packet::ifreq::is_name;
use vreserve_sdk::Failure;

/// Below 68 bytes IPv4 itself does not work (RFC 791); with 14 bytes of header a frame has 65,535 at most.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_521;
/// The kernel's ring: from a few super-frames up to what libpcap takes.
const BUFFER_RANGE: std::ops::RangeInclusive<u32> = 1_048_576..=2_147_483_647;
const FASTEST: f64 = 1e6;

/// Configuration of one captured interface, or one file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "interface": "veth0" }]))]
pub struct Config {
    /// What frames come from; by default an interface.
    #[serde(default)]
    pub kind: Kind,
    /// The name of the interface, at most 15 bytes.
    #[serde(default)]
    pub interface: Option<String>,
    /// The network namespace that the interface is in: a name under /run/netns or an absolute path. By default
    /// that of the daemon.
    #[serde(default)]
    pub netns: Option<String>,
    /// The interface's MTU in bytes, 68 to 65521, to be set when it is opened; by default left alone. Of a file: the
    /// MTU of the guests whose frames are in it, by default 1500.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Whether to set the interface up. By default it is left alone.
    #[serde(default)]
    pub up: bool,
    /// Bytes of the kernel's ring, 1048576 to 2147483647.
    #[serde(default = "default_buffer")]
    pub buffer: u32,
    /// The file, in pcap or pcapng format; an absolute path.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// How many times as fast as they were captured frames of a file come, up to 1000000; 0 does not wait at all.
    #[serde(default = "default_speed")]
    pub speed: f64,
    /// Only frames that this expression of libpcap picks are captured.
    #[serde(default)]
    pub filter: Option<String>,
}

/// What frames come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An Ethernet interface that exists, such as a guest's veth: captured in promiscuous mode.
    #[default]
    Interface,
    /// A capture file.
    File,
}

const fn default_buffer() -> u32 {
    32 << 20
}

const fn default_speed() -> f64 {
    1.0
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `Invalid` with the key.
    pub fn check(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Interface => self.check_interface()?,
            Kind::File => self.check_file()?,
        }
        if self.mtu.is_some_and(|mtu| !MTU_RANGE.contains(&mtu)) {
            return Err(Failure::invalid("mtu", "not within 68 to 65521"));
        }
        self.filter.as_deref().map_or(Ok(()), check_filter)
    }

    fn check_interface(&self) -> Result<(), Failure> {
        let name = self.interface.as_deref();
        let name = name.ok_or_else(|| Failure::invalid("interface", "missing: what is to be captured"))?;
        if !is_name(name) || name.starts_with('.') {
            return Err(Failure::invalid(
                "interface",
                format!("{name:?} cannot be the name of an interface"),
            ));
        }
        if self.netns.as_deref().is_some_and(str::is_empty) {
            return Err(Failure::invalid("netns", "empty"));
        }
        if !BUFFER_RANGE.contains(&self.buffer) {
            let reason = format!("not within {} to {}", BUFFER_RANGE.start(), BUFFER_RANGE.end());
            return Err(Failure::invalid("buffer", reason));
        }
        if self.file.is_some() {
            return Err(Failure::invalid("file", "only with kind = \"file\""));
        }
        if self.speed != default_speed() {
            return Err(Failure::invalid("speed", "only with kind = \"file\""));
        }
        Ok(())
    }

    fn check_file(&self) -> Result<(), Failure> {
        match &self.file {
            None => return Err(Failure::invalid("file", "missing: what is to be played")),
            Some(file) if !file.is_absolute() => {
                return Err(Failure::invalid("file", format!("{} is not an absolute path", file.display())));
            }
            Some(_) => {}
        }
        if !(0.0..=FASTEST).contains(&self.speed) {
            return Err(Failure::invalid("speed", "not within 0 to 1000000"));
        }
        let of_interfaces = [
            ("interface", self.interface.is_some()),
            ("netns", self.netns.is_some()),
            ("up", self.up),
            ("buffer", self.buffer != default_buffer()),
        ];
        match of_interfaces.iter().find(|(_, is_given)| *is_given) {
            Some((key, _)) => Err(Failure::invalid(*key, "a file has none")),
            None => Ok(()),
        }
    }
}

/// Whether libpcap understands it.
fn check_filter(filter: &str) -> Result<(), Failure> {
    let wrong = |error: pcap::Error| Failure::invalid("filter", crate::capture::words(&error));
    let nothing = Capture::dead(Linktype::ETHERNET).map_err(wrong)?;
    nothing.compile(filter, true).map(drop).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vreserve_sdk::read_config;

    fn wrong_key(text: &str) -> String {
        let failure = read_config::<Config>(text).and_then(|config| config.check()).unwrap_err();
        failure.key.unwrap_or(failure.reason)
    }

    #[test]
    fn an_interface_or_a_file_is_enough() {
        let config: Config = read_config(r#"{"interface":"veth0","kind":"interface","netns":"g"}"#).unwrap();
        config.check().unwrap();
        let config: Config = read_config(r#"{"kind":"file","file":"/tmp/x.pcap","filter":"tcp"}"#).unwrap();
        config.check().unwrap();
        assert_eq!((config.speed, config.mtu), (1.0, None));
    }

    #[test]
    fn a_wrong_value_is_blamed_on_its_key() {
        for (text, key) in [
            (r"{}", "interface"),
            (r#"{"interface":"a/b"}"#, "interface"),
            (r#"{"interface":"a-name-too-long-for-it"}"#, "interface"),
            (r#"{"interface":"e","kind":"tap"}"#, "kind"),
            (r#"{"interface":"e","mtu":67}"#, "mtu"),
            (r#"{"interface":"e","netns":""}"#, "netns"),
            (r#"{"interface":"e","buffer":1048575}"#, "buffer"),
            (r#"{"interface":"e","file":"/x"}"#, "file"),
            (r#"{"interface":"e","speed":2}"#, "speed"),
            (r#"{"interface":"e","filter":"tcp port over there"}"#, "filter"),
            (r#"{"kind":"file"}"#, "file"),
            (r#"{"kind":"file","file":"x.pcap"}"#, "file"),
            (r#"{"kind":"file","file":"/x","speed":-1}"#, "speed"),
            (r#"{"kind":"file","file":"/x","interface":"e"}"#, "interface"),
            (r#"{"kind":"file","file":"/x","up":true}"#, "up"),
        ] {
            assert_eq!(wrong_key(text), key, "{text}");
        }
        assert!(wrong_key(r#"{"interface":"e","colour":1}"#).contains("colour"));
    }
}
