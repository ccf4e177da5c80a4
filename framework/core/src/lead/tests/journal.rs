//! The journal that cannot be written, and what backends hold that is on no record.

use std::time::Duration;

use vreserve_model::{Changes, RequestKey, ReservationState};

use super::world::*;
use crate::lead::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn while_nothing_can_be_written_nothing_new_is_asked_for_and_the_rest_goes_on() {
    let mut world = World::new(3);
    world.want(&[(1, 2)]);
    world.is_disk_full = true;
    world.want(&[(1, 2), (1, 3)]);
    assert_eq!(world.lead.journal_failure(), Some("no space left on device"));
    world.pass(60 * SECOND);
    assert_eq!(world.phases(), [Phase::Carrying, Phase::Wanted]);
    assert!(world.submits.is_empty());
    let waiting: Vec<_> = world.lead.circuits().filter_map(|circuit| circuit.waits_for).collect();
    assert_eq!(waiting, ["waits until the journal can be written"]);
    assert_eq!(world.pairs_at("n1").len(), 1, "what carries goes on");
    world.want(&[(1, 3)]);
    assert_eq!(world.phases(), [Phase::Wanted], "what ends is given back");
    world.is_disk_full = false;
    world.lead.handle_journal_ok(world.now);
    world.run();
    assert_eq!(world.phases(), [Phase::Carrying]);
    let keys: Vec<_> = world.lead.circuits().filter_map(|circuit| circuit.key).collect();
    assert_eq!(world.disk.keys().cloned().collect::<Vec<_>>(), keys, "the disk agrees again");
}

#[test]
fn the_record_follows_the_circuit() {
    let mut world = World::new(2);
    world.auto.submit = false;
    world.want(&[(1, 2)]);
    let key = world.only().key.unwrap();
    let record = world.on_record(&key);
    assert_eq!((record.state, record.stage), (ReservationState::Submitted, Stage::Reserving));
    assert_eq!(record.native_id, None);
    world.answer_submit(ReservationState::Active);
    let record = world.on_record(&key);
    assert_eq!((record.state, record.stage), (ReservationState::Active, Stage::InUse));
    assert_eq!(record.native_id, Some(format!("path-{key}")));
    assert_eq!(record.pairs.len(), 2);
    assert_eq!(record.labels["lambda"], "2");
}

#[test]
fn an_orphan_is_given_back_after_a_grace_and_what_is_not_ours_is_left_alone() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let own = observed(&world.only().key.unwrap(), ReservationState::Active);
    let keys = ["lab-3-17", "other-3-17", "lab-8-17", "nonsense"];
    let held = keys.map(|key| observed(&RequestKey(key.into()), ReservationState::Active));
    world.listed = Some(held.into_iter().chain([own]).collect());
    world.pass(31 * SECOND);
    assert_eq!(world.lead.orphans().count(), 1);
    assert!(world.orphan_cancels.is_empty());
    world.pass(31 * SECOND);
    let (key, _) = world.orphan_cancels.remove(0);
    assert_eq!(key.0, "lab-3-17");
    assert!(world.orphan_cancels.is_empty(), "a later lead's and strangers' are left alone");
    world.lead.handle_orphan_cancelled(world.now, NET, &key, Ok(()));
    assert_eq!(world.lead.orphans().count(), 0);
    assert_eq!(world.phases(), [Phase::Carrying]);
}

#[test]
fn a_request_that_was_doubled_keeps_one_and_gives_the_other_back() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let circuit = world.only();
    let key = circuit.key.clone().unwrap();
    let own = observed(&key, ReservationState::Active);
    let mut double = own.clone();
    double.native_id = Some("second".into());
    let changes = Changes { next: 1, missed: false, observed: vec![own.clone()] };
    world.lead.handle_changes(world.now, NET, &changes);
    world.run();
    assert_eq!(world.finds.len(), 1, "a report only wakes");
    world.lead.handle_found(world.now, circuit.circuit, Ok(vec![double, own]));
    world.run();
    assert_eq!(world.orphan_cancels, [(key, Some("second".to_owned()))]);
    assert_eq!(world.only().native_id, circuit.native_id);
    assert_eq!(world.phases(), [Phase::Carrying]);
}

#[test]
fn a_server_that_lost_its_memory_is_noticed_by_its_list() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    world.listed = Some(vec![]);
    world.pass(31 * SECOND);
    assert_eq!(world.finds.len(), 1);
    world.answer_find(Ok(None));
    assert_eq!(world.phases(), [Phase::Wanted]);
    world.pass(SECOND);
    assert_eq!(world.phases(), [Phase::Carrying]);
}

#[test]
fn a_degraded_link_sends_its_pairs_to_the_star_at_once_and_is_repaired() {
    let mut world = World::new(2);
    world.want(&[(1, 2)]);
    let before = world.only();
    world.lead.handle_link_degraded(world.now, "n1", before.link_id, "12 % lost");
    world.run();
    assert!(world.pairs_at("n1").is_empty() && world.pairs_at("n2").is_empty());
    let gone = world.lead.history().last().unwrap();
    assert_eq!(gone.last_failure.as_deref(), Some("the link is degraded at n1: 12 % lost"));
    world.pass(SECOND);
    assert_eq!(world.phases(), [Phase::Carrying]);
    assert_ne!(world.only().circuit, before.circuit);
}
