//! Inference and a planner in a loop, on a virtual clock, under demand that comes and goes: reservations do not.

use std::time::Duration;

use proptest::prelude::*;
use vreserve_adapt_vadapt::{Config as PlannerConfig, Planner};
use vreserve_sdk::Cell;
use vreserve_sdk::model::{CircuitView, MacAddr, Snapshot};

use super::*;
use crate::observer::Observer;

const UPDATE_MS: u64 = 500;
/// When demand ends for good.
const END_MS: u64 = 240_000;
const GUESTS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// When a circuit was asked for and given back, in ms.
#[derive(Debug, Default)]
struct Churn {
    asked: Vec<u64>,
    gone: Vec<u64>,
}

/// Two guests at two nodes on a network whose circuits take two seconds.
fn world() -> Snapshot {
    let node =
        |name: &str, address: &str| serde_json::json!({ "name": name, "networks": { "optical": address } });
    let guest = |mac: [u8; 6], node: &str| serde_json::json!({ "mac": MacAddr(mac), "node": node });
    let setup = Duration::from_secs(2);
    serde_json::from_value(serde_json::json!({
        "now": 0,
        "nodes": [node("a", "10.0.0.1"), node("b", "10.0.0.2")],
        "guests": [guest(GUESTS[0], "a"), guest(GUESTS[1], "b")],
        "topology": { "pattern": "silent", "settled": false },
        "backends": [{ "network": "optical", "capabilities": { "setup_time": setup } }],
        "circuits": [],
    }))
    .unwrap()
}

/// Bytes of 100 Mbit/s that are on in the first half of each period.
fn sent(period: u64, interval: std::ops::Range<u64>) -> u64 {
    let is_on = |ms: &u64| *ms < END_MS && ms % period < period / 2;
    interval.filter(is_on).count() as u64 * 12_500
}

fn square_wave(period: u64, config: &Config) -> Churn {
    let (mut node, mut lead) = (Observer::new(1, 10), Lead::new(config));
    let mut planner = Planner::new(PlannerConfig::default());
    let mut snapshot = world();
    let mut churn = Churn::default();
    for now in (UPDATE_MS..END_MS + 90_000).step_by(UPDATE_MS as usize) {
        let bytes = sent(period, now - UPDATE_MS..now);
        let (source, destination) = (GUESTS[0], GUESTS[1]);
        let cell = Cell { source, destination, vlan: 0xffff, reserved: 0, bytes, frames: bytes / 1_500 };
        let report = node.observe(Timestamp::from_millis(now), &[cell]).encode();
        snapshot.now = Timestamp::from_millis(now);
        lead.merge(snapshot.now, "a", &report).unwrap();
        snapshot.topology = lead.infer(snapshot.now);
        let wanted = planner.step(&snapshot).0;
        match (snapshot.circuits.first_mut(), wanted.links.first()) {
            (None, Some(link)) => {
                let circuit = serde_json::json!({
                    "a": "a", "z": "b", "network": "optical", "rate": link.rate,
                    "wanted_since": now * 1_000_000, "carries_traffic": false, "backing_off": false,
                });
                snapshot.circuits = vec![serde_json::from_value::<CircuitView>(circuit).unwrap()];
                churn.asked.push(now);
            }
            (Some(_), None) => {
                snapshot.circuits.clear();
                churn.gone.push(now);
            }
            (Some(circuit), Some(_)) => {
                circuit.carries_traffic = snapshot.now.since(circuit.wanted_since) >= Duration::from_secs(2);
            }
            (None, None) => {}
        }
    }
    churn
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// At any period: at most one request and one release in a hold time; and everything is given back in the end.
    #[test]
    fn no_period_makes_reservations_churn(period in 200_u64..=60_000) {
        let config = Config::default();
        let churn = square_wave(period, &config);
        let hold = PlannerConfig::default().min_hold.as_millis() as u64;
        for times in [&churn.asked, &churn.gone] {
            prop_assert!(times.windows(2).all(|two| two[1] - two[0] >= hold), "{churn:?}");
        }
        prop_assert_eq!(churn.asked.len(), churn.gone.len());
        prop_assert!(!churn.asked.is_empty());
        // The union lasts a period after its last onset; then come window, hold and the planner's own patience.
        let most = (config.union_period + config.window + config.hold + PlannerConfig::default().release_after)
            .as_millis() as u64;
        let last = churn.gone.last().copied().unwrap_or(0);
        prop_assert!(last <= END_MS + most + 2 * UPDATE_MS, "{churn:?}");
    }

    /// Alternation faster than the limit settles: what is reserved then stays until demand ends.
    #[test]
    fn fast_alternation_settles_on_the_union_without_any_churn(period in 200_u64..=19_000) {
        let churn = square_wave(period, &Config::default());
        let settled = 60_000..END_MS;
        let moved = churn.asked.iter().chain(&churn.gone).filter(|at| settled.contains(at)).count();
        prop_assert_eq!(moved, 0, "{:?}", churn);
    }
}

#[test]
fn without_the_union_rule_slow_alternation_is_followed() {
    let config = Config { union_period: Duration::ZERO, ..Config::default() };
    let churn = square_wave(19_000, &config);
    assert!(churn.gone.len() > 10, "{churn:?}");
    assert!(square_wave(19_000, &Config::default()).gone.len() <= 3);
}
