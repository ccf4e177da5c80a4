//! The plugin through its C tables, against a server in this process over real TLS.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::slice;

use common::certificates::Authority;
use common::fake::{Fake, Mischief};
use common::{Backend, handle, request, request_with};
use serde_json::{Value, json};
use vreserve_rsl::wire::{LONGEST_LINE, Operation, State};
use vreserve_sdk::model::{BitsPerSecond, DataPlane, Observed, RequestKey, ReservationState};
use vreserve_sdk::{FailureKind, Verb};

const K1: &str = "lab-1-1";
const K2: &str = "lab-1-2";

fn kind<T: std::fmt::Debug>(answer: Result<T, vreserve_sdk::Failure>) -> FailureKind {
    answer.unwrap_err().kind
}

#[test]
fn a_reservation_is_made_bound_resized_unbound_and_given_back() {
    let fake = Fake::start();
    let gara = fake.open();
    let booked = gara.submit(K1).unwrap();
    assert_eq!((booked.state, booked.native_id.as_deref()), (ReservationState::Booked, Some("gara-1")));
    assert_eq!((booked.rate, booked.end_ms), (Some(BitsPerSecond(40_000_000)), None), "a lease has no end");
    let rsl = "&(reservation-type=network)(start-time=now)(duration=60)(endpoint-a=198.51.100.10)\
               (endpoint-b=198.51.100.20)(bandwidth=43200)(protocol=udp)(label=lab-1-1)";
    assert_eq!(fake.asked("create"), [Operation::Create { rsl: rsl.into() }]);

    let named = handle(K1, Some("gara-1"));
    let active = gara.activate(&named, K1).unwrap();
    assert_eq!((active.state, active.data_plane), (ReservationState::Active, DataPlane::Up));
    let ports = "&(port-a=4790)(port-b=4791)(protocol=udp)".to_owned();
    assert_eq!(fake.asked("bind"), [Operation::Bind { handle: "gara-1".into(), rsl: ports }]);

    let more = request_with(K1, json!({ "rate": 50_000_000 }));
    let resized: Observed = gara.call(Verb::Modify, &json!([named, more])).unwrap();
    assert_eq!((resized.state, resized.rate), (ReservationState::Active, Some(BitsPerSecond(50_000_000))));

    assert_eq!(gara.find(K1).unwrap(), slice::from_ref(&resized));
    assert_eq!(gara.query(&named).unwrap().as_ref(), Some(&resized));
    assert_eq!(gara.query(&handle(K1, None)).unwrap(), Some(resized));
    let idle: Observed = gara.call(Verb::Deactivate, &named).unwrap();
    assert_eq!(idle.state, ReservationState::Booked);

    gara.cancel(K1).unwrap();
    gara.cancel(K1).unwrap();
    assert_eq!(gara.find(K1).unwrap(), []);
    assert_eq!(gara.query(&named).unwrap().unwrap().state, ReservationState::Released);
    assert!(fake.world().held(K1).is_empty());
}

#[test]
fn capabilities_tell_the_lead_what_gara_is() {
    let can = Fake::start().open().capabilities().unwrap();
    assert!(can.advance && can.modify && can.list && can.find && can.events);
    assert!(!can.two_phase && !can.fused_activation && !can.serial);
    assert_eq!((can.granularity, can.fixed_rate), (BitsPerSecond(1000), None));
}

