//! The plugin through its C tables, with shell scripts in the client's place.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::slice;
use std::time::{Duration, Instant};

use common::{Site, handle, request};
use serde_json::json;
use vreserve_sdk::model::{BitsPerSecond, Observed, RequestKey, ReservationState};
use vreserve_sdk::{FailureKind, Verb};

const A: &str = "10.10.0.1";
const B: &str = "10.10.0.2";
const C: &str = "10.10.0.3";

/// Grants everything, as path 100 + lambda.
const GRANTS: &str = r#"case $1 in
-c) echo "path $((100 + $4)) up"; echo "source $2"; echo "destination $3"; echo "lambda $4"; echo "switches s1 s2";;
-t) echo "path $2 down";;
esac"#;

/// Sets up nothing, says this, and ends with that code.
fn fails(code: i32, words: &str) -> String {
    format!("echo 'oclient: {words}' >&2; exit {code}")
}

#[test]
fn a_lightpath_is_set_up_recorded_and_given_back() {
    let site = Site::new(&format!(
        "{GRANTS}\necho \"$ODIN_SERVER\" > $DIR/server\ncp $DIR/state/circuits.jsonl $DIR/then"
    ));
    let odin = site.open_with(json!({ "flags": ["-q", "gold"], "server": "/run/other.sock" }));
    let observed = odin.submit("k1", A, B).unwrap();
    assert_eq!((observed.native_id.as_deref(), observed.state), (Some("101"), ReservationState::Active));
    assert_eq!(observed.rate, Some(BitsPerSecond(1_000_000_000)));
    assert_eq!((observed.labels["lambda"].as_str(), observed.labels["switches"].as_str()), ("1", "s1 s2"));
    assert_eq!(site.calls(), [format!("-c {A} {B} 1 -q gold")]);
    assert_eq!(site.read("server"), "/run/other.sock\n");
    assert!(site.read("then").contains(r#""stage":"asking""#), "the intent was on disk when the client ran");

    assert_eq!(odin.find("k1"), slice::from_ref(&observed));
    let listed: Vec<Observed> = odin.call(Verb::ListOwned, &json!("lab/2")).unwrap();
    assert_eq!(listed, slice::from_ref(&observed));
    let listed: Vec<Observed> = odin.call(Verb::ListOwned, &json!("other/1")).unwrap();
    assert_eq!(listed, []);
    assert_eq!(odin.call::<Option<Observed>>(Verb::Query, &handle("k1")).unwrap(), Some(observed));

    odin.cancel("k1").unwrap();
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls()[1..], ["-t 101"], "a path that is gone is not torn down again");
    assert_eq!(odin.call::<Option<Observed>>(Verb::Query, &handle("k1")).unwrap(), None);
    assert_eq!(site.read("state/circuits.jsonl"), "");
}

#[test]
fn capabilities_tell_the_planner_what_odin_is() {
    let site = Site::new(GRANTS);
    let capabilities = site.open_with(json!({ "rate": "2.5gbit", "setup_time": 1.75 })).capabilities();
    assert!(capabilities.fused_activation && capabilities.serial && capabilities.find);
    assert!(!capabilities.two_phase && !capabilities.modify && !capabilities.advance);
    assert!(!capabilities.list, "the original client lists nothing");
    assert_eq!(capabilities.fixed_rate, Some(BitsPerSecond(2_500_000_000)));
    assert_eq!(
        (capabilities.setup_time, capabilities.teardown_time),
        (Duration::from_millis(1750), Duration::from_secs(12))
    );
}

#[test]
fn the_same_key_is_never_asked_for_twice() {
    let site = Site::new(GRANTS);
    let odin = site.open();
    let first = odin.submit("k1", A, B).unwrap();
    assert_eq!(odin.submit("k1", A, B).unwrap(), first);
    assert_eq!(site.calls().len(), 1);
}

#[test]
fn a_busy_lambda_leads_to_the_next_and_used_ones_come_last() {
    let site = Site::new(&format!(
        "[ \"$1 $4\" = '-c 1' ] && {{ {}; }}\n{GRANTS}",
        fails(1, "refused: lambda-busy: lambda 1 carries path 3 between x and y")
    ));
    let odin = site.open_with(json!({ "lambdas": 3 }));
    assert_eq!(odin.submit("k1", A, B).unwrap().labels["lambda"], "2");
    assert_eq!(odin.submit("k2", A, C).unwrap().labels["lambda"], "3");
    // Both are in use by now, but perhaps not on these fibres: the server decides.
    assert_eq!(odin.submit("k3", B, C).unwrap().labels["lambda"], "2");
    let lambdas: Vec<_> = site.calls().iter().map(|call| call[call.len() - 1..].to_owned()).collect();
    assert_eq!(lambdas, ["1", "2", "1", "3", "1", "2"]);
}

#[test]
fn refusals_hold_nothing_and_say_why() {
    let words = "no-route: no fibres lead from switch a to switch b";
    let site = Site::new(&fails(1, &format!("refused: {words}")));
    let odin = site.open();
    let failure = odin.submit("k1", A, B).unwrap_err();
    assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Refused, words));
    assert_eq!((odin.find("k1"), site.calls().len()), (vec![], 1));

    site.set_client(&fails(1, "refused: lambda-busy: lambda 9 carries path 3 between x and y"));
    let failure = odin.submit("k2", A, B).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.reason.contains("no lambda is free; lambda-busy"), "{failure}");
    assert_eq!((odin.find("k2"), site.calls().len()), (vec![], 5));
}

