//! The forwarder against its own rules: scenarios of a leaf and a hub, and properties against a plain
//! matcher that walks every rule, floods by the book and caches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use vreserve_core::counters::{Cell, Weight};
use vreserve_core::drops::DropReason;
use vreserve_core::forward::{Forwarder, ForwarderConfig, Verdict};
use vreserve_core::frame::{EthernetHeader, SIGNAL_ETHERTYPE};
use vreserve_core::ids::{Ingress, InterfaceId, LinkClass, LinkId, SwitchId};
use vreserve_core::learn::{LearnEvent, LearnLimits};
use vreserve_core::rules::{
    Action, IngressMatch, MacMatch, Rank, Rule, RuleSet, RuleSetBuilder, StarRole, Target,
};
use vreserve_model::{MacAddr, Timestamp};

const TAP: InterfaceId = InterfaceId(1);
const VETH: InterfaceId = InterfaceId(2);
const STAR: LinkId = LinkId(10);
const STAR_2: LinkId = LinkId(11);
const CIRCUIT: LinkId = LinkId(20);
const SWITCH: LinkId = LinkId(30);
const NOW: Timestamp = Timestamp(0);

fn guest(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn frame(destination: MacAddr, source: MacAddr, vlan: Option<u16>, ethertype: u16) -> Vec<u8> {
    let tag = vlan.map_or(vec![], |id| [0x8100u16.to_be_bytes(), id.to_be_bytes()].concat());
    [&destination.0[..], &source.0, &tag, &ethertype.to_be_bytes(), &[0; 46]].concat()
}

fn node(role: StarRole, rules: &[Rule]) -> Forwarder {
    let mut builder = RuleSetBuilder::new(1, role);
    builder.interface(TAP).interface(VETH);
    builder.link(STAR, LinkClass::Star).link(CIRCUIT, LinkClass::Circuit).link(SWITCH, LinkClass::Static);
    if role == StarRole::Hub {
        builder.link(STAR_2, LinkClass::Star);
    }
    rules.iter().for_each(|rule| _ = builder.rule(*rule));
    let mut forwarder = Forwarder::new(ForwarderConfig::default());
    forwarder.install(Arc::new(builder.build().expect("the rules name what the node has")));
    forwarder
}

fn ask(forwarder: &mut Forwarder, ingress: Ingress, destination: MacAddr, source: MacAddr) -> Verdict {
    forwarder.forward(ingress, &frame(destination, source, None, 0x0800), Weight::frame(60), NOW)
}

fn flooded(forwarder: &mut Forwarder, ingress: Ingress, source: MacAddr) -> Vec<Target> {
    match ask(forwarder, ingress, MacAddr::BROADCAST, source) {
        Verdict::Flood(fan_out) => forwarder.targets(fan_out).to_vec(),
        other => panic!("{other:?} is no flood"),
    }
}

const FROM_TAP: Ingress = Ingress::Interface(TAP);
const FROM_STAR: Ingress = Ingress::Link(STAR);
const FROM_CIRCUIT: Ingress = Ingress::Link(CIRCUIT);

#[test]
fn a_leaf_floods_between_its_guests_and_the_star_and_never_into_a_circuit() {
    let mut leaf = node(StarRole::Leaf, &[]);
    let local = [Target::Interface(TAP), Target::Interface(VETH), Target::Link(SWITCH)];
    let from_tap = flooded(&mut leaf, FROM_TAP, guest(1));
    assert_eq!(from_tap, [Target::Interface(VETH), Target::Link(STAR), Target::Link(SWITCH)]);
    let from_switch = flooded(&mut leaf, Ingress::Link(SWITCH), guest(2));
    assert_eq!(from_switch, [Target::Interface(TAP), Target::Interface(VETH), Target::Link(STAR)]);
    assert_eq!(flooded(&mut leaf, FROM_STAR, guest(9)), local);
    // A node that has just started knows none of its guests, and one that only listens would never be found.
    assert_eq!(flooded(&mut leaf, FROM_CIRCUIT, guest(9)), local);
}

#[test]
fn the_hub_repeats_a_flood_to_the_other_star_links_once() {
    let mut hub = node(StarRole::Hub, &[]);
    let targets = flooded(&mut hub, FROM_STAR, guest(9));
    let wanted =
        [Target::Interface(TAP), Target::Interface(VETH), Target::Link(STAR_2), Target::Link(SWITCH)];
    assert_eq!(targets, wanted);
}

#[test]
fn a_learned_guest_is_reached_directly_from_every_side() {
    let mut leaf = node(StarRole::Leaf, &[]);
    ask(&mut leaf, FROM_TAP, MacAddr::BROADCAST, guest(1));
    ask(&mut leaf, Ingress::Link(SWITCH), MacAddr::BROADCAST, guest(2));
    for ingress in [FROM_STAR, FROM_CIRCUIT, Ingress::Interface(VETH)] {
        assert_eq!(ask(&mut leaf, ingress, guest(1), guest(9)), Verdict::Deliver(TAP));
    }
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(2), guest(1)), Verdict::Send(SWITCH));
    // Two guests of one segment hear each other without us.
    ask(&mut leaf, FROM_TAP, MacAddr::BROADCAST, guest(3));
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(3), guest(1)), Verdict::Drop(DropReason::Hairpin));
}