#[test]
fn an_advance_reservation_has_its_own_end_and_is_never_renewed() {
    let fake = Fake::start();
    let gara = fake.open_with(json!({ "duration": "400ms", "timeout": "100ms" }));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let window = json!({ "start_ms": now + 3_600_000, "end_ms": now + 7_200_000 });
    let booked: Observed = gara.call(Verb::Submit, &request_with(K1, window.clone())).unwrap();
    assert_eq!((booked.start_ms, booked.end_ms), (Some(now + 3_600_000), Some(now + 7_200_000)));
    // A lease beside it is renewed twice; had the window been due, it would have been by then.
    gara.submit(K2).unwrap();
    fake.wait_until(|world| {
        world.asked.iter().filter(|o| matches!(o, Operation::Modify { .. })).count() >= 2
    });
    assert_eq!(fake.world().held(K1)[0].end, Some(now + 7_200_000));
    let longer = request_with(K1, json!({ "start_ms": now + 3_600_000, "end_ms": now + 9_000_000 }));
    let longer: Observed = gara.call(Verb::Modify, &json!([handle(K1, None), longer])).unwrap();
    assert_eq!(longer.end_ms, Some(now + 9_000_000));
}

#[test]
fn a_key_asked_for_twice_is_reserved_once() {
    let fake = Fake::start();
    let gara = fake.open();
    let first = gara.submit(K1).unwrap();
    assert_eq!(gara.submit(K1).unwrap().native_id, first.native_id);
    assert_eq!(fake.world().held(K1).len(), 1);
}

#[test]
fn after_a_lost_answer_the_label_tells_what_became_of_the_request() {
    for (mischief, held) in [(Mischief::CutBefore, 0), (Mischief::CutAfter, 1), (Mischief::Hang, 0)] {
        let fake = Fake::start();
        let gara = fake.open_with(json!({ "timeout": "1s" }));
        fake.next("create", mischief);
        assert_eq!(kind(gara.submit(K1)), FailureKind::UnknownOutcome);
        assert_eq!(gara.find(K1).unwrap().len(), held);
        // Asked again, it is there once.
        gara.submit(K1).unwrap();
        assert_eq!(fake.world().held(K1).len(), 1);
    }
}

#[test]
fn every_lost_answer_is_an_unknown_outcome_of_a_change_and_no_answer_to_a_question() {
    let fake = Fake::start();
    let gara = fake.open();
    gara.submit(K1).unwrap();
    let named = handle(K1, Some("gara-1"));
    for mischief in [Mischief::CutBefore, Mischief::CutAfter] {
        fake.next("bind", mischief.clone());
        assert_eq!(kind(gara.activate(&named, K1)), FailureKind::UnknownOutcome);
        fake.next("modify", mischief.clone());
        let asked = json!([named, request(K1)]);
        assert_eq!(kind(gara.call::<Observed>(Verb::Modify, &asked)), FailureKind::UnknownOutcome);
        fake.next("unbind", mischief.clone());
        assert_eq!(kind(gara.call::<Observed>(Verb::Deactivate, &named)), FailureKind::UnknownOutcome);
        fake.next("status", mischief.clone());
        assert_eq!(kind(gara.query(&named)), FailureKind::Unavailable);
        fake.next("find", mischief.clone());
        assert_eq!(kind(gara.find(K1)), FailureKind::Unavailable);
        fake.next("list", mischief.clone());
        assert_eq!(
            kind(gara.call::<Vec<Observed>>(Verb::ListOwned, &json!("lab/1"))),
            FailureKind::Unavailable
        );
        // Over a new connection, which has asked its own first question.
        gara.health().unwrap();
        fake.next("ping", mischief.clone());
        assert_eq!(kind(gara.health()), FailureKind::Unavailable);
        fake.next("cancel", mischief);
        assert_eq!(kind(gara.call::<()>(Verb::Cancel, &named)), FailureKind::UnknownOutcome);
    }
    gara.call::<()>(Verb::Cancel, &named).unwrap();
    assert!(fake.world().held(K1).is_empty());
}

