//! The ways of pairs at their ingress node: at rest on the star or a circuit, or moving in between.

use std::time::Duration;

use vreserve_model::MacAddr;

use super::{Action, Agent, CutoverSpec};
use crate::ids::{LinkClass, LinkId, SwitchId};
use crate::lead::PairOutcome;
use crate::overlay::{OverlayLink, PairWay};
use crate::route::Route;
use crate::switch::{Path, SwitchEnd, SwitchOutcome, SwitchSpec};

/// Source and destination.
pub(super) type PairId = (MacAddr, MacAddr);

/// Where a pair is that is not at rest on the star.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairState {
    /// On these circuits' links; the second is another node's.
    On(Route<LinkId>),
    /// In this cut-over.
    Moving(SwitchId),
}

/// One cut-over under way. None stands for the star.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    pair: PairId,
    from: Option<Route<LinkId>>,
    to: Option<Route<LinkId>>,
    /// The revision that asked for it.
    revision: u64,
}

impl Agent {
    /// A link is dead or gone: its pairs go to the star at once, and cut-overs from or to it end.
    pub(super) fn leave_link(&mut self, link: LinkId) {
        self.pairs.retain(|_, state| !matches!(state, PairState::On(route) if route.first == link));
        let begins_with = |route: Option<Route<LinkId>>| route.is_some_and(|route| route.first == link);
        for (id, moving) in &self.moving {
            if begins_with(moving.from) {
                self.actions.push_back(Action::Release(*id));
            } else if begins_with(moving.to) {
                self.actions.push_back(Action::Abandon(*id));
            }
        }
    }

    /// Begins a cut-over for every pair that is not where the overlay wants it.
    pub(super) fn reconcile_all(&mut self) -> Vec<CutoverSpec> {
        let wanted: Vec<PairId> =
            self.overlay.pairs.iter().map(|way| (way.source, way.destination)).collect();
        let known: Vec<PairId> = self.pairs.keys().copied().collect();
        let mut pairs: Vec<PairId> = wanted.into_iter().chain(known).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs.into_iter().filter_map(|pair| self.reconcile(pair)).collect()
    }

    /// Begins a cut-over for one pair, if it is at rest where it should not be.
    pub(super) fn reconcile(&mut self, pair: PairId) -> Option<CutoverSpec> {
        let to = self.wanted_way(pair);
        let from = match self.pairs.get(&pair) {
            None => None,
            Some(PairState::On(route)) => Some(*route),
            Some(PairState::Moving(_)) => return None,
        };
        if from == to {
            return None;
        }
        let revision = self.overlay.revision;
        let moving = Moving { pair, from, to, revision };
        if let Some(reason) = self.obstacle(&moving) {
            self.tell_switched(revision, aborted(pair, reason));
            return None;
        }
        self.last_switch = self.last_switch.wrapping_add(1);
        let id = SwitchId(self.last_switch);
        self.moving.insert(id, moving);
        self.pairs.insert(pair, PairState::Moving(id));
        let (source, destination) = pair;
        let path = |way: Option<Route<LinkId>>| way.map_or(Path::Star, |route| Path::Link(route.first));
        let route = to.or(from).expect("two ways that differ are not both the star");
        // The far end of a relayed pair's circuit is not its egress node.
        let circuit = (!route.is_relayed()).then_some(route.first);
        let switch = SwitchSpec { id, source, destination, circuit, old: path(from), new: path(to) };
        Some(CutoverSpec { switch, star: self.star_towards(destination)? })
    }

    /// What is in force: the links, but for the circuits that are known to be dead, and the pairs that take a
    /// circuit or are being switched onto one.
    pub fn in_force(&self) -> (Vec<OverlayLink>, Vec<PairWay>) {
        let links = self.overlay.links.iter().filter(|link| !self.dead.contains(&link.id));
        let pairs = self.pairs.iter().filter_map(|((source, destination), state)| {
            let route = match state {
                PairState::On(route) => Some(*route),
                PairState::Moving(id) => self.moving.get(id)?.to,
            };
            let Route { first: link, onward } = route?;
            Some(PairWay { source: *source, destination: *destination, link, onward })
        });
        (links.cloned().collect(), pairs.collect())
    }