#[test]
fn frames_that_differ_only_behind_the_ethernet_header_are_told_apart() {
    let mut leaf = node(StarRole::Leaf, &[Rule::to(guest(9), Action::Send(CIRCUIT)).on_vlan(5)]);
    let mut ask_on = |vlan| {
        let octets = frame(guest(9), guest(1), Some(vlan), 0x0800);
        leaf.forward(FROM_TAP, &octets, Weight::frame(60), NOW)
    };
    // A tag with id 0 is no VLAN at all, and looks the same up to the tag.
    for _ in 0..2 {
        assert!(matches!(ask_on(0), Verdict::Flood(_)));
        assert!(matches!(ask_on(0), Verdict::Flood(_)));
        assert_eq!(ask_on(5), Verdict::Send(CIRCUIT));
        assert!(matches!(ask_on(6), Verdict::Flood(_)));
    }
}

#[test]
fn nothing_is_learned_from_the_overlay() {
    let mut leaf = node(StarRole::Leaf, &[]);
    ask(&mut leaf, FROM_STAR, MacAddr::BROADCAST, guest(9));
    ask(&mut leaf, FROM_CIRCUIT, guest(1), guest(8));
    assert_eq!(leaf.guests().iter().len(), 0);
    assert_eq!(leaf.poll_event(), None);
}

#[test]
fn a_pair_on_a_circuit_leaves_the_star_and_returns_to_it_with_the_rules() {
    let mut leaf = node(StarRole::Leaf, &[Rule::to(guest(9), Action::Send(STAR))]);
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(9), guest(1)), Verdict::Send(STAR));
    let mut builder = RuleSetBuilder::new(2, StarRole::Leaf);
    builder.interface(TAP).link(STAR, LinkClass::Star).link(CIRCUIT, LinkClass::Circuit);
    builder.rule(Rule::to(guest(9), Action::Send(STAR)));
    let star_only = Arc::new(builder.build().unwrap());
    builder.rule(Rule::pair(guest(1), guest(9), Action::Send(CIRCUIT)));
    leaf.install(Arc::new(builder.build().unwrap()));
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(9), guest(1)), Verdict::Send(CIRCUIT));
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(9), guest(2)), Verdict::Send(STAR));
    leaf.install(star_only);
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(9), guest(1)), Verdict::Send(STAR));
}

#[test]
fn a_pair_rule_outranks_what_was_learned_and_learning_never_duplicates_a_frame() {
    let rules =
        [Rule::pair(guest(1), guest(2), Action::Send(CIRCUIT)), Rule::to(guest(3), Action::Send(STAR))];
    let mut leaf = node(StarRole::Leaf, &rules);
    ask(&mut leaf, Ingress::Interface(VETH), MacAddr::BROADCAST, guest(2));
    ask(&mut leaf, Ingress::Interface(VETH), MacAddr::BROADCAST, guest(3));
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(2), guest(1)), Verdict::Send(CIRCUIT));
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(2), guest(4)), Verdict::Deliver(VETH));
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(3), guest(1)), Verdict::Send(STAR));
}

#[test]
fn rules_of_equal_rank_duplicate_a_frame_and_a_denial_among_them_wins() {
    let send = Rule::pair(guest(1), guest(9), Action::Send(CIRCUIT));
    let copy = Rule { action: Action::Deliver(VETH), ..send };
    let mut leaf = node(StarRole::Leaf, &[send, copy, send]);
    let Verdict::Flood(fan_out) = ask(&mut leaf, FROM_TAP, guest(9), guest(1)) else { panic!("one target") };
    assert_eq!(leaf.targets(fan_out), [Target::Interface(VETH), Target::Link(CIRCUIT)]);
    let mut leaf = node(StarRole::Leaf, &[send, copy, Rule { action: Action::Drop, ..send }]);
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(9), guest(1)), Verdict::Drop(DropReason::Denied));
}