#[test]
fn whatever_the_server_says_is_read_as_hostile() {
    let long = [vec![b'x'; LONGEST_LINE + 100], b"\n".to_vec()].concat();
    let lines: [&[u8]; 9] = [
        b"hello\n",
        b"\xff\xfe\x00\n",
        b"{\"id\":ID}\n",
        b"{\"id\":ID,\"ok\":{}}\n",
        b"{\"id\":ID,\"ok\":{\"handle\":7}}\n",
        b"{\"id\":ID,\"ok\":{\"Handle\":\"h\"}}\n",
        b"{\"id\":ID,\"ok\":{\"handle\":\"h\",\"handle\":\"i\"}}\n",
        b"{\"id\":ID,\"ok\":{\"handle\":\"h\"},\"error\":{\"code\":\"declined\",\"text\":\"\"}}\n",
        &long,
    ];
    let fake = Fake::start();
    let gara = fake.open();
    for line in lines {
        fake.next("create", Mischief::Say(line.to_vec()));
        assert_eq!(kind(gara.submit(K1)), FailureKind::UnknownOutcome, "{}", String::from_utf8_lossy(line));
        assert_eq!(gara.find(K1).unwrap().len(), 1, "the next question is answered");
    }
    // An answer to somebody else's request is passed over; ours follows late or never.
    fake.next("ping", Mischief::Say(b"{\"id\":99999,\"ok\":{}}\n".to_vec()));
    assert_eq!(kind(gara.health()), FailureKind::Unavailable);
}

#[test]
fn a_reservation_with_a_wrong_field_is_no_answer_and_one_in_an_unknown_state_is_unknown() {
    let fake = Fake::start();
    let gara = fake.open();
    gara.submit(K1).unwrap();
    let named = handle(K1, Some("gara-1"));
    let twists: [fn(&mut Value); 6] = [
        |seen| drop(seen.as_object_mut().unwrap().remove("state")),
        |seen| seen["kbps"] = json!(-1),
        |seen| seen["start"] = json!("yesterday"),
        |seen| seen["label"] = json!("lab-1-99"),
        |seen| drop(seen.as_object_mut().unwrap().remove("label")),
        |seen| *seen = json!([]),
    ];
    for twist in twists {
        fake.next("status", Mischief::Twist(twist));
        assert_eq!(kind(gara.query(&named)), FailureKind::Unavailable);
        fake.next("bind", Mischief::Twist(twist));
        assert_eq!(kind(gara.activate(&named, K1)), FailureKind::UnknownOutcome);
    }
    for word in ["ACTIVE", "on holiday", ""] {
        fn state(seen: &mut Value, word: &str) {
            seen["state"] = json!(word);
        }
        let twist: fn(&mut Value) = match word {
            "ACTIVE" => |seen| state(seen, "ACTIVE"),
            "" => |seen| state(seen, ""),
            _ => |seen| state(seen, "on holiday"),
        };
        fake.next("status", Mischief::Twist(twist));
        let seen = gara.query(&named).unwrap().unwrap();
        assert_eq!((seen.state, seen.native_state.as_str()), (ReservationState::Unknown, word));
    }
    fake.next("find", Mischief::Twist(|seen| seen["reservations"][0]["state"] = json!("paused")));
    assert_eq!(gara.find(K1).unwrap()[0].state, ReservationState::Unknown, "it may hold something");
    fake.next("find", Mischief::Twist(|seen| seen["reservations"][0]["label"] = json!("another")));
    assert_eq!(kind(gara.find(K1)), FailureKind::Unavailable, "never an empty list that was not meant");
    // A cancel that the server itself contradicts has not been done.
    fake.next("cancel", Mischief::Twist(|seen| seen["state"] = json!("active")));
    assert_eq!(kind(gara.call::<()>(Verb::Cancel, &named)), FailureKind::UnknownOutcome);
}