    /// Pairs that leave this node for a relay, or are about to or did just now, with the circuit that leads there.
    pub(super) fn relayed_from_here(&self) -> impl Iterator<Item = (PairId, LinkId)> + '_ {
        let routes = |state: &PairState| match state {
            PairState::On(route) => [Some(*route), None],
            PairState::Moving(id) => self.moving.get(id).map_or([None; 2], |moving| [moving.from, moving.to]),
        };
        let all = self.pairs.iter().flat_map(move |(pair, state)| routes(state).map(|route| (*pair, route)));
        all.filter_map(|(pair, route)| Some((pair, route.filter(Route::is_relayed)?.first)))
    }

    /// The circuits that the overlay wants a pair on; none for the star.
    fn wanted_way(&self, (source, destination): PairId) -> Option<Route<LinkId>> {
        let ways = &self.overlay.pairs;
        let way = ways.iter().find(|way| way.source == source && way.destination == destination)?;
        Some(way.route())
    }

    /// Why a pair cannot move now.
    fn obstacle(&self, moving: &Moving) -> Option<String> {
        let to = moving.to.map(|route| route.first).filter(|link| {
            self.dead.contains(link) || !self.overlay.links.iter().any(|known| known.id == *link)
        });
        if let Some(link) = to {
            return Some(format!("link {link} is down"));
        }
        self.star_towards(moving.pair.1).is_none().then(|| "there is no star link".to_owned())
    }

    /// The star link that leads to a guest.
    pub(super) fn star_towards(&self, guest: MacAddr) -> Option<LinkId> {
        let listed = self.overlay.guests.iter().find(|way| way.guest == guest).map(|way| way.link);
        let only = || self.overlay.links.iter().find(|link| link.class == LinkClass::Star);
        listed.or_else(|| only().map(|link| link.id))
    }

    fn tell_switched(&mut self, revision: u64, outcome: PairOutcome) {
        self.actions.push_back(Action::Switched { revision, outcome });
    }

    /// A cut-over ended: the pair rests where it now is, and moves on if it is wanted elsewhere by now.
    pub fn handle_cutover_ended(&mut self, id: SwitchId, outcome: &SwitchOutcome) {
        let Some(moving) = self.moving.remove(&id) else { return };
        let reason = match outcome.end {
            SwitchEnd::Completed | SwitchEnd::Released => None,
            SwitchEnd::Aborted(reason) => Some(reason.to_string()),
        };
        let way = if reason.is_none() { moving.to } else { moving.from };
        let is_there = |link: LinkId| !self.dead.contains(&link) && self.rules.class_of(link).is_some();
        match way.filter(|route| is_there(route.first)) {
            Some(route) => self.pairs.insert(moving.pair, PairState::On(route)),
            None => self.pairs.remove(&moving.pair),
        };
        // A way that has just failed is not tried again before the lead says so.
        let is_settled = reason.is_some() && self.wanted_way(moving.pair) == moving.to;
        let begin = if is_settled { None } else { self.reconcile(moving.pair) };
        self.install(begin.into_iter().collect(), vec![id]);
        let (source, destination) = moving.pair;
        self.tell_switched(
            moving.revision,
            PairOutcome {
                source,
                destination,
                aborted: reason,
                held_frames: outcome.held_frames,
                held_bytes: outcome.held_bytes,
                held_for: outcome.held_for,
                dropped_frames: outcome.dropped,
            },
        );
    }
}

fn aborted((source, destination): PairId, reason: String) -> PairOutcome {
    PairOutcome {
        source,
        destination,
        aborted: Some(reason),
        held_frames: 0,
        held_bytes: 0,
        held_for: Duration::ZERO,
        dropped_frames: 0,
    }
}
