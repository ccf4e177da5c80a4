//! A node's rules, interfaces and links as one immutable value, and what they make of a frame.
//!
//! Built once on the control plane and shared by all workers. A frame that the cache does not know is
//! resolved through an index of exact addresses ([`index`](super::index)): at most four look-ups whatever
//! the number of rules, and a walk over those that name no exact address, which are few.

use std::fmt;

use crate::drops::DropReason;
use crate::frame::{EthernetHeader, IngressSlot};
use crate::ids::{Ingress, InterfaceId, LinkClass, LinkId, SwitchId};
use crate::rules::index::{Addresses, Index};
use crate::rules::{Action, Rank, Rule};

/// Where the node stands in the star.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StarRole {
    /// The proxy: repeats floods from one star link to the others.
    Hub,
    /// Every other node: its star link leads to the hub.
    Leaf,
}

/// Where one copy of a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Out on an interface.
    Interface(InterfaceId),
    /// Out on a link.
    Link(LinkId),
}

/// What the rules make of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It goes to the targets that were written to the caller's list: at least one, in order, each once.
    Targets,
    /// It waits for the cut-over of its pair.
    Hold(SwitchId),
    /// It goes nowhere.
    Drop(DropReason),
}

/// The rules, interfaces and links that are in force on a node; never changed, only replaced.
#[derive(Clone)]
pub struct RuleSet {
    generation: u64,
    role: StarRole,
    interfaces: Vec<InterfaceId>,
    /// By id; the position is the link's [`IngressSlot`].
    links: Vec<(LinkId, LinkClass)>,
    /// By the exact addresses they name, so that those which name the same lie together.
    rules: Vec<(Rank, Rule)>,
    index: Index,
}

impl RuleSet {
    /// A node without interfaces, links and rules, of generation 0.
    pub fn empty() -> Self {
        RuleSet::of_checked(0, StarRole::Leaf, Vec::new(), Vec::new(), Vec::new())
    }

    /// The set of parts that the builder has checked: interfaces and links sorted and unique, rules with
    /// their rank, naming only those.
    pub(super) fn of_checked(
        generation: u64,
        role: StarRole,
        interfaces: Vec<InterfaceId>,
        links: Vec<(LinkId, LinkClass)>,
        mut rules: Vec<(Rank, Rule)>,
    ) -> Self {
        rules.sort_by_key(|(_, rule)| Addresses::of_rule(rule));
        let index = Index::of_sorted(rules.iter().map(|(_, rule)| Addresses::of_rule(rule)));
        RuleSet { generation, role, interfaces, links, rules, index }
    }

    /// The number its builder was given.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where the node stands in the star.
    pub fn role(&self) -> StarRole {
        self.role
    }

    /// The interfaces, by id.
    pub fn interfaces(&self) -> &[InterfaceId] {
        &self.interfaces
    }

    /// The links, by id.
    pub fn links(&self) -> &[(LinkId, LinkClass)] {
        &self.links
    }

