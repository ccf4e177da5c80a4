//! Rules: which frames they match, how strongly, and what they want done.
//!
//! One rule is here; the set of a node's rules, with its index and the flood, is [`RuleSet`].
//! Matching is by source and destination address after the table of VNET (2009): of all rules that match
//! a frame, those of the highest rank fire, all of them, which is how a frame is duplicated.

mod builder;
mod index;
mod set;

pub use builder::{RuleSetBuilder, RuleSetError};
pub use set::{Resolution, RuleSet, StarRole, Target};

use serde::{Deserialize, Serialize};
use vreserve_model::MacAddr;

use crate::frame::EthernetHeader;
use crate::ids::{Ingress, InterfaceId, LinkId, SwitchId};

/// How a rule looks at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MacMatch {
    /// Every address.
    Any,
    /// Every address but this one.
    Not(MacAddr),
    /// This address.
    Exact(MacAddr),
    /// As a destination, beside an exact source: the default rule of that source, for frames that no
    /// rule but the catch-all wants.
    None,
}

/// How a rule looks at where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IngressMatch {
    /// Anywhere.
    Any,
    /// On this interface.
    Interface(InterfaceId),
    /// On one of the node's interfaces.
    AnyInterface,
    /// On this link.
    Link(LinkId),
    /// On one of the node's links, whatever its class.
    AnyLink,
}

/// What a rule wants done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Hand it out on an interface.
    Deliver(InterfaceId),
    /// Send it on a link.
    Send(LinkId),
    /// Send it to all that the split horizon allows.
    Flood,
    /// Keep it until the cut-over of its pair ends.
    Hold(SwitchId),
    /// Send it back where it came from, and do nothing else with it: what a relay does whose circuit onward is dead.
    /// The node before it takes another way.
    Return,
    /// Drop it as denied. Outweighs every other action of the same rank.
    Drop,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Which senders.
    pub source: MacMatch,
    /// Which receivers.
    pub destination: MacMatch,
    /// Which VLAN, 1 to 4095; none for every frame, tagged or not.
    pub vlan: Option<u16>,
    /// Where the frame came in.
    pub ingress: IngressMatch,
    /// What to do.
    pub action: Action,
}

/// The strength of a rule, to be compared.
///
/// First the priority of its two address matches in VNET's table of 2009. Among equals, a rule bound to
/// one interface or link outranks one bound to all interfaces or all links, and that one outranks a rule
/// for every ingress; among those still equal, a rule with a VLAN outranks one without. Ingress comes
/// before VLAN because it is what keeps a hub from echoing a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(u8);

impl Rank {
    /// The strength of what the node learned itself: that of a rule for any source and this exact
    /// destination, but below every written rule of that priority, so that learning never duplicates a
    /// frame and a written word stands.
    pub const LEARNED: Rank = Rank(ONE_EXACT << 4);

    /// The priority of the address matches alone, 3 (weakest) to 8.
    pub const fn priority(self) -> u8 {
        self.0 >> 4
    }
}

const ANY_ANY: u8 = 3;
const DEFAULT_RULE: u8 = 4;
const ONE_NOT: u8 = 5;
const ONE_EXACT: u8 = 6;
const EXACT_AND_NOT: u8 = 7;
const BOTH_EXACT: u8 = 8;

impl Rule {
    /// A rule for frames on any VLAN from any ingress.
    pub const fn new(source: MacMatch, destination: MacMatch, action: Action) -> Self {
        Rule { source, destination, vlan: None, ingress: IngressMatch::Any, action }
    }

    /// A rule for what one guest sends to another.
    pub const fn pair(source: MacAddr, destination: MacAddr, action: Action) -> Self {
        Rule::new(MacMatch::Exact(source), MacMatch::Exact(destination), action)
    }

    /// A rule for all that goes to one guest.
    pub const fn to(destination: MacAddr, action: Action) -> Self {
        Rule::new(MacMatch::Any, MacMatch::Exact(destination), action)
    }

    /// The same rule for one place of entry only.
    pub const fn from_ingress(self, ingress: IngressMatch) -> Self {
        Rule { ingress, ..self }
    }

    /// The same rule for one VLAN only.
    pub const fn on_vlan(self, vlan: u16) -> Self {
        Rule { vlan: Some(vlan), ..self }
    }

