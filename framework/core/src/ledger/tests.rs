//! What waits for the disk, and what becomes of it when the disk fails.

use vreserve_model::{BitsPerSecond, Request, RequestKey};

use super::*;
use crate::lead::{Call, CircuitId, CircuitName, DemandRecord, Event, RecordBody};
use crate::plan::LinkKey;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn key(name: &str) -> RequestKey {
    RequestKey(name.into())
}

fn forget(name: &str) -> Action {
    Action::Forget(key(name))
}

fn removal(name: &str) -> Change {
    Change::Remove(key(name))
}

fn submit(id: u64) -> Action {
    let request = Request {
        key: key(&format!("lab-1-{id}")),
        owner: "lab/1".into(),
        a: "10.0.0.1".into(),
        z: "10.0.0.2".into(),
        rate: BitsPerSecond(1),
        flow: None,
        max_latency: None,
        start_ms: None,
        end_ms: None,
    };
    Action::Submit { circuit: CircuitId(id), network: "net".into(), request }
}

fn cancel(id: u64) -> Action {
    let key = key(&format!("lab-1-{id}"));
    Action::Cancel(Call { circuit: CircuitId(id), network: "net".into(), key, native_id: None })
}

fn ready() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.begin_load();
    assert_eq!(ledger.poll(NOW), None, "nothing is done before the journal was read");
    ledger.handle_loaded(NOW, Ok(&Loaded::default()));
    ledger
}

fn give(ledger: &mut Ledger, actions: &[Action]) {
    for action in actions {
        assert_eq!(ledger.handle_action(action.clone()), None);
    }
}

fn written(ledger: &mut Ledger, outcome: Result<(), &str>) -> Turn {
    ledger.handle_written(NOW, outcome.map_err(str::to_owned), Duration::from_millis(1))
}

#[test]
fn what_is_said_to_be_asked_for_is_on_record_first() {
    let link = LinkKey::new("a", "z", "net");
    let event = Event::ReservationSubmitted {
        name: CircuitName { circuit: CircuitId(1), link },
        rate: BitsPerSecond(1),
        key: key("lab-1-1"),
        attempt: 1,
    };
    let publish = Action::Publish { at: NOW, event };
    let mut ledger = ready();
    give(&mut ledger, &[forget("a"), publish.clone(), submit(1)]);
    assert!(matches!(ledger.poll(NOW), Some(Step::Write(_))));
    assert_eq!(ledger.poll(NOW), None);
    written(&mut ledger, Ok(()));
    assert_eq!(ledger.poll(NOW), Some(Step::Carry(publish)));
    assert_eq!(ledger.poll(NOW), Some(Step::Carry(submit(1))));
}

#[test]
fn a_call_is_made_when_the_records_before_it_are_on_disk_and_a_run_of_records_is_one_write() {
    let mut ledger = ready();
    give(&mut ledger, &[forget("a"), forget("b"), submit(1), forget("c"), cancel(2)]);
    let mark = ledger.mark();
    assert_eq!(ledger.poll(NOW), Some(Step::Write(vec![removal("a"), removal("b")])));
    assert_eq!(ledger.poll(NOW), None, "the submit waits");
    assert_eq!(written(&mut ledger, Ok(())), Turn::None);
    assert_eq!(ledger.poll(NOW), Some(Step::Carry(submit(1))));
    assert_eq!(ledger.poll(NOW), Some(Step::Write(vec![removal("c")])));
    assert!(!ledger.is_durable(mark));
    written(&mut ledger, Ok(()));
    assert!(ledger.is_durable(mark));
    assert_eq!(ledger.poll(NOW), Some(Step::Carry(cancel(2))));
    assert_eq!(ledger.poll(NOW), None);
}

#[test]
fn nodes_are_told_whatever_the_disk_does() {
    let mut ledger = ready();
    give(&mut ledger, &[forget("a"), submit(1)]);
    ledger.poll(NOW);
    let event = Event::BackendUp { network: "net".into() };
    let publish = Action::Publish { at: NOW, event };
    assert_eq!(ledger.handle_action(publish.clone()), Some(publish));
}