#[test]
fn a_server_or_client_that_is_not_there_is_unavailable_and_holds_nothing() {
    let site = Site::new(&fails(3, "cannot reach the server at /run/odin/odin.sock"));
    let odin = site.open();
    let failure = odin.submit("k1", A, B).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.reason.contains("cannot reach the server"), "{failure}");
    odin.call::<()>(Verb::Health, &json!(null)).unwrap();

    for client in ["/nowhere/oclient", "/etc/passwd"] {
        let odin = site.open_with(json!({ "client": client }));
        let failure = odin.submit("k1", A, B).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
        assert!(failure.reason.contains(client), "{failure}");
        assert_eq!(odin.call::<()>(Verb::Health, &json!(null)).unwrap_err().kind, FailureKind::Unavailable);
        assert_eq!(odin.find("k1"), []);
    }
    let odin = site.open_with(json!({ "server": "/nowhere/odin.sock" }));
    assert!(odin.call::<()>(Verb::Health, &json!(null)).unwrap_err().reason.contains("/nowhere/odin.sock"));
}

#[test]
fn a_client_whose_words_make_no_sense_leaves_the_outcome_unknown() {
    for script in [
        "",
        "echo done",
        "echo path 1 up; echo path 2 up",
        "printf '\\377\\376 up'",
        "yes 'path 1 up'",
        "yes >&2",
        "kill -9 $$",
        "echo 'path 17 up'; exit 5",
        "exit 1",
        "exit 126",
        "exit 127",
        "exit 255",
        "printf 'path 17 up'",
        "printf 'path 1'",
        "printf 'path 17 up\\nsource 10.10'",
        "printf 'path 17\\000 up\\n'",
        "exec >&-; echo path 17 up",
        "exec >&- 2>&-; exit 1",
        "read line || kill -TERM $$; echo path 17 up",
        "kill -PIPE $$",
        "echo path 17 up; kill -TERM $$",
        "echo path 17 booked",
        "echo path 17 up; echo lambda 9",
        "echo path 17 up; kill -SEGV $$",
    ] {
        let site = Site::new(script);
        let odin = site.open();
        let failure = odin.submit("k1", A, B).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnknownOutcome, "{script}: {failure}");
        assert!(failure.reason.contains("lambda 1 is quarantined"), "{script}: {failure}");
        let found = odin.find("k1");
        assert_eq!((found.len(), found[0].state), (1, ReservationState::Unknown), "{script}");
        assert_eq!(found[0].native_id, None);
        assert_eq!(odin.submit("k1", A, B).unwrap().state, ReservationState::Unknown, "not asked again");

        let failure = odin.cancel("k1").unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnknownOutcome);
        assert_eq!(failure.reason, "the path id was never learned; lambda 1 is quarantined");
        site.set_client(GRANTS);
        assert_eq!(odin.submit("k2", A, C).unwrap().labels["lambda"], "2", "lambda 1 is not used again");
    }
}

#[test]
fn a_client_that_hangs_is_killed_with_its_children() {
    let site = Site::new("sleep 1000 & echo $! > $DIR/child; echo path 1 up; wait");
    let odin = site.open_with(json!({ "timeout": 0.5 }));
    let start = Instant::now();
    let failure = odin.submit("k1", A, B).unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnknownOutcome);
    assert!(failure.reason.contains("did not end within 0.5 s"), "{failure}");
    assert!(start.elapsed() < Duration::from_secs(10));
    let child = site.read("child");
    let stat = Path::new("/proc").join(child.trim()).join("stat");
    // SIGKILL has been sent; init reaps the orphan in its own time.
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(start.elapsed() < Duration::from_secs(10), "the client's child lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_stops_or_hides_is_killed_and_reaped() {
    for script in [
        "echo $$ > $DIR/pid; kill -STOP $$",
        "echo $$ > $DIR/pid; exec >&- 2>&-; sleep 1000",
        "echo $$ > $DIR/pid; trap '' TERM INT HUP PIPE; echo path 1 up; while :; do sleep 1; done",
    ] {
        let site = Site::new(script);
        let odin = site.open_with(json!({ "timeout": 0.5 }));
        let failure = odin.submit("k1", A, B).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnknownOutcome, "{script}: {failure}");
        assert!(!Path::new("/proc").join(site.read("pid").trim()).exists(), "{script}: not even a zombie");
    }
}

