//! The routed network as the server knows it: which links a flow takes, and where its packets leave a router.
//!
//! ```text
//!  alpha ── west ════ core ════ east ── beta        lanes of alpha's packets for beta: alpha>west, west>east,
//!           c-alpha  core  core  c-beta             east>beta; they leave routers at west/core, east/c-beta
//! ```

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::error::{Error, Result};
use crate::lab::layout::{CORE, access};
use crate::lab::spec::{COMMODITY, Core, Host, LabSpec};

/// One direction of one link: `from>to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane(pub String);

/// An interface of a router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The router.
    pub router: String,
    /// The interface.
    pub interface: String,
}

/// How packets of one host reach another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Directions of links, in order.
    pub lanes: Vec<Lane>,
    /// Where they enter the network.
    pub ingress: Port,
    /// Where they leave routers, in order.
    pub egresses: Vec<Port>,
}

/// What is built and does not change.
#[derive(Debug, Clone)]
pub struct Plant {
    /// Host and router of each address.
    hosts: BTreeMap<Ipv4Addr, (String, String)>,
    capacities: BTreeMap<Lane, u64>,
    ports: Vec<Port>,
}

impl Plant {
    /// The routed network `network` of a lab; `percent` of each link's rate may be reserved.
    pub fn of(lab: &LabSpec, network: &str, percent: u64) -> Result<Self> {
        let core = lab.commodity.core.as_ref().filter(|_| network == COMMODITY);
        let (Some(core), Some(rate)) = (core, lab.commodity.rate) else {
            let reason = format!("lab {} has no routed network {network}", lab.name);
            return Err(Error::Gara { reason });
        };
        let share = |bits: u64| bits / 1000 * percent / 100;
        let mut plant = Self { hosts: BTreeMap::new(), capacities: BTreeMap::new(), ports: Vec::new() };
        let [one, other] = &core.routers;
        for (from, to) in [(one, other), (other, one)] {
            plant.capacities.insert(lane(from, to), share(core.rate.0));
            plant.ports.push(port(from, CORE));
        }
        for host in &lab.hosts {
            plant.add_host(host, core, share(rate.0));
        }
        Ok(plant)
    }

    fn add_host(&mut self, host: &Host, core: &Core, capacity: u64) {
        let router = host.router.as_ref().unwrap_or(&core.routers[0]);
        self.hosts.insert(host.commodity.addr(), (host.name.clone(), router.clone()));
        for lane in [lane(&host.name, router), lane(router, &host.name)] {
            self.capacities.insert(lane, capacity);
        }
        self.ports.push(port(router, &access(&host.name)));
    }

    /// Every direction of every link, with what may be reserved of it in kbit/s.
    pub fn capacities(&self) -> &BTreeMap<Lane, u64> {
        &self.capacities
    }

    /// Every interface of every router.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The way of packets from one address to another; `None` if one of them is not on this network.
    pub fn way(&self, from: Ipv4Addr, to: Ipv4Addr) -> Option<Way> {
        let (source, first) = self.hosts.get(&from)?;
        let (destination, last) = self.hosts.get(&to)?;
        let mut lanes = vec![lane(source, first)];
        let mut egresses = Vec::new();
        if first != last {
            lanes.push(lane(first, last));
            egresses.push(port(first, CORE));
        }
        lanes.push(lane(last, destination));
        egresses.push(port(last, &access(destination)));
        Some(Way { lanes, ingress: port(first, &access(source)), egresses })
    }
}

fn lane(from: &str, to: &str) -> Lane {
    Lane(format!("{from}>{to}"))
}

fn port(router: &str, interface: &str) -> Port {
    Port { router: router.to_owned(), interface: interface.to_owned() }
}
