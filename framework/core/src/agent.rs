//! The agent: keeps one node's data plane as its part of the overlay says.
//!
//! It compares a new revision with what is in force, adds links, begins an ordered cut-over for every pair
//! whose way changes, removes links, and answers. By itself it does one thing only: when a circuit dies, its
//! pairs go back to the star at once, before anybody is asked.
//!
//! As with the [`lead`](crate::lead), the host hands in what happened through `handle_*` and carries out what
//! [`Agent::poll_action`] gives, in order, until there is nothing more. A link that is added is answered
//! with [`Agent::handle_link_added`] before anything else is handed in.
//!
//! The modules: `action` is what comes out, `pairs` are the ways of pairs, `rules` what follows from all of it.

mod action;
mod pairs;
mod rules;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use vreserve_model::MacAddr;

use crate::ids::{InterfaceId, LinkClass, LinkId, SwitchId};
use crate::learn::LearnEvent;
use crate::liveness::{Degradation, LinkHealth};
use crate::overlay::{NodeOverlay, OverlayLink};
use crate::rules::{RuleSet, StarRole};

pub use action::{Action, CutoverSpec};
use pairs::{Moving, PairId, PairState};

/// The state of one node's agent.
#[derive(Debug)]
pub struct Agent {
    role: StarRole,
    interfaces: Vec<InterfaceId>,
    static_links: Vec<LinkId>,
    /// The revision in force, with the links as they are set up.
    overlay: NodeOverlay,
    /// Every pair that is not at rest on the star.
    pairs: BTreeMap<PairId, PairState>,
    moving: BTreeMap<SwitchId, Moving>,
    last_switch: u32,
    /// Circuits that no longer answer, or are degraded.
    dead: BTreeSet<LinkId>,
    generation: u64,
    rules: Arc<RuleSet>,
    guests: BTreeSet<MacAddr>,
    coming: Option<Coming>,
    actions: VecDeque<Action>,
}

/// A revision whose links are being added.
#[derive(Debug)]
struct Coming {
    unanswered: BTreeMap<LinkId, String>,
    errors: Vec<String>,
    /// Links that go once their pairs have begun to move.
    leaving: Vec<LinkId>,
}

impl Agent {
    /// An agent whose node has these interfaces and links to devices outside the overlay, and no other link yet.
    pub fn new(role: StarRole, interfaces: Vec<InterfaceId>, static_links: Vec<LinkId>) -> Self {
        Agent {
            role,
            interfaces,
            static_links,
            overlay: NodeOverlay::default(),
            pairs: BTreeMap::new(),
            moving: BTreeMap::new(),
            last_switch: 0,
            dead: BTreeSet::new(),
            generation: 0,
            rules: Arc::new(RuleSet::empty()),
            guests: BTreeSet::new(),
            coming: None,
            actions: VecDeque::new(),
        }
    }

    /// The next effect to carry out.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The part of the overlay in force, with the links as they are set up.
    pub fn overlay(&self) -> &NodeOverlay {
        &self.overlay
    }

