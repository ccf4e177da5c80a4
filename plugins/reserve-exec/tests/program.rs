//! The plugin through its C tables, with shell scripts for programs: what is asked, and what is made of every way
//! to answer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use common::{Site, answers, handle, is_gone, request, wait_until};
use serde_json::{Value, json};
use vreserve_sdk::model::{Changes, Observed, RequestKey, ReservationState};
use vreserve_sdk::{FailureKind, Verb};

/// Answers every verb as it should, and keeps what it was asked.
const COMPLETE: &str = r#"cat > $DIR/$V.json; env > $DIR/env; echo "$*" > $DIR/args; pwd > $DIR/pwd
ONE='{"key":"k1","native_id":"n1","state":"active"}'
case $V in
SUBMIT|COMMIT|ACTIVATE|DEACTIVATE|MODIFY|QUERY) echo "{\"observed\":$ONE}";;
FIND|LIST) echo "{\"observed\":[$ONE]}";;
GC) echo '{"cancelled":["k7"]}';;
EVENTS) echo "{\"next\":9,\"observed\":[$ONE]}";;
*) echo '{}';;
esac"#;

/// Waits until the test says so.
const WAIT: &str = "while [ ! -e $DIR/go ]; do sleep 0.01; done";

fn question(site: &Site, verb: &str) -> Value {
    serde_json::from_str(&site.read(&format!("{verb}.json"))).unwrap()
}

#[test]
fn every_verb_is_one_process_with_its_document_and_a_bare_environment() {
    let site = Site::new(COMPLETE);
    let exec = site.open_with(json!({
        "args": ["--quiet", "two words"], "options": { "room": { "a": [1] } }, "env": { "TOKEN": "$HOME `x`" }
    }));
    let active = |observed: Observed| assert_eq!(observed.state, ReservationState::Active);
    active(exec.submit("k1").unwrap());
    active(exec.call(Verb::Commit, &handle("k1")).unwrap());
    exec.call::<()>(Verb::Abort, &handle("k1")).unwrap();
    active(exec.call(Verb::Activate, &json!([handle("k1"), request("k1")])).unwrap());
    active(exec.call(Verb::Deactivate, &handle("k1")).unwrap());
    active(exec.call(Verb::Modify, &json!([handle("k1"), request("k1")])).unwrap());
    exec.cancel("k1").unwrap();
    active(exec.call::<Option<Observed>>(Verb::Query, &handle("k1")).unwrap().unwrap());
    assert_eq!(exec.find("k1").unwrap().len(), 1);
    assert_eq!(exec.call::<Vec<Observed>>(Verb::ListOwned, &json!("lab")).unwrap().len(), 1);
    let cancelled: Vec<RequestKey> = exec.call(Verb::Gc, &json!(["k1"])).unwrap();
    assert_eq!(cancelled, [RequestKey("k7".into())]);
    assert_eq!(exec.call::<Changes>(Verb::Events, &json!(3)).unwrap().next, 9);
    exec.call::<()>(Verb::Health, &json!(null)).unwrap();

    let verbs = "SUBMIT COMMIT ABORT ACTIVATE DEACTIVATE MODIFY CANCEL QUERY FIND LIST GC EVENTS STATUS";
    assert_eq!(site.calls(), verbs.split(' ').collect::<Vec<_>>());
    let handle = json!({ "key": "k1", "native_id": null });
    let request = json!({ "key": "k1", "owner": "lab/1", "a": "10.0.0.1", "z": "10.0.0.2", "rate": 50_000_000,
                          "flow": null, "max_latency_ms": null, "start_ms": null, "end_ms": null });
    let options = json!({ "room": { "a": [1] } });
    for (verbs, document) in [
        ("SUBMIT", json!({ "options": options, "request": request })),
        ("ACTIVATE MODIFY", json!({ "options": options, "handle": handle, "request": request })),
        ("COMMIT ABORT DEACTIVATE CANCEL QUERY", json!({ "options": options, "handle": handle })),
        ("FIND", json!({ "options": options, "key": "k1" })),
        ("LIST", json!({ "options": options, "owner": "lab" })),
        ("GC", json!({ "options": options, "valid": ["k1"] })),
        ("EVENTS", json!({ "options": options, "since": 3 })),
        ("STATUS", json!({ "options": options })),
    ] {
        verbs.split(' ').for_each(|verb| assert_eq!(question(&site, verb), document, "{verb}"));
    }

    assert_eq!(site.read("args"), "--quiet two words\n");
    assert_eq!(site.read("pwd").trim(), site.path("state").to_str().unwrap());
    let environment = site.read("env");
    assert!(environment.contains("VRESERVE_VERB=STATUS\n") && environment.contains("VRESERVE_PROTOCOL=1\n"));
    assert!(environment.contains("VRESERVE_TIMEOUT=20\n") && environment.contains("TOKEN=$HOME `x`\n"));
    let names: BTreeSet<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    // `sh` adds the last three.
    let known =
        "LANG PATH TOKEN VRESERVE_PROTOCOL VRESERVE_STATE_DIR VRESERVE_TIMEOUT VRESERVE_VERB PWD SHLVL _";
    assert!(names.iter().all(|name| known.split(' ').any(|known| known == *name)), "{names:?}");
    let pids: BTreeSet<_> = site.pids().into_iter().collect();
    assert_eq!(pids.len(), 14, "a process each, and one for VERSION");
}

