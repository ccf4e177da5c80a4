//! The far nodes of an endpoint: who may come, by which key or address, and whom to dial when. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use vreserve_sdk::{Failure, FarId, FarNode};

use crate::config::{Dial, Format};

/// Time until a far node is dialled again, doubling from the first to the last.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);
/// A connection that lived for so long was a good one.
const GOOD: Duration = Duration::from_secs(1);

/// A connection of this endpoint, by its number; never used twice.
pub(crate) type Token = u64;

/// One far node.
pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    /// In clear text there is none.
    pub(crate) key: Option<[u8; 32]>,
    /// The connection that carries its frames.
    pub(crate) up: Option<Token>,
    /// One that is being made by us.
    pub(crate) dialing: Option<Token>,
    /// Whether this node dials it.
    dials: bool,
    /// Whether, of two connections, the one that this node dialled stays.
    pub(crate) ours_stays: bool,
    next_dial: Instant,
    delay: Duration,
}

/// See the module.
pub(crate) struct Fars {
    format: Format,
    dial: Dial,
    local: SocketAddr,
    /// This node's key, if the format takes keys.
    public: [u8; 32],
    fars: BTreeMap<u32, Far>,
}

impl Fars {
    /// No far nodes yet.
    pub(crate) fn new(format: Format, dial: Dial, local: SocketAddr, public: [u8; 32]) -> Self {
        Fars { format, dial, local, public, fars: BTreeMap::new() }
    }

    /// Admits one.
    ///
    /// # Errors
    /// As [`vreserve_sdk::Link::add_far`].
    pub(crate) fn add(&mut self, far: FarId, node: &FarNode<'_>, now: Instant) -> Result<(), Failure> {
        let address = self.address(node.address)?;
        let key = self.key(node)?;
        let same = |other: &Far| match self.format {
            Format::Secure => other.key == key,
            Format::Clear => other.address == address,
        };
        if self.fars.contains_key(&far.0) {
            return Err(Failure::invalid("address", format!("far node {} is admitted already", far.0)));
        }
        if let Some((other, _)) = self.fars.iter().find(|(_, other)| same(other)) {
            let reason = format!("{address} is admitted already, as far node {other}");
            return Err(Failure::invalid("address", reason));
        }
        let order = match key {
            Some(key) => self.public.cmp(&key),
            None => self.local.cmp(&address),
        };
        let dials = match self.dial {
            Dial::Auto => order == Ordering::Less,
            Dial::Always => true,
            Dial::Never => false,
        };
        let ours_stays = order == Ordering::Less;
        let entry = Far {
            address,
            key,
            up: None,
            dialing: None,
            dials,
            ours_stays,
            next_dial: now,
            delay: FIRST_DELAY,
        };
        self.fars.insert(far.0, entry);
        Ok(())
    }

    fn address(&self, text: &str) -> Result<SocketAddr, Failure> {
        let invalid = |reason: String| Err(Failure::invalid("address", reason));
        let Ok(address) = text.parse::<SocketAddr>() else {
            return invalid(format!("{text:?} is not an address with a port, such as 198.51.100.10:4789"));
        };
        let ip = address.ip();
        if address.is_ipv4() != self.local.is_ipv4() {
            return invalid(format!("{address} is not of this endpoint's IP version"));
        }
        if ip.is_unspecified() || ip.is_multicast() || address.port() == 0 {
            return invalid(format!("{address} is not the address of one far node"));
        }
        Ok(address)
    }

    fn key(&self, node: &FarNode<'_>) -> Result<Option<[u8; 32]>, Failure> {
        let invalid = |reason: String| Err(Failure::invalid("public_key", reason));
        match (self.format, node.key) {
            (Format::Clear, _) => Ok(None),
            (Format::Secure, None) => invalid(format!("the far node {} has no public key", node.address)),
            (Format::Secure, Some(key)) if key == self.public => invalid("it is this node's own".to_owned()),
            (Format::Secure, Some(key)) => Ok(Some(key)),
        }
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, far: FarId) -> Option<Far> {
        self.fars.remove(&far.0)
    }

    pub(crate) fn find(&self, far: u32) -> Option<&Far> {
        self.fars.get(&far)
    }

    pub(crate) fn find_mut(&mut self, far: u32) -> Option<&mut Far> {
        self.fars.get_mut(&far)
    }

    /// Whose key it is.
    pub(crate) fn by_key(&self, key: &[u8; 32]) -> Option<u32> {
        self.fars.iter().find(|(_, far)| far.key.as_ref() == Some(key)).map(|(number, _)| *number)
    }

    /// Whether anybody may come from this address.
    pub(crate) fn is_known(&self, ip: IpAddr) -> bool {
        self.fars.values().any(|far| far.address.ip() == ip)
    }

    /// Who listens on this port there; if one far node alone is there, it is that one.
    pub(crate) fn by_address(&self, ip: IpAddr, port: u16) -> Option<u32> {
        let there = || self.fars.iter().filter(move |(_, far)| far.address.ip() == ip);
        let exact = there().find(|(_, far)| far.address.port() == port);
        let only = there().next().filter(|_| there().count() == 1);
        exact.or(only).map(|(number, _)| *number)
    }

