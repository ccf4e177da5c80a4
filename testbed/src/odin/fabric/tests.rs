//! What the network admits and refuses, on the plant drawn here:
//!
//! ```text
//!  alpha .1 ─ chicago ──0── evanston ──1── argonne ─ gamma .3      champaign ─ delta .4 (no fibre)
//!  zeta  .5 ─ chicago          │
//!                          beta .2
//! ```

use super::*;
use crate::odin::timing::SwitchOrder;

fn plant() -> Plant {
    let text = r#"
        name = "t"
        commodity = { rate = "1gbit", subnet = "192.0.2.0/24" }
        [[network]]
        name = "omninet"
        kind = "optical"
        rate = "1gbit"
        subnet = "10.10.0.0/24"
        lambdas = 2
        switch = [{ name = "chicago" }, { name = "evanston" }, { name = "argonne" }, { name = "champaign" }]
        fibres = [["chicago", "evanston"], ["argonne", "evanston"]]
        [[host]]
        name = "alpha"
        attach = { omninet = "chicago" }
        [[host]]
        name = "beta"
        attach = { omninet = "evanston" }
        [[host]]
        name = "gamma"
        attach = { omninet = "argonne" }
        [[host]]
        name = "delta"
        attach = { omninet = "champaign" }
        [[host]]
        name = "zeta"
        attach = { omninet = "chicago" }
    "#;
    Plant::of(&LabSpec::parse(text, "t.toml".as_ref()).unwrap(), "omninet").unwrap()
}

const NOW: Window = Window { now: 1_000_000, start: None, end: None };

fn fabric() -> Fabric {
    Fabric::new(plant(), Timing::new(1.0, SwitchOrder::Serial).unwrap())
}

fn at(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, 0, host)
}

#[test]
fn a_path_takes_the_shortest_way_and_knows_each_fibres_direction() {
    let path = fabric().admit(at(1), at(3), 1, NOW).unwrap();
    assert_eq!(path.report.switches, ["chicago", "evanston", "argonne"]);
    assert_eq!(path.hops, [Hop { fibre: 0, is_forward: true }, Hop { fibre: 1, is_forward: false }]);
}

#[test]
fn a_lambda_carries_one_path_on_each_fibre_until_that_is_released() {
    let mut fabric = fabric();
    let first = fabric.admit(at(1), at(3), 1, NOW).unwrap();
    let refusal = fabric.admit(at(2), at(3), 1, NOW).unwrap_err();
    assert!(matches!(refusal, Refusal::LambdaBusy { path, .. } if path == first.report.id), "{refusal}");
    fabric.admit(at(2), at(3), 2, NOW).unwrap();
    fabric.mark_up(first.report.id);
    fabric.begin_teardown(first.report.id).unwrap();
    assert!(fabric.admit(at(1), at(2), 1, NOW).is_err(), "still taken while the switches work");
    fabric.release(first.report.id);
    assert_eq!(fabric.admit(at(1), at(2), 1, NOW).unwrap().report.id, PathId(3), "ids grow");
}

#[test]
fn two_ends_on_one_switch_use_no_lambda_of_any_fibre() {
    let mut fabric = fabric();
    let path = fabric.admit(at(1), at(5), 1, NOW).unwrap();
    assert!(path.hops.is_empty());
    assert_eq!(path.report.switches, ["chicago"]);
    assert!(fabric.admit(at(1), at(2), 1, NOW).is_ok());
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut fabric = fabric();
    fabric.admit(at(1), at(2), 1, NOW).unwrap();
    let refusals = [
        (at(1), at(1), 1, "same-address"),
        (at(1), at(9), 1, "address-unknown"),
        (at(1), at(3), 0, "lambda-unknown"),
        (at(1), at(3), 3, "lambda-unknown"),
        (at(2), at(1), 2, "pair-connected"),
        (at(1), at(4), 1, "no-route"),
        (at(5), at(2), 1, "lambda-busy"),
    ];
    for (source, destination, lambda, reason) in refusals {
        let refusal = fabric.admit(source, destination, lambda, NOW).unwrap_err().to_string();
        assert!(refusal.starts_with(reason), "{refusal} is not {reason}");
    }
    assert_eq!(fabric.reports().len(), 1, "a refusal takes nothing");
}

