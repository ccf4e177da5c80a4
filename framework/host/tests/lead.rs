//! The lead's shell: nothing is asked for before it is on disk, and a new lead takes over what is there.

mod leading;
#[path = "leading/provider.rs"]
mod provider;

use std::sync::Arc;

use leading::{Ground, NET, World, mac, pairs_of};
use tokio::sync::oneshot;
use vreserve::clock::Clock;
use vreserve::control::lead::{BackendChange, Input, JournalState, LeadChanges, Question};
use vreserve::plugin::Backend;
use vreserve::store::{Change, Fault, Store};
use vreserve_core::ids::LinkClass;
use vreserve_core::lead::{BookingId, DemandRecord, Origin, Record, RecordBody, Recurring};
use vreserve_core::plan::LinkKey;
use vreserve_model::{BitsPerSecond, RequestKey, ReservationState};

#[tokio::test]
async fn nothing_is_asked_for_before_its_record_is_on_disk() {
    let ground = Ground::default();
    let world = World::ready(&ground, 1).await;
    ground.faults.set(Fault::Slow);
    let booked = world.reserve();
    tokio::pin!(booked);
    // The lead goes on answering while the disk takes its time, and asks for nothing.
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut booked => panic!("acknowledged before it was on disk"),
            _ = world.reservations() => {}
        }
    }
    assert_eq!(ground.provider.count("submit"), 0);
    ground.faults.set(Fault::None);
    booked.await.expect("it is booked");
    world.until("the circuit carries", |view| pairs_of(view) == 2).await;
    assert_eq!(ground.provider.count("submit"), 1);
    assert!(ground.provider.unrecorded().is_empty(), "{:?}", ground.provider.unrecorded());
}

#[tokio::test]
async fn while_the_disk_is_full_nothing_new_is_asked_for_and_it_recovers_by_itself() {
    for fault in [Fault::Full, Fault::ReadOnly, Fault::Torn] {
        let ground = Ground::default();
        let world = World::carrying(&ground, 1).await;
        ground.faults.set(fault);
        let refused = world.reserve_to("hub").await.expect_err("the disk does not take it");
        assert!(refused.contains("the journal cannot be written"), "{refused}");
        let view = world.until("the journal fails", |view| view.journal.state == JournalState::Failing).await;
        assert!(view.journal.reason.is_some());
        assert_eq!(pairs_of(&view), 2, "what carries traffic goes on");
        assert!(world.reserve_to("hub").await.is_err());
        assert_eq!(ground.provider.count("submit"), 1);
        ground.faults.set(Fault::None);
        world.until("the journal is ready again", |view| view.journal.state == JournalState::Ready).await;
        let calendar = world.ask(Question::Calendar).await;
        assert_eq!(calendar.len(), 1, "what was refused is not booked after all: {calendar:?}");
        world.reserve_to("hub").await.expect("it is booked");
        world.until("it was asked for", |_| ground.provider.count("submit") == 2).await;
        assert!(ground.provider.unrecorded().is_empty());
    }
}

/// Pairs that are on an active circuit by what is on disk.
fn recorded_pairs(ground: &Ground) -> usize {
    let records = ground.store.records();
    let records = records.values().map(|kept| serde_json::from_slice::<Record>(kept).expect("a record"));
    let pairs = records.map(|record| match record.body {
        RecordBody::Circuit(circuit) if circuit.state == ReservationState::Active => circuit.pairs.len(),
        _ => 0,
    });
    pairs.sum()
}

#[tokio::test]
async fn a_lead_that_takes_over_keeps_circuits_links_and_pairs() {
    let ground = Ground::default();
    let world = World::carrying(&ground, 1).await;
    // That pairs are on it is written after it is so. A lead that ends in between has them moved to the star, and back.
    world.until("its pairs are on record", |_| recorded_pairs(&ground) == 2).await;
    let before = world.reservations().await.circuits;
    let in_force = ground.in_force.lock().unwrap().clone();
    let ground = world.kill().await;
    let looked_up = ground.provider.count("find") + ground.provider.count("list_owned");

    let world = World::ready(&ground, 2).await;
    let view = world
        .until("its state is known", |view| {
            view.circuits.iter().all(|circuit| circuit.state == ReservationState::Active)
        })
        .await;
    assert_eq!(view.circuits.len(), 1);
    assert_eq!(view.circuits[0].circuit, before[0].circuit);
    assert_eq!(view.circuits[0].native_id, before[0].native_id);
    assert_eq!(pairs_of(&view), 2);
    assert_eq!(ground.provider.count("submit"), 1, "{:?}", ground.provider.calls());
    assert_eq!(ground.provider.count("cancel"), 0);
    assert!(ground.provider.count("find") + ground.provider.count("list_owned") > looked_up, "it has looked");
    // Every part that a node was sent has the links and the pairs that it had.
    for (node, overlay) in world.sent.borrow().iter().filter(|(node, _)| node != "hub") {
        let before = &in_force[node];
        assert_eq!(overlay.pairs, before.pairs, "{node}");
        let circuits = |links: &[vreserve_core::overlay::OverlayLink]| -> Vec<_> {
            links.iter().filter(|link| link.class == LinkClass::Circuit).cloned().collect()
        };
        assert_eq!(circuits(&overlay.links), circuits(&before.links), "{node}");
    }
    // The booking is its own as well: it can be given up.
    let calendar = world.ask(Question::Calendar).await;
    let booking = calendar[0].booking.expect("a booking");
    world.ask(|reply| Question::Cancel(booking, reply)).await.expect("it is there");
    world.until("nothing is held", |view| view.circuits.is_empty()).await;
    assert!(ground.provider.held().is_empty());
    world.until("nothing is on record", |view| view.journal.records == 0).await;
    assert!(ground.store.records().is_empty(), "{:?}", ground.store.records().keys());
}