#[test]
fn while_the_disk_fails_nothing_new_is_asked_for_and_what_ends_is_given_back() {
    let mut ledger = ready();
    give(&mut ledger, &[forget("a"), submit(1), forget("b"), cancel(2)]);
    ledger.poll(NOW);
    assert_eq!(written(&mut ledger, Err("no space left")), Turn::Failed("no space left".into()));
    assert_eq!(ledger.poll(NOW), Some(Step::Deny(submit(1), "no space left".into())));
    assert_eq!(ledger.poll(NOW), Some(Step::Carry(cancel(2))));
    assert_eq!(ledger.poll(NOW), None);
    assert_eq!(ledger.status().state, JournalState::Failing);
    // Again, and again until it works; the last word for each key is what is written.
    let later = ledger.poll_timeout().expect("it is tried again");
    give(&mut ledger, &[forget("a")]);
    assert_eq!(ledger.poll(NOW), None);
    assert_eq!(ledger.poll(later), Some(Step::Write(vec![removal("a"), removal("b")])));
    assert_eq!(written(&mut ledger, Err("no space left")), Turn::None);
    assert!(matches!(ledger.poll(later + RETRY), Some(Step::Write(_))));
    assert_eq!(written(&mut ledger, Ok(())), Turn::Recovered);
    assert_eq!((ledger.status().state, ledger.failure()), (JournalState::Ready, None));
    give(&mut ledger, &[submit(3)]);
    assert_eq!(ledger.poll(later), Some(Step::Carry(submit(3))));
}

#[test]
fn a_journal_that_cannot_be_read_is_tried_again_and_not_written_meanwhile() {
    let mut ledger = Ledger::default();
    ledger.begin_load();
    ledger.handle_loaded(NOW, Err("permission denied"));
    give(&mut ledger, &[forget("a"), submit(1)]);
    assert_eq!(ledger.poll(NOW), Some(Step::Deny(submit(1), "permission denied".into())));
    assert_eq!(ledger.poll(NOW), None);
    assert_eq!(ledger.poll(NOW + RETRY), Some(Step::Load));
    assert_eq!(ledger.poll(NOW + RETRY), None);
    ledger.handle_loaded(NOW + RETRY, Ok(&Loaded::default()));
    assert_eq!(ledger.poll(NOW + RETRY), Some(Step::Write(vec![removal("a")])));
}

#[test]
fn records_that_cannot_be_read_stay_and_stop_new_intents() {
    let mut ledger = Ledger::default();
    ledger.begin_load();
    let unreadable = BTreeMap::from([("newer".to_owned(), "it is of version 2".to_owned())]);
    ledger.handle_loaded(NOW, Ok(&Loaded { records: Vec::new(), unreadable }));
    assert_eq!(ledger.status().state, JournalState::Unreadable);
    give(&mut ledger, &[Action::Rewrite(Vec::new()), submit(1), forget("a")]);
    let Some(Step::Deny(_, reason)) = ledger.poll(NOW) else { panic!("no new intent") };
    assert!(reason.contains("newer"), "{reason}");
    // A rewrite leaves alone what it does not know, and other records are still written.
    assert_eq!(ledger.poll(NOW), Some(Step::Write(vec![removal("a")])));
    assert_eq!(written(&mut ledger, Ok(())), Turn::None);
}

#[test]
fn a_rewrite_removes_what_is_on_disk_or_on_its_way_there() {
    let mut ledger = ready();
    let put = |name: &str| {
        let link = LinkKey::new("a", "z", "net");
        let body = RecordBody::Demand(DemandRecord { link, hours: Default::default(), declined_ms: None });
        Change::Put(Box::new(Record { version: Record::VERSION, key: key(name), epoch: 1, at_ms: 1, body }))
    };
    ledger.push(put("a"));
    ledger.poll(NOW);
    written(&mut ledger, Ok(()));
    ledger.push(put("b"));
    give(&mut ledger, &[Action::Rewrite(Vec::new())]);
    let Some(Step::Write(run)) = ledger.poll(NOW) else { panic!("a write") };
    assert_eq!(run[0], put("b"));
    assert!(run[1..].contains(&removal("a")) && run[1..].contains(&removal("b")), "{run:?}");
}