#[test]
fn the_link_a_frame_came_on_tells_two_links_of_one_far_node_apart() {
    let hub_rule = Rule::pair(guest(8), guest(9), Action::Send(STAR_2));
    let rules = [
        hub_rule.from_ingress(IngressMatch::Link(STAR)),
        Rule { action: Action::Deliver(TAP), ..hub_rule.from_ingress(IngressMatch::Link(CIRCUIT)) },
    ];
    let mut hub = node(StarRole::Hub, &rules);
    assert_eq!(ask(&mut hub, FROM_STAR, guest(9), guest(8)), Verdict::Send(STAR_2));
    assert_eq!(ask(&mut hub, FROM_CIRCUIT, guest(9), guest(8)), Verdict::Deliver(TAP));
}

#[test]
fn a_hub_never_sends_a_frame_back_where_it_came_from() {
    let mut hub = node(StarRole::Hub, &[Rule::to(guest(9), Action::Send(STAR))]);
    assert_eq!(ask(&mut hub, FROM_STAR, guest(9), guest(8)), Verdict::Drop(DropReason::Hairpin));
    assert_eq!(ask(&mut hub, Ingress::Link(STAR_2), guest(9), guest(8)), Verdict::Send(STAR));
}

#[test]
fn hostile_frames_are_dropped_under_their_own_names() {
    let mut leaf = node(StarRole::Leaf, &[]);
    let mut drop_of = |ingress, octets: &[u8]| match leaf.forward(ingress, octets, Weight::frame(60), NOW) {
        Verdict::Drop(reason) => Some(reason),
        _ => None,
    };
    let good = frame(guest(2), guest(1), None, 0x0800);
    assert_eq!(drop_of(FROM_TAP, &good[..13]), Some(DropReason::Runt));
    let from_group = frame(guest(2), MacAddr::BROADCAST, None, 0x0800);
    assert_eq!(drop_of(FROM_TAP, &from_group), Some(DropReason::InvalidSource));
    assert_eq!(drop_of(Ingress::Link(LinkId(99)), &good), Some(DropReason::UnknownLink));
    assert_eq!(drop_of(Ingress::Interface(InterfaceId(99)), &good), Some(DropReason::NoTarget));
    for vlan in [None, Some(7)] {
        let signal = frame(guest(2), guest(1), vlan, SIGNAL_ETHERTYPE);
        assert_eq!(drop_of(FROM_TAP, &signal), Some(DropReason::ReservedEtherType));
        assert_eq!(drop_of(Ingress::Link(SWITCH), &signal), Some(DropReason::ReservedEtherType));
        assert_eq!(drop_of(FROM_STAR, &signal), None);
    }
}

#[test]
fn frames_are_counted_where_they_enter_the_overlay_and_only_if_they_go_somewhere() {
    let denied = Rule::pair(guest(1), guest(6), Action::Drop);
    let held = Rule::pair(guest(1), guest(7), Action::Hold(SwitchId(1)));
    let mut leaf = node(StarRole::Leaf, &[denied, held]);
    let super_frame = Weight { bytes: 64_000, frames: 45 };
    for _ in 0..3 {
        leaf.forward(FROM_TAP, &frame(guest(9), guest(1), Some(5), 0x0800), super_frame, NOW);
    }
    ask(&mut leaf, FROM_STAR, guest(1), guest(9));
    ask(&mut leaf, FROM_TAP, guest(6), guest(1));
    assert_eq!(ask(&mut leaf, FROM_TAP, guest(7), guest(1)), Verdict::Hold(SwitchId(1)));
    let mut cells = Vec::new();
    assert_eq!(leaf.poll_counters(NOW, &mut cells), Weight::ZERO);
    cells.sort_unstable();
    let cell = |destination, vlan, bytes, frames| Cell { source: guest(1), destination, vlan, bytes, frames };
    assert_eq!(cells, [cell(guest(7), 0xffff, 60, 1), cell(guest(9), 5, 192_000, 135)]);
}

