//! A host of ABI 1.0 (`host-1-0` of the frozen workspace) and today's plugins: it loads them, and runs the kits of its own
//! time on them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use vreserve_tests::{frozen, program, skip};

use super::host::shared_object;

/// What the host of 1.0 is to do with a plugin of today.
fn order(plugin: &str, kind: &str, config: Value, cases: &[&str]) -> Value {
    let file = program(&format!("libvreserve_{}.so", plugin.replace('-', "_")));
    json!({ "file": file, "plugin": plugin, "kind": kind, "config": config, "cases": cases })
}

/// Runs the host of 1.0, and asserts that it loads every plugin and that every case passes.
fn host_of_1_0(command: &mut Command, orders: &[Value]) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), orders).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), orders.len());
    for (answer, order) in answers.iter().zip(orders) {
        assert_eq!(answer["refused"], Value::Null, "{}", order["plugin"]);
        let cases = answer["report"]["cases"].as_array().unwrap();
        assert_eq!(cases.len(), order["cases"].as_array().unwrap().len(), "{answer}");
        assert!(cases.iter().all(|case| case["outcome"] == "passed"), "{answer:#}");
    }
}

const CONFIGURED: [&str; 3] =
    ["the_schema_describes_the_configuration", "unknown_keys_are_named", "kinds_not_served_are_unsupported"];

#[test]
fn a_host_of_1_0_loads_and_uses_todays_plugins_beside_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let slots = include_str!("../../../../plugins/reserve-exec/examples/slots.py");
    let script = dir.path().join("slots.py");
    fs::write(&script, slots).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let links = ["batches_of_any_size_pass", "readiness_is_level_triggered", "two_instances_are_independent"];
    let bind = json!({ "bind": "127.0.0.{n}:0" });
    let inferring = ["a_steady_pair_becomes_a_demand", "two_instances_are_independent"];
    let planning = ["what_is_wanted_makes_sense", "the_same_snapshot_gives_the_same_answer"];
    let vadapt = json!({ "max_links": 2, "rates": { "omninet": { "least": "1mbit" } } });
    let reserving = ["capabilities_are_kept", "a_reservation_lives_and_ends", "the_same_key_reserves_once"];
    let mut exec = order("reserve-exec", "reserve", json!({ "program": script }), &reserving);
    exec["ends"] = json!(["10.10.0.{n}", "10.10.1.{n}"]);
    let mut old = order("link-udp", "link", bind.clone(), &links[1..]);
    (old["file"], old["plugin"]) = (json!(shared_object("link-1-0")), json!("link-1-0"));
    let mut orders = vec![
        order("link-udp", "link", bind.clone(), &links),
        old,
        order("link-tcp", "link", bind, &links),
        order("link-vxlan", "link", Value::Null, &CONFIGURED),
        order("capture-pcap", "capture", Value::Null, &CONFIGURED),
        order("infer-vttif", "infer", json!({}), &inferring),
        order("adapt-vadapt", "adapt", vadapt, &planning),
        order("reserve-odin", "reserve", Value::Null, &CONFIGURED),
        // Without certificates nothing of it is right but this.
        order("reserve-gara", "reserve", json!({}), &CONFIGURED[2..]),
    ];
    if Path::new("/usr/bin/python3").exists() {
        orders.push(exec);
    } else {
        say_skipped("a host of 1.0 and reserve-exec: /usr/bin/python3 is not installed");
    }
    host_of_1_0(&mut Command::new(frozen("host-1-0")), &orders);
}

#[test]
fn a_host_of_1_0_captures_with_todays_plugin() {
    if skip::is_skipped("a host of 1.0 and capture-iouring", &["unshare"]) {
        return;
    }
    let cases = ["batches_of_any_size_pass", "two_instances_are_independent", "recv_never_blocks"];
    let config = json!({ "interface": "vrold{n}" });
    // The TAPs are in a namespace that ends with the process.
    let mut command = Command::new("unshare");
    command.arg("--net").arg(frozen("host-1-0"));
    host_of_1_0(&mut command, &[order("capture-iouring", "capture", config, &cases)]);
}

/// Past the capture of the test runner.
fn say_skipped(what: &str) {
    // If nobody listens, nobody is told.
    let _ = writeln!(std::io::stdout(), "SKIPPED: {what}");
}
