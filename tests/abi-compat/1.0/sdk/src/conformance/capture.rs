//! The kit for capture plugins.

use std::time::{Duration, Instant};

use vreserve_abi::{Offload, STATUS_PANICKED};

use super::capturing::Site;
use super::case::{Case, Subject, Unmet, Verdict, ensure, fail};
use super::frames::{Frame, SHORTEST, is_whole, nonsense, number_of, numbered};
use super::linking::drain;
use super::opened::{PATIENCE, panicking, port};
use super::pool::MAX_BATCH;
use super::port::Port;
use crate::{InterfaceInfo, Refusal};

/// Bytes of an Ethernet header, which come on top of an interface's mtu.
const ETHERNET: usize = 14;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "recv_never_blocks",
        shows: "recv returns at once while nothing waits, whatever the batch",
        run: recv_never_blocks,
    },
    Case {
        name: "no_call_panics",
        shows: "no entry point panics, whatever frames it is given",
        run: no_call_panics,
    },
    Case {
        name: "describe_says_where_and_how_large",
        shows: "describe names an interface of 1 to 256 bytes and an mtu of 68 to 65535",
        run: describes,
    },
    Case {
        name: "counts_and_lengths_are_true",
        shows: "no call claims more slots than it was given, a frame beyond its slot, or memory not its own",
        run: counts_are_true,
    },
    Case {
        name: "never_writes_past_a_slot",
        shows: "recv and send leave all bytes before and after a slot alone, also with the largest frames",
        run: never_past_a_slot,
    },
    Case {
        name: "batches_of_any_size_pass",
        shows: "batches of 0, 1, 64 and 256 frames pass whole, in order and once, from the guest and to it",
        run: batches,
    },
    Case {
        name: "readiness_is_level_triggered",
        shows: "ready_fd polls readable for as long as frames wait, however often it is polled, and not after",
        run: level_triggered,
    },
    Case {
        name: "one_bad_frame_never_ends_a_batch",
        shows: "frames around one that cannot go are sent, and each refusal has a reason that exists",
        run: one_bad_frame,
    },
    Case {
        name: "send_leaves_frames_as_they_are",
        shows: "send changes no byte of a frame; one over the mtu is refused as Oversized with a limit",
        run: left_alone,
    },
    Case {
        name: "an_interface_that_vanishes_ends_the_instance_alone",
        shows: "once the interface is gone no call blocks or panics, the instance can be closed, others go on",
        run: vanishing,
    },
    Case {
        name: "two_instances_are_independent",
        shows: "frames of one interface never reach another, and closing one leaves the other as it is",
        run: independent,
    },
];

/// Tried where the surroundings know how to make an instance panic.
pub(super) const PANIC: Case = Case {
    name: "a_panic_ends_its_instance_alone",
    shows: "an instance that panicked answers so from then on and can be closed; others go on",
    run: panics,
};

fn no_call_panics(subject: &Subject) -> Verdict {
    let mut port = port(subject, 1)?;
    port.describe::<serde_json::Value>()?;
    port.ready_fd();
    port.call_with_nothing()?;
    for batch in nonsense() {
        port.send(&batch)?;
    }
    port.recv(1)?;
    port.recv(MAX_BATCH)?;
    Ok(())
}

fn recv_never_blocks(subject: &Subject) -> Verdict {
    let mut port = port(subject, 1)?;
    for count in [1, 0, 64, MAX_BATCH, 1] {
        // What else is wrong with it is for other cases to say.
        let _ = port.recv(count);
    }
    Ok(())
}

fn describes(subject: &Subject) -> Verdict {
    let info: InterfaceInfo = port(subject, 1)?.describe()?;
    ensure!((1..=256).contains(&info.interface.len()), "a name of {} bytes", info.interface.len());
    ensure!((68..=65_535).contains(&info.mtu), "an mtu of {}", info.mtu);
    ensure!(info.queues == 1, "it was to serve the only queue and says {}", info.queues);
    Ok(())
}