    /// The rules, by the exact addresses they name; those that name the same in the order they were added.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter().map(|(_, rule)| rule)
    }

    /// The class of a link, or none if the node does not have it.
    pub fn class_of(&self, link: LinkId) -> Option<LinkClass> {
        self.position(link).map(|at| self.links[at].1)
    }

    /// The slot that stands for an ingress in frame keys under this set, or none if the node does not
    /// have the ingress.
    pub fn slot_of(&self, ingress: Ingress) -> Option<IngressSlot> {
        match ingress {
            Ingress::Interface(id) => {
                self.interfaces.binary_search(&id).is_ok().then(|| IngressSlot::interface(id))
            }
            Ingress::Link(id) => self.position(id).and_then(IngressSlot::link),
        }
    }

    /// True for interfaces and static links of this node: behind them are its own guests.
    pub fn is_local(&self, ingress: Ingress) -> bool {
        match ingress {
            Ingress::Interface(id) => self.interfaces.binary_search(&id).is_ok(),
            Ingress::Link(id) => self.class_of(id) == Some(LinkClass::Static),
        }
    }

    /// What happens to a frame with this header from this ingress of the node.
    ///
    /// `learned` is where the node has learned the destination, if it has. `targets` is emptied, and
    /// filled if the answer is [`Resolution::Targets`]; it is the caller's so that nothing is allocated
    /// here once it has grown.
    pub fn resolve(
        &self,
        ingress: Ingress,
        header: &EthernetHeader,
        learned: Option<Ingress>,
        targets: &mut Vec<Target>,
    ) -> Resolution {
        targets.clear();
        let candidates = self.candidates(header);
        let matching =
            || candidates.iter().copied().flatten().filter(|(_, rule)| rule.matches(ingress, header));
        let strongest = matching().map(|(rank, _)| *rank).max();
        let (mut hold, mut returns) = (None, false);
        match (strongest, learned) {
            (strongest, Some(place)) if strongest < Some(Rank::LEARNED) => targets.push(place.into()),
            (None, _) => self.flood(ingress, targets),
            (Some(strongest), _) => {
                for (_, rule) in matching().filter(|(rank, _)| *rank == strongest) {
                    match rule.action {
                        Action::Deliver(id) => targets.push(Target::Interface(id)),
                        Action::Send(id) => targets.push(Target::Link(id)),
                        Action::Flood => self.flood(ingress, targets),
                        // Two cut-overs of one pair at once would be the host's mistake; the first
                        // in order of id keeps the answer the same on every worker.
                        Action::Hold(id) => hold = hold.min(Some(id)).or(Some(id)),
                        Action::Return => returns = true,
                        Action::Drop => return Resolution::Drop(DropReason::Denied),
                    }
                }
            }
        }
        match hold {
            _ if returns => {
                targets.clear();
                targets.push(ingress.into());
                Resolution::Targets
            }
            Some(id) => Resolution::Hold(id),
            None => without_echo(ingress, targets),
        }
    }

    /// All targets that a flood from `ingress` may reach by split horizon. Never a circuit: what runs
    /// there was reserved for named pairs. What comes over one is for a guest here, of whom a node that has just
    /// started may not have heard yet: it floods to this side, and never on to the star.
    fn flood(&self, ingress: Ingress, targets: &mut Vec<Target>) {
        let class = match ingress {
            Ingress::Interface(_) => None,
            Ingress::Link(id) => self.class_of(id),
        };
        let reaches_star = match class {
            None | Some(LinkClass::Static) => true,
            Some(LinkClass::Star) => self.role == StarRole::Hub,
            Some(LinkClass::Circuit) => false,
        };
        let interfaces = self.interfaces.iter().map(|id| Target::Interface(*id));
        let links = self.links.iter().filter(|(_, class)| match class {
            LinkClass::Static => true,
            LinkClass::Star => reaches_star,
            LinkClass::Circuit => false,
        });
        let all = interfaces.chain(links.map(|(id, _)| Target::Link(*id)));
        targets.extend(all.filter(|target| *target != ingress.into()));
    }

    /// The rules that the addresses do not rule out, in four runs.
    fn candidates(&self, header: &EthernetHeader) -> [&[(Rank, Rule)]; 4] {
        Addresses::that_fit(header).map(|addresses| &self.rules[self.index.find(addresses)])
    }

    fn position(&self, link: LinkId) -> Option<usize> {
        self.links.binary_search_by_key(&link, |(id, _)| *id).ok()
    }
}

/// Orders the targets and takes out the ingress, which only a rule or a learned place can have named: a
/// frame never leaves where it came in, but for [`Action::Return`].
fn without_echo(ingress: Ingress, targets: &mut Vec<Target>) -> Resolution {
    targets.sort_unstable();
    targets.dedup();
    let asked = targets.len();
    targets.retain(|target| *target != ingress.into());
    match (asked, targets.len()) {
        (0, _) => Resolution::Drop(DropReason::NoTarget),
        (_, 0) => Resolution::Drop(DropReason::Hairpin),
        _ => Resolution::Targets,
    }
}

impl From<Ingress> for Target {
    fn from(ingress: Ingress) -> Self {
        match ingress {
            Ingress::Interface(id) => Target::Interface(id),
            Ingress::Link(id) => Target::Link(id),
        }
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet")
            .field("generation", &self.generation)
            .field("role", &self.role)
            .field("interfaces", &self.interfaces)
            .field("links", &self.links)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
