use super::*;
use crate::gara::protocol::State;
use proptest::prelude::*;
use std::time::Duration;

const LAB: &str = r#"
name = "book"
commodity = { rate = "1gbit", subnet = "198.51.100.0/24", core = { rate = "100mbit", routers = ["west", "east"] } }
host = [
    { name = "alpha", router = "west" },
    { name = "beta", router = "east" },
    { name = "gamma", router = "east" },
    { name = "delta", router = "west" },
]
"#;

fn book() -> Book {
    let lab = crate::LabSpec::parse(LAB, "book.toml".as_ref()).unwrap();
    Book::new(Plant::of(&lab, "commodity", 80).unwrap(), "test".to_owned())
}

fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, number).into()
}

fn request(a: u8, b: u8, window: std::ops::Range<u64>, kbps: u64) -> NetworkRequest {
    NetworkRequest {
        start_ms: Some(window.start),
        duration: Some(Duration::from_millis(window.end - window.start)),
        endpoint_a: host(a),
        endpoint_b: host(b),
        kbps,
        protocol: None,
        label: None,
    }
}

fn create(book: &mut Book, request: &NetworkRequest, now: u64) -> Result<Record, Refusal> {
    match book.create("ann", request, now)? {
        Creation::New(record) | Creation::Existing(record) => {
            book.enter(record.clone());
            Ok(record)
        }
    }
}

fn pass(book: &mut Book, now: u64) {
    while let Some(record) = book.due(now) {
        book.enter(record);
    }
}

fn code(outcome: Result<Record, Refusal>) -> Code {
    outcome.expect_err("refused").code
}

#[test]
fn twins_beyond_the_core_are_declined_and_say_what_is_free() {
    let mut book = book();
    let twin = request(1, 2, 1000..2000, 50_000);
    create(&mut book, &twin, 0).unwrap();
    let refusal = create(&mut book, &twin, 0).unwrap_err();
    assert_eq!(refusal.code, Code::Declined);
    assert!(refusal.text.contains("50000 kbit/s asked, 30000 free on west>east"), "{refusal}");
    create(&mut book, &request(4, 3, 1000..2000, 30_000), 0).unwrap();
    create(&mut book, &request(1, 2, 2000..3000, 80_000), 0).unwrap();
    // Two hosts on one side do not share the core.
    create(&mut book, &request(2, 3, 1000..2000, 700_000), 0).unwrap();
}

#[test]
fn a_reservation_goes_through_its_states_by_time_and_frees_its_slot() {
    let mut book = book();
    let record = create(&mut book, &request(1, 2, 1000..2000, 80_000), 0).unwrap();
    assert_eq!((record.state, book.next_due()), (State::Booked, Some(1000)));
    let state = |book: &Book| book.record("ann", &record.handle).unwrap().state;
    pass(&mut book, 999);
    assert_eq!(state(&book), State::Booked);
    pass(&mut book, 1000);
    assert_eq!((state(&book), book.next_due()), (State::Active, Some(2000)));
    pass(&mut book, 2000);
    assert_eq!((state(&book), book.next_due()), (State::Completed, None));
    create(&mut book, &request(1, 2, 2000..3000, 80_000), 2000).unwrap();
}

#[test]
fn a_label_gives_one_reservation_however_often_it_is_asked_for() {
    let mut book = book();
    let mut wanted = request(1, 2, 1000..2000, 50_000);
    wanted.label = Some("key".to_owned());
    let first = create(&mut book, &wanted, 0).unwrap();
    assert_eq!(book.create("ann", &wanted, 5), Ok(Creation::Existing(first.clone())));
    assert!(
        matches!(book.create("bob", &wanted, 5), Err(Refusal { code: Code::Declined, .. })),
        "another owner"
    );
    let cancelled = book.cancel("ann", &first.handle).unwrap().unwrap();
    book.enter(cancelled);
    assert_eq!(book.cancel("ann", &first.handle), Ok(None), "twice is fine");
    let second = create(&mut book, &wanted, 6).unwrap();
    assert_ne!(second.handle, first.handle);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut book = book();
    for (wanted, expected) in [
        (request(1, 1, 1000..2000, 1), Code::Invalid),
        (request(1, 9, 1000..2000, 1), Code::Invalid),
        (request(1, 2, 1000..2000, 80_001), Code::Declined),
        (request(1, 2, 1000..2000, u64::MAX), Code::Declined),
        (request(1, 2, 100..200, 1), Code::Invalid),
    ] {
        assert_eq!(code(create(&mut book, &wanted, 500)), expected, "{wanted:?}");
    }
    let mut v6 = request(1, 2, 1000..2000, 1);
    v6.endpoint_a = "::1".parse().unwrap();
    assert_eq!(code(create(&mut book, &v6, 0)), Code::Invalid);
}

#[test]
fn only_the_owner_sees_and_changes() {
    let mut book = book();
    let record = create(&mut book, &request(1, 2, 1000..2000, 50_000), 0).unwrap();
    let handle = record.handle.as_str();
    let binding = Binding::default();
    assert_eq!(code(book.record("bob", handle).cloned()), Code::NoSuchHandle);
    assert_eq!(code(book.modify("bob", handle, &Change::default(), 0)), Code::NoSuchHandle);
    assert_eq!(code(book.bind("bob", handle, binding)), Code::NoSuchHandle);
    assert_eq!(book.cancel("bob", handle).unwrap_err().code, Code::NoSuchHandle);
}

