//! What the agent wants done for a part of the overlay, for a link that cannot be had, and for one that dies. How
//! it gets along with a worker and a lead is tested in `framework/host/tests/agent.rs`, and on a virtual clock in
//! `tests/sim`.

use super::*;
use crate::key::PublicKey;
use crate::overlay::{GuestWay, PairRelay, PairWay};
use crate::rules::{self, IngressMatch, Rule};
use crate::switch::{Path, SwitchEnd, SwitchOutcome};

const STAR: LinkId = LinkId(1);
const CIRCUIT: LinkId = LinkId(2);
const SOURCE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const DESTINATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn link(id: LinkId, class: LinkClass, far: &str) -> OverlayLink {
    OverlayLink {
        id,
        class,
        far_node: far.into(),
        endpoint: format!("{class}"),
        far_address: format!("{far}:4789"),
        far_key: PublicKey([1; 32]),
    }
}

/// The star and a circuit, with the pair on it.
fn overlay(revision: u64) -> NodeOverlay {
    NodeOverlay {
        revision,
        links: vec![link(STAR, LinkClass::Star, "hub"), link(CIRCUIT, LinkClass::Circuit, "n2")],
        pairs: vec![PairWay { source: SOURCE, destination: DESTINATION, link: CIRCUIT, onward: None }],
        relays: Vec::new(),
        guests: vec![GuestWay { guest: DESTINATION, link: STAR }],
    }
}

fn agent() -> Agent {
    Agent::new(StarRole::Leaf, vec![InterfaceId(0)], Vec::new())
}

/// Everything that is wanted done now, in a word each; links are answered as `outcome` says.
fn done(agent: &mut Agent, outcome: fn(LinkId) -> Result<(), String>) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(action) = agent.poll_action() {
        words.push(match action {
            Action::Install { begin, retire, .. } => format!("install +{} -{}", begin.len(), retire.len()),
            Action::NotInstalled(error) => format!("not installed: {error}"),
            Action::AddLink(link) => {
                agent.handle_link_added(link.id, outcome(link.id));
                format!("add {}", link.id)
            }
            Action::RemoveLink(link) => format!("remove {link}"),
            Action::Release(_) => "release".into(),
            Action::Abandon(_) => "abandon".into(),
            Action::Keep => "keep".into(),
            Action::Applied { revision, error } => format!("applied {revision} {}", error.is_none()),
            Action::Switched { outcome, .. } => format!("switched {}", outcome.aborted.is_none()),
            Action::LinkState { link, up } => format!("link {link} {up}"),
            Action::LinkDegraded { link, .. } => format!("degraded {link}"),
        });
    }
    words
}

fn ended(end: SwitchEnd) -> SwitchOutcome {
    let held_for = std::time::Duration::ZERO;
    SwitchOutcome { end, held_frames: 0, held_bytes: 0, held_for, barriers: 1, dropped: 0 }
}

#[test]
fn links_come_before_pairs_move_and_go_after_they_have_left() {
    let mut agent = agent();
    agent.handle_overlay(overlay(1));
    let words = done(&mut agent, |_| Ok(()));
    assert_eq!(words, ["add 1", "add 2", "install +1 -0", "keep", "applied 1 true"]);
    agent.handle_cutover_ended(SwitchId(1), &ended(SwitchEnd::Completed));
    assert_eq!(done(&mut agent, |_| Ok(())), ["install +0 -1", "switched true"]);
    assert_eq!(agent.in_force().1, overlay(1).pairs);
    // The pair is at rest on the star before the link is removed, without a barrier: the lead says so at once.
    let star = NodeOverlay { revision: 2, ..overlay(1).star() };
    agent.handle_overlay(star);
    assert_eq!(done(&mut agent, |_| Ok(())), ["install +0 -0", "remove 2", "keep", "applied 2 true"]);
    assert!(agent.in_force().1.is_empty());
}