    /// The rule's strength, or none if it can never fire: not/not, a missing source, a missing
    /// destination beside anything but an exact source, a VLAN id that no tag carries.
    pub const fn rank(&self) -> Option<Rank> {
        if matches!(self.vlan, Some(0 | 4096..)) {
            return None;
        }
        let priority = match (self.source, self.destination) {
            (MacMatch::Any, MacMatch::Any) => ANY_ANY,
            (MacMatch::Exact(_), MacMatch::None) => DEFAULT_RULE,
            (MacMatch::Any, MacMatch::Not(_)) | (MacMatch::Not(_), MacMatch::Any) => ONE_NOT,
            (MacMatch::Exact(_), MacMatch::Any) | (MacMatch::Any, MacMatch::Exact(_)) => ONE_EXACT,
            (MacMatch::Exact(_), MacMatch::Not(_)) | (MacMatch::Not(_), MacMatch::Exact(_)) => EXACT_AND_NOT,
            (MacMatch::Exact(_), MacMatch::Exact(_)) => BOTH_EXACT,
            (MacMatch::Not(_), MacMatch::Not(_) | MacMatch::None)
            | (MacMatch::Any, MacMatch::None)
            | (MacMatch::None, _) => return None,
        };
        let ingress = match self.ingress {
            IngressMatch::Any => 0,
            IngressMatch::AnyInterface | IngressMatch::AnyLink => 1,
            IngressMatch::Interface(_) | IngressMatch::Link(_) => 2,
        };
        // One above the bottom of its priority, which is left to what is learned.
        Some(Rank(priority << 4 | (1 + ingress * 2 + self.vlan.is_some() as u8)))
    }

    /// True if the rule matches a frame with this header from this ingress.
    pub fn matches(&self, ingress: Ingress, header: &EthernetHeader) -> bool {
        self.source.admits(header.source())
            && self.destination.admits(header.destination())
            && self.vlan.is_none_or(|vlan| header.vlan() == Some(vlan))
            && self.ingress.admits(ingress)
    }
}

impl MacMatch {
    /// The address, if the match is exact.
    pub const fn exact(self) -> Option<MacAddr> {
        match self {
            MacMatch::Exact(mac) => Some(mac),
            MacMatch::Any | MacMatch::Not(_) | MacMatch::None => None,
        }
    }

    fn admits(self, mac: MacAddr) -> bool {
        match self {
            MacMatch::Any | MacMatch::None => true,
            MacMatch::Not(other) => mac != other,
            MacMatch::Exact(own) => mac == own,
        }
    }
}

impl IngressMatch {
    fn admits(self, ingress: Ingress) -> bool {
        match (self, ingress) {
            (IngressMatch::Any, _)
            | (IngressMatch::AnyInterface, Ingress::Interface(_))
            | (IngressMatch::AnyLink, Ingress::Link(_)) => true,
            (IngressMatch::Interface(own), Ingress::Interface(id)) => own == id,
            (IngressMatch::Link(own), Ingress::Link(id)) => own == id,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn rank(source: MacMatch, destination: MacMatch) -> Option<u8> {
        Rule::new(source, destination, Action::Flood).rank().map(Rank::priority)
    }

    #[test]
    fn priorities_follow_the_table_of_2009() {
        use MacMatch::{Any, Exact, None as Default, Not};
        for (source, destination, priority) in [
            (Any, Any, Some(3)),
            (Exact(A), Default, Some(4)),
            (Any, Not(B), Some(5)),
            (Not(A), Any, Some(5)),
            (Exact(A), Any, Some(6)),
            (Any, Exact(B), Some(6)),
            (Exact(A), Not(B), Some(7)),
            (Not(A), Exact(B), Some(7)),
            (Exact(A), Exact(B), Some(8)),
            (Not(A), Not(B), None),
            (Any, Default, None),
            (Not(A), Default, None),
            (Default, Exact(B), None),
        ] {
            assert_eq!(rank(source, destination), priority, "{source:?} / {destination:?}");
        }
    }

    #[test]
    fn qualifiers_decide_only_among_equal_address_matches() {
        let plain = Rule::to(B, Action::Flood);
        let any_link = plain.from_ingress(IngressMatch::AnyLink);
        let one_link = plain.from_ingress(IngressMatch::Link(LinkId(7)));
        let ladder = [
            plain,
            plain.on_vlan(5),
            any_link,
            any_link.on_vlan(5),
            one_link,
            one_link.on_vlan(5),
            Rule::pair(A, B, Action::Flood),
        ];
        assert!(ladder.is_sorted_by(|low, high| low.rank() < high.rank()));
        assert!(Some(Rank::LEARNED) < plain.rank());
        assert!(Some(Rank::LEARNED) > Rule::new(MacMatch::Any, MacMatch::Not(A), Action::Flood).rank());
    }

    #[test]
    fn a_vlan_that_no_tag_carries_never_matches() {
        assert_eq!(Rule::to(B, Action::Flood).on_vlan(0).rank(), None);
        assert_eq!(Rule::to(B, Action::Flood).on_vlan(4096).rank(), None);
    }
}
