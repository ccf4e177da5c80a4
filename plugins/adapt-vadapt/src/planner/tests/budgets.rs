//! What may be used: rates, costs, changes in a period, time that pays, and two circuits in a row.

use super::*;
use crate::config::{Cost, Latency, Objective};

fn mbit(n: u64) -> BitsPerSecond {
    BitsPerSecond(n * 1_000_000)
}

#[test]
fn the_budgets_of_rates_and_costs_are_filled_with_what_carries_most() {
    // With headroom 108, 60 and 60 Mbit/s.
    let mbps = [(0, 1, 90), (2, 3, 50), (4, 1, 50)];
    let both = ["n1-n4", "n2-n3"];
    let sorted = |wanted: &Wanted| {
        let mut found = names(wanted);
        found.sort();
        found
    };
    let rate = Config { max_rate: Some(mbit(130)), ..config(4) };
    assert_eq!(sorted(&World::new(rate).step(snapshot(0, &mbps))), both);
    let costs = BTreeMap::from([("optical".to_owned(), Cost { circuit: 0.0, per_gbit: 10.0 })]);
    let cost = Config { max_cost: Some(1.3), costs, ..config(4) };
    assert_eq!(sorted(&World::new(cost).step(snapshot(0, &mbps))), both);
    let mut limited = snapshot(0, &mbps);
    limited.backends[0].max_rate = Some(mbit(130));
    let wanted = World::new(config(4)).step(limited);
    assert_eq!(sorted(&wanted), both, "the operator's budget of the network");
    assert!(
        wanted.notes.iter().any(|line| line.contains("n0-n1: 90mbit, but the budget of optical")),
        "{wanted:?}"
    );
}

#[test]
fn no_more_changes_are_made_in_a_period_than_allowed() {
    let mut world = World::new(Config { max_changes: Some(1), ..config(4) });
    for millis in (0..60_000).step_by(500) {
        let mbps: &[(u8, u8, u64)] =
            if millis < 30_000 { &[(0, 1, 50), (2, 3, 40), (4, 1, 30)] } else { &[] };
        world.step(snapshot(millis, mbps));
    }
    let times = |events: &[(String, u64)]| events.iter().map(|(_, at)| *at).collect::<Vec<_>>();
    assert_eq!(times(&world.asked), [0, 10_000, 20_000]);
    assert_eq!(times(&world.gone), [33_000, 43_000, 53_000]);
}

#[test]
fn a_pair_whose_demand_never_lasts_is_not_given_a_circuit_until_it_does() {
    let mut world = World::new(config(4));
    let burst = |millis: u64, start: u64, length: u64| (start..start + length).contains(&millis);
    for millis in (0..400_000).step_by(500) {
        let is_on = [0, 30_000, 60_000, 90_000].iter().any(|start| burst(millis, *start, 5_000))
            || burst(millis, 200_000, 200_000);
        let mut now = snapshot(millis, if is_on { &[(0, 1, 50)] } else { &[] });
        now.backends[0].capabilities.setup_time = Duration::from_secs(10);
        now.backends[0].capabilities.teardown_time = Duration::from_secs(10);
        world.step(now);
    }
    let asked: Vec<u64> = world.asked.iter().map(|(_, at)| *at).collect();
    // Three times by the assumption; the fourth burst is known to be short; the long one is believed when it has
    // lasted so long that as long again pays: (D - 10) / (D + 10) is 0.3 at 18.6 s.
    assert_eq!(asked, [0, 30_000, 60_000, 219_000]);
}

#[test]
fn guests_that_wait_for_each_other_are_given_a_circuit_if_that_is_an_objective() {
    let mut chat = snapshot(0, &[(0, 1, 1), (1, 0, 1), (2, 3, 15)]);
    for demand in &mut chat.topology.demands[..2] {
        demand.frames_per_second = 1_000.0;
    }
    chat.topology.demands[2].frames_per_second = 1_300.0;
    assert_eq!(names(&World::new(config(1)).step(chat.clone())), ["n2-n3"]);
    let both = Config { objective: Objective::ThroughputAndLatency, ..config(1) };
    let mut world = World::new(both.clone());
    assert_eq!(names(&world.step(chat.clone())), ["n0-n1"], "1 Mbit/s and a worth of 20");
    let costly = Config { latency: Latency { worth: mbit(5), ..Latency::default() }, ..both };
    assert_eq!(names(&World::new(costly).step(chat)), ["n2-n3"]);
    for millis in (500..20_000).step_by(500) {
        world.step(snapshot(millis, &[]));
    }
    assert_eq!(world.gone.len(), 1, "their circuit goes when they fall silent");
}

#[test]
fn a_pair_that_no_circuit_is_left_for_takes_two_with_room_where_the_host_can() {
    let mbps = [(0, 1, 60), (1, 2, 50), (0, 2, 40)];
    let lightpaths = |millis: u64, max_hops: u32| {
        let mut snapshot = snapshot(millis, &mbps);
        snapshot.backends[0].capabilities.fixed_rate = Some(mbit(1_000));
        snapshot.max_hops = max_hops;
        snapshot
    };
    for (max_hops, rules) in [(1, 4), (2, 8)] {
        let mut world = World::new(config(2));
        assert_eq!(world.step(lightpaths(0, max_hops)).rules.len(), 4, "not before both carry traffic");
        let mut wanted = Wanted::default();
        for millis in (500..5_000).step_by(500) {
            wanted = world.step(lightpaths(millis, max_hops));
        }
        assert_eq!(wanted.rules.len(), rules, "{max_hops} hops");
        let way: Vec<_> =
            wanted.rules[4..].iter().map(|rule| (rule.node.as_str(), rule.next.as_str())).collect();
        if max_hops == 2 {
            assert_eq!(way, [("n0", "n1"), ("n1", "n2"), ("n2", "n1"), ("n1", "n0")]);
            let mut gone = lightpaths(5_000, 2);
            gone.topology.demands.truncate(2);
            world.step(gone.clone());
            gone.now = Timestamp::from_millis(8_000);
            assert_eq!(world.step(gone).rules.len(), 4, "the way ends with its demand");
        }
    }
}
