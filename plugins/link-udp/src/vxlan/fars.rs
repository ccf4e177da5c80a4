//! The far nodes of an endpoint: by number for what goes out, by IP address for what comes in.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use vreserve_sdk::{Failure, FarId};

use crate::mmsg::Name;

/// Admitted far nodes. A datagram's sender is known by its IP address alone: RFC 7348 §5 has the source port
/// vary with the flow, and kernel devices and switches do that.
pub(crate) struct Fars {
    is_ipv4: bool,
    names: BTreeMap<u32, Name>,
    numbers: BTreeMap<IpAddr, u32>,
    /// Whom the last datagram came from: they come in runs.
    last: Option<(IpAddr, u32)>,
}

impl Fars {
    /// No far nodes yet, for an endpoint of one IP version.
    pub(crate) fn new(is_ipv4: bool) -> Self {
        Fars { is_ipv4, names: BTreeMap::new(), numbers: BTreeMap::new(), last: None }
    }

    pub(crate) fn add(&mut self, far: FarId, address: &str) -> Result<(), Failure> {
        let invalid = |reason: String| Err(Failure::invalid("address", reason));
        let Ok(parsed) = address.parse::<SocketAddr>() else {
            return invalid(format!("{address:?} is not an address with a port, such as 198.51.100.10:4789"));
        };
        if parsed.is_ipv4() != self.is_ipv4 {
            return invalid(format!("{address} is not of this endpoint's IP version"));
        }
        let ip = parsed.ip();
        if ip.is_unspecified() || ip.is_multicast() || parsed.port() == 0 {
            return invalid(format!("{address} is not the address of one far node"));
        }
        if self.names.contains_key(&far.0) {
            return invalid(format!("far node {} is admitted already", far.0));
        }
        if let Some(other) = self.numbers.get(&ip) {
            return invalid(format!(
                "{ip} is admitted already, as far node {other}; far nodes are told apart by IP address"
            ));
        }
        self.names.insert(far.0, Name::from(parsed));
        self.numbers.insert(ip, far.0);
        Ok(())
    }

    pub(crate) fn remove(&mut self, far: FarId) {
        self.names.remove(&far.0);
        self.numbers.retain(|_, number| *number != far.0);
        self.last = None;
    }

    /// Where frames for this far node go.
    pub(crate) fn name(&self, far: u32) -> Option<Name> {
        self.names.get(&far).copied()
    }

    /// Which far node sends from this address.
    pub(crate) fn number(&mut self, ip: IpAddr) -> Option<u32> {
        if self.last.is_none_or(|(last, _)| last != ip) {
            self.last = Some((ip, *self.numbers.get(&ip)?));
        }
        self.last.map(|(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_nodes_are_told_apart_by_ip_address() {
        let mut fars = Fars::new(true);
        fars.add(FarId(7), "192.0.2.7:4789").unwrap();
        assert_eq!(fars.number("192.0.2.7".parse().unwrap()), Some(7));
        assert_eq!(fars.number("192.0.2.8".parse().unwrap()), None);
        for (far, address) in [(8, "192.0.2.7:5000"), (7, "192.0.2.9:4789")] {
            let failure = fars.add(FarId(far), address).unwrap_err();
            assert!(failure.reason.contains("admitted already"), "{failure}");
        }
        fars.remove(FarId(7));
        fars.remove(FarId(99));
        assert!(fars.name(7).is_none());
        assert_eq!(fars.number("192.0.2.7".parse().unwrap()), None);
        fars.add(FarId(8), "192.0.2.7:5000").unwrap();
    }

    #[test]
    fn an_address_that_cannot_be_a_far_node_is_refused() {
        let mut fars = Fars::new(false);
        for address in ["", "2001:db8::1", "[::]:4789", "[ff02::1]:4789", "[2001:db8::1]:0", "192.0.2.7:4789"]
        {
            assert_eq!(fars.add(FarId(1), address).unwrap_err().key.as_deref(), Some("address"), "{address}");
        }
        fars.add(FarId(1), "[2001:db8::1]:4789").unwrap();
    }
}
