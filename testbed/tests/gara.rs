//! GARA's stand-in really reserves: the routers give a flow what was promised, from start to end, and nothing else.
//!
//! ```text
//!  alpha ─┐                            ┌─ beta
//!         west ═══ 100 Mbit/s ═══ east ┼─ hub (gara-server)
//!  rival ─┘                            └─ sink
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use common::gara::{Client, World, client_config, tcp_rates, udp_share};
use common::{can_run, carries, eventually};
use vreserve_testbed::gara::admin::{Answer, Question, ask};
use vreserve_testbed::gara::protocol::{Code, Message, Operation, Outcome, Reply, Reservation, State};

const HUB: &str = "198.51.100.1";
const ALPHA: &str = "198.51.100.2";
const BETA: &str = "198.51.100.3";
const SINK: &str = "198.51.100.5";
/// What the flow of these tests reserves.
const KBPS: f64 = 60_000.0;

/// A lab with a server, unless the machine cannot.
fn world(tag: &str) -> Option<World> {
    if !can_run() {
        return None;
    }
    if Command::new("nft").arg("--version").output().is_err() {
        common::skip("nftables is not installed");
        return None;
    }
    Some(World::up(tag))
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// A request between alpha and beta.
fn rsl(window: &str, kbps: f64, more: &str) -> String {
    format!(
        "&(reservation-type=network){window}(endpoint-a={ALPHA})(endpoint-b={BETA})(bandwidth={kbps}){more}"
    )
}

const NOW: &str = "(start-time=now)(duration=60)";

fn seconds_from_now(seconds: f64) -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() + seconds
}

#[test]
fn a_reserved_flow_keeps_its_rate_against_eight_others() {
    let Some(world) = world("rate") else { return };
    let mut flows = vec![("alpha", "beta", address(BETA, 5001))];
    flows.extend((0..8).map(|nth| ("rival", "sink", address(SINK, 6000 + nth))));
    let before = tcp_rates(&world.lab, &flows)[0];
    assert!(before < KBPS * 1000.0 * 0.5, "{before} without a reservation");

    let mut client = world.client("ann");
    let handle = client.create(&rsl(NOW, KBPS, "")).unwrap();
    assert!(!client.status(&handle).enforced, "nothing is enforced before there is a flow");
    assert!(client.bind(&handle, "&(port-b=5001)(protocol=tcp)").enforced);
    let rates = tcp_rates(&world.lab, &flows);
    let reserved = rates[0];
    assert!(reserved > KBPS * 1000.0 * 0.9, "{reserved} with a reservation");
    let others: f64 = rates[1..].iter().sum();
    assert!(others > 20e6, "the others get what is left, {others}");

    // Now the other protocol, another port, in the other direction.
    client.bind(&handle, "&(port-a=4790)(protocol=udp)");
    let arrived = std::thread::scope(|scope| {
        let back: Vec<_> = (0..8).map(|nth| ("sink", "rival", address("198.51.100.4", 6000 + nth))).collect();
        let rivals = scope.spawn(|| {
            let flows = back;
            tcp_rates(&world.lab, &flows)
        });
        let arrived = udp_share(&world.lab, "beta", "alpha", address(ALPHA, 4790), KBPS * 1000.0 * 0.92);
        rivals.join().unwrap();
        arrived
    });
    assert!(arrived > 0.97, "{arrived} of the reserved datagrams arrive");
}

#[test]
fn the_routers_work_for_a_reservation_from_its_start_to_its_end() {
    let Some(world) = world("window") else { return };
    let mut client = world.client("ann");
    client.ask(Operation::Watch { since: 0 }).unwrap();
    let window = format!("(start-time={:.3})(duration=3.5)", seconds_from_now(2.5));
    let handle = client.create(&rsl(&window, KBPS, "(protocol=udp)")).unwrap();
    assert_eq!(client.event().reservation.state, State::Booked);
    let bound = client.bind(&handle, "&(port-a=4790)(port-b=4790)");
    assert_eq!((bound.state, bound.bound, bound.enforced), (State::Booked, true, false));
    assert_eq!(world.reserved_at("west", "core"), (vec![], 0));
    client.event();

    let active = client.event().reservation;
    assert_eq!((active.state, active.enforced), (State::Active, true));
    for (router, interface) in [("west", "core"), ("east", "c-beta"), ("east", "core"), ("west", "c-alpha")] {
        let (classes, marks) = world.reserved_at(router, interface);
        assert_eq!((classes, marks), (vec!["5652:100 60Mbit".to_owned()], 1), "{router}/{interface}");
    }
    let changed = Operation::Modify { handle: handle.clone(), rsl: "bandwidth=30000".to_owned() };
    client.ask(changed).unwrap();
    assert_eq!(world.reserved_at("west", "core"), (vec!["5652:100 30Mbit".to_owned()], 1));
    assert_eq!(client.event().reservation.kbps, 30_000);

    let completed = client.event().reservation;
    assert_eq!((completed.state, completed.enforced), (State::Completed, false));
    for (router, interface) in [("west", "core"), ("east", "c-beta"), ("east", "core"), ("west", "c-alpha")] {
        assert_eq!(world.reserved_at(router, interface), (vec![], 0), "{router}/{interface}");
    }
    // Who was away hears it all when they come back.
    let mut late = world.client("ann");
    late.ask(Operation::Watch { since: 0 }).unwrap();
    let states: Vec<State> = (0..5).map(|_| late.event().reservation.state).collect();
    assert_eq!(states, [State::Booked, State::Booked, State::Active, State::Active, State::Completed]);
}

