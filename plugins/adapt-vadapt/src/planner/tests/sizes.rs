//! The rates of circuits that are there.

use super::*;
use crate::config::Resize;

/// The rates wanted of n0-n1 at these times, while its guests send so many Mbit/s.
fn rates(config: &Config, modify: bool, mbps: impl Fn(u64) -> u64, at: &[u64]) -> Vec<u64> {
    let mut world = World::new(config.clone());
    let mut found = Vec::new();
    for millis in (0..=*at.last().unwrap()).step_by(500) {
        let mut now = snapshot(millis, &[(0, 1, mbps(millis))]);
        now.backends[0].capabilities.modify = modify;
        let wanted = world.step(now);
        if at.contains(&millis) {
            found.push(wanted.links[0].rate.0 / 1_000_000);
        }
    }
    found
}

#[test]
fn a_circuit_grows_at_once_and_shrinks_after_a_while_to_the_most_seen_meanwhile() {
    let mbps = |millis: u64| match millis {
        0..10_000 => 50,
        10_000..20_000 => 100,
        30_000 => 40,
        _ => 20,
    };
    assert_eq!(rates(&config(4), true, mbps, &[0, 9_500, 10_000, 49_500, 50_000]), [60, 60, 120, 120, 48]);
    let never = Config { resize: Resize::Never, ..config(4) };
    assert_eq!(rates(&never, true, mbps, &[10_000, 60_000]), [60, 60]);
}

#[test]
fn a_circuit_that_cannot_change_grows_by_a_second_one_only_if_told_to() {
    let mbps = |millis: u64| if millis < 5_000 { 50 } else { 100 };
    assert_eq!(rates(&config(4), false, mbps, &[10_000]), [60]);
    let any = Config { resize: Resize::Any, ..config(4) };
    assert_eq!(rates(&any, false, mbps, &[10_000]), [120]);
    let limited = Config { max_rate: Some(BitsPerSecond(100_000_000)), ..any };
    assert_eq!(rates(&limited, false, mbps, &[10_000]), [60], "the budget has no room for more");
}