#[test]
fn a_change_takes_the_room_that_is_there_or_leaves_all_as_it_was() {
    let mut book = book();
    let record = create(&mut book, &request(1, 2, 1000..2000, 50_000), 0).unwrap();
    create(&mut book, &request(1, 2, 1500..2500, 20_000), 0).unwrap();
    let change = |kbps, ms| Change { start_ms: None, duration: ms, kbps };
    let more = change(Some(60_000), None);
    let record = book.modify("ann", &record.handle, &more, 0).unwrap();
    book.enter(record.clone());
    assert_eq!(code(book.modify("ann", &record.handle, &change(Some(60_001), None), 0)), Code::Declined);
    let longer = change(None, Some(Duration::from_millis(1500)));
    assert_eq!(book.modify("ann", &record.handle, &longer, 0).unwrap().end, Some(2500));
    pass(&mut book, 1000);
    let restart = Change { start_ms: Some(1200), ..Change::default() };
    assert_eq!(code(book.modify("ann", &record.handle, &restart, 1100)), Code::WrongState);
    let over = change(None, Some(Duration::from_millis(50)));
    assert_eq!(code(book.modify("ann", &record.handle, &over, 1100)), Code::Invalid);
    pass(&mut book, 3000);
    assert_eq!(code(book.modify("ann", &record.handle, &more, 3000)), Code::WrongState);
    assert_eq!(code(book.bind("ann", &record.handle, Binding::default())), Code::WrongState);
}

#[test]
fn a_clock_that_goes_back_neither_stops_what_runs_nor_promises_it_again() {
    let mut book = book();
    let running = create(&mut book, &request(1, 2, 10_000..20_000, 80_000), 0).unwrap();
    pass(&mut book, 12_000);
    pass(&mut book, 5000);
    assert_eq!(book.record("ann", &running.handle).unwrap().state, State::Active);
    assert_eq!(code(create(&mut book, &request(1, 2, 5000..9000, 1), 5000)), Code::Declined);
}

#[test]
fn an_administrator_ends_anybodys_reservation() {
    let mut book = book();
    let record = create(&mut book, &request(1, 2, 1000..2000, 50_000), 0).unwrap();
    let ended = book.terminate(&record.handle).unwrap();
    assert_eq!(ended.state, State::Terminated);
    book.enter(ended);
    assert_eq!(book.terminate(&record.handle), None);
}

/// What somebody does with the book.
#[derive(Debug, Clone)]
enum Step {
    Create(u8, u8, u64, u64, u64),
    Modify(usize, Option<u64>, Option<u64>),
    Cancel(usize),
    Clock(i64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5_u8, 1..5_u8, 0..40_u64, 1..20_u64, 1..90_000_u64).prop_map(|(a, b, start, span, kbps)| {
            Step::Create(a, b, start, span, kbps)
        }),
        2 => (0..40_usize, prop::option::of(1..30_u64), prop::option::of(1..90_000_u64))
            .prop_map(|(nth, span, kbps)| Step::Modify(nth, span, kbps)),
        1 => (0..40_usize).prop_map(Step::Cancel),
        3 => (-3..8_i64).prop_map(Step::Clock),
    ]
}

proptest! {
    /// Also while the clock is stepped, the core never carries more than may be reserved: not what runs at this
    /// moment, and not what is booked for any later one.
    #[test]
    fn the_core_is_never_overbooked(steps in prop::collection::vec(steps(), 1..80)) {
        let mut book = book();
        let mut now = 10_u64;
        for step in steps {
            let handle = |nth: usize| book.records().nth(nth).map(|record| record.handle.clone());
            match step {
                Step::Create(a, b, start, span, kbps) => {
                    let _ = create(&mut book, &request(a, b, start..start + span, kbps), now);
                }
                Step::Modify(nth, span, kbps) => {
                    let change = Change { start_ms: None, duration: span.map(Duration::from_millis), kbps };
                    if let Some(handle) = handle(nth)
                        && let Ok(record) = book.modify("ann", &handle, &change, now)
                    {
                        book.enter(record);
                    }
                }
                Step::Cancel(nth) => {
                    if let Some(handle) = handle(nth)
                        && let Ok(Some(record)) = book.cancel("ann", &handle)
                    {
                        book.enter(record);
                    }
                }
                Step::Clock(by) => now = now.saturating_add_signed(by),
            }
            pass(&mut book, now);
            let west = |address: Ipv4Addr| matches!(address.octets()[3], 1 | 4);
            let over_core = |record: &&Record| west(record.endpoint_a) != west(record.endpoint_b);
            let used = |is_there: &dyn Fn(&Record) -> bool| -> u64 {
                book.records().filter(over_core).filter(|r| is_there(r)).map(|record| record.kbps).sum()
            };
            prop_assert!(used(&|record| record.state == State::Active) <= 80_000);
            for instant in now..now + 70 {
                let at = |record: &Record| {
                    record.state.holds_capacity() && (record.start..record.end.unwrap()).contains(&instant)
                };
                prop_assert!(used(&at) <= 80_000, "at {instant}");
            }
        }
    }
}