#[test]
fn a_guest_that_only_hits_the_cache_stays_known_and_a_silent_one_is_forgotten() {
    let mut leaf = node(StarRole::Leaf, &[Rule::pair(guest(3), guest(6), Action::Drop)]);
    let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
    // Twice: to learn a guest makes the verdicts before it stale.
    for sender in [1, 2, 3, 1, 2, 3] {
        ask(&mut leaf, FROM_TAP, guest(6), guest(sender));
    }
    let misses = leaf.stats().misses;
    for second in (10..400).step_by(10) {
        leaf.forward(FROM_TAP, &frame(guest(6), guest(1), None, 0x0800), Weight::frame(60), at(second));
        // Talks only to what is denied, and is alive all the same.
        leaf.forward(FROM_TAP, &frame(guest(6), guest(3), None, 0x0800), Weight::frame(60), at(second));
        leaf.poll_counters(at(second), &mut Vec::new());
    }
    assert!(leaf.stats().misses <= misses + 2, "only the expiry may have cost misses");
    assert_eq!(leaf.guests().locate(guest(1)), Some(FROM_TAP));
    assert_eq!(leaf.guests().locate(guest(2)), None);
    assert_eq!(leaf.guests().locate(guest(3)), Some(FROM_TAP));
    let last = std::iter::from_fn(|| leaf.poll_event()).last();
    assert_eq!(last, Some(LearnEvent::Expired { guest: guest(2), at: FROM_TAP }));
}

#[test]
fn a_guest_that_moves_is_followed_even_if_its_first_frames_come_too_soon() {
    let mut leaf = node(StarRole::Leaf, &[]);
    let send = |leaf: &mut Forwarder, ingress, millis| {
        let octets = frame(guest(9), guest(1), None, 0x0800);
        leaf.forward(ingress, &octets, Weight::frame(60), Timestamp::from_millis(millis));
        leaf.guests().locate(guest(1)).unwrap()
    };
    let from_veth = Ingress::Interface(VETH);
    assert_eq!(send(&mut leaf, FROM_TAP, 0), FROM_TAP);
    assert_eq!(send(&mut leaf, from_veth, 500), FROM_TAP);
    assert_eq!(send(&mut leaf, from_veth, 1000), from_veth);
    assert_eq!(ask(&mut leaf, FROM_STAR, guest(1), guest(9)), Verdict::Deliver(VETH));
}

#[test]
fn a_scan_of_addresses_leaves_memory_and_running_traffic_alone() {
    let mut leaf = Forwarder::new(ForwarderConfig { cache_capacity: 1024, ..ForwarderConfig::default() });
    let mut builder = RuleSetBuilder::new(1, StarRole::Leaf);
    builder.interface(TAP).link(STAR, LinkClass::Star);
    leaf.install(Arc::new(builder.build().unwrap()));
    // The scan is over the limit of learning already, so that only the cache is tried here.
    let scanner = |number: u32| {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr([2, 1, a, b, c, d])
    };
    (0..2_000).for_each(|number| _ = ask(&mut leaf, FROM_TAP, guest(2), scanner(number)));
    let hot: Vec<_> = (1..=100).map(guest).collect();
    hot.iter().for_each(|to| _ = ask(&mut leaf, FROM_STAR, *to, guest(200)));
    let mut hot_misses = 0;
    for number in 0..50_000 {
        ask(&mut leaf, FROM_TAP, guest(2), scanner(10_000 + number));
        let before = leaf.stats().misses;
        ask(&mut leaf, FROM_STAR, hot[number as usize % hot.len()], guest(200));
        hot_misses += leaf.stats().misses - before;
    }
    assert!(leaf.stats().cached <= 1024);
    assert_eq!(leaf.guests().iter().len(), 1024);
    assert!(hot_misses <= 100, "{hot_misses} misses of running traffic during a scan");
}

// ---- Properties ----------------------------------------------------------------------------------------

/// A node in plain form, for a matcher that walks everything.
#[derive(Clone, Debug)]
struct Plain {
    role: StarRole,
    links: Vec<(LinkId, LinkClass)>,
    rules: Vec<Rule>,
}

const INTERFACES: [InterfaceId; 2] = [TAP, VETH];

