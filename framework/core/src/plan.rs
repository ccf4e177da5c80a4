//! The plan: from the overlay in force to the overlay wanted, in an order that never leaves a pair without
//! a way (VRESERVE, 2005: H∪H′ first, and only then H−H′ is removed).
//!
//! What lives here is the difference as a value. When a step may be taken, and what it takes, is the
//! [`lead`](crate::lead)'s business. The star is not part of a layout: it is there before and after.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vreserve_model::{BitsPerSecond, MacAddr, Wanted, WantedLink, WantedRule, link_key};

use crate::route::Route;

/// A link beside the star by what it is, whichever circuit is under it; `a` sorts before `z`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkKey {
    /// One end, by node name.
    pub a: String,
    /// The other end.
    pub z: String,
    /// The network its circuit is reserved on.
    pub network: String,
}

impl LinkKey {
    /// The key of the link between two nodes, named in any order.
    pub fn new(one: &str, other: &str, network: &str) -> Self {
        let (a, z) = link_key(one, other);
        LinkKey { a: a.into(), z: z.into(), network: network.into() }
    }

    /// Both ends.
    pub fn ends(&self) -> [&str; 2] {
        [&self.a, &self.z]
    }

    /// The end that is not `node`; none if `node` is no end.
    pub fn far_end(&self, node: &str) -> Option<&str> {
        match node {
            node if node == self.a => Some(&self.z),
            node if node == self.z => Some(&self.a),
            _ => None,
        }
    }
}

/// An ordered pair of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PairKey {
    /// The sending guest.
    pub source: MacAddr,
    /// The receiving guest.
    pub destination: MacAddr,
}

/// One link of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedLink {
    /// The rate wanted, or in force the rate granted.
    pub rate: BitsPerSecond,
    /// Its place in the planner's order, most valuable first.
    pub rank: usize,
}

/// Where a pair leaves the star.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The node that the sending guest sits behind.
    pub node: String,
    /// The links its frames take; the first begins at `node`, and the second where the first ends.
    pub route: Route<LinkKey>,
}

impl Way {
    /// Over one link.
    pub fn direct(node: &str, link: LinkKey) -> Self {
        Way { node: node.into(), route: Route::direct(link) }
    }

    /// The node between that relays, if there is one.
    pub fn relay(&self) -> Option<&str> {
        self.route.onward.as_ref().and(self.route.first.far_end(&self.node))
    }

    /// The node that the receiving guest sits behind; none if the links do not meet.
    pub fn egress(&self) -> Option<&str> {
        let next = self.route.first.far_end(&self.node)?;
        self.route.onward.as_ref().map_or(Some(next), |onward| onward.far_end(next))
    }
}

/// The links beside the star, and the pairs that take them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The links.
    pub links: BTreeMap<LinkKey, PlannedLink>,
    /// The pairs that leave the star; all others take it.
    pub ways: BTreeMap<PairKey, Way>,
}

impl Layout {
    /// Reads a planner's wish. What makes no sense (a link of a node to itself, a rule without its link, rules for
    /// a pair that are not one way of at most two links) is left out and named in the second part.
    pub fn from_wanted(wanted: &Wanted) -> (Self, Vec<String>) {
        let mut layout = Layout::default();
        let mut left_out = Vec::new();
        for (rank, link) in wanted.links.iter().enumerate() {
            if let Err(reason) = layout.want_link(link, rank) {
                left_out.push(reason);
            }
        }
        let mut rules: BTreeMap<PairKey, Vec<&WantedRule>> = BTreeMap::new();
        for rule in &wanted.rules {
            let pair = PairKey { source: rule.source, destination: rule.destination };
            if layout.links.contains_key(&link_of(rule)) {
                rules.entry(pair).or_default().push(rule);
            } else {
                left_out.push(format!("{}: no link to {} on {}", rule.node, rule.next, rule.network));
            }
        }
        for (pair, rules) in rules {
            match way_of(&rules) {
                Some(way) => drop(layout.ways.insert(pair, way)),
                None => left_out.push(format!(
                    "{} to {}: {} rules that are not one way of at most two links",
                    pair.source,
                    pair.destination,
                    rules.len()
                )),
            }
        }
        (layout, left_out)
    }

