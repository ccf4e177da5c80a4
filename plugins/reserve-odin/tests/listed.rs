//! The plugin with an administrator's command that lists the server's paths, and with a server that defers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Backend, Site, handle, request};
use serde_json::{Value, json};
use vreserve_sdk::model::{Observed, RequestKey, ReservationState};
use vreserve_sdk::{FailureKind, Verb};

const A: &str = "10.10.0.1";
const B: &str = "10.10.0.2";
const C: &str = "10.10.0.3";

/// Grants everything, as path 100 + lambda.
const GRANTS: &str = r#"case $1 in
-c) echo "path $((100 + $4)) up"; echo "source $2"; echo "destination $3"; echo "lambda $4"; echo "switches s1 s2";;
-t) echo "path $2 down";;
esac"#;
/// Dies without a word.
const DIES: &str = "kill -9 $$";

/// An instance that lists what the file `paths` says, and settles at once.
fn open_with(site: &Site, keys: Value) -> Backend {
    let mut config = json!({ "list": ["/bin/cat", site.path("paths")], "settle_time": 0 });
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    site.open_with(config)
}

fn open(site: &Site) -> Backend {
    open_with(site, json!({}))
}

fn set_paths(site: &Site, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(site.path("paths"), text).unwrap();
}

fn path(id: u32, state: &str, a: &str, z: &str, lambda: u16) -> String {
    format!("path {id} {state} {a} {z} lambda {lambda} via s1 s2")
}

fn state(odin: &Backend, key: &str) -> Option<ReservationState> {
    odin.find(key).first().map(|observed| observed.state)
}

#[test]
fn a_lost_request_is_found_in_the_list_and_given_back() {
    let site = Site::new(DIES);
    set_paths(&site, &[]);
    let odin = open_with(&site, json!({ "settle_time": 60 }));
    assert!(odin.capabilities().list && odin.capabilities().find);
    assert_eq!(odin.submit("k1", A, B).unwrap_err().kind, FailureKind::UnknownOutcome);
    let unknown = &odin.find("k1")[0];
    assert_eq!(unknown.state, ReservationState::Unknown);
    assert_eq!(unknown.native_state, "the server does not have it yet; lambda 1 is quarantined");
    assert_eq!(unknown.labels["lambda"], "1");

    for (word, says) in [("waiting", "queue"), ("setting-up", "setting up"), ("odd", "odd")] {
        set_paths(&site, &[path(8, "up", A, C, 1), path(7, word, B, A, 1)]);
        let pending = &odin.find("k1")[0];
        assert!(
            pending.state == ReservationState::Unknown && pending.native_state.contains(says),
            "{pending:?}"
        );
        let failure = odin.cancel("k1").unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnknownOutcome, "{failure}");
    }
    set_paths(&site, &[path(8, "up", A, C, 1), path(7, "up", B, A, 1)]);
    let found = &odin.find("k1")[0];
    assert_eq!((found.state, found.native_id.as_deref()), (ReservationState::Active, Some("7")));
    assert_eq!(found.native_state, "up, by the server's list");
    assert_eq!(found.labels["switches"], "s1 s2");
    site.set_client(GRANTS);
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls().last().unwrap(), "-t 7");
    assert_eq!(odin.find("k1"), []);
}

#[test]
fn a_request_that_never_reached_the_server_is_forgotten_once_it_is_settled() {
    let site = Site::new(DIES);
    set_paths(&site, &[path(3, "up", A, B, 2)]);
    let odin = open_with(&site, json!({ "settle_time": 0.3 }));
    odin.submit("k1", A, B).unwrap_err();
    let begun = Instant::now();
    while !odin.find("k1").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never resolved");
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "not before nothing can come any more");
    site.set_client(GRANTS);
    assert_eq!(odin.submit("k2", A, C).unwrap().labels["lambda"], "1", "the quarantine is lifted");
}

#[test]
fn after_a_crash_the_list_tells_what_became_of_it() {
    let site = Site::new(GRANTS);
    let record = format!(
        r#"{{"key":"k1","owner":"lab/1","a":"{A}","z":"{B}","lambda":1,"stage":"asking","asked_ms":1}}"#
    );
    fs::write(site.path("state/circuits.jsonl"), record + "\n").unwrap();
    set_paths(&site, &[path(5, "up", A, B, 1)]);
    let odin = open(&site);
    let listed: Vec<Observed> = odin.call(Verb::ListOwned, &json!("lab/2")).unwrap();
    assert_eq!((listed.len(), listed[0].native_id.as_deref()), (1, Some("5")));
    let cancelled: Vec<RequestKey> = odin.call(Verb::Gc, &json!([])).unwrap();
    assert_eq!(cancelled, [RequestKey("k1".into())]);
    assert_eq!(site.calls(), ["-t 5"]);
}