#[test]
fn twins_beyond_the_capacity_are_declined_and_a_label_is_one_reservation() {
    let Some(world) = world("twins") else { return };
    let (mut ann, mut bob) = (world.client("ann"), world.client("bob"));
    let twin = rsl(NOW, 50_000.0, "(label=\"the key\")");
    let handle = ann.create(&twin).unwrap();
    assert_eq!(ann.create(&twin).unwrap(), handle);
    assert_eq!(bob.create(&twin).unwrap_err().code, Code::Declined);
    assert_eq!(bob.list(), []);
    assert_eq!(bob.ask(Operation::Cancel { handle: handle.clone() }).unwrap_err().code, Code::NoSuchHandle);
    let found = ann.ask(Operation::Find { label: "the key".to_owned() }).unwrap();
    assert_eq!(found["reservations"][0]["handle"], *handle);
    assert_eq!(found["reservations"][0]["label"], "the key");
    ann.ask(Operation::Cancel { handle: handle.clone() }).unwrap();
    ann.ask(Operation::Cancel { handle: handle.clone() }).unwrap();
    assert_eq!(ann.status(&handle).state, State::Cancelled);
    bob.create(&twin).unwrap();
}

#[test]
fn reservations_survive_the_server_and_what_is_not_ours_is_removed() {
    let Some(mut world) = world("restart") else { return };
    let mut client = world.client("ann");
    let kept = client.create(&rsl(NOW, 20_000.0, "(label=kept)")).unwrap();
    client.bind(&kept, "&(port-b=5001)(protocol=tcp)");
    let short = client.create(&rsl("(start-time=now)(duration=3)", 10_000.0, "")).unwrap();
    assert!(client.bind(&short, "&(port-b=5002)(protocol=tcp)").enforced);
    let later = client.create(&rsl("(start-time=4000000000)(duration=60)", 80_000.0, "")).unwrap();
    let seq = client.ask(Operation::Ping).unwrap()["seq"].as_u64().unwrap();

    world.kill();
    assert_eq!(world.reserved_at("west", "core").0.len(), 2, "the promise outlives the server");
    let stray = "class add dev core parent 5652:1 classid 5652:abc htb rate 1mbit ceil 1mbit";
    world.lab.exec("west", Command::new("tc").args(stray.split(' '))).unwrap();
    // The end of the short one passes while nobody is there.
    let end = client_end(&world, &short);
    eventually("the short one's end passes", || seconds_from_now(0.0) > end);
    world.start();

    let mut client = world.client("ann");
    let state = |client: &mut Client, handle: &str| client.status(handle).state;
    assert_eq!(state(&mut client, &short), State::Completed);
    assert_eq!(state(&mut client, &later), State::Booked);
    let kept_now = client.status(&kept);
    assert_eq!((kept_now.state, kept_now.enforced, kept_now.kbps), (State::Active, true, 20_000));
    assert_eq!(world.reserved_at("west", "core"), (vec!["5652:100 20Mbit".to_owned()], 1));
    assert_eq!(client.create(&rsl(NOW, 20_000.0, "(label=kept)")).unwrap(), kept, "the label is remembered");
    let again = client.ask(Operation::Watch { since: seq }).unwrap();
    assert!(again["seq"].as_u64().unwrap() > seq, "numbers of changes go on: {again}");

    // The administrator sees all, and may end one.
    let Ok(Answer::Reservations(all)) = ask(&world.socket(), &Question::List) else { panic!("no list") };
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|(owner, _)| owner == "ann"));
    assert_eq!(std::fs::metadata(world.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let ended = ask(&world.socket(), &Question::Terminate { handle: kept.clone() }).unwrap();
    assert_eq!(ended, Answer::Terminated);
    assert_eq!(state(&mut client, &kept), State::Terminated);
    assert_eq!(world.reserved_at("west", "core"), (vec![], 0));
}

/// When the reservation ends, from the server's own file: the server is not there to be asked.
fn client_end(world: &World, handle: &str) -> f64 {
    let journal = std::fs::read_to_string(world.directory.path().join("state/journal")).unwrap();
    let mut records =
        journal.lines().skip(1).map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let record = records.find(|record| record["handle"] == handle).unwrap();
    record["end"].as_f64().unwrap() / 1000.0
}

#[test]
fn who_shows_no_certificate_of_the_ca_gets_nothing() {
    let Some(mut world) = world("tls") else { return };
    let other = world.directory.path().join("other");
    vreserve_testbed::gara::certificates::make(&other, &["ann".to_owned()], &[]).unwrap();
    let (certificate, key) = (other.join("ann.pem"), other.join("ann.key"));
    let (server, server_key) = (world.pki("server.pem"), world.pki("server.key"));
    for own in [None, Some((&*certificate, &*key)), Some((&*server, &*server_key))] {
        let config = client_config(&world.pki("ca.pem"), own);
        let mut stranger = Client::over(world.connect().unwrap(), config);
        let _ = stranger.send(b"{\"id\":1,\"op\":\"ping\"}\n");
        assert!(stranger.message().is_none(), "{own:?}");
    }
    let mut plain = world.connect().unwrap();
    std::io::Write::write_all(&mut plain, b"{\"id\":1,\"op\":\"list\"}\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("reservations"));
    assert!(world.client("ann").ask(Operation::Ping).is_ok());
    let mode = std::fs::metadata(world.pki("ann.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(world.is_serving());
}

#[test]
fn hostile_lines_are_refused_and_hurt_nobody() {
    let Some(mut world) = world("hostile") else { return };
    let mut client = world.client("ann");
    let create = |rsl: &str| serde_json::json!({ "id": 7, "op": "create", "rsl": rsl }).to_string();
    for line in [
        "not json".to_owned(),
        "{}".to_owned(),
        "[[[".repeat(5000),
        r#"{"id":7,"op":"explode"}"#.to_owned(),
        r#"{"id":7,"op":"create"}"#.to_owned(),
        format!(r#"{{"id":7,"op":"{}\n"}}"#, "long\\n".repeat(5000)),
        r#"{"id":-1,"op":"list"}"#.to_owned(),
        r#"{"id":7,"op":"watch","since":-1}"#.to_owned(),
        create(&"&(".repeat(10_000)),
        create(&"(* ".repeat(10_000)),
        create(""),
        create("&(a=b)"),
        create(&rsl(NOW, 1.0, "(bandwidth=1)")),
        create(&rsl("(start-time=1e999)(duration=1)", 1.0, "")),
        create(&rsl("(start-time=99999999999999999999999)(duration=1)", 1.0, "")),
        create(&rsl(NOW, 1.0, &format!("(label={})", "x".repeat(5000)))),
        create(&rsl("(start-time=1)(duration=1)", 1.0, "")),
    ] {
        client.send(format!("{line}\n").as_bytes()).unwrap();
        let shown: String = line.chars().take(60).collect();
        match client.message() {
            Some(Message::Reply(Reply { outcome: Outcome::Error(refusal), .. })) => {
                assert_eq!(refusal.code, Code::Invalid, "{shown}");
                assert!(refusal.text.len() < 500 && !refusal.text.contains('\n'), "{shown}: {refusal}");
            }
            other => panic!("{shown}: {other:?}"),
        }
    }
    // A line without an end, and bytes that are no text.
    let _ = client.send(&vec![b'x'; 200 << 10]);
    assert!(client.message().is_none(), "a line that is too long ends the connection");
    let mut client = world.client("ann");
    client.send(&[0xff, 0xfe, 0, b'\n']).unwrap();
    assert!(matches!(client.message(), Some(Message::Reply(Reply { outcome: Outcome::Error(_), .. }))));
    // Half a line, and gone.
    let mut rude = world.client("bob");
    rude.send(b"{\"id\":1,").unwrap();
    drop(rude);
    assert_eq!(client.list(), Vec::<Reservation>::new());
    assert!(world.is_serving());
}

#[test]
fn every_list_fits_its_line_and_has_all_that_holds_capacity() {
    let Some(world) = world("lines") else { return };
    let mut client = world.client("ann");
    let window = "(start-time=4000000000)(duration=60)";
    // The longest label there is, and the longest way to write it.
    let labelled = |nth: usize| rsl(window, 1.0, &format!("(label='{nth:03}{}')", "\"".repeat(253)));
    for nth in 0..75 {
        client.create(&labelled(nth)).unwrap();
    }
    assert_eq!(client.create(&labelled(75)).unwrap_err().code, Code::Declined);
    assert_eq!(client.list().len(), 75);
    let mut client = world.client("bob");
    let kept = client.create(&labelled(0)).unwrap();
    for nth in 1..150 {
        let handle = client.create(&labelled(nth)).unwrap();
        client.ask(Operation::Cancel { handle }).unwrap();
    }
    let content = client.ask(Operation::List).unwrap();
    assert_eq!(content["more"], true);
    let listed = client.list();
    assert_eq!((listed[0].handle.as_str(), listed[0].state), (kept.as_str(), State::Booked));
    let last = listed.last().unwrap();
    assert!(last.state == State::Cancelled && last.label.as_ref().unwrap().starts_with("149"), "{last:?}");
}

#[test]
fn routed_hosts_reach_each_other_on_either_side() {
    let Some(world) = world("routed") else { return };
    for (from, to, at) in [
        ("alpha", "beta", BETA),
        ("beta", "alpha", ALPHA),
        ("alpha", "rival", "198.51.100.4"),
        ("sink", "hub", HUB),
    ] {
        assert!(carries(&world.lab, from, to, at.parse().unwrap()), "{from} to {to}");
    }
}