#[test]
fn each_no_of_the_server_tells_the_host_what_to_do() {
    let fake = Fake::start();
    let gara = fake.open();
    for (code, expected) in [
        ("declined", FailureKind::Refused),
        ("invalid", FailureKind::Invalid),
        ("unavailable", FailureKind::Unavailable),
        ("wrong-state", FailureKind::Refused),
        ("moonshine", FailureKind::UnknownOutcome),
    ] {
        fake.next("create", Mischief::Refuse(code));
        assert_eq!(kind(gara.submit(K1)), expected, "{code}");
    }
    assert_eq!(
        kind(gara.call::<Observed>(Verb::Submit, &request_with(K1, json!({ "a": "here" })))),
        FailureKind::Invalid
    );
    assert_eq!(
        kind(gara.activate(&handle(K1, None), K1)),
        FailureKind::Refused,
        "there is no such reservation"
    );
    gara.submit(K1).unwrap();
    let no_port = json!({ "flow": { "protocol": "udp", "a_port": 0, "z_port": 4791 } });
    let no_port = json!([handle(K1, None), request_with(K1, no_port)]);
    assert_eq!(kind(gara.call::<Observed>(Verb::Activate, &no_port)), FailureKind::Invalid);
    // One that is over is looked up, not fought with.
    fake.change(K1, |r| r.state = State::Terminated);
    let over = gara.activate(&handle(K1, Some("gara-1")), K1).unwrap();
    assert_eq!(over.state, ReservationState::Failed);
    assert_eq!(gara.find(K1).unwrap(), []);
    assert_eq!(kind(gara.call::<Observed>(Verb::Commit, &handle(K1, None))), FailureKind::Unsupported);
}

#[test]
fn a_lease_is_renewed_by_the_servers_clock_until_it_is_given_up() {
    let fake = Fake::start();
    let ahead = 3_600_000;
    fake.world().skew_ms = ahead;
    let gara = fake.open_with(json!({ "duration": "800ms", "timeout": "200ms" }));
    gara.submit(K1).unwrap();
    let first = fake.world().held(K1)[0].clone();
    assert_eq!(first.end.unwrap() - first.start, 800);
    let renewals = |world: &common::fake::World| {
        world.asked.iter().filter(|o| matches!(o, Operation::Modify { .. })).count()
    };
    fake.wait_until(|world| renewals(world) >= 3);
    let renewed = fake.world().held(K1)[0].clone();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let left = renewed.end.unwrap().saturating_sub(now + ahead);
    assert!(renewed.end > first.end && left <= 800, "{left} ms are left of 800");

    // What cannot be reached is tried again before the lease is over.
    fake.next("modify", Mischief::CutBefore);
    let so_far = renewals(&fake.world());
    fake.wait_until(|world| renewals(world) >= so_far + 2);

    gara.cancel(K1).unwrap();
    let so_far = renewals(&fake.world());
    // Another lease's renewals are the clock here: the cancelled one would have been renewed meanwhile.
    gara.submit(K2).unwrap();
    fake.wait_until(|world| renewals(world) >= so_far + 3);
    let world = fake.world();
    let late = world.asked.iter().rev().take_while(|o| !matches!(o, Operation::Create { .. }));
    assert!(late.clone().all(|o| !matches!(o, Operation::Modify { handle, .. } if handle == "gara-1")));
}

#[test]
fn a_cancel_that_is_lost_ends_the_lease_all_the_same() {
    let fake = Fake::start();
    let gara = fake.open_with(json!({ "duration": "800ms", "timeout": "200ms" }));
    gara.submit(K1).unwrap();
    fake.next("find", Mischief::CutBefore);
    assert!(gara.cancel(K1).is_err());
    gara.submit(K2).unwrap();
    let of = |world: &common::fake::World, name: &str| {
        world.asked.iter().filter(|o| matches!(o, Operation::Modify { handle, .. } if handle == name)).count()
    };
    fake.wait_until(|world| of(world, "gara-2") >= 3);
    assert_eq!(of(&fake.world(), "gara-1"), 0);
}