fn batches(subject: &Subject) -> Verdict {
    let mut site = Site::open(subject, 1)?;
    site.port.send(&[])?;
    site.port.recv(0)?;
    let mut first = 0;
    for size in [1, 64, MAX_BATCH] {
        passes(&mut site, &frames(first, size as u32), size)?;
        first += size as u32;
    }
    Ok(())
}

fn frames(first: u32, count: u32) -> Vec<Frame> {
    (first..first + count)
        .map(|number| numbered(number, SHORTEST + number as usize % 200, u32::MAX))
        .collect()
}

/// That frames pass both ways: whole, in order, once.
fn passes(site: &mut Site, frames: &[Frame], batch: usize) -> Verdict {
    let received = site.sent_by_guest(frames, batch)?;
    let given = site.given_to_guest(frames)?;
    let received = received.iter().map(|frame| &frame.bytes);
    for (way, came) in [("from", received.collect::<Vec<_>>()), ("to", given.iter().collect())] {
        ensure!(came.len() == frames.len(), "{} frames of {} came {way} the guest", came.len(), frames.len());
        for (came, sent) in came.iter().zip(frames) {
            let (number, due) = (number_of(came), number_of(&sent.bytes));
            ensure!(number == due, "frame {number:?} came {way} the guest where {due:?} was due");
            ensure!(**came == sent.bytes, "frame {number:?} came {way} the guest changed");
        }
    }
    Ok(())
}

/// Small and large frames both ways; what was noted meanwhile is the cases' to judge.
fn exercise(site: &mut Site) -> Verdict {
    let largest = site.info.mtu as usize + ETHERNET;
    let sizes =
        (0..16).map(|number| numbered(number, if number % 2 == 0 { SHORTEST } else { largest }, u32::MAX));
    let frames: Vec<_> = sizes.collect();
    site.sent_by_guest(&frames, 16)?;
    site.given_to_guest(&frames)?;
    site.port.recv(0)?;
    site.port.send(&[])?;
    Ok(())
}

fn never_past_a_slot(subject: &Subject) -> Verdict {
    let mut site = Site::open(subject, 1)?;
    let outcome = exercise(&mut site);
    site.port.overruns.first().map_or(outcome, |overrun| Err(overrun.clone().into()))
}

fn counts_are_true(subject: &Subject) -> Verdict {
    let mut alone = port(subject, 1)?;
    for count in [0, 1, 64] {
        alone.recv(count)?;
    }
    if let Some(lie) = alone.lies.first() {
        return Err(lie.clone().into());
    }
    drop(alone);
    let mut site = Site::open(subject, 1)?;
    let outcome = exercise(&mut site);
    site.port.lies.first().map_or(outcome, |lie| Err(lie.clone().into()))
}

fn level_triggered(subject: &Subject) -> Verdict {
    const COUNT: u32 = 8;
    let mut site = Site::open(subject, 1)?;
    if site.port.ready_fd().is_none() {
        // The host asks such an instance again every millisecond.
        return Ok(());
    }
    for round in 0..3 {
        for frame in frames(round * COUNT, COUNT) {
            site.guest.send(&frame.bytes)?;
        }
        for poll in 0..3 {
            let is_ready = site.port.is_ready_within(PATIENCE)?;
            ensure!(is_ready, "ready_fd is not readable at poll {poll}, though frames wait");
        }
        site.port.recv(0)?;
        let is_ready = site.port.is_ready_within(PATIENCE)?;
        ensure!(is_ready, "after a recv without slots ready_fd is not readable, though frames wait");
        let (mut came, since) = (0, Instant::now());
        while came < COUNT as usize {
            let frames = site.port.recv(1)?;
            came += frames.iter().filter(|frame| is_whole(&frame.bytes)).count();
            if frames.is_empty() && !site.port.is_ready_within(PATIENCE)? {
                fail!(
                    "with one slot a time {came} of {COUNT} frames came, and ready_fd is not readable, though frames wait"
                );
            }
            ensure!(since.elapsed() < PATIENCE, "{came} of {COUNT} frames came within {PATIENCE:?}");
        }
        drain(&mut site.port)?;
    }
    Ok(())
}