#[test]
fn capabilities_are_those_of_version() {
    let site = Site::new("");
    let capabilities = site.open().capabilities();
    assert!(capabilities.find && capabilities.list && capabilities.advance && !capabilities.modify);
    assert_eq!(capabilities.setup_time.as_secs(), 2);
}

#[test]
fn whatever_is_not_a_whole_answer_leaves_the_outcome_unknown() {
    let cut = answers("active").replace("}}", "}");
    for script in [
        "",
        "exit 1",
        "exit 127",
        "kill -9 $$",
        "kill -TERM $$",
        "echo done",
        "printf '\\377\\376'",
        "echo '{}'",
        r#"echo '{"observed":{"key":"k1"}}'"#,
        r#"echo '{"observed":{"state":"active"}}'"#,
        r#"echo '{"observed":{"key":7,"state":"active"}}'"#,
        r#"echo '{"observed":{"key":"k1","state":"ok"}}'"#,
        "echo '[[[[[[' ; exit 10",
        "head -c 5000000 /dev/zero; sleep 1000",
        &cut,
        &format!("{0}; {0}", answers("active")),
        &format!("{}; exit 3", answers("active")),
    ] {
        let site = Site::new(script);
        let exec = site.open();
        let failure = exec.submit("k1").unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnknownOutcome, "{script}: {failure}");
        let failure = exec.call::<Observed>(Verb::Commit, &handle("k1")).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnknownOutcome, "{script}: {failure}");
        assert_eq!(exec.find("k1").unwrap_err().kind, FailureKind::Unavailable, "{script}");
        site.pids().iter().for_each(|pid| assert!(is_gone(pid), "{script}"));
    }
}

#[test]
fn a_declined_request_is_refused_in_the_programs_words_and_what_is_gone_is_gone() {
    let site = Site::new("echo 'no room between a and z' >&2; exit 10");
    let exec = site.open();
    let failure = exec.submit("k1").unwrap_err();
    assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Refused, "no room between a and z"));
    assert_eq!((site.counter("refusals"), site.counter("unknown_outcomes")), (1, 0));
    assert!(site.log().iter().any(|line| line.contains("no room between a and z")), "{:?}", site.log());

    site.set_program("exit 14");
    exec.cancel("k1").unwrap();
    assert_eq!(exec.call::<Option<Observed>>(Verb::Query, &handle("k1")).unwrap(), None);
    assert_eq!(exec.find("k1").unwrap(), []);
    assert_eq!(exec.call::<Observed>(Verb::Commit, &handle("k1")).unwrap_err().kind, FailureKind::Refused);
}

#[test]
fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let site = Site::new("sleep 1000 & echo $! >> $DIR/pids; sleep 1001");
    let exec = site.open_with(json!({ "timeouts": { "SUBMIT": "2s" } }));
    let failure = exec.submit("k1").unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnknownOutcome);
    assert!(failure.reason.contains("did not end within 2 s and was killed"), "{failure}");
    assert!(site.pids().len() >= 3);
    // What it started has another parent by now, which collects it in its own time.
    wait_until("the whole group is gone", || site.pids().iter().all(|pid| is_gone(pid) || is_zombie(pid)));
}

#[test]
fn a_call_that_is_dropped_kills_its_process_and_the_next_on_its_key_waits_for_that() {
    let site = Site::new(&format!("[ $V = FIND ] && {{ echo '{{\"observed\":[]}}'; exit 0; }}\n{WAIT}"));
    let exec = site.open();
    let call = exec.start(Verb::Submit, &request("k1"));
    wait_until("the program runs", || site.calls() == ["SUBMIT"]);
    let pid = site.pids()[1].clone();
    assert!(!is_gone(&pid));
    drop(call);
    assert_eq!(exec.find("k1").unwrap(), []);
    assert!(is_gone(&pid), "it was reaped before the next was started");
    assert_eq!(site.counter("cancelled"), 1);
}

