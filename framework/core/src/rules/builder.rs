//! Building a [`RuleSet`]: everything is checked first, then all of it is taken, or nothing.

use thiserror::Error;

use crate::frame::IngressSlot;
use crate::ids::{InterfaceId, LinkClass, LinkId};
use crate::rules::{Action, IngressMatch, Rank, Rule, RuleSet, StarRole};

/// Why a rule set was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleSetError {
    /// The rule matches no frame at all (see [`Rule::rank`]).
    #[error("rule {0:?} can never match")]
    NeverMatches(Rule),
    /// The rule names a link that the node does not have.
    #[error("rule {0:?} names link {1}, which this node does not have")]
    UnknownLink(Rule, LinkId),
    /// The rule names an interface that the node does not have.
    #[error("rule {0:?} names interface {id}, which this node does not have", id = .1.0)]
    UnknownInterface(Rule, InterfaceId),
    /// The same link was added twice.
    #[error("link {0} is given twice")]
    DuplicateLink(LinkId),
    /// More links than a frame key can tell apart.
    #[error("{0} links are more than {max}", max = IngressSlot::MAX_LINKS)]
    TooManyLinks(usize),
}

/// Collects what a [`RuleSet`] is made of.
#[derive(Clone, Debug)]
pub struct RuleSetBuilder {
    generation: u64,
    role: StarRole,
    interfaces: Vec<InterfaceId>,
    links: Vec<(LinkId, LinkClass)>,
    rules: Vec<Rule>,
}

impl RuleSetBuilder {
    /// Starts a set. `generation` is the caller's number for it and grows with every change.
    pub fn new(generation: u64, role: StarRole) -> Self {
        RuleSetBuilder { generation, role, interfaces: Vec::new(), links: Vec::new(), rules: Vec::new() }
    }

    /// Adds one of the node's interfaces.
    pub fn interface(&mut self, id: InterfaceId) -> &mut Self {
        self.interfaces.push(id);
        self
    }

    /// Adds one of the node's links.
    pub fn link(&mut self, id: LinkId, class: LinkClass) -> &mut Self {
        self.links.push((id, class));
        self
    }

    /// Adds a rule. The order of rules means nothing.
    pub fn rule(&mut self, rule: Rule) -> &mut Self {
        self.rules.push(rule);
        self
    }

    /// Checks everything and builds the set, or nothing.
    ///
    /// # Errors
    /// A rule that cannot match or names what the node does not have; links given twice or too many.
    pub fn build(&self) -> Result<RuleSet, RuleSetError> {
        let mut interfaces = self.interfaces.clone();
        interfaces.sort_unstable();
        interfaces.dedup();
        let mut links = self.links.clone();
        links.sort_unstable();
        if let Some(pair) = links.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RuleSetError::DuplicateLink(pair[0].0));
        }
        if links.len() > IngressSlot::MAX_LINKS {
            return Err(RuleSetError::TooManyLinks(links.len()));
        }
        let own = Own { interfaces: &interfaces, links: &links };
        let rules = self.rules.iter().map(|rule| own.check(*rule)).collect::<Result<Vec<_>, _>>()?;
        Ok(RuleSet::of_checked(self.generation, self.role, interfaces, links, rules))
    }
}

/// What the node has, each sorted by id.
struct Own<'a> {
    interfaces: &'a [InterfaceId],
    links: &'a [(LinkId, LinkClass)],
}

impl Own<'_> {
    fn check(&self, rule: Rule) -> Result<(Rank, Rule), RuleSetError> {
        let rank = rule.rank().ok_or(RuleSetError::NeverMatches(rule))?;
        match rule.ingress {
            IngressMatch::Interface(id) => self.check_interface(rule, id)?,
            IngressMatch::Link(id) => self.check_link(rule, id)?,
            IngressMatch::Any | IngressMatch::AnyInterface | IngressMatch::AnyLink => {}
        }
        match rule.action {
            Action::Deliver(id) => self.check_interface(rule, id)?,
            Action::Send(id) => self.check_link(rule, id)?,
            Action::Flood | Action::Hold(_) | Action::Return | Action::Drop => {}
        }
        Ok((rank, rule))
    }

    fn check_interface(&self, rule: Rule, id: InterfaceId) -> Result<(), RuleSetError> {
        let known = self.interfaces.binary_search(&id).is_ok();
        if known { Ok(()) } else { Err(RuleSetError::UnknownInterface(rule, id)) }
    }

    fn check_link(&self, rule: Rule, id: LinkId) -> Result<(), RuleSetError> {
        let known = self.links.binary_search_by_key(&id, |(link, _)| *link).is_ok();
        if known { Ok(()) } else { Err(RuleSetError::UnknownLink(rule, id)) }
    }
}

#[cfg(test)]
mod tests {
    use vreserve_model::MacAddr;

    use super::*;
    use crate::rules::MacMatch;

    const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn refusal(build: impl FnOnce(&mut RuleSetBuilder)) -> String {
        let mut builder = RuleSetBuilder::new(1, StarRole::Leaf);
        builder.interface(InterfaceId(1)).link(LinkId(1), LinkClass::Star);
        build(&mut builder);
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn a_set_with_one_wrong_part_is_refused_as_a_whole_and_names_the_part() {
        let to = |action| Rule::to(GUEST, action);
        let text = refusal(|b| _ = b.rule(to(Action::Send(LinkId(9)))));
        assert!(text.ends_with("names link 9, which this node does not have"), "{text}");
        let text = refusal(|b| _ = b.rule(to(Action::Deliver(InterfaceId(9)))));
        assert!(text.ends_with("names interface 9, which this node does not have"), "{text}");
        let elsewhere = to(Action::Flood).from_ingress(IngressMatch::Link(LinkId(9)));
        assert!(refusal(|b| _ = b.rule(elsewhere)).contains("link 9"));
        let never = Rule::new(MacMatch::Not(GUEST), MacMatch::Not(GUEST), Action::Drop);
        assert!(refusal(|b| _ = b.rule(never)).ends_with("can never match"));
        assert_eq!(refusal(|b| _ = b.link(LinkId(1), LinkClass::Circuit)), "link 1 is given twice");
    }
}