#[tokio::test]
async fn demand_that_recurs_is_booked_ahead_once_whichever_lead_remembers_it() {
    let recurring = Some(Recurring { ahead: std::time::Duration::from_secs(6 * 3600) });
    let mut ground = Ground { recurring, ..Ground::default() };
    // An earlier lead saw demand on each of the last days in the hour after the next one.
    let hour = Clock::wall_ms() / 3_600_000 + 2;
    let hours = (1..=7).rev().map(|day| (hour - day * 24, BitsPerSecond(30_000_000))).collect();
    let demand = DemandRecord { link: LinkKey::new("n1", "n2", NET), hours, declined_ms: None };
    let key = RequestKey("lab/demand/n1/n2".into());
    let body = RecordBody::Demand(demand.clone());
    let record = Record { version: Record::VERSION, key: key.clone(), epoch: 1, at_ms: 1, body };
    let value = serde_json::to_vec(&record).unwrap();
    ground.store.commit(&[Change::Put { key: key.0.clone(), value }]).unwrap();

    let world = World::ready(&ground, 2).await;
    world.until("it is asked for", |_| ground.provider.count("submit") == 1).await;
    let booked = world.ask(Question::Calendar).await.remove(0);
    assert_eq!(
        (booked.origin, booked.start_ms, booked.end_ms),
        (Origin::Planner, Some(hour * 3_600_000), Some((hour + 1) * 3_600_000))
    );
    assert_eq!(booked.rate, BitsPerSecond(30_000_000));
    let ground = world.kill().await;

    let world = World::ready(&ground, 3).await;
    world.until("what was asked for is found", |_| ground.provider.count("find") > 0).await;
    let calendar = world.ask(Question::Calendar).await;
    assert_eq!((calendar.len(), calendar[0].booking), (1, booked.booking));
    assert_eq!(ground.provider.count("submit"), 1, "once");
    let kept: Record = serde_json::from_slice(&ground.store.records()[&key.0]).unwrap();
    assert_eq!(kept.body, RecordBody::Demand(demand));

    // Turned off by a reload.
    let (done, in_effect) = oneshot::channel();
    let changes = LeadChanges { recurring: Some(None), ..LeadChanges::default() };
    assert!(world.inputs.send(Input::Changed(changes, done)).await.is_ok());
    in_effect.await.unwrap();
    world.until("nothing is on record", |view| view.journal.records == 0).await;
    assert!(ground.provider.held().is_empty() && ground.store.records().is_empty());
    assert_eq!(world.ask(Question::Calendar).await, []);
}