impl Plain {
    fn build(&self, generation: u64) -> RuleSet {
        let mut builder = RuleSetBuilder::new(generation, self.role);
        INTERFACES.iter().for_each(|id| _ = builder.interface(*id));
        self.links.iter().for_each(|(id, class)| _ = builder.link(*id, *class));
        self.rules.iter().for_each(|rule| _ = builder.rule(*rule));
        builder.build().expect("the strategy keeps to what the node has")
    }

    fn class_of(&self, ingress: Ingress) -> Option<LinkClass> {
        self.links.iter().find(|(id, _)| Ingress::Link(*id) == ingress).map(|(_, class)| *class)
    }

    fn is_local(&self, ingress: Ingress) -> bool {
        matches!(ingress, Ingress::Interface(_)) || self.class_of(ingress) == Some(LinkClass::Static)
    }

    fn flood(&self, ingress: Ingress) -> BTreeSet<Target> {
        let mut local: BTreeSet<_> = INTERFACES.iter().map(|id| Target::Interface(*id)).collect();
        let links_of = |wanted| {
            let links = self.links.iter().filter(move |(_, class)| *class == wanted);
            links.map(|(id, _)| Target::Link(*id)).collect::<BTreeSet<_>>()
        };
        local.extend(links_of(LinkClass::Static));
        let star = links_of(LinkClass::Star);
        let mut all = match (self.class_of(ingress), self.role) {
            (None | Some(LinkClass::Static), _) | (Some(LinkClass::Star), StarRole::Hub) => &local | &star,
            (Some(LinkClass::Star), StarRole::Leaf) | (Some(LinkClass::Circuit), _) => local,
        };
        all.remove(&Target::from(ingress));
        all
    }

    /// The fate of a frame that passed the checks, with the guests known where `learned` says.
    fn fate(&self, ingress: Ingress, header: &EthernetHeader, learned: Option<Ingress>) -> Fate {
        let matching: Vec<_> = self.rules.iter().filter(|rule| rule.matches(ingress, header)).collect();
        let strongest = matching.iter().filter_map(|rule| rule.rank()).max();
        let learned = learned.filter(|_| strongest.is_none_or(|rank| rank < Rank::LEARNED));
        let firing: Vec<_> = match learned {
            Some(Ingress::Interface(id)) => vec![Action::Deliver(id)],
            Some(Ingress::Link(id)) => vec![Action::Send(id)],
            None if matching.is_empty() => vec![Action::Flood],
            None => matching.iter().filter(|r| r.rank() == strongest).map(|rule| rule.action).collect(),
        };
        if firing.contains(&Action::Drop) {
            return Fate::Dropped(DropReason::Denied);
        }
        if firing.contains(&Action::Return) {
            return Fate::Sent([Target::from(ingress)].into());
        }
        let held = firing.iter().filter_map(|action| match action {
            Action::Hold(id) => Some(*id),
            _ => None,
        });
        if let Some(id) = held.min() {
            return Fate::Held(id);
        }
        let mut targets = BTreeSet::new();
        for action in firing {
            match action {
                Action::Deliver(id) => _ = targets.insert(Target::Interface(id)),
                Action::Send(id) => _ = targets.insert(Target::Link(id)),
                _ => targets.extend(self.flood(ingress)),
            }
        }
        let echo = targets.remove(&Target::from(ingress));
        match (targets.is_empty(), echo) {
            (false, _) => Fate::Sent(targets),
            (true, true) => Fate::Dropped(DropReason::Hairpin),
            (true, false) => Fate::Dropped(DropReason::NoTarget),
        }
    }
}

/// A verdict without names of lists.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Sent(BTreeSet<Target>),
    Held(SwitchId),
    Dropped(DropReason),
}

fn fate_of(forwarder: &Forwarder, verdict: Verdict) -> Fate {
    match verdict {
        Verdict::Deliver(id) => Fate::Sent([Target::Interface(id)].into()),
        Verdict::Send(id) => Fate::Sent([Target::Link(id)].into()),
        Verdict::Flood(fan_out) => {
            let targets = forwarder.targets(fan_out);
            assert!(targets.len() > 1, "a fan-out of {targets:?}");
            Fate::Sent(targets.iter().copied().collect())
        }
        Verdict::Hold(id) => Fate::Held(id),
        Verdict::Drop(reason) => Fate::Dropped(reason),
    }
}

const CLASSES: [LinkClass; 3] = [LinkClass::Star, LinkClass::Circuit, LinkClass::Static];

/// Few addresses, links and VLANs, so that everything meets everything.
fn any_guest() -> impl Strategy<Value = MacAddr> {
    (1u8..=4).prop_map(guest)
}

