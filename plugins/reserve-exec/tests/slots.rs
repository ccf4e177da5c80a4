//! The worked example `slots.py` through the plugin: every verb, and whatever cuts one off.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Backend, Site, handle, request, request_with};
use serde_json::{Value, json};
use vreserve_sdk::model::{Changes, Observed, RequestKey, ReservationState};
use vreserve_sdk::{FailureKind, Verb};

const PYTHON: &str = "/usr/bin/python3";

/// Bits per second of the requests of these tests.
const RATE: u64 = 50_000_000;

fn is_skipped(test: &str) -> bool {
    let is_missing = !Path::new(PYTHON).exists();
    if is_missing {
        // Written to the stream itself: the runner captures only what the print macros write.
        let _ = writeln!(std::io::stdout(), "SKIPPED: slots, {test}: {PYTHON} is not installed");
    }
    is_missing
}

fn slots(options: Value) -> (Site, Backend) {
    let site = Site::bare();
    site.write_program(include_str!("../examples/slots.py"));
    let exec = site.open_with(json!({ "options": options }));
    (site, exec)
}

/// So many hours after one moment of this run, in milliseconds since the epoch.
fn in_hours(hours: u64) -> u64 {
    static NOW: OnceLock<Duration> = OnceLock::new();
    let now = NOW.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    (*now + Duration::from_secs(3600 * hours)).as_millis().try_into().unwrap()
}

fn submit_between(exec: &Backend, key: &str, start: u64, end: u64) -> Result<Observed, FailureKind> {
    let window = json!({ "start_ms": in_hours(start), "end_ms": in_hours(end) });
    exec.call(Verb::Submit, &request_with(key, window)).map_err(|failure| failure.kind)
}

fn list(exec: &Backend) -> Vec<Observed> {
    exec.call(Verb::ListOwned, &json!("lab")).unwrap()
}

#[test]
fn a_reservation_lives_through_every_verb() {
    if is_skipped("every verb") {
        return;
    }
    let (_site, exec) = slots(json!({ "capacity": 2 * RATE }));
    exec.call::<()>(Verb::Health, &json!(null)).unwrap();
    assert!(exec.capabilities().advance && exec.capabilities().events);
    let booked = exec.submit("k1").unwrap();
    assert_eq!((booked.state, booked.rate.map(|rate| rate.0)), (ReservationState::Booked, Some(RATE)));
    assert_eq!(exec.submit("k1").unwrap(), booked, "a key is worked off once");
    let active: Observed = exec.call(Verb::Activate, &json!([handle("k1"), request("k1")])).unwrap();
    assert_eq!(active.state, ReservationState::Active);
    let more = request_with("k1", json!({ "rate": 2 * RATE }));
    let modified: Observed = exec.call(Verb::Modify, &json!([handle("k1"), more])).unwrap();
    assert_eq!(
        (modified.state, modified.rate.map(|rate| rate.0)),
        (ReservationState::Active, Some(2 * RATE))
    );
    let too_much = request_with("k1", json!({ "rate": 3 * RATE }));
    let refused = exec.call::<Observed>(Verb::Modify, &json!([handle("k1"), too_much])).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Refused);
    assert_eq!(exec.find("k1").unwrap(), [modified], "refused, everything is as it was");
    let booked: Observed = exec.call(Verb::Deactivate, &handle("k1")).unwrap();
    assert_eq!(booked.state, ReservationState::Booked);

    let changes: Changes = exec.call(Verb::Events, &json!(0)).unwrap();
    assert_eq!((changes.observed.len(), changes.missed), (1, false));
    exec.cancel("k1").unwrap();
    exec.cancel("k1").unwrap();
    let changes: Changes = exec.call(Verb::Events, &json!(changes.next)).unwrap();
    assert!(changes.missed, "what is gone is told by asking to look everything up");
    assert_eq!(exec.call::<Option<Observed>>(Verb::Query, &handle("k1")).unwrap(), None);

    exec.submit("k2").unwrap();
    exec.submit("k3").unwrap();
    let removed: Vec<RequestKey> = exec.call(Verb::Gc, &json!(["k3"])).unwrap();
    assert_eq!(removed, [RequestKey("k2".into())]);
    assert_eq!(list(&exec).iter().map(|observed| observed.key.0.as_str()).collect::<Vec<_>>(), ["k3"]);
    assert_eq!(exec.call::<Vec<Observed>>(Verb::ListOwned, &json!("other")).unwrap(), []);
}

