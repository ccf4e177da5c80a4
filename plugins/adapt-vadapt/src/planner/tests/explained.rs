//! What is said of one pair.

use vreserve_sdk::model::{Decision, Explanation, PairQuestion};

use super::*;

fn asked(mut snapshot: Snapshot, a: &str, z: &str) -> Snapshot {
    snapshot.question = Some(PairQuestion { a: a.to_owned(), z: z.to_owned() });
    snapshot
}

fn explain(world: &mut World, snapshot: Snapshot, a: &str, z: &str) -> Explanation {
    world.step(asked(snapshot, a, z)).explanation.unwrap()
}

#[test]
fn every_decision_is_told_with_its_reason() {
    let mbps = [(0, 1, 50), (2, 3, 40), (4, 1, 5), (0, 5, 30)];
    let mut world = World::new(config(1));
    let chosen = explain(&mut world, snapshot(0, &mbps), "n0", "n1");
    assert_eq!((chosen.decision, chosen.demand), (Decision::Chosen, BitsPerSecond(50_000_000)));
    assert_eq!((chosen.bulk_pairs, chosen.latency_pairs, chosen.lasts_ms), (1, 0, Some(0)));
    assert!(chosen.why.contains("60mbit on optical"), "{}", chosen.why);
    let candidate = &chosen.candidates[0];
    assert_eq!(
        (candidate.network.as_str(), candidate.setup_ms, &candidate.refused),
        ("optical", 2_000, &None)
    );
    assert!(candidate.share > 0.98 && chosen.least_share == Some(0.3));

    let kept = explain(&mut world, snapshot(500, &mbps), "n0", "n1");
    assert_eq!(kept.decision, Decision::Kept);
    let left_out = explain(&mut world, snapshot(1_000, &mbps), "n2", "n3");
    assert_eq!(left_out.decision, Decision::LeftOut);
    assert_eq!(left_out.why, "40mbit, but no circuit is left of 1");
    assert_eq!(left_out.candidates[0].refused.as_deref(), Some("no circuit is left of 1"));
    assert_eq!((left_out.budgets[0].used.as_str(), left_out.budgets[0].most.as_str()), ("1", "1"));
    assert!(left_out.otherwise[0].contains("not in place of n0-n1, which has 50mbit"), "{left_out:?}");
    let star = explain(&mut world, snapshot(1_500, &mbps), "n1", "n4");
    assert_eq!(
        (star.decision, star.why.as_str()),
        (Decision::Star, "5mbit is under the high watermark of 10mbit")
    );
    let apart = explain(&mut world, snapshot(2_000, &mbps), "n0", "n5");
    assert!(apart.why.contains("no common reservable network"), "{}", apart.why);
    let quiet = explain(&mut world, snapshot(2_500, &mbps), "n3", "n4");
    assert_eq!((quiet.decision, quiet.why.as_str()), (Decision::Star, "no demand was seen"));

    let held = explain(&mut world, snapshot(3_000, &[]), "n0", "n1");
    assert_eq!(held.decision, Decision::Held);
    for millis in (3_500..20_000).step_by(500) {
        world.step(snapshot(millis, &[]));
    }
    let released = explain(&mut world, snapshot(20_000, &[]), "n0", "n1");
    assert_eq!(released.decision, Decision::Released);
    assert!(released.why.contains("demand under 1mbit for 3.0 s"), "{}", released.why);
    assert_eq!(released.history_ms, [3_000]);
}

#[test]
fn a_question_changes_no_plan_and_what_is_no_pair_is_not_explained() {
    let mbps = [(0, 1, 50), (2, 3, 40)];
    let (mut one, mut other) = (World::new(config(1)), World::new(config(1)));
    let plain = one.step(snapshot(0, &mbps));
    let explained = other.step(asked(snapshot(0, &mbps), "n2", "n3"));
    assert_eq!(Wanted { explanation: None, ..explained }, plain);
    assert_eq!(other.step(asked(snapshot(0, &mbps), "n2", "n2")).explanation, None);
}
