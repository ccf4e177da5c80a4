//! That a run can be had again, that it shows what it is for, and that what is broken is seen.

use super::*;
use std::time::Duration;

fn drawn() -> Ground {
    Ground::new(None, None).unwrap()
}

#[test]
fn the_same_seed_is_the_same_run_to_the_last_step() {
    for seed in [1, 2, 3] {
        let (one, other) = (run(seed, &drawn(), false), run(seed, &drawn(), false));
        assert_eq!((one.digest, one.steps), (other.digest, other.steps), "seed {seed}");
        assert_eq!(one.counts, other.counts, "seed {seed}");
    }
    assert_ne!(run(1, &drawn(), false).digest, run(2, &drawn(), false).digest);
}

#[test]
fn a_handful_of_seeds_keeps_every_invariant_and_shows_every_part_of_a_circuits_life() {
    let outcomes = run_all(1, 24, &drawn(), 2, |_| {});
    let summary = Summary::of(&outcomes, Duration::ZERO);
    assert!(summary.broken.is_empty(), "{:#?}", summary.broken);
    let Counts { carried, released, switched, takeovers, failed, .. } = summary.counts;
    let all = [carried, released, switched, takeovers, failed];
    assert!(all.iter().all(|count| *count > 0), "{:?}", summary.counts);
    assert_eq!(outcomes.iter().map(|outcome| outcome.seed).collect::<Vec<_>>(), (1..=24).collect::<Vec<_>>());
}

#[test]
fn a_labs_file_describes_the_topology() {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/labs");
    let ground = Ground::new(Some(&labs.join("demo.toml")), None).unwrap();
    let outcomes = run_all(1, 4, &ground, 1, |_| {});
    assert!(outcomes.iter().all(|outcome| outcome.broken.is_none()), "{outcomes:#?}");
    assert!(outcomes.iter().any(|outcome| outcome.counts.carried > 0));
}
