//! The plan applied to the overlay gives the goal, and no step leaves a pair without a way.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use vreserve_model::WantedRule;

use super::*;

fn any_link() -> impl Strategy<Value = LinkKey> {
    (0..5u8, 1..5u8, 0..2u8).prop_map(|(node, offset, network)| {
        let far = (node + offset) % 5;
        LinkKey::new(&format!("n{node}"), &format!("n{far}"), &format!("net{network}"))
    })
}

fn layout() -> impl Strategy<Value = Layout> {
    let links = btree_map(any_link(), (1..9u64, 0..9usize), 0..6);
    let ways = vec((0..6u8, 0..6u8, any::<prop::sample::Index>(), any::<bool>()), 0..12);
    (links, ways).prop_map(|(links, ways)| {
        let planned = |(rate, rank)| PlannedLink { rate: BitsPerSecond(rate), rank };
        let links: BTreeMap<_, _> = links.into_iter().map(|(link, it)| (link, planned(it))).collect();
        let mut layout = Layout { links, ways: BTreeMap::new() };
        let keys: Vec<_> = layout.links.keys().cloned().collect();
        for (source, destination, index, from_a) in ways {
            if !keys.is_empty() {
                let link = index.get(&keys).clone();
                let node = if from_a { link.a.clone() } else { link.z.clone() };
                layout.ways.insert(pair(source, destination), way_from(&keys, &node, link));
            }
        }
        layout
    })
}

/// Over the link, and where there is one on to a third node, over that as well.
fn way_from(links: &[LinkKey], node: &str, link: LinkKey) -> Way {
    let relay = link.far_end(node).expect("the node is an end").to_owned();
    let leads_on = |onward: &&LinkKey| onward.far_end(&relay).is_some_and(|far| far != node);
    let onward = links.iter().find(leads_on).cloned();
    Way { node: node.into(), route: Route { first: link, onward } }
}

fn pair(source: u8, destination: u8) -> PairKey {
    let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
    PairKey { source: mac(source), destination: mac(destination) }
}

proptest! {
    #[test]
    fn a_plan_reaches_its_goal_without_ever_breaking_a_way(before in layout(), goal in layout()) {
        let plan = diff(&before, &goal, 0.5);
        let mut overlay = before.clone();
        for step in plan.steps() {
            overlay.apply(step);
            prop_assert!(overlay.is_sound(), "after {step:?}");
            for link in before.links.keys().filter(|link| goal.links.contains_key(link)) {
                prop_assert_eq!(&overlay.links[link], &before.links[link], "H and H' is untouched");
            }
            for (pair, way) in &before.ways {
                if goal.ways.get(pair) == Some(way) {
                    prop_assert_eq!(&overlay.ways[pair], way, "a pair that stays is not moved");
                }
            }
        }
        prop_assert_eq!(&overlay.ways, &goal.ways);
        prop_assert!(overlay.links.keys().eq(goal.links.keys()));
        prop_assert!(diff(&overlay, &goal, 0.5).is_empty());
    }

    #[test]
    fn everything_new_comes_before_anything_goes(before in layout(), goal in layout()) {
        let plan = diff(&before, &goal, 0.5);
        let is_making = |step: &Step| matches!(step, Step::Add { .. } | Step::Move { .. });
        prop_assert!(plan.make.iter().all(is_making));
        prop_assert!(!plan.unmake.iter().any(is_making));
        let ranks: Vec<_> = plan.make.iter().filter_map(|step| match step {
            Step::Add { planned, .. } => Some(planned.rank),
            _ => None,
        }).collect();
        prop_assert!(ranks.is_sorted(), "the most valuable link comes first");
    }
}

#[test]
fn a_circuit_is_kept_when_a_little_more_is_wanted_and_named_when_much_more_is() {
    let key = LinkKey::new("b", "a", "omninet");
    let with_rate = |rate| Layout {
        links: BTreeMap::from([(key.clone(), PlannedLink { rate: BitsPerSecond(rate), rank: 0 })]),
        ways: BTreeMap::new(),
    };
    let little = diff(&with_rate(100), &with_rate(120), 0.25);
    let much = diff(&with_rate(100), &with_rate(130), 0.25);
    assert!(little.is_empty() && little.undersized.is_empty());
    assert!(much.is_empty());
    assert_eq!(much.undersized, [key]);
}

fn link(a: &str, z: &str) -> WantedLink {
    WantedLink {
        a: a.into(),
        z: z.into(),
        network: "omninet".into(),
        rate: BitsPerSecond(1),
        reason: String::new(),
    }
}

/// What the guest with this number sends to the ninth.
fn rule(source: u8, node: &str, next: &str) -> WantedRule {
    let PairKey { source, destination } = pair(source, 9);
    WantedRule { node: node.into(), source, destination, next: next.into(), network: "omninet".into() }
}

#[test]
fn a_senseless_wish_is_left_out_and_named() {
    let wanted = Wanted {
        links: vec![link("a", "a"), link("b", "a")],
        rules: vec![rule(1, "a", "b"), rule(2, "a", "b"), rule(2, "b", "a"), rule(1, "a", "c")],
        ..Wanted::default()
    };
    let (layout, left_out) = Layout::from_wanted(&wanted);
    let ab = LinkKey::new("a", "b", "omninet");
    assert_eq!(layout.links.keys().collect::<Vec<_>>(), [&ab]);
    assert_eq!(layout.ways, BTreeMap::from([(pair(1, 9), Way::direct("a", ab))]));
    assert_eq!(left_out.len(), 3, "a link to itself, a rule without a link, a loop: {left_out:?}");
}

#[test]
fn rules_that_follow_each_other_are_one_way_over_two_links_in_any_order() {
    let (ab, bc) = (LinkKey::new("a", "b", "omninet"), LinkKey::new("b", "c", "omninet"));
    let wanted = |rules| Wanted { links: vec![link("a", "b"), link("c", "b")], rules, ..Wanted::default() };
    let way = Way { node: "a".into(), route: Route { first: ab, onward: Some(bc) } };
    assert_eq!((way.relay(), way.egress()), (Some("b"), Some("c")));
    for rules in [[rule(1, "a", "b"), rule(1, "b", "c")], [rule(1, "b", "c"), rule(1, "a", "b")]] {
        let (layout, left_out) = Layout::from_wanted(&wanted(rules.to_vec()));
        assert_eq!(layout.ways[&pair(1, 9)], way);
        assert!(left_out.is_empty());
    }
    for rules in [
        vec![rule(1, "a", "b"), rule(1, "c", "b")],
        vec![rule(1, "a", "b"), rule(1, "b", "c"), rule(1, "c", "b")],
    ] {
        let (layout, left_out) = Layout::from_wanted(&wanted(rules));
        assert!(layout.ways.is_empty());
        assert_eq!(left_out.len(), 1, "{left_out:?}");
    }
}