#[test]
fn a_server_that_was_restarted_is_noticed_and_anothers_path_is_left_alone() {
    let site = Site::new(GRANTS);
    set_paths(&site, &[]);
    let odin = open(&site);
    odin.submit("k1", A, B).unwrap();
    set_paths(&site, &[path(101, "up", A, B, 1)]);
    assert_eq!(state(&odin, "k1"), Some(ReservationState::Active));

    // It counts from 1 again, and somebody else has our number.
    set_paths(&site, &[path(101, "up", A, C, 1)]);
    let lost = &odin.find("k1")[0];
    assert_eq!((lost.state, lost.native_id.clone()), (ReservationState::Failed, None));
    assert_eq!(lost.native_state, "path 101 is another's now: the server has been restarted");
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls().len(), 1, "nothing was torn down");
    assert_eq!(odin.find("k1"), []);

    set_paths(&site, &[]);
    odin.submit("k2", A, B).unwrap();
    assert_eq!(state(&odin, "k2"), Some(ReservationState::Failed));
    let query: Option<Observed> = odin.call(Verb::Query, &handle("k2")).unwrap();
    assert!(query.unwrap().native_state.contains("no longer has path 101"));
}

#[test]
fn a_path_that_is_anothers_by_now_is_not_torn_down_even_if_nobody_looked() {
    let site = Site::new(GRANTS);
    set_paths(&site, &[]);
    let odin = open(&site);
    odin.submit("k1", A, B).unwrap();
    set_paths(&site, &[path(101, "up", B, C, 1)]);
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls().len(), 1);
}

#[test]
fn a_list_that_fails_decides_nothing() {
    let site = Site::new(DIES);
    for list in [
        json!(["/nowhere/odin-server"]),
        json!(["/bin/false"]),
        json!(["/bin/echo", "path 1"]),
        json!(["/bin/sh", "-c", "kill -9 $$"]),
        json!(["/bin/sh", "-c", "yes path 1 up"]),
    ] {
        let odin = open_with(&site, json!({ "list": list }));
        let key = list.to_string();
        odin.submit(&key, A, B).unwrap_err();
        let found = &odin.find(&key)[0];
        assert_eq!(found.state, ReservationState::Unknown);
        assert!(found.native_state.contains("cannot be listed"), "{found:?}");
        assert_eq!(odin.cancel(&key).unwrap_err().kind, FailureKind::Unavailable);
        fs::remove_file(site.path("state/circuits.jsonl")).unwrap();
    }
}

#[test]
fn lambdas_in_use_elsewhere_are_asked_for_first_once_the_way_is_known() {
    let site = Site::new(GRANTS);
    set_paths(&site, &[]);
    let odin = open(&site);
    odin.submit("k1", A, B).unwrap();
    odin.cancel("k1").unwrap();
    // The way from A to B is s1 s2: lambda 2 is free on it, 1 is not, 3 and 4 are free everywhere.
    let on = |id: u32, lambda: u16, via: &str| {
        format!("path {id} up 10.10.0.8 10.10.0.9 lambda {lambda} via {via}")
    };
    set_paths(&site, &[on(50, 1, "s2 s1"), on(51, 2, "s2 s3")]);
    assert_eq!(odin.submit("k2", A, B).unwrap().labels["lambda"], "2");
}

/// Books what has a start, as path 200 + lambda.
const BOOKS: &str = r#"case "$*" in
*start=*) echo "path $((200 + $4)) booked";;
-c*) echo "path $((200 + $4)) up";;
-t*) echo "path $2 down";;
esac"#;

fn later(key: &str, start_ms: u64, end_ms: u64) -> Value {
    let mut later = request(key, A, B);
    (later["start_ms"], later["end_ms"]) = (json!(start_ms), json!(end_ms));
    later
}

#[test]
fn a_request_for_later_is_booked_and_goes_up_by_the_servers_word() {
    let site = Site::new(BOOKS);
    set_paths(&site, &[]);
    let odin = open_with(&site, json!({ "deferred": true, "flags": ["gold"] }));
    assert!(odin.capabilities().advance);
    let far = 4_000_000_000_500;
    let observed: Observed = odin.call(Verb::Submit, &later("k1", far, far + 60_000)).unwrap();
    assert_eq!(site.calls(), [format!("-c {A} {B} 1 gold start=4000000000.500 end=4000000060.500")]);
    assert_eq!((observed.state, observed.native_id.as_deref()), (ReservationState::Booked, Some("201")));
    assert_eq!((observed.start_ms, observed.end_ms), (Some(far), Some(far + 60_000)));
    for (word, expected) in [
        ("booked", ReservationState::Booked),
        ("setting-up", ReservationState::Booked),
        ("up", ReservationState::Active),
    ] {
        set_paths(&site, &[path(201, word, A, B, 1)]);
        assert_eq!(state(&odin, "k1"), Some(expected), "{word}");
    }
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls().last().unwrap(), "-t 201");
}

#[test]
fn a_window_that_is_over_is_released_and_a_server_that_does_not_defer_is_not_asked() {
    let site = Site::new(BOOKS);
    set_paths(&site, &[]);
    let odin = open_with(&site, json!({ "deferred": true }));
    let over: Observed = odin.call(Verb::Submit, &later("k1", 1000, 2000)).unwrap();
    assert_eq!(over.state, ReservationState::Released);
    assert_eq!(state(&odin, "k1"), Some(ReservationState::Released), "the server no longer has it");
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls().len(), 1);

    let odin = open(&site);
    assert!(!odin.capabilities().advance);
    let failure = odin.call::<Observed>(Verb::Submit, &later("k2", 1000, 2000)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
}
