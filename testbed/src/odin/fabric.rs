//! The optical network as the server knows it: ports, switches, fibres, and which lambda carries what. Pure:
//! it admits or refuses; `switching` carries it out.
//!
//! A lambda of a fibre carries one path, and a path has the same lambda on all its fibres. Two ends have at
//! most one path, whichever way round it was asked for. Of paths that are booked for later this holds at every
//! instant: two whose times do not meet are not in each other's way.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use super::protocol::{PathId, PathReport, PathState, Refusal};
use super::timing::Timing;
use super::window::{Occupied, Window};
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
    occupied: Occupied,
}

/// What a path's time has come for.
#[derive(Debug, Clone)]
pub enum Due {
    /// It must be set up now, to carry from its start on.
    SetUp(Path),
    /// Its end has come.
    End(PathId),
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
    timing: Timing,
    /// Requests in the queue, by ticket.
    waiting: BTreeMap<u64, PathReport>,
    last_ticket: u64,
}

impl Fabric {
    /// A dark network whose switches take so long.
    pub fn new(plant: Plant, timing: Timing) -> Self {
        let (paths, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self { plant, paths, last: PathId(0), timing, waiting, last_ticket: 0 }
    }

    /// Takes the lambda on every fibre of the shortest way, or says why not. The path is then booked if it is
    /// to start later, else setting up.
    pub fn admit(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        lambda: u16,
        window: Window,
    ) -> std::result::Result<Path, Refusal> {
        if source == destination {
            return Err(Refusal::SameAddress { address: source });
        }
        let (from, to) = (self.plant.port(source)?, self.plant.port(destination)?);
        if !(1..=self.plant.lambdas).contains(&lambda) {
            return Err(Refusal::LambdaUnknown { lambda, lambdas: self.plant.lambdas });
        }
        let name = |switch: usize| self.plant.switches[switch].clone();
        let way = self
            .plant
            .shortest(from.switch, to.switch)
            .ok_or_else(|| Refusal::NoRoute { from: name(from.switch), to: name(to.switch) })?;
        let occupied = window.occupied(&self.timing, way.len() + 1);
        self.check_pair(source, destination, &occupied)?;
        for (hop, _) in &way {
            self.check_lambda(hop.fibre, lambda, &occupied)?;
        }
        let switches = std::iter::once(from.switch).chain(way.iter().map(|(_, switch)| *switch)).map(name);
        let id = PathId(self.last.0 + 1);
        let state = if window.start.is_some() { PathState::Booked } else { PathState::SettingUp };
        let (start_ms, end_ms, switches) = (window.start, window.end, switches.collect());
        let path = Path {
            report: PathReport { id, source, destination, lambda, switches, state, start_ms, end_ms },
            source_host: from.host.clone(),
            destination_host: to.host.clone(),
            hops: way.into_iter().map(|(hop, _)| hop).collect(),
            occupied,
        };
        self.last = id;
        self.paths.insert(id, path.clone());
        Ok(path)
    }

    /// What must be done now, if anything: ends first, since they make room.
    pub fn poll_due(&mut self, now: u64) -> Option<Due> {
        let is_over = |path: &&Path| {
            matches!(path.report.state, PathState::Up | PathState::Booked)
                && path.report.end_ms.is_some_and(|end| end <= now)
        };
        if let Some(path) = self.paths.values().find(is_over) {
            return Some(Due::End(path.report.id));
        }
        let is_due = |path: &&mut Path| path.report.state == PathState::Booked && path.occupied.from <= now;
        let path = self.paths.values_mut().find(is_due)?;
        path.report.state = PathState::SettingUp;
        Some(Due::SetUp(path.clone()))
    }

    /// When [`Fabric::poll_due`] next has something.
    pub fn next_due(&self) -> Option<u64> {
        let due = |path: &Path| match path.report.state {
            PathState::Booked => Some(path.occupied.from),
            PathState::Up => path.report.end_ms,
            _ => None,
        };
        self.paths.values().filter_map(due).min()
    }

    /// Shows a request that waits in the queue, until [`Fabric::end_wait`].
    pub fn wait(&mut self, source: Ipv4Addr, destination: Ipv4Addr, lambda: u16) -> u64 {
        let (id, state) = (PathId(0), PathState::Waiting);
        let (switches, start_ms, end_ms) = (Vec::new(), None, None);
        self.last_ticket += 1;
        let report = PathReport { id, source, destination, lambda, switches, state, start_ms, end_ms };
        self.waiting.insert(self.last_ticket, report);
        self.last_ticket
    }

    /// The request waits no more.
    pub fn end_wait(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
    }

    /// The path now carries traffic.
    pub fn mark_up(&mut self, id: PathId) {
        if let Some(path) = self.paths.get_mut(&id) {
            path.report.state = PathState::Up;
        }
    }

    /// Begins to tear a path down; its lambda stays taken until [`Fabric::release`]. The path is as it was
    /// before: one that was only booked is dark.
    pub fn begin_teardown(&mut self, id: PathId) -> std::result::Result<Path, Refusal> {
        match self.paths.get_mut(&id) {
            Some(path) if matches!(path.report.state, PathState::Up | PathState::Booked) => {
                let before = path.clone();
                path.report.state = PathState::TearingDown;
                Ok(before)
            }
            _ => Err(Refusal::NoSuchPath { path: id }),
        }
    }

    /// Forgets a path and frees its lambda.
    pub fn release(&mut self, id: PathId) {
        self.paths.remove(&id);
    }

    /// One path.
    pub fn report(&self, id: PathId) -> Option<PathReport> {
        self.paths.get(&id).map(|path| path.report.clone())
    }

    /// Every path, by id, and what waits to become one.
    pub fn reports(&self) -> Vec<PathReport> {
        let paths = self.paths.values().map(|path| &path.report);
        paths.chain(self.waiting.values()).cloned().collect()
    }

    /// The paths that occupy anything while `occupied`.
    fn meeting<'a>(&'a self, occupied: &'a Occupied) -> impl Iterator<Item = &'a Path> {
        self.paths.values().filter(|path| path.occupied.overlaps(occupied))
    }

    fn check_pair(&self, a: Ipv4Addr, b: Ipv4Addr, occupied: &Occupied) -> std::result::Result<(), Refusal> {
        let joins = |report: &PathReport| {
            (report.source, report.destination) == (a, b) || (report.source, report.destination) == (b, a)
        };
        match self.meeting(occupied).find(|path| joins(&path.report)) {
            Some(path) => Err(Refusal::PairConnected { path: path.report.id }),
            None => Ok(()),
        }
    }

    fn check_lambda(
        &self,
        fibre: usize,
        lambda: u16,
        occupied: &Occupied,
    ) -> std::result::Result<(), Refusal> {
        let is_on =
            |path: &&Path| path.report.lambda == lambda && path.hops.iter().any(|hop| hop.fibre == fibre);
        let Some(path) = self.meeting(occupied).find(is_on) else { return Ok(()) };
        let (a, b) = self.plant.fibres[fibre];
        let (from, to) = (self.plant.switches[a].clone(), self.plant.switches[b].clone());
        Err(Refusal::LambdaBusy { lambda, path: path.report.id, from, to })
    }
}

#[cfg(test)]
mod tests;
