//! What the network admits and refuses, on the plant drawn here:
//!
//! ```text
//!  alpha .1 ─ chicago ──0── evanston ──1── argonne ─ gamma .3      champaign ─ delta .4 (no fibre)
//!  zeta  .5 ─ chicago          │
//!                          beta .2
//! ```

use super::*;

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

fn at(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, 0, host)
}

#[test]
fn a_path_takes_the_shortest_way_and_knows_each_fibres_direction() {
    let path = Fabric::new(plant()).admit(at(1), at(3), 1).unwrap();
    assert_eq!(path.report.switches, ["chicago", "evanston", "argonne"]);
    assert_eq!(path.hops, [Hop { fibre: 0, is_forward: true }, Hop { fibre: 1, is_forward: false }]);
}

#[test]
fn a_lambda_carries_one_path_on_each_fibre_until_that_is_released() {
    let mut fabric = Fabric::new(plant());
    let first = fabric.admit(at(1), at(3), 1).unwrap();
    let refusal = fabric.admit(at(2), at(3), 1).unwrap_err();
    assert!(matches!(refusal, Refusal::LambdaBusy { path, .. } if path == first.report.id), "{refusal}");
    fabric.admit(at(2), at(3), 2).unwrap();
    fabric.mark_up(first.report.id);
    fabric.begin_teardown(first.report.id).unwrap();
    assert!(fabric.admit(at(1), at(2), 1).is_err(), "still taken while the switches work");
    fabric.release(first.report.id);
    assert_eq!(fabric.admit(at(1), at(2), 1).unwrap().report.id, PathId(3), "ids grow");
}

#[test]
fn two_ends_on_one_switch_use_no_lambda_of_any_fibre() {
    let mut fabric = Fabric::new(plant());
    let path = fabric.admit(at(1), at(5), 1).unwrap();
    assert!(path.hops.is_empty());
    assert_eq!(path.report.switches, ["chicago"]);
    assert!(fabric.admit(at(1), at(2), 1).is_ok());
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut fabric = Fabric::new(plant());
    fabric.admit(at(1), at(2), 1).unwrap();
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
        let refusal = fabric.admit(source, destination, lambda).unwrap_err().to_string();
        assert!(refusal.starts_with(reason), "{refusal} is not {reason}");
    }
    assert_eq!(fabric.reports().len(), 1, "a refusal takes nothing");
}

#[test]
fn a_path_is_torn_down_once_and_only_when_up() {
    let mut fabric = Fabric::new(plant());
    let id = fabric.admit(at(1), at(2), 1).unwrap().report.id;
    assert!(fabric.begin_teardown(id).is_err());
    fabric.mark_up(id);
    assert!(fabric.begin_teardown(id).is_ok());
    assert_eq!(fabric.begin_teardown(id).unwrap_err(), Refusal::NoSuchPath { path: id });
}