fn any_destination() -> impl Strategy<Value = MacAddr> {
    prop_oneof![4 => any_guest(), 1 => Just(MacAddr::BROADCAST)]
}

/// Source and destination of a rule that can match: every line of the table of 2009.
fn any_mac_matches() -> impl Strategy<Value = (MacMatch, MacMatch)> {
    use MacMatch::{Any, Exact, None as Default, Not};
    (0u8..9, any_destination(), any_destination()).prop_map(|(line, source, destination)| match line {
        0 => (Any, Any),
        1 => (Exact(source), Default),
        2 => (Any, Not(destination)),
        3 => (Not(source), Any),
        4 => (Exact(source), Any),
        5 => (Any, Exact(destination)),
        6 => (Exact(source), Not(destination)),
        7 => (Not(source), Exact(destination)),
        _ => (Exact(source), Exact(destination)),
    })
}

fn any_rule(links: Vec<LinkId>) -> impl Strategy<Value = Rule> {
    let interface = || proptest::sample::select(&INTERFACES);
    let mut ingresses = vec![
        Just(IngressMatch::Any).boxed(),
        Just(IngressMatch::AnyLink).boxed(),
        Just(IngressMatch::AnyInterface).boxed(),
        interface().prop_map(IngressMatch::Interface).boxed(),
    ];
    let mut actions = vec![
        interface().prop_map(Action::Deliver).boxed(),
        Just(Action::Flood).boxed(),
        (0u32..3).prop_map(|id| Action::Hold(SwitchId(id))).boxed(),
        Just(Action::Return).boxed(),
        Just(Action::Drop).boxed(),
    ];
    if !links.is_empty() {
        let link = proptest::sample::select(links);
        ingresses.push(link.clone().prop_map(IngressMatch::Link).boxed());
        actions.push(link.prop_map(Action::Send).boxed());
    }
    let vlan = proptest::option::weighted(0.3, 1u16..3);
    let actions = proptest::strategy::Union::new(actions);
    (any_mac_matches(), vlan, proptest::strategy::Union::new(ingresses), actions).prop_map(
        |((source, destination), vlan, ingress, action)| {
            let rule = Rule { source, destination, vlan, ingress, action };
            assert!(rule.rank().is_some(), "{rule:?} can match");
            rule
        },
    )
}

fn any_plain() -> impl Strategy<Value = Plain> {
    let links = proptest::collection::btree_map(1u64..6, proptest::sample::select(&CLASSES), 0..5);
    (links, proptest::sample::select(&[StarRole::Hub, StarRole::Leaf])).prop_flat_map(|(links, role)| {
        let links: Vec<_> = links.into_iter().map(|(id, class)| (LinkId(id), class)).collect();
        let ids = links.iter().map(|(id, _)| *id).collect();
        proptest::collection::vec(any_rule(ids), 0..12).prop_map(move |rules| Plain {
            role,
            links: links.clone(),
            rules,
        })
    })
}

/// One frame to be forwarded.
#[derive(Clone, Debug)]
struct Arrival {
    ingress: Ingress,
    destination: MacAddr,
    source: MacAddr,
    vlan: Option<u16>,
    weight: Weight,
}

impl Arrival {
    fn octets(&self) -> Vec<u8> {
        frame(self.destination, self.source, self.vlan, 0x0800)
    }
}

