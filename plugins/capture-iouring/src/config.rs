//! The keys of a `[capture.<instance>]` table that uses this plugin, and what their types cannot check.

use schemars::JsonSchema;
use serde::Deserialize;
use vreserve_packet::ifreq::is_name;
use vreserve_sdk::Failure;

/// Below 68 bytes IPv4 itself does not work (RFC 791); with 14 bytes of header a frame has 65,535 at most.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_521;

/// Configuration of one captured interface.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The interface's name, at most 15 bytes.
    #[schemars(example = &"tap0")]
    pub interface: String,
    /// What the interface is; by default a TAP.
    #[serde(default)]
    pub kind: Kind,
    /// The network namespace that the interface is in: a name under /run/netns or an absolute path. By default
    /// that of the daemon.
    #[serde(default)]
    pub netns: Option<String>,
    /// For a TAP: an open descriptor of it, with IFF_NO_PI, that the daemon inherited. It stays open
    /// and becomes non-blocking. Without IFF_VNET_HDR there is no offload.
    #[serde(default)]
    pub fd: Option<i32>,
    /// The interface's MTU in bytes, 68 to 65521, to be set when it is opened. By default 1400 for a TAP that is
    /// created (1500 less the 50 bytes that VXLAN adds), and what it is for anything else.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Whether to set the interface up. By default only a TAP that is created is set up.
    #[serde(default)]
    pub up: Option<bool>,
    /// How frames are read. By default the way that is faster for this kind of interface.
    #[serde(default)]
    pub reader: Option<Calls>,
    /// How frames are written. By default the way that is faster for this kind of interface.
    #[serde(default)]
    pub writer: Option<Calls>,
}

/// How system calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Calls {
    /// One per frame.
    Plain,
    /// One per batch, by io_uring.
    Ring,
}

/// What kind of interface is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A TAP: attached to if there is one of that name (a persistent one), created otherwise.
    #[default]
    Tap,
    /// An Ethernet interface that exists, such as a guest's veth: captured in promiscuous mode.
    Interface,
}

impl Kind {
    /// The faster reader (README, "Where io_uring wins").
    pub(crate) fn default_reader(self) -> Calls {
        Calls::Plain
    }

    /// The faster writer.
    pub(crate) fn default_writer(self) -> Calls {
        Calls::Plain
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `Invalid` with the key.
    pub fn check(&self) -> Result<(), Failure> {
        check_name(&self.interface)?;
        if self.fd.is_some() {
            self.check_handed_fd()?;
        }
        if self.netns.as_deref().is_some_and(str::is_empty) {
            return Err(Failure::invalid("netns", "empty"));
        }
        if self.mtu.is_some_and(|mtu| !MTU_RANGE.contains(&mtu)) {
            return Err(Failure::invalid("mtu", "not within 68 to 65521"));
        }
        Ok(())
    }

    fn check_handed_fd(&self) -> Result<(), Failure> {
        if self.kind != Kind::Tap {
            return Err(Failure::invalid("fd", "only a TAP can be handed over as a descriptor"));
        }
        if self.netns.is_some() {
            return Err(Failure::invalid("netns", "a TAP handed over is wherever its descriptor says"));
        }
        match self.fd {
            Some(fd) if fd < 0 => Err(Failure::invalid("fd", "negative")),
            _ => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    if !is_name(name) || name.starts_with('.') {
        return Err(Failure::invalid("interface", format!("{name:?} cannot be the name of an interface")));
    }
    Ok(())
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
    fn only_the_interface_is_required() {
        let config: Config = read_config(r#"{"interface":"tap0"}"#).unwrap();
        config.check().unwrap();
        assert_eq!((config.kind, config.reader, config.mtu, config.up), (Kind::Tap, None, None, None));
    }

    #[test]
    fn a_wrong_value_is_blamed_on_its_key() {
        assert_eq!(wrong_key(r#"{"interface":""}"#), "interface");
        assert_eq!(wrong_key(r#"{"interface":"a-name-too-long-for-it"}"#), "interface");
        assert_eq!(wrong_key(r#"{"interface":"a/b"}"#), "interface");
        assert_eq!(wrong_key(r#"{"interface":"tap%d"}"#), "interface");
        assert_eq!(wrong_key(r#"{"interface":"t","kind":"tun"}"#), "kind");
        assert_eq!(wrong_key(r#"{"interface":"t","mtu":60}"#), "mtu");
        assert_eq!(wrong_key(r#"{"interface":"t","mtu":65522}"#), "mtu");
        assert_eq!(wrong_key(r#"{"interface":"t","reader":"fast"}"#), "reader");
        assert_eq!(wrong_key(r#"{"interface":"t","fd":-1}"#), "fd");
        assert_eq!(wrong_key(r#"{"interface":"t","fd":3,"kind":"interface"}"#), "fd");
        assert_eq!(wrong_key(r#"{"interface":"t","fd":3,"netns":"x"}"#), "netns");
        assert!(wrong_key(r#"{"interface":"t","colour":1}"#).contains("colour"));
    }
}
