//! Proofs and the close watch between two data planes, over a wire of memory that is as good as a test wants.
//!
//! ```text
//!  plane ─ node queue ─▶ wire: rate, loss, darkness ─▶ node queue ─ far plane
//!                    ◀─                             ◀─
//! ```
#![allow(clippy::unwrap_used, reason = "a test")]

mod plane;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plane::{CIRCUIT, Plane, Queue, STAR};
use vreserve::dataplane::Event;
use vreserve_core::ids::LinkClass;
use vreserve_core::probe::{Finding, ProofOutcome};
use vreserve_core::signal::{Signal, SignalKind};
use vreserve_model::{BitsPerSecond, Timestamp};

const RESERVED: BitsPerSecond = BitsPerSecond(50_000_000);

/// What one direction of the wire does with the n-th frame, this long after its beginning.
type Carry = fn(usize, Duration) -> bool;

/// Two directions between two queues; ends when dropped.
struct Wire {
    is_over: Arc<AtomicBool>,
    directions: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Each direction carries so many bits per second, and of the frames those that `carry` accepts.
    fn between(one: &Plane, other: &Plane, rate: f64, carry: Carry) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let direction = |from: &Queue, to: &Queue| {
            let (from, to, is_over) = (from.clone(), to.clone(), is_over.clone());
            std::thread::spawn(move || run(&from, &to, rate, carry, &is_over))
        };
        let directions =
            vec![direction(&one.nodes[0], &other.nodes[0]), direction(&other.nodes[0], &one.nodes[0])];
        Wire { is_over, directions }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.directions.drain(..).for_each(|direction| drop(direction.join()));
    }
}

fn run(from: &Queue, to: &Queue, rate: f64, carry: Carry, is_over: &AtomicBool) {
    let begun = Instant::now();
    let (mut free_at, mut count) = (begun, 0);
    let mut waiting: VecDeque<(Instant, u32, Vec<u8>)> = VecDeque::new();
    while !is_over.load(Ordering::Relaxed) {
        let now = Instant::now();
        for (far, frame) in from.drain() {
            count += 1;
            if carry(count, now - begun) {
                free_at = free_at.max(now) + Duration::from_secs_f64(frame.len() as f64 * 8.0 / rate);
                waiting.push_back((free_at, far, frame));
            }
        }
        let due = waiting.iter().take_while(|(due, ..)| *due <= now).count();
        for (_, far, frame) in waiting.drain(..due) {
            to.put(far, &frame);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

async fn pair() -> (Plane, Plane) {
    let (near, far) = (Plane::start(1), Plane::start(1));
    near.add_link(CIRCUIT, LinkClass::Circuit).await;
    far.add_link(CIRCUIT, LinkClass::Circuit).await;
    (near, far)
}

async fn proof(plane: &mut Plane) -> ProofOutcome {
    loop {
        if let Event::Proof(CIRCUIT, outcome) = plane.events.recv().await.expect("the workers run") {
            return outcome.expect("there is such a link");
        }
    }
}

#[tokio::test]
async fn a_circuit_that_delivers_its_rate_is_proven_also_when_it_answers_late() {
    let (mut near, far) = pair().await;
    // As a link that shakes hands: nothing passes for half a second.
    let _wire = Wire::between(&near, &far, 1e9, |_, age| age > Duration::from_millis(500));
    near.plane.workers().prove(CIRCUIT, RESERVED);
    let outcome = proof(&mut near).await;
    assert!(outcome.is_proven(), "{outcome}");
    assert_eq!((outcome.received, outcome.full_size_received), (20, 10), "{outcome}");
    assert!(outcome.rate.unwrap().back > 0.8 * 50e6, "{outcome}");
}

#[tokio::test]
async fn a_circuit_that_delivers_a_tenth_is_not() {
    let (mut near, far) = pair().await;
    let _wire = Wire::between(&near, &far, 5e6, |_, _| true);
    near.plane.workers().prove(CIRCUIT, RESERVED);
    let outcome = proof(&mut near).await;
    assert_eq!(outcome.finding, Finding::TooSlow, "{outcome}");
    assert!(outcome.to_string().starts_with("of 50.0 Mbit/s, "), "{outcome}");
}

#[tokio::test]
async fn a_proven_circuit_that_begins_to_lose_is_degraded() {
    let (mut near, far) = pair().await;
    // Of every ten frames four are lost, from the third second on.
    let lossy: Carry = |n, age| age < Duration::from_secs(3) || n * 7 % 10 >= 4;
    let _wire = Wire::between(&near, &far, 1e9, lossy);
    near.plane.workers().prove(CIRCUIT, RESERVED);
    assert!(proof(&mut near).await.is_proven());
    loop {
        match near.events.recv().await.expect("the workers run") {
            Event::Degraded(CIRCUIT, why) => {
                let why = why.to_string();
                assert!(why.ends_with("probes were lost"), "{why}");
                break;
            }
            Event::Health(CIRCUIT, health) => assert_eq!(format!("{health:?}"), "Up"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn loads_are_answered_frame_by_frame_and_on_circuits_only() {
    let plane = Plane::start(1);
    plane.add_link(STAR, LinkClass::Star).await;
    plane.add_link(CIRCUIT, LinkClass::Circuit).await;
    let encoded = |signal: &Signal, length: usize| {
        let mut frame = vec![0; length];
        signal.encode(length, &mut frame).unwrap();
        frame
    };
    for number in 0..50 {
        plane.nodes[0].put(0, &encoded(&Signal::load(STAR, 5, number, Timestamp(1)), 1514));
        plane.nodes[0].put(1, &encoded(&Signal::load(CIRCUIT, 5, number, Timestamp(1)), 700));
        // Replies that nobody asked for.
        plane.nodes[0]
            .put(1, &encoded(&Signal::load(CIRCUIT, 5, number, Timestamp(1)).answer().unwrap(), 700));
    }
    let mut replies = Vec::new();
    while replies.len() < 50 {
        let is_reply = |frame: &[u8]| Signal::decode(frame).is_ok_and(|it| it.kind == SignalKind::LoadReply);
        replies.push(plane.nodes[0].take("reply", is_reply));
    }
    let marks: Vec<_> = replies.iter().map(|(_, frame)| Signal::decode(frame).unwrap().load).collect();
    assert!(replies.iter().all(|(far, frame)| (*far, frame.len()) == (1, 700)));
    assert!(marks.iter().zip(0..).all(|(mark, n)| (mark.number, mark.counted) == (n, n + 1)), "{marks:?}");
    let drops = plane.plane.workers().collect().await.unwrap().drops;
    assert!(drops.iter().map(|(_, frames)| frames).sum::<u64>() >= 50, "those over the star are counted");
}