#[test]
fn a_hold_is_committed_or_dropped() {
    if is_skipped("two phases") {
        return;
    }
    let (_site, exec) = slots(json!({ "two_phase": true, "capacity": RATE }));
    assert!(exec.capabilities().two_phase);
    assert_eq!(exec.submit("k1").unwrap().state, ReservationState::Held);
    assert_eq!(exec.submit("k2").unwrap_err().kind, FailureKind::Refused, "a hold takes room");
    exec.call::<()>(Verb::Abort, &handle("k1")).unwrap();
    assert_eq!(exec.submit("k2").unwrap().state, ReservationState::Held);
    let booked: Observed = exec.call(Verb::Commit, &handle("k2")).unwrap();
    assert_eq!(booked.state, ReservationState::Booked);

    let (_site, exec) = slots(json!({ "two_phase": true, "hold": 0 }));
    exec.submit("k1").unwrap();
    let expired = exec.call::<Observed>(Verb::Commit, &handle("k1")).unwrap_err();
    assert_eq!(expired.kind, FailureKind::Refused, "{expired}");
}

#[test]
fn windows_that_do_not_meet_share_the_capacity() {
    if is_skipped("windows") {
        return;
    }
    let (_site, exec) = slots(json!({ "capacity": RATE }));
    submit_between(&exec, "k1", 2, 4).unwrap();
    submit_between(&exec, "k2", 4, 6).unwrap();
    assert_eq!(submit_between(&exec, "k3", 1, 3), Err(FailureKind::Refused));
    assert_eq!(submit_between(&exec, "k4", 3, 5), Err(FailureKind::Refused));
    submit_between(&exec, "k5", 1, 2).unwrap();
    let early = exec.call::<Observed>(Verb::Activate, &json!([handle("k1"), request("k1")])).unwrap_err();
    assert_eq!(early.kind, FailureKind::Refused);
    let elsewhere = request_with("k6", json!({ "z": "10.0.0.3" }));
    exec.call::<Observed>(Verb::Submit, &elsewhere).unwrap();
    let nowhere = exec.call::<Observed>(Verb::Submit, &request_with("k7", json!({ "z": "10.0.0.1" })));
    let failure = nowhere.unwrap_err();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("request.z")));
}

#[test]
fn many_at_once_get_what_there_is_and_no_more() {
    if is_skipped("many at once") {
        return;
    }
    let (_site, exec) = slots(json!({ "capacity": 5 * RATE }));
    let keys: Vec<_> = (0..12).map(|n| format!("k{n}")).collect();
    let calls: Vec<_> = keys.iter().map(|key| exec.start(Verb::Submit, &request(key))).collect();
    let answers: Vec<_> = calls.into_iter().map(|call| exec.finish::<Observed>(call)).collect();
    let granted = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers
        .iter()
        .filter(|answer| answer.as_ref().is_err_and(|f| f.kind == FailureKind::Refused))
        .count();
    assert_eq!((granted, refused, list(&exec).len()), (5, 7, 5));
}

#[test]
fn wherever_a_submit_is_cut_off_the_key_is_worked_off_once_and_can_be_given_back() {
    if is_skipped("cut off") {
        return;
    }
    let (site, exec) = slots(json!({ "capacity": 1000 * RATE }));
    // Python takes some tens of milliseconds: the cuts lie before it starts, in it, and behind its end.
    for step in 0..12 {
        let key = format!("k{step}");
        let call = exec.start(Verb::Submit, &request(&key));
        std::thread::sleep(Duration::from_millis(8 * step));
        drop(call);
        let found = exec.find(&key).unwrap();
        assert!(found.len() <= 1, "{found:?}");
        let again = exec.submit(&key).unwrap();
        assert_eq!(found.first().unwrap_or(&again), &again);
        assert_eq!(exec.find(&key).unwrap(), [again]);

        let call = exec.start(Verb::Cancel, &handle(&key));
        std::thread::sleep(Duration::from_millis(8 * step));
        drop(call);
        if step % 2 == 0 {
            exec.cancel(&key).unwrap();
            assert_eq!(exec.find(&key).unwrap(), []);
        }
    }
    let left = list(&exec);
    assert!(left.len() <= 6, "{left:?}");
    serde_json::from_str::<Value>(&site.read("state/slots.json")).unwrap();
}

#[test]
fn a_damaged_file_is_not_guessed_and_wrong_options_are_named() {
    if is_skipped("damage") {
        return;
    }
    let (site, exec) = slots(json!({}));
    fs::write(site.path("state/slots.json"), "{\"slots\":").unwrap();
    let failure = exec.submit("k1").unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnknownOutcome);
    assert!(failure.reason.contains("code 1"), "{failure}");
    assert_eq!(exec.find("k1").unwrap_err().kind, FailureKind::Unavailable);
    assert_eq!(site.read("state/slots.json"), "{\"slots\":");
    let failure = site.try_open(json!({ "options": { "capacity": 0 } })).err().unwrap();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("options.capacity")));
}