prop_compose! {
    fn any_arrival()(
        ingress in prop_oneof![
            proptest::sample::select(&INTERFACES).prop_map(Ingress::Interface),
            (1u64..6).prop_map(|id| Ingress::Link(LinkId(id))),
        ],
        destination in any_destination(),
        source in any_guest(),
        vlan in proptest::option::weighted(0.3, 0u16..3),
        bytes in 0u64..70_000,
        frames in 1u64..50,
    ) -> Arrival {
        Arrival { ingress, destination, source, vlan, weight: Weight { bytes, frames } }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Install(Plain),
    Arrive(Arrival),
    Report,
    Forget(MacAddr),
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => any_plain().prop_map(Step::Install),
        20 => any_arrival().prop_map(Step::Arrive),
        1 => Just(Step::Report),
        1 => any_guest().prop_map(Step::Forget),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A forwarder with a cache so small that everything is evicted again and again.
fn cramped(cache_capacity: usize, spill_capacity: usize) -> Forwarder {
    let learning = LearnLimits { move_hold: Duration::ZERO, ..LearnLimits::default() };
    Forwarder::new(ForwarderConfig { cache_capacity, spill_capacity, seed: 1, learning })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The cached verdict is the one a walk over all rules gives now, and learning on misses alone
    /// knows what learning from every frame would know.
    #[test]
    fn the_cache_never_shows(
        first in any_plain(),
        steps in any_steps(),
        capacity in prop_oneof![1usize..6, Just(1000)],
    ) {
        let mut forwarder = cramped(capacity, 4);
        let mut plain = first;
        let mut learned = BTreeMap::new();
        forwarder.install(Arc::new(plain.build(1)));
        for (step, generation) in steps.into_iter().zip(2..) {
            match step {
                Step::Install(next) => {
                    plain = next;
                    forwarder.install(Arc::new(plain.build(generation)));
                    learned.retain(|_, at| plain.is_local(*at));
                }
                Step::Report => _ = forwarder.poll_counters(NOW, &mut Vec::new()),
                Step::Forget(guest) => {
                    forwarder.forget_guest(guest);
                    learned.remove(&guest);
                }
                Step::Arrive(arrival) => {
                    let octets = arrival.octets();
                    let verdict = forwarder.forward(arrival.ingress, &octets, arrival.weight, NOW);
                    let header = EthernetHeader::parse(&octets).unwrap();
                    let is_known = matches!(arrival.ingress, Ingress::Interface(_))
                        || plain.class_of(arrival.ingress).is_some();
                    let expected = if is_known {
                        if plain.is_local(arrival.ingress) {
                            learned.insert(arrival.source, arrival.ingress);
                        }
                        plain.fate(arrival.ingress, &header, learned.get(&arrival.destination).copied())
                    } else {
                        Fate::Dropped(DropReason::UnknownLink)
                    };
                    prop_assert_eq!(fate_of(&forwarder, verdict), expected, "{:?}", arrival);
                    prop_assert!(forwarder.stats().cached <= capacity);
                }
            }
            let known: BTreeMap<_, _> = forwarder.guests().iter().collect();
            prop_assert_eq!(&known, &learned);
        }
    }

    /// Every byte that a local guest sent and that went somewhere is reported exactly once, and under
    /// the pair it belongs to as long as the spill has room.
    #[test]
    fn bytes_are_conserved(
        first in any_plain(),
        steps in any_steps(),
        capacity in 1usize..8,
        spill in prop_oneof![0usize..4, Just(1000)],
    ) {
        let mut forwarder = cramped(capacity, spill);
        let mut plain = first;
        forwarder.install(Arc::new(plain.build(1)));
        let (mut sent, mut reported) = (BTreeMap::new(), BTreeMap::new());
        let (mut sent_sum, mut other_sum) = (Weight::ZERO, Weight::ZERO);
        let mut report = |forwarder: &mut Forwarder| {
            let mut cells = Vec::new();
            other_sum += forwarder.poll_counters(NOW, &mut cells);
            for cell in cells {
                let pair = (cell.source, cell.destination, cell.vlan);
                *reported.entry(pair).or_insert(Weight::ZERO) += cell.weight();
            }
        };
        for (step, generation) in steps.into_iter().zip(2..) {
            match step {
                Step::Install(next) => {
                    plain = next;
                    forwarder.install(Arc::new(plain.build(generation)));
                }
                Step::Report => report(&mut forwarder),
                Step::Forget(guest) => forwarder.forget_guest(guest),
                Step::Arrive(arrival) => {
                    let verdict = forwarder.forward(arrival.ingress, &arrival.octets(), arrival.weight, NOW);
                    if plain.is_local(arrival.ingress) && !matches!(verdict, Verdict::Drop(_)) {
                        let vlan = arrival.vlan.filter(|id| *id != 0).unwrap_or(0xffff);
                        let pair = (arrival.source, arrival.destination, vlan);
                        *sent.entry(pair).or_insert(Weight::ZERO) += arrival.weight;
                        sent_sum += arrival.weight;
                    }
                }
            }
        }
        report(&mut forwarder);
        let mut sum = other_sum;
        reported.values().for_each(|weight| sum += *weight);
        prop_assert_eq!(sum, sent_sum);
        if spill == 1000 {
            prop_assert_eq!(other_sum, Weight::ZERO);
            prop_assert_eq!(reported, sent);
        }
    }
}