#[tokio::test]
async fn what_an_earlier_lead_left_on_no_record_is_given_back_after_a_grace_and_nothing_else() {
    let ground = Ground { is_listed_often: true, ..Ground::default() };
    ground.provider.hold("lab-1-99");
    ground.provider.hold("lab-b-1-99");
    ground.provider.hold("somebody else's");
    let world = World::ready(&ground, 2).await;
    world
        .until("the orphan is seen", |view| view.orphans.iter().any(|orphan| orphan.key.0 == "lab-1-99"))
        .await;
    assert_eq!(ground.provider.count("cancel"), 0, "not at once");
    world
        .until("the orphan is gone", |view| {
            !view.orphans.iter().any(|orphan| orphan.key.0 == "lab-1-99")
                && ground.provider.count("cancel") > 0
        })
        .await;
    let held: Vec<String> = ground.provider.held().into_iter().map(|key| key.0).collect();
    assert_eq!(held, ["lab-b-1-99", "somebody else's"]);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_and_stops_new_intents() {
    let ground = Ground { is_listed_often: true, ..Ground::default() };
    let newer = br#"{"version":99,"key":"lab-1-7","of":"something"}"#.to_vec();
    let change = vreserve::store::Change::Put { key: "lab-1-7".into(), value: newer.clone() };
    vreserve::store::Store::commit(&mut ground.store.clone(), &[change]).unwrap();
    ground.provider.hold("lab-1-7");
    ground.provider.hold("lab-1-8");
    let world = World::ready(&ground, 2).await;
    let refused = world.reserve().await.expect_err("nothing new");
    assert!(refused.contains("lab-1-7") && refused.contains("version 99"), "{refused}");
    // Long after the grace nothing was given back: nobody can tell what it stands for.
    let lists = ground.provider.count("list_owned");
    let view = world.until("it was listed", |_| ground.provider.count("list_owned") > lists + 6).await;
    assert_eq!(view.journal.state, JournalState::Unreadable);
    assert!(view.orphans.iter().any(|orphan| orphan.key.0 == "lab-1-8"), "{:?}", view.orphans);
    assert_eq!(ground.provider.count("cancel"), 0, "{:?}", ground.provider.calls());
    assert_eq!(ground.store.records().get("lab-1-7"), Some(&newer));
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_leaves_providers_alone_until_it_can() {
    let ground = World::carrying(&Ground::default(), 1).await.kill().await;
    ground.faults.set(Fault::Closed);
    let world = World::start(&ground, 2).await;
    let view = world
        .until("it says why", |view| view.backends[0].reason.as_ref().is_some_and(|r| r.contains("journal")))
        .await;
    assert_eq!((view.journal.state, view.backends[0].up), (JournalState::Closed, false));
    assert!(world.reserve().await.is_err());
    assert_eq!((ground.provider.count("cancel"), ground.provider.count("submit")), (0, 1));
    ground.faults.set(Fault::None);
    let view = world
        .until("it has taken over", |view| {
            view.backends[0].up
                && view.circuits.len() == 1
                && view.circuits[0].state == ReservationState::Active
        })
        .await;
    assert_eq!(view.journal.state, JournalState::Ready);
    world.until("its pairs are on it again", |view| pairs_of(view) == 2).await;
    assert_eq!((ground.provider.count("cancel"), ground.provider.count("submit")), (0, 1));
}

#[tokio::test]
async fn what_a_provider_tells_wakes_a_look_up_and_is_not_believed_by_itself() {
    for missed in [false, true] {
        let ground = Ground::default();
        // A failing call for events is repeated.
        ground.provider.fail_events(1);
        let world = World::carrying(&ground, 1).await;
        let before = ground.provider.count("find");
        ground.provider.end_everything(missed);
        world.until("the circuit is given up", |view| view.history.len() == 1).await;
        assert!(ground.provider.count("find") > before, "{:?}", ground.provider.calls());
    }
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused_with_its_reason() {
    let world = World::ready(&Ground::default(), 1).await;
    let mut wish = leading::wish();
    wish.to = "nowhere".into();
    let refused = world.ask(|reply| Question::Reserve(wish, reply)).await.expect_err("no such node");
    assert_eq!(refused, "no node or guest \"nowhere\"");
    let mut guests = leading::wish();
    (guests.from, guests.to) = (mac(1).to_string(), mac(2).to_string());
    world.ask(|reply| Question::Reserve(guests, reply)).await.expect("guests stand for their nodes");
    assert!(world.ask(|reply| Question::Cancel(BookingId(1), reply)).await.is_err());
}

#[tokio::test]
async fn a_backend_that_was_replaced_gives_back_what_was_asked_of_it_and_the_new_one_is_asked_for_the_rest() {
    let ground = Ground::default();
    let world = World::carrying(&ground, 1).await;
    let first = world.reservations().await.circuits[0].circuit;
    let successor = Arc::new(provider::Provider::default());
    successor.watches(ground.store.clone());
    let (former_closed, closed) = oneshot::channel();
    let (network, backend) = (leading::NET.to_owned(), Some(successor.clone() as Arc<dyn Backend>));
    let change = BackendChange { network, backend, former_closed };
    let changes = LeadChanges { backends: vec![change], ..LeadChanges::default() };
    let (done, in_effect) = oneshot::channel();
    world.inputs.send(Input::Changed(changes, done)).await.expect("the lead runs");
    in_effect.await.expect("the lead has taken it");
    let view = world.until("the pairs are on another circuit", |view| {
        pairs_of(view) == 2 && view.circuits.iter().all(|circuit| circuit.circuit != first)
    });
    assert_eq!(view.await.former_backends, 0);
    closed.await.expect("the former backend was closed");
    assert_eq!((ground.provider.count("submit"), ground.provider.count("cancel")), (1, 1));
    assert_eq!((successor.count("submit"), successor.count("cancel")), (1, 0));
    assert!(ground.provider.held().is_empty());
    assert!(successor.unrecorded().is_empty());
}
