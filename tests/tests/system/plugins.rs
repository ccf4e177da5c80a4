//! Every plugin that was built, as an operator verifies it: by its file alone.

use std::process::Command;

use serde_json::Value;
use vreserve_tests::{directory, program};

/// Each plugin, and a case that passes without anything given.
const PLUGINS: [(&str, &str); 8] = [
    ("capture_iouring", "unknown_keys_are_named"),
    ("link_udp", "readiness_is_level_triggered"),
    ("link_vxlan", "unknown_keys_are_named"),
    ("infer_vttif", "a_steady_pair_becomes_a_demand"),
    ("adapt_vadapt", "small_changes_settle"),
    ("adapt_watermark", "small_changes_settle"),
    ("reserve_odin", "no_call_panics"),
    ("reserve_gara", "kinds_not_served_are_unsupported"),
];

fn plugins(arguments: &[&str]) -> (bool, Value) {
    let output = Command::new(program("vreserve")).arg("plugins").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{words}")))
}

#[test]
fn every_plugin_verifies() {
    for (plugin, case) in PLUGINS {
        let file = program(&format!("libvreserve_{plugin}.so"));
        let (is_ok, found) = plugins(&["verify", file.to_str().unwrap(), "--json"]);
        let cases = found["kits"][0]["cases"].as_array().unwrap();
        let failed: Vec<_> = cases.iter().filter(|case| case["outcome"] == "failed").collect();
        assert!(is_ok && failed.is_empty(), "{plugin}: {failed:#?}");
        let outcome = cases.iter().find(|one| one["name"] == case).map(|one| one["outcome"].clone());
        assert_eq!(outcome, Some("passed".into()), "{plugin}: {case}");
    }
}

#[test]
fn every_plugin_is_listed_and_says_what_it_is() {
    let directory = directory();
    let (_, rows) = plugins(&["list", "--dir", directory.to_str().unwrap(), "--json"]);
    for (plugin, _) in PLUGINS {
        let name = plugin.replace('_', "-");
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(row["reason"], Value::Null, "{row}");
        let (is_ok, found) = plugins(&["inspect", row["path"].as_str().unwrap(), "--json"]);
        assert!(is_ok && found[0]["name"] == name, "{found}");
        assert!(found[0]["kinds"][0]["schema"]["properties"].is_object(), "{found}");
    }
}