#[test]
fn children_that_a_client_leaves_behind_hold_up_nothing_and_are_ended() {
    let site = Site::new(&format!("sleep 1000 & echo $! > $DIR/child\n{GRANTS}"));
    let odin = site.open();
    let start = Instant::now();
    assert_eq!(odin.submit("k1", A, B).unwrap().native_id.as_deref(), Some("101"));
    assert!(start.elapsed() < Duration::from_secs(10), "the time-out is twice as long");
    let stat = Path::new("/proc").join(site.read("child").trim()).join("stat");
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(start.elapsed() < Duration::from_secs(10), "the client's child lives on");
        std::thread::yield_now();
    }
    odin.cancel("k1").unwrap();
}

#[test]
fn a_client_that_is_replaced_while_it_runs_ends_as_it_was() {
    let site = Site::new(&format!("read line < $DIR/gate\n{GRANTS}"));
    nix::unistd::mkfifo(&site.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let odin = site.open();
    let call = odin.start(Verb::Submit, &request("k1", A, B));
    let gate = fs::OpenOptions::new().write(true).open(site.path("gate")).unwrap();
    // As a package manager does it: the new file takes the name, the old one goes on.
    fs::write(site.path("new"), "\x7fELF no more").unwrap();
    fs::rename(site.path("new"), site.path("oclient")).unwrap();
    std::io::Write::write_all(&mut &gate, b"\n").unwrap();
    drop(call);
    assert_eq!(odin.submit("k1", A, B).unwrap().native_id.as_deref(), Some("101"));
    assert_eq!(
        odin.cancel("k1").unwrap_err().kind,
        FailureKind::Unavailable,
        "what is there now cannot be run"
    );
    site.set_client(GRANTS);
    odin.cancel("k1").unwrap();
}

#[test]
fn the_servers_word_on_its_times_is_the_next_runs_plan() {
    let site = Site::new(&format!(
        "{GRANTS}\n[ $1 = -t ] || printf 'software-seconds 1.250\\nhardware-seconds 15.000\\n'"
    ));
    let odin = site.open();
    assert_eq!(odin.capabilities().setup_time, Duration::from_millis(17_500));
    odin.submit("k1", A, B).unwrap();
    let times = |odin: &common::Backend| (odin.capabilities().setup_time, odin.capabilities().teardown_time);
    let learned = (Duration::from_millis(16_250), Duration::from_secs(12));
    assert_eq!(times(&site.open()), learned);
    let said = site.open_with(json!({ "setup_time": 3, "teardown_time": 2 }));
    assert_eq!(times(&said), (Duration::from_secs(3), Duration::from_secs(2)));
}

#[test]
fn when_every_lambda_is_quarantined_nothing_is_asked() {
    let site = Site::new("exit 5");
    let odin = site.open_with(json!({ "lambdas": 1 }));
    odin.submit("k1", A, B).unwrap_err();
    let failure = odin.submit("k2", A, C).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.reason.contains("quarantined"), "{failure}");
    assert_eq!(site.calls().len(), 1);
}

#[test]
fn a_restart_adopts_what_is_on_record() {
    let site = Site::new(GRANTS);
    let before = site.open().submit("k1", A, B).unwrap();
    let odin = site.open();
    assert_eq!(odin.find("k1"), [before]);
    assert_eq!(odin.submit("k2", A, C).unwrap().labels["lambda"], "2");
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls().last().unwrap(), "-t 101");
}

