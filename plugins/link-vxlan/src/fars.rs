//! The far nodes of an endpoint: by number for what goes out, by IPv4 address, which is a frame's mark, for what comes in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use vreserve_sdk::{Failure, FarId};

use crate::config::is_unicast;
use crate::drops::FrameDrop;
use crate::programs::{ELSEWHERE, WRONG_VNI};

/// Admitted far nodes.
pub(crate) struct Fars {
    port: u16,
    marks: BTreeMap<u32, u32>,
    numbers: BTreeMap<u32, u32>,
    /// Whom the last frame came from: they come in runs. By mark and number.
    last: Option<(u32, u32)>,
}

impl Fars {
    /// No far nodes yet, for an endpoint on this port.
    pub(crate) fn new(port: u16) -> Self {
        Fars { port, marks: BTreeMap::new(), numbers: BTreeMap::new(), last: None }
    }

    pub(crate) fn add(&mut self, far: FarId, address: &str) -> Result<(), Failure> {
        let invalid = |reason: String| Err(Failure::invalid("address", reason));
        let Ok(SocketAddr::V4(parsed)) = address.parse::<SocketAddr>() else {
            return invalid(format!(
                "{address:?} is not an IPv4 address with a port, such as 198.51.100.10:{}",
                self.port
            ));
        };
        if !is_unicast(*parsed.ip()) {
            return invalid(format!("{address} is not the address of one far node"));
        }
        if parsed.port() != self.port {
            return invalid(format!(
                "{address}: far nodes of this endpoint are on its own port, {}: a kernel VXLAN device has one",
                self.port
            ));
        }
        if self.marks.contains_key(&far.0) {
            return invalid(format!("far node {} is admitted already", far.0));
        }
        let mark = mark_of(*parsed.ip());
        if let Some(other) = self.numbers.get(&mark) {
            return invalid(format!("{} is admitted already, as far node {other}", parsed.ip()));
        }
        self.marks.insert(far.0, mark);
        self.numbers.insert(mark, far.0);
        Ok(())
    }

    pub(crate) fn remove(&mut self, far: FarId) {
        self.marks.remove(&far.0);
        self.numbers.retain(|_, number| *number != far.0);
        self.last = None;
    }

    /// The mark of frames for this far node.
    pub(crate) fn mark(&self, far: u32) -> Option<u32> {
        self.marks.get(&far).copied()
    }

    /// Which far node a frame with this mark came from.
    pub(crate) fn number(&mut self, mark: u32) -> Result<u32, FrameDrop> {
        if let Some((last, number)) = self.last
            && last == mark
        {
            return Ok(number);
        }
        let number = *self.numbers.get(&mark).ok_or(match mark {
            WRONG_VNI => FrameDrop::WrongVni,
            ELSEWHERE => FrameDrop::Elsewhere,
            _ => FrameDrop::Stranger,
        })?;
        self.last = Some((mark, number));
        Ok(number)
    }
}

/// An address as the programs give and take it.
pub(crate) fn mark_of(ip: Ipv4Addr) -> u32 {
    ip.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(ip: &str) -> u32 {
        mark_of(ip.parse().unwrap())
    }

    #[test]
    fn far_nodes_are_told_apart_by_address_and_strangers_by_reason() {
        let mut fars = Fars::new(4789);
        fars.add(FarId(7), "192.0.2.7:4789").unwrap();
        assert_eq!((fars.mark(7), fars.mark(8)), (Some(mark("192.0.2.7")), None));
        for _ in 0..2 {
            assert_eq!(fars.number(mark("192.0.2.7")), Ok(7));
            assert_eq!(fars.number(mark("192.0.2.8")), Err(FrameDrop::Stranger));
            assert_eq!(fars.number(WRONG_VNI), Err(FrameDrop::WrongVni));
            assert_eq!(fars.number(ELSEWHERE), Err(FrameDrop::Elsewhere));
        }
        for (far, address) in [(8, "192.0.2.7:4789"), (7, "192.0.2.9:4789")] {
            assert!(fars.add(FarId(far), address).unwrap_err().reason.contains("admitted already"));
        }
        fars.remove(FarId(7));
        fars.remove(FarId(99));
        assert_eq!(fars.mark(7), None);
        assert_eq!(fars.number(mark("192.0.2.7")), Err(FrameDrop::Stranger));
    }

    #[test]
    fn an_address_that_cannot_be_a_far_node_is_refused() {
        let mut fars = Fars::new(4789);
        for address in [
            "",
            "192.0.2.7",
            "0.0.0.0:4789",
            "255.255.255.255:4789",
            "224.0.0.1:4789",
            "[::1]:4789",
            "192.0.2.7:5000",
        ] {
            assert_eq!(fars.add(FarId(1), address).unwrap_err().key.as_deref(), Some("address"), "{address}");
        }
    }
}