#[test]
fn after_a_restart_a_lease_goes_on_once_the_host_has_named_it() {
    let fake = Fake::start();
    let keys = json!({ "duration": "800ms", "timeout": "200ms" });
    let gara = fake.open_with(keys.clone());
    gara.submit(K1).unwrap();
    gara.submit(K2).unwrap();
    drop(gara);
    fake.world().asked.clear();
    let gara = fake.open_with(keys);
    assert_eq!(gara.find(K1).unwrap()[0].end_ms, None, "it is still known to be a lease");
    let of = |world: &common::fake::World, name: &str| {
        world.asked.iter().filter(|o| matches!(o, Operation::Modify { handle, .. } if handle == name)).count()
    };
    fake.wait_until(|world| of(world, "gara-1") >= 3);
    assert_eq!(of(&fake.world(), "gara-2"), 0, "nobody has asked for it: it runs out");
}

#[test]
fn what_the_server_tells_by_itself_reaches_the_host_and_a_new_connection_says_that_something_was_missed() {
    let fake = Fake::start();
    let gara = fake.open();
    gara.submit(K1).unwrap();
    let mut changes = gara.events(0).unwrap();
    while changes.observed.is_empty() {
        changes = gara.events(changes.next).unwrap();
    }
    assert!(!changes.missed);
    assert_eq!(changes.observed[0].key, RequestKey(K1.into()));

    let waiting = gara.start(Verb::Events, &json!(changes.next));
    fake.change(K1, |r| r.state = State::Terminated);
    let changes: vreserve_sdk::model::Changes = gara.finish(waiting).unwrap();
    assert_eq!(changes.observed[0].state, ReservationState::Failed);

    fake.cut();
    // Until the plugin has noticed, a question may still be lost with the old connection.
    while gara.health().is_err() {}
    assert!(gara.events(changes.next).unwrap().missed);
}

#[test]
fn a_server_that_comes_back_empty_holds_nothing_and_everything_is_gone() {
    let fake = Fake::start();
    let gara = fake.open();
    gara.submit(K1).unwrap();
    let named = handle(K1, Some("gara-1"));
    fake.restart_empty();
    while gara.health().is_err() {}
    assert_eq!(gara.query(&named).unwrap(), None);
    assert_eq!(gara.find(K1).unwrap(), []);
    assert_eq!(kind(gara.activate(&named, K1)), FailureKind::Refused);
    gara.call::<()>(Verb::Cancel, &named).unwrap();
    gara.submit(K2).unwrap();
    assert_eq!(gara.find(K2).unwrap().len(), 1);
}

#[test]
fn a_server_that_is_down_is_unavailable_and_nothing_was_asked() {
    let mut fake = Fake::start();
    fake.stop();
    let gara = fake.open();
    for _ in 0..3 {
        assert_eq!(kind(gara.health()), FailureKind::Unavailable);
        assert_eq!(kind(gara.submit(K1)), FailureKind::Unavailable);
        assert_eq!(kind(gara.events(0)), FailureKind::Unavailable);
    }
    fake.go_on();
    while gara.health().is_err() {}
    gara.submit(K1).unwrap();
}

#[test]
fn a_question_that_hangs_holds_up_no_other() {
    let fake = Fake::start();
    let gara = fake.open();
    gara.submit(K1).unwrap();
    fake.next("list", Mischief::Hang);
    let hanging = gara.start(Verb::ListOwned, &json!("lab/1"));
    fake.wait_until(|world| world.asked.iter().any(|o| matches!(o, Operation::List)));
    gara.health().unwrap();
    assert_eq!(gara.find(K1).unwrap().len(), 1);
    assert_eq!(kind(gara.finish::<Vec<Observed>>(hanging)), FailureKind::Unavailable);
    assert_eq!(fake.asked("watch").len(), 1, "all over one connection");
}

#[test]
fn a_call_that_the_host_drops_leaves_the_connection_in_order() {
    let fake = Fake::start();
    let gara = fake.open();
    fake.next("create", Mischief::Hang);
    let dropped = gara.start(Verb::Submit, &request(K1));
    fake.wait_until(|world| world.asked.iter().any(|o| matches!(o, Operation::Create { .. })));
    drop(dropped);
    gara.submit(K2).unwrap();
    assert_eq!(gara.find(K2).unwrap().len(), 1);
}

