//! Every fault is injected as it says, where it says, and counted.

use std::path::Path;
use std::sync::Mutex;

use vreserve_model::{BitsPerSecond, FailureKind};

use super::*;
use crate::plugin::{HostServices, PluginKind};

const DEADLINE: Duration = Duration::from_millis(50);
/// For what happens in the background.
const PATIENCE: Duration = Duration::from_secs(10);

/// A wrapped backend and what is behind it.
struct Bench {
    provider: Arc<MemoryBackend>,
    faulty: FaultyBackend,
    services: HostServices,
}

fn fused() -> Capabilities {
    Capabilities { fused_activation: true, list: true, find: true, ..Capabilities::default() }
}

fn stepwise() -> Capabilities {
    Capabilities { fused_activation: false, ..fused() }
}

impl Bench {
    fn new(faults: &str) -> Self {
        Self::on(fused(), faults)
    }

    fn on(capabilities: Capabilities, faults: &str) -> Self {
        let plan =
            FaultPlan::parse(Path::new("faults.toml"), faults).unwrap_or_else(|errors| panic!("{errors}"));
        let services = HostServices::new("/nonexistent");
        let host = services.instance(PluginKind::Reserve, "omninet", None);
        let provider = Arc::new(MemoryBackend::new(capabilities, "path-"));
        let faulty = FaultyBackend::wrap(provider.clone(), plan, "omninet", DEADLINE, &host);
        Bench { provider, faulty, services }
    }

    async fn submit(&self, number: u32) -> Result<Observed, Failure> {
        self.faulty.submit(request(number)).await
    }

    /// What `vreserve status` shows.
    fn count(&self, fault: Fault) -> u64 {
        let name = format!("fault_{}", fault.name());
        let counters = self.services.counters();
        counters.iter().find(|counter| counter.name == name).map(|counter| counter.value).unwrap()
    }

    /// Waits until the provider holds nothing.
    async fn until_nothing_is_held(&self) {
        let empty = async {
            while !self.provider.reservations().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, empty).await.expect("what is held is ended");
    }
}

fn key(number: u32) -> RequestKey {
    RequestKey(format!("hub-1-{number}"))
}

fn request(number: u32) -> Request {
    Request {
        key: key(number),
        owner: "hub/1".to_owned(),
        a: "10.10.0.1".to_owned(),
        z: "10.10.0.2".to_owned(),
        rate: BitsPerSecond(1_000_000),
        flow: None,
        max_latency: None,
        start_ms: None,
        end_ms: None,
    }
}

fn handle(observed: &Observed) -> Handle {
    Handle { key: observed.key.clone(), native_id: observed.native_id.clone() }
}

fn kind<T: std::fmt::Debug>(answer: Result<T, Failure>) -> FailureKind {
    answer.expect_err("a fault").kind
}

#[tokio::test]
async fn without_a_hit_everything_passes() {
    let bench = Bench::new("hang = { calls = [99] }\nrefusal = 0");
    let made = bench.submit(1).await.unwrap();
    assert_eq!((made.state, bench.provider.asked()), (ReservationState::Active, 1));
    assert_eq!(bench.faulty.find(key(1)).await.unwrap(), std::slice::from_ref(&made));
    assert_eq!(bench.faulty.list_owned("hub/2".to_owned()).await.unwrap().len(), 1);
    bench.faulty.health().await.unwrap();
    bench.faulty.cancel(handle(&made)).await.unwrap();
    assert!(bench.provider.reservations().is_empty());
    assert!(Fault::ALL.iter().all(|fault| bench.count(*fault) == 0));
}

#[tokio::test]
async fn a_hang_lasts_until_the_deadline_and_nobody_was_asked() {
    let bench = Bench::new("hang = 1");
    let begun = std::time::Instant::now();
    assert_eq!(kind(bench.submit(1).await), FailureKind::UnknownOutcome);
    assert!(begun.elapsed() >= DEADLINE);
    assert_eq!(kind(bench.faulty.find(key(1)).await), FailureKind::Unavailable, "a look changes nothing");
    assert_eq!((bench.provider.asked(), bench.count(Fault::Hang)), (0, 2));
}