#[test]
fn a_path_is_torn_down_once_and_only_when_up() {
    let mut fabric = fabric();
    let id = fabric.admit(at(1), at(2), 1, NOW).unwrap().report.id;
    assert!(fabric.begin_teardown(id).is_err());
    fabric.mark_up(id);
    assert!(fabric.begin_teardown(id).is_ok());
    assert_eq!(fabric.begin_teardown(id).unwrap_err(), Refusal::NoSuchPath { path: id });
}

/// From `start` to `end`, in seconds after now.
fn window(start: u64, end: u64) -> Window {
    Window { start: Some(NOW.now + start * 1000), end: Some(NOW.now + end * 1000), ..NOW }
}

#[test]
fn what_is_booked_for_another_time_is_not_in_the_way() {
    let mut fabric = fabric();
    let booked = fabric.admit(at(1), at(2), 1, window(100, 200)).unwrap();
    assert_eq!(booked.report.state, PathState::Booked);
    // Two switches are set up in 17.5 s, and torn down in 12 s.
    for (start, end, is_free) in [(10, 70, true), (10, 75, false), (220, 300, false), (230, 300, true)] {
        let again = fabric.admit(at(5), at(2), 1, window(start, end));
        assert_eq!(again.is_ok(), is_free, "{start} to {end}: {again:?}");
        again.iter().for_each(|path| fabric.release(path.report.id));
        let twice = fabric.admit(at(2), at(1), 2, window(start, end));
        assert_eq!(twice.is_ok(), is_free, "{start} to {end}: {twice:?}");
        twice.iter().for_each(|path| fabric.release(path.report.id));
    }
    let for_ever = fabric.admit(at(5), at(2), 1, NOW).unwrap_err();
    assert!(matches!(for_ever, Refusal::LambdaBusy { path, .. } if path == booked.report.id), "{for_ever}");
}

#[test]
fn a_booked_path_is_set_up_in_time_ended_at_its_end_and_cancelled_while_dark() {
    let mut fabric = fabric();
    let id = fabric.admit(at(1), at(2), 1, window(100, 200)).unwrap().report.id;
    assert_eq!(fabric.next_due(), Some(NOW.now + 82_500));
    assert!(fabric.poll_due(NOW.now + 82_499).is_none());
    assert!(matches!(fabric.poll_due(NOW.now + 82_500), Some(Due::SetUp(path)) if path.report.id == id));
    assert!(fabric.poll_due(NOW.now + 99_000).is_none(), "once");
    fabric.mark_up(id);
    assert_eq!(fabric.next_due(), Some(NOW.now + 200_000));
    assert!(matches!(fabric.poll_due(NOW.now + 200_000), Some(Due::End(path)) if path == id));

    let later = fabric.admit(at(1), at(3), 2, window(500, 600)).unwrap().report.id;
    assert_eq!(fabric.begin_teardown(later).unwrap().report.state, PathState::Booked);
    fabric.release(later);
    // A clock that was set past everything leaves nothing that would never end.
    let missed = fabric.admit(at(1), at(3), 2, window(500, 600)).unwrap().report.id;
    fabric.release(id);
    assert!(matches!(fabric.poll_due(NOW.now + 900_000), Some(Due::End(path)) if path == missed));
}

#[test]
fn requests_in_the_queue_are_shown_until_they_are_paths() {
    let mut fabric = fabric();
    let ticket = fabric.wait(at(1), at(2), 3);
    let [waiting] = fabric.reports().try_into().unwrap();
    assert_eq!((waiting.id, waiting.lambda, waiting.state), (PathId(0), 3, PathState::Waiting));
    fabric.end_wait(ticket);
    assert_eq!(fabric.reports(), []);
}