#[test]
fn two_instances_know_nothing_of_each_other() {
    let (one_server, other_server) = (Fake::start(), Fake::start());
    let one = one_server.open_as("one", json!({})).unwrap();
    // The second on the same server, even with the same certificate, and a third elsewhere.
    let state = one_server.path("second.state");
    fs::create_dir(&state).unwrap();
    let second = Backend::open(&one_server.config("one", json!({})), &state).unwrap();
    let third = other_server.open_as("one", json!({})).unwrap();
    one.submit(K1).unwrap();
    third.submit(K2).unwrap();
    let cancelled: Vec<RequestKey> = second.call(Verb::Gc, &json!([])).unwrap();
    assert_eq!(cancelled, []);
    assert_eq!((one.find(K1).unwrap().len(), third.find(K1).unwrap().len()), (1, 0));
    drop(second);
    assert_eq!((one.find(K1).unwrap().len(), third.find(K2).unwrap().len()), (1, 1));
}

#[test]
fn garbage_collection_takes_what_this_instance_asked_for_and_is_not_valid() {
    let fake = Fake::start();
    let gara = fake.open();
    for key in [K1, K2, "lab-1-3"] {
        gara.submit(key).unwrap();
    }
    drop(gara);
    let gara = fake.open();
    let owned: Vec<Observed> = gara.call(Verb::ListOwned, &json!("lab/2")).unwrap();
    assert_eq!(owned.len(), 3);
    let owned: Vec<Observed> = gara.call(Verb::ListOwned, &json!("la/2")).unwrap();
    assert_eq!(owned, []);
    let cancelled: Vec<RequestKey> = gara.call(Verb::Gc, &json!([K2])).unwrap();
    assert_eq!(cancelled, [RequestKey(K1.into()), RequestKey("lab-1-3".into())]);
    assert_eq!(gara.find(K2).unwrap().len(), 1);
    assert!(fake.world().held(K1).is_empty());
}

#[test]
fn neither_side_speaks_to_one_whose_certificate_is_of_another_authority() {
    let fake = Fake::start();
    let stranger = Authority::new("stranger");
    stranger.issue("client").save(fake.dir.path(), "intruder");
    let gara = fake.open_as("intruder", json!({})).unwrap();
    assert_eq!(
        kind(gara.submit(K1)),
        FailureKind::Unavailable,
        "the server does not want us: nothing was asked"
    );
    assert_eq!(kind(gara.health()), FailureKind::Unavailable);
    assert!(fake.world().asked.is_empty());

    let trusted = Authority::new("trusted");
    let file = trusted.save(fake.path("trusted.pem"));
    let gara = fake.open_with(json!({ "ca": file }));
    assert_eq!(kind(gara.submit(K1)), FailureKind::Unavailable, "we do not want the server");
    let gara = fake.open_with(json!({ "server_name": "gara.example" }));
    assert_eq!(kind(gara.health()), FailureKind::Unavailable, "it is not the server of that name");
    assert!(fake.world().asked.is_empty());
}

#[test]
fn certificates_are_looked_at_before_the_first_call() {
    let fake = Fake::start();
    drop(fake.open());
    let key = fake.path("client.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let failure = fake.open_as("client", json!({})).err().unwrap();
    assert_eq!((failure.kind, failure.key.as_deref()), (FailureKind::Invalid, Some("key")));
    assert!(failure.reason.contains("0640"), "{failure}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for (name, file) in
        [("ca", "nowhere.pem"), ("certificate", "client.key"), ("key", "client.pem"), ("key", "other.key")]
    {
        if file == "other.key" {
            fake.authority.issue("other").save(fake.dir.path(), "other");
        }
        let failure = fake.open_as("client", json!({ name: fake.path(file) })).err();
        // The mode of a certificate file lets others read it, which no key file may.
        assert_eq!(failure.unwrap().key.as_deref(), Some(name), "{name} {file}");
    }
}
