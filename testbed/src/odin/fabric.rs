//! The optical network as the server knows it: ports, switches, fibres, and which lambda carries what. Pure:
//! it admits or refuses; `switching` carries it out.
//!
//! A lambda of a fibre carries one path, and a path has the same lambda on all its fibres. Two ends have at
//! most one path, whichever way round it was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use super::protocol::{PathId, PathReport, PathState, Refusal};
use crate::error::{Error, Result};
use crate::lab::spec::LabSpec;

/// What is built and does not change.
#[derive(Debug, Clone)]
pub struct Plant {
    ports: BTreeMap<Ipv4Addr, Port>,
    switches: Vec<String>,
    /// Indices into `switches`.
    fibres: Vec<(usize, usize)>,
    lambdas: u16,
}

/// A host's port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    host: String,
    switch: usize,
}

/// One fibre of a path, in the path's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Number of the fibre in the lab file, from 0.
    pub fibre: usize,
    /// Whether the path runs from the fibre's first switch to its second.
    pub is_forward: bool,
}

/// An admitted path.
#[derive(Debug, Clone)]
pub struct Path {
    /// What others see of it.
    pub report: PathReport,
    /// Host at the source.
    pub source_host: String,
    /// Host at the destination.
    pub destination_host: String,
    /// Its fibres, from the source; none when both ends are on one switch.
    pub hops: Vec<Hop>,
}

impl Plant {
    /// The optical network `network` of a lab.
    pub fn of(lab: &LabSpec, network: &str) -> Result<Self> {
        let Some(found) = lab.network(network) else {
            return Err(Error::Odin { reason: format!("lab {} has no network {network}", lab.name) });
        };
        let index = |name: &str| {
            found
                .switches
                .iter()
                .position(|switch| switch == name)
                .ok_or_else(|| Error::Odin { reason: format!("network {network} has no switch {name}") })
        };
        let fibres = found.fibres.iter().map(|(a, b)| Ok((index(a)?, index(b)?))).collect::<Result<_>>()?;
        let mut ports = BTreeMap::new();
        for host in &lab.hosts {
            if let Some(attachment) = host.attachments.get(network) {
                let port = Port { host: host.name.clone(), switch: index(&attachment.switch)? };
                ports.insert(attachment.address.addr(), port);
            }
        }
        Ok(Self { ports, switches: found.switches.clone(), fibres, lambdas: found.lambdas })
    }

    fn port(&self, address: Ipv4Addr) -> std::result::Result<&Port, Refusal> {
        self.ports.get(&address).ok_or(Refusal::AddressUnknown { address })
    }

    /// The way with the fewest fibres; of several, the one whose fibres come first in the file.
    fn shortest(&self, from: usize, to: usize) -> Option<Vec<(Hop, usize)>> {
        let mut reached_by: BTreeMap<usize, (usize, Hop)> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for (fibre, &(a, b)) in self.fibres.iter().enumerate() {
                let is_forward = a == at;
                let next = if is_forward { b } else { a };
                if (a == at || b == at) && next != from && !reached_by.contains_key(&next) {
                    reached_by.insert(next, (at, Hop { fibre, is_forward }));
                    queue.push_back(next);
                }
            }
        }
        let mut way = Vec::new();
        let mut at = to;
        while at != from {
            let (before, hop) = *reached_by.get(&at)?;
            way.push((hop, at));
            at = before;
        }
        way.reverse();
        Some(way)
    }
}

/// The plant and the paths on it.
#[derive(Debug)]
pub struct Fabric {
    plant: Plant,
    paths: BTreeMap<PathId, Path>,
    last: PathId,
}

impl Fabric {
    /// A dark network.
    pub fn new(plant: Plant) -> Self {
        Self { plant, paths: BTreeMap::new(), last: PathId(0) }
    }

    /// Takes the lambda on every fibre of the shortest way, or says why not. The path is then setting up.
    pub fn admit(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        lambda: u16,
    ) -> std::result::Result<Path, Refusal> {
        if source == destination {
            return Err(Refusal::SameAddress { address: source });
        }
        let (from, to) = (self.plant.port(source)?, self.plant.port(destination)?);
        if !(1..=self.plant.lambdas).contains(&lambda) {
            return Err(Refusal::LambdaUnknown { lambda, lambdas: self.plant.lambdas });
        }
        self.check_pair(source, destination)?;
        let name = |switch: usize| self.plant.switches[switch].clone();
        let way = self
            .plant
            .shortest(from.switch, to.switch)
            .ok_or_else(|| Refusal::NoRoute { from: name(from.switch), to: name(to.switch) })?;
        for (hop, _) in &way {
            self.check_lambda(hop.fibre, lambda)?;
        }
        let switches = std::iter::once(from.switch).chain(way.iter().map(|(_, switch)| *switch)).map(name);
        let id = PathId(self.last.0 + 1);
        let state = PathState::SettingUp;
        let path = Path {
            report: PathReport { id, source, destination, lambda, switches: switches.collect(), state },
            source_host: from.host.clone(),
            destination_host: to.host.clone(),
            hops: way.into_iter().map(|(hop, _)| hop).collect(),
        };
        self.last = id;
        self.paths.insert(id, path.clone());
        Ok(path)
    }

    /// The path now carries traffic.
    pub fn mark_up(&mut self, id: PathId) {
        if let Some(path) = self.paths.get_mut(&id) {
            path.report.state = PathState::Up;
        }
    }

    /// Begins to tear a path down; its lambda stays taken until [`Fabric::release`].
    pub fn begin_teardown(&mut self, id: PathId) -> std::result::Result<Path, Refusal> {
        match self.paths.get_mut(&id) {
            Some(path) if path.report.state == PathState::Up => {
                path.report.state = PathState::TearingDown;
                Ok(path.clone())
            }
            _ => Err(Refusal::NoSuchPath { path: id }),
        }
    }

    /// Forgets a path and frees its lambda.
    pub fn release(&mut self, id: PathId) {
        self.paths.remove(&id);
    }

    /// Every path, by id.
    pub fn reports(&self) -> Vec<PathReport> {
        self.paths.values().map(|path| path.report.clone()).collect()
    }

    fn check_pair(&self, a: Ipv4Addr, b: Ipv4Addr) -> std::result::Result<(), Refusal> {
        let joins = |report: &PathReport| {
            (report.source, report.destination) == (a, b) || (report.source, report.destination) == (b, a)
        };
        match self.paths.values().find(|path| joins(&path.report)) {
            Some(path) => Err(Refusal::PairConnected { path: path.report.id }),
            None => Ok(()),
        }
    }

    fn check_lambda(&self, fibre: usize, lambda: u16) -> std::result::Result<(), Refusal> {
        let is_on =
            |path: &&Path| path.report.lambda == lambda && path.hops.iter().any(|hop| hop.fibre == fibre);
        let Some(path) = self.paths.values().find(is_on) else { return Ok(()) };
        let (a, b) = self.plant.fibres[fibre];
        let (from, to) = (self.plant.switches[a].clone(), self.plant.switches[b].clone());
        Err(Refusal::LambdaBusy { lambda, path: path.report.id, from, to })
    }
}

#[cfg(test)]
mod tests;