    fn want_link(&mut self, link: &WantedLink, rank: usize) -> Result<(), String> {
        if link.a == link.z {
            return Err(format!("{}: a link to itself", link.a));
        }
        let planned = PlannedLink { rate: link.rate, rank };
        self.links.entry(LinkKey::new(&link.a, &link.z, &link.network)).or_insert(planned);
        Ok(())
    }

    /// True if every pair's way runs over a link that is there.
    pub fn is_sound(&self) -> bool {
        self.ways.values().flat_map(|way| way.route.hops()).all(|link| self.links.contains_key(link))
    }

    /// Takes one step of a plan.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Add { link, planned } => drop(self.links.insert(link.clone(), *planned)),
            Step::Move { pair, way } => drop(self.ways.insert(*pair, way.clone())),
            Step::CutBack { pair } => drop(self.ways.remove(pair)),
            Step::Remove { link } => drop(self.links.remove(link)),
        }
    }
}

fn link_of(rule: &WantedRule) -> LinkKey {
    LinkKey::new(&rule.node, &rule.next, &rule.network)
}

/// The way that the rules for a pair make up.
fn way_of(rules: &[&WantedRule]) -> Option<Way> {
    let (first, onward) = match rules {
        [only] => (only, None),
        [one, other] if one.next == other.node => (one, Some(other)),
        [other, one] if one.next == other.node => (one, Some(other)),
        _ => return None,
    };
    let is_loop = onward.is_some_and(|onward| onward.next == first.node);
    let route = Route { first: link_of(first), onward: onward.map(|rule| link_of(rule)) };
    (!is_loop).then(|| Way { node: first.node.clone(), route })
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reserve, link and probe.
    Add {
        /// The link.
        link: LinkKey,
        /// Its rate and rank.
        planned: PlannedLink,
    },
    /// Cut a pair over to `way`.
    Move {
        /// The pair.
        pair: PairKey,
        /// Its way from now on.
        way: Way,
    },
    /// Put a pair back on the star.
    CutBack {
        /// The pair.
        pair: PairKey,
    },
    /// Unlink and release.
    Remove {
        /// The link.
        link: LinkKey,
    },
}

/// The difference between two layouts, in order: all of `make` before any of `unmake`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// H∪H′: links that come, most valuable first, then pairs that move onto links.
    pub make: Vec<Step>,
    /// H−H′: pairs that go back to the star, then links that go.
    pub unmake: Vec<Step>,
    /// Links that stay although more is wanted of them than they were granted: they cannot be resized.
    pub undersized: Vec<LinkKey>,
}

impl Plan {
    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.make.iter().chain(&self.unmake)
    }

    /// True if nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.make.is_empty() && self.unmake.is_empty()
    }
}

/// The plan that turns `in_force` into `wanted`.
///
/// Links of both are untouched; one whose wanted rate exceeds its own by more than the fraction `margin` is
/// only named as undersized.
pub fn diff(in_force: &Layout, wanted: &Layout, margin: f64) -> Plan {
    let mut coming: Vec<_> = wanted.links.iter().filter(|(l, _)| !in_force.links.contains_key(l)).collect();
    coming.sort_by_key(|(_, planned)| planned.rank);
    let adds = coming.into_iter().map(|(link, planned)| Step::Add { link: link.clone(), planned: *planned });
    let moving = wanted.ways.iter().filter(|(pair, way)| in_force.ways.get(pair) != Some(way));
    let moves = moving.map(|(pair, way)| Step::Move { pair: *pair, way: way.clone() });
    let back = in_force.ways.keys().filter(|pair| !wanted.ways.contains_key(pair));
    let cut_backs = back.map(|pair| Step::CutBack { pair: *pair });
    let going = in_force.links.keys().filter(|link| !wanted.links.contains_key(link));
    let removes = going.map(|link| Step::Remove { link: link.clone() });
    let is_undersized = |link: &&LinkKey| {
        let (has, wants) = (in_force.links.get(*link), &wanted.links[*link]);
        has.is_some_and(|has| wants.rate.0 as f64 > has.rate.0 as f64 * (1.0 + margin))
    };
    Plan {
        make: adds.chain(moves).collect(),
        unmake: cut_backs.chain(removes).collect(),
        undersized: wanted.links.keys().filter(is_undersized).cloned().collect(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