#[test]
fn a_pair_does_not_move_to_a_link_that_could_not_be_had() {
    let mut agent = agent();
    agent.handle_overlay(overlay(1));
    let words = done(&mut agent, |id| if id == CIRCUIT { Err("no memory".into()) } else { Ok(()) });
    assert_eq!(words, ["add 1", "add 2", "switched false", "install +0 -0", "keep", "applied 1 false"]);
    assert_eq!(agent.overlay().links.len(), 1);
}

#[test]
fn a_dead_circuits_pairs_are_on_the_star_before_the_lead_is_told() {
    let mut agent = agent();
    agent.handle_overlay(overlay(1));
    done(&mut agent, |_| Ok(()));
    agent.handle_cutover_ended(SwitchId(1), &ended(SwitchEnd::Completed));
    done(&mut agent, |_| Ok(()));
    agent.handle_health(CIRCUIT, LinkHealth::Down);
    assert_eq!(done(&mut agent, |_| Ok(())), ["install +0 -0", "link 2 false"]);
    assert!(agent.in_force().1.is_empty() && agent.in_force().0.len() == 1);
}

#[test]
fn a_relayed_pairs_barrier_asks_for_no_answer_over_its_circuit() {
    let mut agent = agent();
    let mut overlay = overlay(1);
    overlay.pairs[0].onward = Some(LinkId(3));
    agent.handle_overlay(overlay.clone());
    let mut begun = Vec::new();
    while let Some(action) = agent.poll_action() {
        match action {
            Action::AddLink(link) => agent.handle_link_added(link.id, Ok(())),
            Action::Install { begin, .. } => begun.extend(begin),
            _ => {}
        }
    }
    let begun = begun.into_iter().map(|spec| (spec.switch.circuit, spec.switch.new));
    assert_eq!(begun.collect::<Vec<_>>(), [(None, Path::Link(CIRCUIT))]);
    agent.handle_cutover_ended(SwitchId(1), &ended(SwitchEnd::Completed));
    assert_eq!(agent.in_force().1, overlay.pairs);
    // A lead that has just begun knows of no guest yet: what the relay sends back has its way all the same.
    overlay.guests.clear();
    overlay.revision = 2;
    agent.handle_overlay(overlay);
    let back = Rule::pair(SOURCE, DESTINATION, rules::Action::Send(STAR));
    let back = back.from_ingress(IngressMatch::Link(CIRCUIT));
    assert!(agent.rules().rules().any(|rule| *rule == back));
}

#[test]
fn what_is_relayed_goes_back_once_the_circuit_onward_is_dead() {
    let onward = LinkId(3);
    let mut agent = agent();
    let mut overlay = overlay(1);
    overlay.links.push(link(onward, LinkClass::Circuit, "n3"));
    overlay.pairs.clear();
    overlay.relays.push(PairRelay { source: SOURCE, destination: DESTINATION, from: CIRCUIT, to: onward });
    agent.handle_overlay(overlay);
    done(&mut agent, |_| Ok(()));
    let star = Rule::to(DESTINATION, rules::Action::Send(STAR));
    let relay = |action| Rule::pair(SOURCE, DESTINATION, action).from_ingress(IngressMatch::Link(CIRCUIT));
    let in_force = |agent: &Agent| agent.rules().rules().copied().collect::<Vec<_>>();
    assert_eq!(in_force(&agent), [relay(rules::Action::Send(onward)), star]);
    agent.handle_health(onward, LinkHealth::Down);
    assert_eq!(in_force(&agent), [relay(rules::Action::Return), star]);
}

#[test]
fn a_cut_over_to_a_link_that_dies_is_abandoned() {
    let mut agent = agent();
    agent.handle_overlay(overlay(1));
    done(&mut agent, |_| Ok(()));
    agent.handle_health(CIRCUIT, LinkHealth::Down);
    assert_eq!(done(&mut agent, |_| Ok(())), ["abandon", "install +0 -0", "link 2 false"]);
}