fn one_bad_frame(subject: &Subject) -> Verdict {
    let mut site = Site::open(subject, 1)?;
    let bad = |len| Frame { bytes: vec![1; len], far: u32::MAX, offload: Offload::default() };
    let mut batch = frames(1, 3);
    batch.insert(1, bad(3));
    batch.insert(3, bad(66_000));
    let sent = site.port.send(&batch)?;
    ensure!(
        sent.consumed == batch.len(),
        "the batch ended after {} of {} frames",
        sent.consumed,
        batch.len()
    );
    ensure!(sent.refusals[3].0 != 0, "a frame of 66000 bytes was taken, though it cannot go");
    for due in 1..=3 {
        let came = site.guest.recv(PATIENCE)?.as_deref().and_then(number_of);
        ensure!(came == Some(due), "of the frames 1 to 3 around bad ones {came:?} came where {due} was due");
    }
    Ok(())
}

fn left_alone(subject: &Subject) -> Verdict {
    let mut site = Site::open(subject, 1)?;
    let largest = site.info.mtu as usize + ETHERNET;
    // A tag of 4 bytes may come on top.
    for len in [SHORTEST, largest, largest + 5, largest + 1000] {
        let frame = numbered(1, len, u32::MAX);
        let sent = site.port.send(std::slice::from_ref(&frame))?;
        ensure!(sent.left[0] == frame.bytes, "a frame of {len} bytes came back from send changed");
        let (refusal, limit) = sent.refusals[0];
        let expected = if len > largest { Refusal::Oversized as u32 } else { 0 };
        ensure!(
            refusal == expected,
            "a frame of {len} bytes at an mtu of {} is answered with reason {refusal}",
            site.info.mtu
        );
        ensure!(
            limit as usize <= largest + 4,
            "it names {limit} bytes as the largest, over its mtu of {}",
            site.info.mtu
        );
    }
    Ok(())
}

fn vanishing(subject: &Subject) -> Verdict {
    let mut site = Site::open(subject, 1)?;
    let mut other = Site::open(subject, 2)?;
    subject.surroundings.remove_interface(1, &site.info).map_err(Unmet::Skipped)?;
    for _ in 0..50 {
        let outcomes = [site.port.send(&frames(0, 2)).map(drop), site.port.recv(64).map(drop)];
        if let Some(panicked) =
            outcomes.into_iter().filter_map(Result::err).find(|why| why.contains("panicked"))
        {
            return Err(panicked.into());
        }
        // An error may be what makes it readable.
        site.port.is_ready_within(Duration::from_millis(2))?;
    }
    drop(site);
    passes(&mut other, &frames(0, 1), 1)
}

fn independent(subject: &Subject) -> Verdict {
    let (mut one, mut other) = (Site::open(subject, 1)?, Site::open(subject, 2)?);
    passes(&mut one, &frames(0, 20), 64)?;
    let foreign = other.port.recv(64)?.iter().any(|frame| number_of(&frame.bytes).is_some());
    ensure!(!foreign, "a frame of one interface came out of another");
    passes(&mut other, &frames(100, 20), 64)?;
    drop(one);
    passes(&mut other, &frames(200, 20), 64)
}

fn panics(subject: &Subject) -> Verdict {
    let config = panicking(subject)?;
    let mut other = Site::open(subject, 1)?;
    let mut doomed = Port::open_capture(subject.plugin, 2, &config)?;
    for time in ["first", "second"] {
        let status = doomed.status_of_recv();
        ensure!(
            status == STATUS_PANICKED,
            "at the {time} call after a panic recv answers with status {status}"
        );
    }
    ensure!(doomed.ready_fd().is_none(), "an instance that panicked still gives a ready_fd");
    drop(doomed);
    passes(&mut other, &frames(0, 1), 1)
}