    /// The rules in force.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// The node's guests.
    pub fn guests(&self) -> impl ExactSizeIterator<Item = MacAddr> + '_ {
        self.guests.iter().copied()
    }

    /// A session with a lead has begun. Revisions grow within one; a lead that lost its state may begin anew.
    /// What is in force stays until the lead says otherwise.
    pub fn handle_welcome(&mut self) {
        self.overlay.revision = 0;
    }

    /// The data plane has learned or forgotten a guest; true if the lead is to be told of another list.
    pub fn handle_learned(&mut self, event: LearnEvent) -> bool {
        match event {
            LearnEvent::Learned { guest, .. } => self.guests.insert(guest),
            LearnEvent::Expired { guest, .. } => self.guests.remove(&guest),
            LearnEvent::Moved { .. } | LearnEvent::LimitReached { .. } => false,
        }
    }

    /// A link's probes say how it is.
    pub fn handle_health(&mut self, link: LinkId, health: LinkHealth) {
        let up = health == LinkHealth::Up;
        if up {
            self.dead.remove(&link);
        } else {
            self.avoid(link);
        }
        self.actions.push_back(Action::LinkState { link, up });
    }

    /// A proven circuit is no longer worth its place.
    pub fn handle_degraded(&mut self, link: LinkId, why: Degradation) {
        self.avoid(link);
        self.actions.push_back(Action::LinkDegraded { link, reason: why.to_string() });
    }

    /// Puts a circuit's pairs on the star at once.
    fn avoid(&mut self, link: LinkId) {
        let is_circuit = self.rules.class_of(link) == Some(LinkClass::Circuit);
        if is_circuit && self.dead.insert(link) {
            self.leave_link(link);
            self.install(Vec::new(), Vec::new());
        }
    }

    /// The lead has sent the node's part under a new revision; one that is older than what is in force is
    /// ignored.
    pub fn handle_overlay(&mut self, overlay: NodeOverlay) {
        debug_assert!(self.coming.is_none(), "every link that is added is answered first");
        if overlay.revision < self.overlay.revision {
            return;
        }
        let old = std::mem::replace(&mut self.overlay, overlay);
        let gone: Vec<LinkId> = missing(&old.links, &self.overlay.links);
        let added: Vec<OverlayLink> =
            self.overlay.links.iter().filter(|link| !old.links.contains(link)).cloned().collect();
        for link in &gone {
            self.leave_link(*link);
            self.dead.remove(link);
        }
        // An address that comes back under another identity must be free before it is taken again.
        let (now, leaving): (Vec<LinkId>, Vec<LinkId>) = gone.into_iter().partition(|id| {
            old.links.iter().any(|link| {
                link.id == *id && added.iter().any(|new| same_far_end(link, new) || new.id == link.id)
            })
        });
        if !now.is_empty() {
            let kept: Vec<OverlayLink> =
                old.links.iter().filter(|link| !now.contains(&link.id)).cloned().collect();
            let wanted = std::mem::replace(&mut self.overlay.links, kept);
            self.install(Vec::new(), Vec::new());
            self.overlay.links = wanted;
            self.actions.extend(now.into_iter().map(Action::RemoveLink));
        }
        let unanswered = added.iter().map(|link| (link.id, link.far_node.clone())).collect();
        self.actions.extend(added.into_iter().map(Action::AddLink));
        self.coming = Some(Coming { unanswered, errors: Vec::new(), leaving });
        self.finish_overlay();
    }

    /// A link is set up, or why it is not.
    pub fn handle_link_added(&mut self, link: LinkId, outcome: Result<(), String>) {
        let Some(coming) = &mut self.coming else { return };
        let Some(far_node) = coming.unanswered.remove(&link) else { return };
        if let Err(reason) = outcome {
            coming.errors.push(format!("link {link} to {far_node}: {reason}"));
            self.overlay.links.retain(|kept| kept.id != link);
        }
        self.finish_overlay();
    }

    /// Once all links are there: pairs begin to move, and what is no longer wanted goes.
    fn finish_overlay(&mut self) {
        let Some(Coming { errors, leaving, .. }) = self.coming.take_if(|coming| coming.unanswered.is_empty())
        else {
            return;
        };
        let begin = self.reconcile_all();
        self.install(begin, Vec::new());
        self.actions.extend(leaving.into_iter().map(Action::RemoveLink));
        self.actions.push_back(Action::Keep);
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        self.actions.push_back(Action::Applied { revision: self.overlay.revision, error });
    }
}

/// The links of `old` that are not, or not the same, in `new`.
fn missing(old: &[OverlayLink], new: &[OverlayLink]) -> Vec<LinkId> {
    old.iter().filter(|link| !new.contains(link)).map(|link| link.id).collect()
}

fn same_far_end(one: &OverlayLink, other: &OverlayLink) -> bool {
    one.endpoint == other.endpoint && one.far_address == other.far_address
}

#[cfg(test)]
mod tests;
