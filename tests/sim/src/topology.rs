//! Who is there and on which networks: read from a lab file, or drawn.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use vreserve_core::key::PublicKey;
use vreserve_core::lead::{Attachment, NodeDescription, NodeRole};
use vreserve_model::{BitsPerSecond, MacAddr};
use vreserve_testbed::{LabSpec, Role};

/// An underlay: the commodity network, or one of the networks on which circuits are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NetId(pub(crate) usize);

/// What everybody shares, and the star runs over.
pub(crate) const COMMODITY: NetId = NetId(0);

/// The name of every node's endpoint on the commodity network.
const STAR: &str = "internet";
/// A lab's rates are brought down to this: what would be sent faster shows nothing more, and costs time.
const FASTEST: u64 = 20_000_000;

/// A whole overlay's surroundings. Node 0 is the hub.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) nodes: Vec<Place>,
    /// Reservable networks; the n-th is `NetId(n + 1)`.
    pub(crate) networks: Vec<Network>,
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) description: NodeDescription,
    pub(crate) key: PublicKey,
    pub(crate) guests: Vec<MacAddr>,
}

/// One reservable network.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) name: String,
    /// Of a circuit.
    pub(crate) rate: BitsPerSecond,
    /// How many circuits it has room for, if that is known.
    pub(crate) room: Option<u32>,
    /// Reserved per flow on the commodity network, and not on one of its own.
    pub(crate) is_shared: bool,
}

impl Topology {
    /// As a lab file has it. A routed commodity network is one on which flows are reserved, named `qos`.
    ///
    /// # Errors
    /// If there is no proxy, or nobody but the proxy.
    pub(crate) fn of_lab(spec: &LabSpec) -> anyhow::Result<Self> {
        let proxy = spec.proxy().context("the lab has no proxy")?;
        let others = spec.hosts.iter().filter(|host| host.role == Role::Host);
        let rate = |bits: u64| BitsPerSecond(bits.min(FASTEST));
        let mut networks: Vec<_> = spec
            .networks
            .iter()
            .map(|network| Network {
                name: network.name.clone(),
                rate: rate(network.rate.0),
                room: Some(u32::from(network.lambdas)),
                is_shared: false,
            })
            .collect();
        if let Some(core) = spec.commodity.core.as_ref().filter(|_| networks.is_empty()) {
            let name = "qos".to_owned();
            networks.push(Network { name, rate: rate(core.rate.0), room: None, is_shared: true });
        }
        let nodes = [proxy].into_iter().chain(others).map(|host| {
            let at = |network: &Network| {
                let address = match network.is_shared {
                    true => Some(host.commodity.addr()),
                    false => host.address_on(&network.name),
                };
                let attachment = |address| attachment(&network.name, format!("{address}:4790"));
                Some((network.name.clone(), attachment(address?)))
            };
            let role = if host.role == Role::Proxy { NodeRole::Proxy } else { NodeRole::Spoke };
            let star = attachment(STAR, format!("{}:4789", host.commodity.addr()));
            let attached = networks.iter().filter_map(at).collect();
            let guests = host.guests.iter().map(|guest| MacAddr(guest.mac.0)).collect();
            Place::new(NodeDescription { name: host.name.clone(), role, star, networks: attached }, guests)
        });
        let nodes: Vec<_> = nodes.collect();
        ensure!(nodes.len() > 1, "the lab has no host but the proxy");
        Ok(Topology { nodes, networks })
    }