#[test]
fn an_instance_that_is_closed_leaves_nothing_behind() {
    let site = Site::new(WAIT);
    let exec = site.open();
    let calls = ["k1", "k2", "k3"].map(|key| exec.start(Verb::Submit, &request(key)));
    wait_until("the programs run", || site.calls().len() == 3);
    drop(calls);
    drop(exec);
    wait_until("every process is gone", || site.pids().iter().all(|pid| is_gone(pid)));
}

/// The most that ran at once, by the lines `begin` and `end` of the file `runs`.
fn most_at_once(site: &Site) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for line in site.read("runs").lines() {
        now = if line == "begin" { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    most
}

#[test]
fn no_more_run_at_once_than_allowed_and_never_two_for_one_key() {
    let noted = format!("echo begin >> $DIR/runs; {WAIT}; echo end >> $DIR/runs; {}", answers("active"));
    let site = Site::new(&noted);
    let exec = site.open_with(json!({ "concurrent": 2 }));
    let calls = ["k1", "k2", "k3", "k4"].map(|key| exec.start(Verb::Submit, &request(key)));
    wait_until("two run", || site.calls().len() == 2);
    fs::write(site.path("go"), "").unwrap();
    calls.into_iter().for_each(|call| drop(exec.finish::<Observed>(call).unwrap()));
    assert_eq!((most_at_once(&site), site.calls().len()), (2, 4));

    let site = Site::new(&noted);
    let exec = site.open();
    let calls = [(); 3].map(|()| exec.start(Verb::Submit, &request("k1")));
    wait_until("one runs", || site.calls().len() == 1);
    fs::write(site.path("go"), "").unwrap();
    calls.into_iter().for_each(|call| drop(exec.finish::<Observed>(call).unwrap()));
    assert_eq!((most_at_once(&site), site.calls().len()), (1, 3));
}

#[test]
fn what_a_program_leaves_behind_does_not_keep_its_answer_back() {
    let site = Site::new(&format!("sleep 1000 & echo $! > $DIR/child\n{}", answers("active")));
    let exec = site.open();
    assert_eq!(exec.submit("k1").unwrap().state, ReservationState::Active);
    let child = site.read("child").trim().to_owned();
    wait_until("the child is gone", || is_gone(&child) || is_zombie(&child));
}

/// A child whose parent is gone stays a zombie where process 1 collects none.
fn is_zombie(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

#[test]
fn complaints_reach_the_log_but_not_without_end() {
    let site = Site::new(&format!("seq 5000 >&2; {}", answers("active")));
    site.open().submit("k1").unwrap();
    let lines: Vec<_> = site.log().into_iter().filter(|line| line.contains("SUBMIT")).collect();
    assert_eq!(lines.len(), 101);
    assert!(lines[0].starts_with('1') && lines[100].contains("and 4900 lines more"), "{}", lines[100]);
}

#[test]
fn a_question_that_is_not_read_is_no_failure() {
    let site = Site::new(&format!("exec < /dev/null; {}", answers("active")));
    let exec = site.open_with(json!({ "options": { "much": "x".repeat(1_000_000) } }));
    assert_eq!(exec.submit("k1").unwrap().state, ReservationState::Active);
}

#[test]
fn a_program_of_another_protocol_or_none_does_not_start() {
    for (version, kind, words) in [
        (r#"echo '{"protocols":[2,3]}'"#, FailureKind::Invalid, "it speaks protocol [2, 3], we speak [1]"),
        ("echo hello", FailureKind::Unavailable, "makes no sense"),
        ("sleep 1000", FailureKind::Unavailable, "did not end within 0.2 s"),
        ("echo broken >&2; exit 1", FailureKind::Unavailable, "code 1: broken"),
        (r#"echo '{"key":"options.room","reason":"too small"}'; exit 11"#, FailureKind::Invalid, "too small"),
    ] {
        let site = Site::bare();
        site.write_program(&format!("#!/bin/sh\n{version}\n"));
        let failure = site.try_open(json!({ "timeouts": { "VERSION": if version.starts_with("sleep") { "200ms" } else { "20s" } } })).err().unwrap();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.reason.contains(words), "{failure}");
    }
}

#[test]
fn a_program_that_others_may_write_is_never_run() {
    let site = Site::new(&answers("active"));
    let exec = site.open();
    exec.submit("k1").unwrap();
    fs::set_permissions(site.path("program"), Permissions::from_mode(0o777)).unwrap();
    let failure = exec.submit("k2").unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.reason.contains("others may write to it (mode 777)"), "{failure}");
    assert_eq!(site.calls().len(), 1);
    let failure = site.try_open(json!({})).err().unwrap();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("program")));
    let failure = site.try_open(json!({ "program": "/nowhere/program" })).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
}
