//! Labs come up whole, go down whole, and enforce the commodity network's rate. Real namespaces.
//!
//! ```text
//!  a1 (TAP)  v1 ─veth─ alpha ──20 Mbit/s── commodity ──20 Mbit/s── beta
//!                        └──── dark port ─── omninet ─── dark port ──┘
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{can_run, carries, eventually, flood_rate, is_dark, spec, unique};
use vreserve_testbed::{Error, Lab, LabSpec, lab, netns};

const LAB: &str = r#"
name = "lab"
commodity = { rate = "20mbit", queue = "256kb", subnet = "198.51.100.0/24" }
[[network]]
name = "omninet"
kind = "optical"
rate = "1gbit"
subnet = "10.10.0.0/24"
mtu = 1600
lambdas = 1
switch = [{ name = "chicago" }]
[[host]]
name = "alpha"
role = "proxy"
attach = { omninet = "chicago" }
guest = [
    { name = "a1", address = "10.1.0.1/24" },
    { name = "v1", address = "10.1.0.2/24", interface = "veth" },
]
[[host]]
name = "beta"
attach = { omninet = "chicago" }
"#;

fn is_recorded(name: &str) -> bool {
    lab::state::recorded().unwrap().iter().any(|recorded| recorded == name)
}

#[test]
fn a_lab_comes_up_as_written_and_goes_down_whole_and_twice() {
    if !can_run() {
        return;
    }
    let lab = Lab::up(unique(spec(LAB), "whole")).unwrap();
    let name = lab.spec().name.clone();
    assert_eq!(lab::namespaces_left(&name).len(), 6);
    let shown = |member: &str| {
        let output = lab.exec(member, Command::new("ip").args(["-o", "address"])).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(shown("a1").contains("10.1.0.1/24") && shown("v1").contains("10.1.0.2/24"));
    assert!(shown("alpha").contains("198.51.100.1/24") && shown("alpha").contains("10.10.0.1/24"));
    assert!(!shown("alpha").contains("inet6") && !shown("a1").contains("inet6"), "no IPv6 chatter");
    let links = lab.exec("a1", Command::new("ip").args(["-d", "link", "show", "eth0"])).unwrap();
    let links = String::from_utf8(links.stdout).unwrap();
    let mac = lab.spec().guest("a1").unwrap().mac.to_string();
    assert!(links.contains("tun type tap") && links.contains("mtu 1400") && links.contains(&mac), "{links}");
    assert!(matches!(Lab::up(lab.spec().clone()), Err(Error::AlreadyUp { .. })));

    assert_eq!(lab.down().unwrap().namespaces, 6);
    assert!(lab::namespaces_left(&name).is_empty() && !is_recorded(&name));
    assert_eq!(lab::down(&name).unwrap().namespaces, 0);
}

#[test]
fn dropping_a_lab_takes_it_down_and_leaving_it_standing_does_not() {
    if !can_run() {
        return;
    }
    let first = unique(spec(LAB), "drop");
    drop(Lab::up(first.clone()).unwrap());
    assert!(lab::namespaces_left(&first.name).is_empty());
    Lab::up(first.clone()).unwrap().leave_standing();
    drop(Lab::attach(&first.name).unwrap());
    assert_eq!(lab::namespaces_left(&first.name).len(), 6);
    Lab::attach(&first.name).unwrap().down().unwrap();
    assert!(matches!(Lab::attach(&first.name), Err(Error::NotUp { .. })));
}

#[test]
fn down_ends_recorded_processes_and_whatever_else_runs_inside() {
    if !can_run() {
        return;
    }
    let lab = Lab::up(unique(spec(LAB), "ends")).unwrap();
    let mut recorded = lab.spawn("alpha", Command::new("sleep").arg("1000")).unwrap();
    let mut stubborn = Command::new("sh");
    stubborn.args(["-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"]).stdout(Stdio::piped());
    let mut stranger = lab.inside("beta", || stubborn.spawn().unwrap()).unwrap();
    std::io::Read::read_exact(stranger.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    assert!(lab.down().unwrap().processes >= 2);
    assert_eq!(recorded.wait().unwrap().signal(), Some(15));
    assert_eq!(stranger.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_killed_up_is_cleared_by_down_at_any_moment() {
    if !can_run() {
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/demo.toml");
    let all = LabSpec::load(&file).unwrap().namespaces().len();
    for moment in [0, 1, all / 2, all] {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("t{}_kill{moment}", std::process::id());
        let program = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vreserve-lab"));
            command.env("VRESERVE_LAB_DIR", directory.path()).stdout(Stdio::null());
            command
        };
        let mut up = program().arg("up").arg(&file).args(["--name", &name]).spawn().unwrap();
        let state = directory.path().join(format!("{name}.json"));
        eventually("up gets this far", || state.exists() && lab::namespaces_left(&name).len() >= moment);
        up.kill().unwrap();
        up.wait().unwrap();
        assert!(program().args(["down", &name]).status().unwrap().success());
        assert_eq!(lab::namespaces_left(&name), Vec::<String>::new(), "killed at {moment}");
        assert_eq!(directory.path().read_dir().unwrap().count(), 0, "state is gone too");
    }
}

#[test]
fn a_namespace_that_no_lab_recorded_is_never_touched() {
    if !can_run() {
        return;
    }
    let spec = unique(spec(LAB), "foreign");
    let foreign = spec.namespace("alpha");
    let ip = |verb: &str| Command::new("ip").args(["netns", verb, &foreign]).status().unwrap();
    assert!(ip("add").success());
    let refused = Lab::up(spec.clone());
    let cleared = lab::down(&spec.name);
    let survived = netns::exists(&foreign);
    assert!(ip("delete").success());
    assert!(matches!(refused, Err(Error::ForeignNamespace { .. })));
    assert_eq!(cleared.unwrap().namespaces, 0);
    assert!(survived);
}

#[test]
fn the_commodity_network_carries_its_rate_both_ways_and_no_more() {
    if !can_run() {
        return;
    }
    let lab = Lab::up(unique(spec(LAB), "rate")).unwrap();
    let at = |host: &str| lab.spec().host(host).unwrap().commodity.addr();
    assert!(carries(&lab, "alpha", "beta", at("beta")));
    for (from, to) in [("alpha", "beta"), ("beta", "alpha")] {
        let rate = flood_rate(&lab, from, to, at(to)) / 1e6;
        // A guard: the bucket's first burst adds a little, a busy machine takes some away.
        assert!((8.0..26.0).contains(&rate), "{from} to {to}: {rate} Mbit/s of 20");
    }
}

#[test]
fn a_lab_without_a_rate_is_a_wire_and_its_user_puts_the_guests_interfaces_in() {
    if !can_run() {
        return;
    }
    let text = r#"
name = "wire"
commodity = { subnet = "198.51.100.0/30" }
[[host]]
name = "alpha"
guest = [{ name = "a1", address = "10.1.0.1/24", interface = "absent" }]
[[host]]
name = "beta"
"#;
    let lab = Lab::up(unique(spec(text), "wire")).unwrap();
    assert_eq!(lab::namespaces_left(&lab.spec().name).len(), 3);
    assert!(carries(&lab, "alpha", "beta", lab.spec().host("beta").unwrap().commodity.addr()));
    let has_eth0 = || {
        let output = lab.exec("a1", Command::new("ip").args(["link", "show", "eth0"])).unwrap();
        output.status.success()
    };
    assert!(!has_eth0());
    lab.ip("a1", vec!["tuntap add dev eth0 mode tap".to_owned()]).unwrap();
    assert!(has_eth0());
    let refused = lab.ip("a1", vec!["link set eth0 up".to_owned(), "link set eth7 up".to_owned()]);
    assert!(refused.unwrap_err().to_string().contains("link set eth7 up"));
}

#[test]
fn optical_ports_are_dark_and_guests_reach_nobody_without_a_daemon() {
    if !can_run() {
        return;
    }
    let lab = Lab::up(unique(spec(LAB), "dark")).unwrap();
    let beta = lab.spec().host("beta").unwrap().address_on("omninet").unwrap();
    assert!(is_dark(&lab, "alpha", "beta", beta));
    assert!(is_dark(&lab, "v1", "a1", lab.spec().guest("a1").unwrap().address.addr()));
}