    /// The next far node that is to be dialled now.
    pub(crate) fn due(&self, now: Instant) -> Option<u32> {
        let is_due =
            |far: &Far| far.dials && far.up.is_none() && far.dialing.is_none() && now >= far.next_dial;
        self.fars.iter().find(|(_, far)| is_due(far)).map(|(number, _)| *number)
    }
}

impl Far {
    /// A connection with it has ended, or could not be made.
    pub(crate) fn handle_end(&mut self, token: Token, began: Instant, now: Instant) {
        if self.up == Some(token) {
            self.up = None;
            if now.saturating_duration_since(began) >= GOOD {
                self.delay = FIRST_DELAY;
            }
        }
        if self.dialing == Some(token) {
            self.dialing = None;
        }
        self.put_off(now);
    }

    /// It is dialled again later.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.next_dial = now + self.delay;
        self.delay = (self.delay * 2).min(LAST_DELAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_KEY: [u8; 32] = [5; 32];

    fn fars(format: Format, dial: Dial) -> Fars {
        Fars::new(format, dial, "192.0.2.5:4789".parse().unwrap(), OWN_KEY)
    }

    fn add(fars: &mut Fars, far: u32, address: &str, key: u8, now: Instant) -> Result<(), Failure> {
        fars.add(FarId(far), &FarNode { address, key: Some([key; 32]) }, now)
    }

    #[test]
    fn the_lesser_key_dials_and_in_clear_text_the_lesser_address() {
        let now = Instant::now();
        let mut secure = fars(Format::Secure, Dial::Auto);
        add(&mut secure, 1, "192.0.2.1:4789", 4, now).unwrap();
        assert_eq!(secure.due(now), None);
        add(&mut secure, 2, "192.0.2.2:4789", 6, now).unwrap();
        assert_eq!(secure.due(now), Some(2));
        let mut clear = fars(Format::Clear, Dial::Auto);
        add(&mut clear, 1, "192.0.2.1:4789", 6, now).unwrap();
        assert_eq!(clear.due(now), None);
        add(&mut clear, 2, "192.0.2.5:4790", 4, now).unwrap();
        assert_eq!(clear.due(now), Some(2));
    }

    #[test]
    fn a_far_node_that_does_not_answer_is_dialled_ever_less_often() {
        let mut now = Instant::now();
        let mut fars = fars(Format::Secure, Dial::Always);
        add(&mut fars, 1, "192.0.2.1:4789", 1, now).unwrap();
        for (token, milliseconds) in (1..).zip([100, 200, 400, 800, 1600, 2000, 2000]) {
            assert_eq!(fars.due(now), Some(1));
            let far = fars.find_mut(1).unwrap();
            far.dialing = Some(token);
            far.handle_end(token, now, now);
            assert_eq!(fars.due(now + Duration::from_millis(milliseconds - 1)), None);
            now += Duration::from_millis(milliseconds);
        }
        let far = fars.find_mut(1).unwrap();
        far.up = Some(99);
        far.handle_end(99, now, now + GOOD);
        assert_eq!(fars.due(now + GOOD + FIRST_DELAY), Some(1), "a good connection is soon made again");
    }

    #[test]
    fn who_comes_from_an_address_is_told_apart_by_port() {
        let now = Instant::now();
        let mut fars = fars(Format::Clear, Dial::Never);
        let ip = "192.0.2.1".parse().unwrap();
        assert!(!fars.is_known(ip));
        add(&mut fars, 1, "192.0.2.1:4789", 1, now).unwrap();
        assert_eq!((fars.by_address(ip, 4789), fars.by_address(ip, 9)), (Some(1), Some(1)));
        add(&mut fars, 2, "192.0.2.1:4790", 1, now).unwrap();
        assert_eq!((fars.by_address(ip, 4790), fars.by_address(ip, 9)), (Some(2), None));
        assert!(add(&mut fars, 3, "192.0.2.1:4790", 2, now).unwrap_err().reason.contains("already"));
    }

    #[test]
    fn an_address_or_key_that_cannot_be_a_far_node_is_refused_with_its_name() {
        let now = Instant::now();
        let mut fars = fars(Format::Secure, Dial::Auto);
        for address in ["", "192.0.2.1", "0.0.0.0:4789", "192.0.2.1:0", "224.0.0.1:1", "[2001:db8::1]:4789"] {
            let failure = add(&mut fars, 1, address, 1, now).unwrap_err();
            assert_eq!(failure.key.as_deref(), Some("address"), "{address}");
        }
        for key in [None, Some(OWN_KEY)] {
            let node = FarNode { address: "192.0.2.1:4789", key };
            let failure = fars.add(FarId(1), &node, now).unwrap_err();
            assert_eq!(failure.key.as_deref(), Some("public_key"));
        }
        add(&mut fars, 1, "192.0.2.1:4789", 1, now).unwrap();
        for (far, key) in [(1, 2), (2, 1)] {
            assert!(add(&mut fars, far, "192.0.2.2:4789", key, now).unwrap_err().reason.contains("already"));
        }
    }
}