    /// A hub and so many other nodes.
    pub(crate) fn drawn(others: usize, rng: &mut fastrand::Rng) -> Self {
        let networks: Vec<_> = (0..rng.usize(1..=2))
            .map(|number| Network {
                name: format!("net{}", number + 1),
                rate: BitsPerSecond(rng.u64(8..=20) * 1_000_000),
                room: rng.bool().then(|| rng.u32(1..=4)),
                is_shared: false,
            })
            .collect();
        let nodes = (0..=others).map(|number| {
            let is_hub = number == 0;
            let name = if is_hub { "hub".to_owned() } else { format!("n{number}") };
            let role = if is_hub { NodeRole::Proxy } else { NodeRole::Spoke };
            let (high, low) = (number / 250, number % 250 + 1);
            let mut attached = BTreeMap::new();
            for (net, network) in networks.iter().enumerate() {
                if rng.u32(0..8) > 0 {
                    let address = format!("10.{}.{high}.{low}:4789", net + 1);
                    attached.insert(network.name.clone(), attachment(&network.name, address));
                }
            }
            let star = attachment(STAR, format!("198.18.{high}.{low}:4789"));
            let guests = if !is_hub && rng.u32(0..6) == 0 { 2 } else { 1 };
            let guests = (0..guests).map(|guest| {
                let [.., high, low] = u32::try_from(number).expect("nodes are few").to_be_bytes();
                MacAddr([2, 0, 0, high, low, guest])
            });
            Place::new(NodeDescription { name, role, star, networks: attached }, guests.collect())
        });
        Topology { nodes: nodes.collect(), networks: networks.clone() }
    }

    /// The underlay of an endpoint, by the endpoint's name.
    pub(crate) fn net_of(&self, endpoint: &str) -> Option<NetId> {
        if endpoint == STAR {
            return Some(COMMODITY);
        }
        self.networks.iter().position(|network| network.name == endpoint).map(|at| NetId(at + 1))
    }

    /// A reservable network by its name.
    pub(crate) fn network(&self, name: &str) -> Option<usize> {
        self.networks.iter().position(|network| network.name == name)
    }

    /// Which node has this address on an underlay.
    pub(crate) fn addresses(&self) -> BTreeMap<(NetId, String), usize> {
        let mut book = BTreeMap::new();
        for (number, place) in self.nodes.iter().enumerate() {
            let NodeDescription { star, networks, .. } = &place.description;
            for at in [star].into_iter().chain(networks.values()) {
                if let Some(net) = self.net_of(&at.endpoint) {
                    book.insert((net, at.address.clone()), number);
                    book.insert((net, at.bare_address()), number);
                }
            }
        }
        book
    }

    /// Every guest with its node.
    pub(crate) fn guests(&self) -> impl Iterator<Item = (usize, MacAddr)> + '_ {
        let of = |(number, place): (usize, &Place)| {
            place.guests.iter().map(move |guest| (number, *guest)).collect::<Vec<_>>()
        };
        self.nodes.iter().enumerate().flat_map(of)
    }

    /// True if a circuit between two nodes can be had on some network.
    pub(crate) fn share_a_network(&self, one: usize, other: usize) -> bool {
        let networks = |node: usize| &self.nodes[node].description.networks;
        networks(one).keys().any(|network| networks(other).contains_key(network))
    }
}

impl Place {
    fn new(description: NodeDescription, guests: Vec<MacAddr>) -> Self {
        let mut key = [0; 32];
        for (at, octet) in description.name.bytes().take(32).enumerate() {
            key[at] = octet;
        }
        Place { description, key: PublicKey(key), guests }
    }
}

fn attachment(endpoint: &str, address: String) -> Attachment {
    Attachment { endpoint: endpoint.to_owned(), address }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_lab_of_the_testbed_is_a_topology() {
        let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/labs");
        for (lab, nodes, network) in
            [("demo", 4, "omninet"), ("gara", 5, "qos"), ("all-to-all", 5, "omninet")]
        {
            let spec = LabSpec::load(&labs.join(format!("{lab}.toml"))).unwrap();
            let topology = Topology::of_lab(&spec).unwrap();
            assert!(topology.nodes.len() >= nodes - 1, "{lab}: {}", topology.nodes.len());
            assert!(topology.network(network).is_some(), "{lab}: {:?}", topology.networks);
            assert_eq!(topology.nodes[0].description.role, NodeRole::Proxy);
            assert!(topology.guests().count() >= 2);
            assert!(topology.share_a_network(1, 2), "{lab}");
        }
    }
}