#[test]
fn a_crash_before_the_id_arrived_is_unknown_until_the_server_names_the_path() {
    let site = Site::new(GRANTS);
    let record = format!(
        "{{\"key\":\"k1\",\"owner\":\"lab/1\",\"a\":\"{A}\",\"z\":\"{B}\",\"lambda\":1,\"stage\":\"asking\"}}\n{{\"key\":\"k9\",\"ow"
    );
    fs::write(site.path("state/circuits.jsonl"), record).unwrap();
    let odin = site.open();
    assert_eq!(odin.find("k1")[0].state, ReservationState::Unknown);
    assert_eq!(odin.cancel("k1").unwrap_err().kind, FailureKind::UnknownOutcome);

    // For another pair the server's word says nothing about this one.
    site.set_client(&fails(1, "refused: pair-connected: path 50 joins these two"));
    assert_eq!(odin.submit("k2", A, C).unwrap_err().kind, FailureKind::Refused);
    assert_eq!(odin.find("k1")[0].state, ReservationState::Unknown);

    site.set_client(&fails(1, "refused: pair-connected: path 42 joins these two"));
    let failure = odin.submit("k3", B, A).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.reason.contains("outcome of k1"), "{failure}");
    assert_eq!(odin.find("k1")[0].native_id.as_deref(), Some("42"));
    site.set_client(GRANTS);
    odin.cancel("k1").unwrap();
    assert_eq!(site.calls().last().unwrap(), "-t 42");
    assert_eq!(odin.submit("k3", A, B).unwrap().labels["lambda"], "1", "the quarantine is lifted");
}

#[test]
fn an_unreadable_record_is_not_overwritten() {
    let site = Site::new(GRANTS);
    fs::write(site.path("state/circuits.jsonl"), "what is this\n").unwrap();
    let failure = site.try_open(json!({})).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.reason.contains("circuits.jsonl: line 1"), "{failure}");
    assert_eq!(site.read("state/circuits.jsonl"), "what is this\n");
}

#[test]
fn a_teardown_that_fails_leaves_the_circuit_on_record() {
    let site = Site::new(GRANTS);
    let odin = site.open();
    odin.submit("k1", A, B).unwrap();

    site.set_client(&fails(1, "refused: switch-failed: s1 does not answer"));
    let failure = odin.cancel("k1").unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Refused, "switch-failed: s1 does not answer")
    );
    assert_eq!(odin.find("k1")[0].state, ReservationState::Active);

    site.set_client(&fails(3, "cannot reach the server at /s"));
    assert_eq!(odin.cancel("k1").unwrap_err().kind, FailureKind::Unavailable);
    assert_eq!(odin.find("k1")[0].state, ReservationState::Active);

    site.set_client(&fails(5, "no answer from the server"));
    assert_eq!(odin.cancel("k1").unwrap_err().kind, FailureKind::UnknownOutcome);
    assert_eq!(odin.find("k1")[0].state, ReservationState::Releasing);
    assert_eq!(odin.find("k1")[0].native_id.as_deref(), Some("101"));

    site.set_client(&fails(4, "refused: no-such-path: there is no path 101"));
    odin.cancel("k1").unwrap();
    assert_eq!(odin.find("k1"), []);
}

#[test]
fn a_call_that_the_host_drops_is_completed_and_recorded() {
    let site = Site::new(&format!("read line < $DIR/gate\n{GRANTS}"));
    nix::unistd::mkfifo(&site.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let odin = site.open();
    let call = odin.start(Verb::Submit, &request("k1", A, B));
    // Opening the gate for writing waits until the client reads it: by then it is under way.
    let gate = fs::OpenOptions::new().write(true).open(site.path("gate")).unwrap();
    drop(call);
    std::io::Write::write_all(&mut &gate, b"\n").unwrap();
    let observed = odin.submit("k1", A, B).unwrap();
    assert_eq!(observed.state, ReservationState::Active);
    assert_eq!(site.calls().len(), 1, "the dropped call's path is the one that is found");
}

#[test]
fn gc_cancels_what_nobody_wants_any_more() {
    let site = Site::new(GRANTS);
    let odin = site.open();
    for (key, a, z) in [("k1", A, B), ("k2", A, C), ("k3", B, C)] {
        odin.submit(key, a, z).unwrap();
    }
    let cancelled: Vec<RequestKey> = odin.call(Verb::Gc, &json!(["k2"])).unwrap();
    assert_eq!(cancelled, [RequestKey("k1".into()), RequestKey("k3".into())]);
    assert_eq!((odin.find("k1").len(), odin.find("k2").len()), (0, 1));
}

#[test]
fn requests_that_odin_cannot_take_are_refused_before_anything_is_asked() {
    let site = Site::new(GRANTS);
    let odin = site.open();
    let failure = odin.submit("k1", "-t", B).unwrap_err();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("a")));
    let mut later = request("k1", A, B);
    later["start_ms"] = json!(1);
    assert_eq!(odin.call::<Observed>(Verb::Submit, &later).unwrap_err().kind, FailureKind::Unsupported);
    assert_eq!(
        odin.call::<Observed>(Verb::Activate, &json!([handle("k1"), request("k1", A, B)])).unwrap_err().kind,
        FailureKind::Unsupported
    );
    assert!(site.calls().is_empty());
}
