//! `vreserve plugins verify`, `inspect` and `list` on the fixture that keeps its contract or breaks one part of it.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// What cargo built beside this test.
fn misfits() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libvreserve_fixture_misfits.so")
}

fn vreserve(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vreserve")).arg("plugins").args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The cases of a kit, those named or all, on the fixture with a fault: name, outcome, reason.
fn verify(kind: &str, fault: &str, only: &[&str]) -> (bool, Vec<[String; 3]>) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(&config, format!("fault = \"{fault}\"\n")).unwrap();
    let (file, config) = (misfits(), config.to_str().unwrap().to_owned());
    let file = file.to_str().unwrap();
    let ends = ["--ends", "a{n}", "z{n}"];
    let arguments = [&["verify", file, "--json", "--kind", kind, "--config", &config], &ends[..]].concat();
    let only: Vec<_> = only.iter().flat_map(|name| ["--case", name]).collect();
    let output = vreserve(&[arguments, only].concat());
    let found = json(&output);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let cases = found["kits"][0]["cases"].as_array().cloned().unwrap_or_default();
    let cases: Vec<_> = cases
        .iter()
        .map(|case| [text(&case["name"]), text(&case["outcome"]), text(&case["reason"])])
        .collect();
    assert_eq!(found["ok"], output.status.success(), "{found}");
    (output.status.success(), cases)
}

/// That the case fails before any other, and says this.
fn assert_fails(kind: &str, fault: &str, name: &str, words: &str) -> Vec<String> {
    assert_fails_among(kind, fault, name, words, &[])
}

/// The same among the cases that are named, or all.
fn assert_fails_among(kind: &str, fault: &str, name: &str, words: &str, only: &[&str]) -> Vec<String> {
    let (is_ok, cases) = verify(kind, fault, only);
    assert!(!is_ok, "{fault}");
    let failed: Vec<_> = cases.iter().filter(|case| case[1] == "failed").collect();
    assert_eq!(failed[0][0], name, "{fault}: {cases:#?}");
    assert!(failed[0][2].contains(words), "{fault}: {}", failed[0][2]);
    failed.iter().map(|case| case[0].clone()).collect()
}

#[test]
fn a_plugin_that_keeps_its_contract_passes() {
    for kind in ["link", "reserve"] {
        let (is_ok, cases) = verify(kind, "none", &[]);
        let failed: Vec<_> = cases.iter().filter(|case| case[1] == "failed").collect();
        assert!(is_ok && failed.is_empty(), "{kind}: {failed:#?}");
        let passed = cases.iter().filter(|case| case[1] == "passed").count();
        assert!(passed >= 18, "{kind}: only {passed} passed: {cases:#?}");
        let skipped = cases.iter().filter(|case| case[1] == "skipped");
        assert!(skipped.clone().all(|case| !case[2].is_empty()), "each says why");
    }
}

#[test]
fn each_broken_part_of_a_links_contract_is_found_by_its_case() {
    for (fault, name, words) in [
        ("accepts-unknown-keys", "unknown_keys_are_named", "accepts {"),
        ("leaks-a-descriptor", "closed_instances_leave_nothing_behind", "descriptor"),
        ("writes-past-a-slot", "never_writes_past_a_slot", "it wrote after slot number"),
        ("edge-triggered", "readiness_is_level_triggered", "though frames wait"),
        ("blocks-in-recv", "recv_never_blocks", "has not returned"),
    ] {
        let failed = assert_fails("link", fault, name, words);
        assert_eq!(failed, [name], "{fault}: nothing else is wrong");
    }
    // These break much else: without a frame that ever comes, most cases wait in vain.
    let first = [
        "recv_never_blocks",
        "no_call_panics",
        "describe_says_where_and_how_large",
        "counts_and_lengths_are_true",
    ];
    let counts = first[3];
    assert_fails_among("link", "lies-about-its-count", counts, "slots of", &first);
    assert_fails_among("link", "panics", "no_call_panics", "recv panicked", &first);
    assert_fails("link", "crashes", "recv_never_blocks", "signal 6");
}

#[test]
fn each_broken_part_of_a_backends_contract_is_found_by_its_case() {
    let failed =
        assert_fails("reserve", "forgets-in-list", "list_and_find_are_honest", "list_owned does not name");
    assert_eq!(failed, ["list_and_find_are_honest"]);
    assert_fails("reserve", "releases-once", "release_is_idempotent", "cancel of what is gone fails");
    assert_fails("reserve", "panics", "a_reservation_lives_and_ends", "panicked");
}

#[test]
fn what_is_no_plugin_is_refused_with_a_reason_and_no_case_of_that_name_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nothing.so");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    let output = vreserve(&["verify", file.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no ELF header"));
    let output = vreserve(&["verify", misfits().to_str().unwrap(), "--case", "no_such_case"]);
    assert!(!output.status.success());
}

#[test]
fn inspect_tells_what_the_plugin_says_of_itself() {
    let found = json(&vreserve(&["inspect", misfits().to_str().unwrap(), "--json"]));
    assert_eq!(
        (found[0]["name"].as_str(), found[0]["panic"].as_str()),
        (Some("fixture-misfits"), Some("unwind"))
    );
    assert_eq!(found[0]["sha256"].as_str().map(str::len), Some(64));
    let kinds: Vec<_> =
        found[0]["kinds"].as_array().unwrap().iter().map(|kind| kind["kind"].clone()).collect();
    assert_eq!(kinds, ["link", "reserve"]);
    assert!(found[0]["kinds"][0]["schema"]["properties"]["fault"].is_object());
    let text = vreserve(&["inspect", misfits().to_str().unwrap()]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("What to do wrong."));
}

#[test]
fn list_reads_metadata_and_runs_nothing() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&first, &second] {
        fs::copy(misfits(), dir.path().join("misfits.so")).unwrap();
    }
    fs::write(first.path().join("broken.so"), b"\x7fELF").unwrap();
    fs::write(first.path().join("notes.txt"), "").unwrap();
    let dirs = [first.path(), second.path()].map(|dir| dir.to_str().unwrap());
    let found = json(&vreserve(&["list", "--dir", dirs[0], "--dir", dirs[1], "--json"]));
    let rows = found.as_array().unwrap();
    assert_eq!(rows.len(), 3, "{found}");
    assert!(rows[0]["reason"].as_str().unwrap().contains("not a shared object"), "{found}");
    assert_eq!((&rows[1]["name"], &rows[1]["shadowed_by"]), (&"fixture-misfits".into(), &Value::Null));
    assert_eq!(rows[2]["shadowed_by"].as_str(), Some(format!("{}/misfits.so", dirs[0]).as_str()));
    let text = String::from_utf8(vreserve(&["list", "--dir", dirs[0]]).stdout).unwrap();
    assert!(text.contains("link,reserve"), "{text}");
    let nowhere = format!("{}/nowhere", dirs[0]);
    let output = vreserve(&["list", "--dir", &nowhere, "--json"]);
    assert_eq!(json(&output), Value::Array(Vec::new()));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains(&nowhere),
        "it says that there is no such place"
    );
}