#[tokio::test]
async fn a_late_answer_is_the_same_answer() {
    let bench = Bench::new("delay = { calls = [1], time = \"20ms\" }");
    let begun = std::time::Instant::now();
    bench.submit(1).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(bench.count(Fault::Delay), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_late_is_none_but_the_work_was_done() {
    let bench = Bench::new("delay = { calls = [1], time = \"1h\" }");
    assert_eq!(kind(bench.submit(1).await), FailureKind::UnknownOutcome);
    assert!(bench.provider.holds(&key(1)));
}

#[tokio::test]
async fn a_lost_reply_leaves_the_caller_not_knowing_whatever_was_done() {
    let bench = Bench::new("reply_lost_before = { calls = [1] }\nreply_lost_after = { calls = [2] }");
    assert_eq!(kind(bench.submit(1).await), FailureKind::UnknownOutcome);
    assert!(!bench.provider.holds(&key(1)), "lost before the effect");
    assert_eq!(kind(bench.submit(2).await), FailureKind::UnknownOutcome);
    assert!(bench.provider.holds(&key(2)), "lost after the effect");
    assert_eq!(bench.faulty.find(key(2)).await.unwrap().len(), 1, "a look finds it");
    assert_eq!((bench.count(Fault::ReplyLostBefore), bench.count(Fault::ReplyLostAfter)), (1, 1));
}

#[tokio::test]
async fn a_doubled_request_arrives_twice() {
    let bench = Bench::new("duplicate = { verbs = [\"submit\"], chance = 1 }");
    bench.submit(1).await.unwrap();
    assert_eq!((bench.provider.asked(), bench.provider.reservations().len()), (2, 1));
    bench.faulty.find(key(1)).await.unwrap();
    assert_eq!((bench.provider.asked(), bench.count(Fault::Duplicate)), (3, 1), "other verbs are left alone");
}

#[tokio::test]
async fn a_held_back_answer_comes_after_that_of_a_later_call() {
    let bench = Bench::new("reordered = { verbs = [\"submit\"], calls = [1], time = \"40ms\" }");
    let order = Mutex::new(Vec::new());
    let note = async |number| {
        bench.submit(number).await.unwrap();
        order.lock().unwrap().push(number);
    };
    tokio::join!(note(1), note(2));
    assert_eq!(*order.lock().unwrap(), [2, 1]);
    assert_eq!(bench.count(Fault::Reordered), 1);

    // Without a later call it is late and nothing else.
    let alone = Bench::new("reordered = { verbs = [\"submit\"], calls = [1], time = \"1ms\" }");
    alone.submit(1).await.unwrap();
}

#[tokio::test]
async fn garbage_is_read_as_a_plugins_answer_is() {
    let bench = Bench::new("garbage = 1");
    for number in 1..=4 {
        assert_eq!(kind(bench.submit(number).await), FailureKind::UnknownOutcome, "answer {number}");
        assert!(bench.provider.holds(&key(number)), "it was carried out");
    }
    let absurd = bench.submit(5).await.unwrap();
    assert_eq!((absurd.key, absurd.rate), (key(5), Some(BitsPerSecond(0))));
    assert!(absurd.labels.len() >= 100);
    assert_eq!(kind(bench.faulty.find(key(1)).await), FailureKind::Unavailable);
    assert_eq!(
        kind(bench.faulty.cancel(handle(&bench.provider.reservations()[0])).await),
        FailureKind::UnknownOutcome
    );
    assert_eq!(bench.provider.reservations().len(), 4, "the cancel was carried out too");
    assert_eq!(bench.count(Fault::Garbage), 7);
}

#[tokio::test]
async fn a_refusal_is_a_no_without_asking() {
    let bench = Bench::new("refusal = { calls = [1] }");
    assert_eq!(kind(bench.submit(1).await), FailureKind::Refused);
    assert_eq!((bench.provider.asked(), bench.count(Fault::Refusal)), (0, 1));
    bench.submit(1).await.unwrap();
}

#[tokio::test]
async fn a_forced_end_comes_later_and_is_told_only_to_those_who_look() {
    let bench = Bench::new("forced_end = { calls = [1], time = \"1ms\" }");
    assert_eq!(bench.submit(1).await.unwrap().state, ReservationState::Active);
    bench.until_nothing_is_held().await;
    assert!(bench.faulty.find(key(1)).await.unwrap().is_empty());
    bench.submit(2).await.unwrap();
    assert_eq!((bench.provider.reservations().len(), bench.count(Fault::ForcedEnd)), (1, 1));
}

#[tokio::test]
async fn a_black_hole_promises_what_nobody_was_asked_for() {
    let bench = Bench::new("black_hole = { calls = [1] }");
    let promised = bench.submit(1).await.unwrap();
    assert_eq!(promised.state, ReservationState::Active);
    assert!(bench.provider.reservations().is_empty());
    assert_eq!(bench.faulty.find(key(1)).await.unwrap(), std::slice::from_ref(&promised), "it sticks to it");
    assert_eq!(bench.faulty.list_owned("hub/1".to_owned()).await.unwrap().len(), 1);
    bench.submit(2).await.unwrap();
    assert_eq!(bench.faulty.list_owned("hub/1".to_owned()).await.unwrap().len(), 2);
    bench.faulty.cancel(handle(&promised)).await.unwrap();
    assert!(bench.faulty.find(key(1)).await.unwrap().is_empty());
    assert_eq!((bench.provider.reservations().len(), bench.count(Fault::BlackHole)), (1, 1));
}

#[tokio::test]
async fn where_use_is_a_step_of_its_own_a_black_hole_claims_to_have_taken_it() {
    let bench = Bench::on(stepwise(), "black_hole = { calls = [1] }");
    let booked = bench.submit(1).await.unwrap();
    assert_eq!(booked.state, ReservationState::Booked);
    let claimed = bench.faulty.activate(handle(&booked), request(1)).await.unwrap();
    assert_eq!(claimed.state, ReservationState::Active);
    assert_eq!(bench.faulty.find(key(1)).await.unwrap()[0].state, ReservationState::Active);
    assert_eq!(
        bench.provider.reservations()[0].state,
        ReservationState::Booked,
        "it was never switched through"
    );
    assert_eq!(bench.faulty.deactivate(handle(&booked)).await.unwrap().state, ReservationState::Booked);
    bench.faulty.activate(handle(&booked), request(1)).await.unwrap();
    assert_eq!(bench.provider.reservations()[0].state, ReservationState::Active, "the second time it is");
}

#[tokio::test]
async fn amnesia_ends_everything_and_denies_that_it_was_there() {
    let bench = Bench::new("amnesia = { calls = [2], time = \"1ms\" }");
    bench.submit(1).await.unwrap();
    let second = bench.submit(2).await.unwrap();
    bench.until_nothing_is_held().await;
    for number in [1, 2] {
        assert!(bench.faulty.find(key(number)).await.unwrap().is_empty());
    }
    assert!(bench.faulty.list_owned("hub/1".to_owned()).await.unwrap().is_empty());
    bench.faulty.cancel(handle(&second)).await.unwrap();
    bench.submit(3).await.unwrap();
    assert_eq!(bench.faulty.list_owned("hub/1".to_owned()).await.unwrap().len(), 1);
    assert_eq!(bench.count(Fault::Amnesia), 1);
}

/// Which of a hundred submits are refused.
async fn refused(faults: &str) -> Vec<u32> {
    let bench = Bench::new(faults);
    let mut refused = Vec::new();
    for number in 1..=100 {
        if bench.submit(number).await.is_err() {
            refused.push(number);
        }
    }
    refused
}

#[tokio::test]
async fn a_seed_reproduces_a_run_and_another_does_not() {
    let once = refused("seed = 7\nrefusal = 0.3").await;
    assert_eq!(once, refused("seed = 7\nrefusal = 0.3").await);
    assert_ne!(once, refused("seed = 8\nrefusal = 0.3").await);
    assert!((15..=45).contains(&once.len()), "about thirty of a hundred: {}", once.len());
    assert_eq!(refused("refusal = { verbs = [\"submit\"], calls = [2, 5] }").await, [2, 5]);
}

#[tokio::test]
async fn a_file_is_in_force_while_it_is_there_and_read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("faults.toml");
    let bench = Bench::new(&format!("file = {file:?}\nrefusal = {{ calls = [3] }}"));
    // Written under another name first, as a file that is read while it is written is half of what it will be.
    let write = |text: &str| {
        let new = dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    bench.submit(1).await.unwrap();
    write("refusal = { calls = [1] }");
    assert_eq!(kind(bench.submit(2).await), FailureKind::Refused);
    bench.submit(2).await.unwrap();
    write("refusal = { calls = [1] } ");
    assert_eq!(kind(bench.submit(3).await), FailureKind::Refused, "a changed file counts anew");
    write("refusal = 7");
    bench.submit(3).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    for number in 4..=5 {
        bench.submit(number).await.unwrap();
    }
    assert_eq!(kind(bench.submit(6).await), FailureKind::Refused, "the table's own rule, counted anew");
}
