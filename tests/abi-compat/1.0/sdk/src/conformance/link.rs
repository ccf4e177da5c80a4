//! The kit for link plugins.

use std::time::{Duration, Instant};

use vreserve_abi::{Offload, STATUS_PANICKED};
use vreserve_model::FailureKind;

use super::case::{Case, Subject, Verdict, ensure, fail, said};
use super::frames::{Frame, SHORTEST, is_whole, nonsense, number_of, numbered};
use super::keys;
use super::linking::{FAR_OF_A, FAR_OF_B, MOMENT, Pair, admit, carry, drain};
use super::opened::{PATIENCE, panicking, port};
use super::pool::MAX_BATCH;
use super::port::Port;
use crate::{EndpointInfo, Refusal};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "recv_never_blocks",
        shows: "recv returns at once with 0 while nothing waits, whatever the batch",
        run: recv_never_blocks,
    },
    Case {
        name: "no_call_panics",
        shows: "no entry point panics, whatever frames, addresses and keys it is given",
        run: no_call_panics,
    },
    Case {
        name: "describe_says_where_and_how_large",
        shows: "describe names an address of 1 to 256 bytes and an mtu of 68 to 65535",
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
        shows: "batches of 0, 1, 64 and 256 frames arrive whole, in order, once, under the sender's number",
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
        name: "oversized_frames_are_refused_and_left_alone",
        shows: "a frame of the mtu goes; a larger one is refused as Oversized with a limit, its bytes as they were",
        run: oversized,
    },
    Case {
        name: "far_nodes_are_admitted_and_forgotten",
        shows: "an address that cannot be read or is admitted already is Invalid; one forgotten is Down until admitted again",
        run: far_nodes,
    },
    Case {
        name: "strangers_give_no_frame",
        shows: "what an endpoint sends that was not admitted gives no frame",
        run: strangers,
    },
    Case {
        name: "a_far_end_that_vanishes_ends_nothing",
        shows: "sending to a far node that is gone neither blocks nor fails, and it is reached again when it is back",
        run: vanishing,
    },
    Case {
        name: "two_instances_are_independent",
        shows: "frames of one pair never reach another, and closing one leaves the other as it is",
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
    for address in ["", "no address", "\u{0}", &"9".repeat(10_000)] {
        for key in [&[][..], &[7; 31], &[7; 32]] {
            if let Err(failure) = port.add_far(1, address, key) {
                ensure!(failure.kind != FailureKind::Internal, "add_far: {}", said(&failure));
            }
            port.remove_far(1);
        }
    }
    port.remove_far(u32::MAX);
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
        let Ok(frames) = port.recv(count) else { continue };
        let is_lie = !port.lies.is_empty();
        ensure!(is_lie || frames.is_empty(), "recv gave {} frames that nobody sent", frames.len());
    }
    Ok(())
}

fn describes(subject: &Subject) -> Verdict {
    let info: EndpointInfo = port(subject, 1)?.describe()?;
    ensure!((1..=256).contains(&info.address.len()), "an address of {} bytes", info.address.len());
    ensure!((68..=65_535).contains(&info.mtu), "an mtu of {}", info.mtu);
    ensure!(info.queues == 1, "it was to serve the only queue and says {}", info.queues);
    Ok(())
}

fn batches(subject: &Subject) -> Verdict {
    let mut pair = Pair::open(subject, 1)?;
    let mut first = 0;
    for size in [0, 1, 64, MAX_BATCH] {
        let frames: Vec<Frame> = (first..first + size as u32)
            .map(|number| numbered(number, SHORTEST + number as usize % 200, FAR_OF_A))
            .collect();
        first += size as u32;
        if frames.is_empty() {
            pair.a.send(&[])?;
            pair.b.recv(0)?;
            continue;
        }
        arrives(&mut pair.a, &mut pair.b, &frames, FAR_OF_B)?;
        let back: Vec<Frame> = frames.iter().map(|frame| Frame { far: FAR_OF_B, ..frame.clone() }).collect();
        arrives(&mut pair.b, &mut pair.a, &back, FAR_OF_A)?;
    }
    Ok(())
}

/// That frames sent as one batch all arrive: whole, in order, once, from far node `far`.
fn arrives(from: &mut Port, to: &mut Port, frames: &[Frame], far: u32) -> Verdict {
    let size = frames.len();
    let carried = carry(from, to, frames, size)?;
    ensure!(carried.taken.len() == size, "of {size} frames only {} were taken", carried.taken.len());
    for (received, sent) in carried.received.iter().zip(frames) {
        let (came, expected) = (number_of(&received.bytes), number_of(&sent.bytes));
        ensure!(came == expected, "frame {came:?} came where {expected:?} was due in a batch of {size}");
        ensure!(received.bytes == sent.bytes, "frame {came:?} of {} bytes came changed", sent.bytes.len());
        ensure!(received.far == far, "a frame of far node {far} came as one of {}", received.far);
    }
    ensure!(carried.received.len() == size, "{} frames came of {size}", carried.received.len());
    Ok(())
}

/// Small and large frames both ways; what was noted meanwhile is the cases' to judge.
fn exercise(Pair { a, b }: &mut Pair) -> Verdict {
    let mtu = a.describe::<EndpointInfo>()?.mtu as usize;
    exercise_one_way(a, b, FAR_OF_A, mtu)?;
    exercise_one_way(b, a, FAR_OF_B, mtu)
}

fn exercise_one_way(from: &mut Port, to: &mut Port, far: u32, mtu: usize) -> Verdict {
    let len = |number| if number % 2 == 0 { SHORTEST } else { mtu };
    let frames: Vec<_> = (0..16).map(|number| numbered(number, len(number), far)).collect();
    // A path may have to be searched for how much it takes; what is refused meanwhile is lost.
    carry(from, to, &frames, 16)?;
    from.send(&[])?;
    to.recv(0)?;
    Ok(())
}

fn never_past_a_slot(subject: &Subject) -> Verdict {
    let mut pair = Pair::open(subject, 1)?;
    let outcome = exercise(&mut pair);
    let overrun = pair.a.overruns.iter().chain(&pair.b.overruns).next();
    overrun.map_or(outcome, |overrun| Err(overrun.clone().into()))
}

fn counts_are_true(subject: &Subject) -> Verdict {
    // A plugin that lies may never bring up a pair.
    let mut alone = port(subject, 1)?;
    for count in [0, 1, 64] {
        alone.recv(count)?;
    }
    if let Some(lie) = alone.lies.first() {
        return Err(lie.clone().into());
    }
    drop(alone);
    let mut pair = Pair::open(subject, 1)?;
    let outcome = exercise(&mut pair);
    let lie = pair.a.lies.iter().chain(&pair.b.lies).next();
    lie.map_or(outcome, |lie| Err(lie.clone().into()))
}

fn level_triggered(subject: &Subject) -> Verdict {
    const COUNT: u32 = 8;
    let mut pair = Pair::open(subject, 1)?;
    if pair.b.ready_fd().is_none() {
        // The host asks such an instance again every millisecond.
        return Ok(());
    }
    for round in 0..3 {
        let frames: Vec<_> =
            (0..COUNT).map(|number| numbered(round * COUNT + number, SHORTEST, FAR_OF_A)).collect();
        let sent = pair.a.send(&frames)?;
        ensure!(sent.consumed == frames.len(), "only {} of {COUNT} frames were taken", sent.consumed);
        for poll in 0..3 {
            let is_ready = pair.b.is_ready_within(PATIENCE)?;
            ensure!(is_ready, "ready_fd is not readable at poll {poll}, though frames wait");
        }
        pair.b.recv(0)?;
        ensure!(
            pair.b.is_ready_within(PATIENCE)?,
            "after a recv without slots ready_fd is not readable, though frames wait"
        );
        one_by_one(&mut pair.b, COUNT as usize)?;
        drain(&mut pair.b)?;
    }
    Ok(())
}

/// Receives with one slot at a time, as a host does that is short of slots: asks again while frames come, and
/// waits once none came.
fn one_by_one(port: &mut Port, count: usize) -> Verdict {
    let (mut came, since) = (0, Instant::now());
    while came < count {
        let frames = port.recv(1)?;
        came += frames.iter().filter(|frame| is_whole(&frame.bytes)).count();
        if frames.is_empty() && !port.is_ready_within(PATIENCE)? {
            fail!(
                "with one slot a time {came} of {count} frames came, and ready_fd is not readable, though frames wait"
            );
        }
        ensure!(since.elapsed() < PATIENCE, "{came} of {count} frames came within {PATIENCE:?}");
    }
    Ok(())
}

fn one_bad_frame(subject: &Subject) -> Verdict {
    let mut pair = Pair::open(subject, 1)?;
    let bad = |bytes: Vec<u8>, far| Frame { bytes, far, offload: Offload::default() };
    let batch = [
        numbered(1, SHORTEST, FAR_OF_A),
        bad(vec![1; 3], FAR_OF_A),
        numbered(2, SHORTEST, FAR_OF_A),
        bad(vec![1; 66_000], FAR_OF_A),
        numbered(3, SHORTEST, FAR_OF_A),
        bad(vec![1; SHORTEST], u32::MAX),
        numbered(4, SHORTEST, FAR_OF_A),
    ];
    let sent = pair.a.send(&batch)?;
    ensure!(
        sent.consumed == batch.len(),
        "the batch ended after {} of {} frames",
        sent.consumed,
        batch.len()
    );
    for at in [3, 5] {
        ensure!(sent.refusals[at].0 != 0, "frame {at} of the batch was taken, though it cannot go");
    }
    let down = Refusal::Down as u32;
    ensure!(
        sent.refusals[5].0 == down,
        "a frame for nobody was refused for reason {}, not {down}",
        sent.refusals[5].0
    );
    let (mut came, since) = (Vec::new(), Instant::now());
    while came.len() < 4 {
        ensure!(since.elapsed() < PATIENCE, "of the frames 1 to 4 around bad ones {came:?} came");
        let frames = pair.b.recv(64)?;
        came.extend(frames.iter().filter_map(|frame| number_of(&frame.bytes)));
        pair.b.is_ready_within(MOMENT)?;
    }
    ensure!(came == [1, 2, 3, 4], "of the frames 1 to 4 around bad ones {came:?} came");
    Ok(())
}

fn oversized(subject: &Subject) -> Verdict {
    let mut pair = Pair::open(subject, 1)?;
    let mtu = pair.a.describe::<EndpointInfo>()?.mtu as usize;
    let since = Instant::now();
    // A path may first have to be searched for how much it takes.
    while carry(&mut pair.a, &mut pair.b, &[numbered(1, mtu, FAR_OF_A)], 1)?.received.is_empty() {
        ensure!(since.elapsed() < PATIENCE, "no frame of the mtu, {mtu} bytes, passes");
        pair.a.is_ready_within(MOMENT)?;
        drain(&mut pair.a)?;
        drain(&mut pair.b)?;
    }
    for len in [mtu + 1, mtu + 1000] {
        let frame = numbered(2, len, FAR_OF_A);
        let sent = pair.a.send(std::slice::from_ref(&frame))?;
        let (refusal, limit) = sent.refusals[0];
        let is_refused = sent.consumed == 1 && refusal == Refusal::Oversized as u32;
        ensure!(is_refused, "a frame of {len} bytes over an mtu of {mtu} is answered with reason {refusal}");
        ensure!(limit as usize <= mtu, "it names {limit} bytes as the largest, over its mtu of {mtu}");
        ensure!(sent.left[0] == frame.bytes, "a frame that was refused as oversized came back changed");
    }
    Ok(())
}

fn far_nodes(subject: &Subject) -> Verdict {
    let mut pair = Pair::open(subject, 1)?;
    let address = pair.b.describe::<EndpointInfo>()?.address;
    let key = keys::identity(2).public;
    for (number, wrong) in [(20, ""), (20, "nowhere at all"), (20, &*address), (FAR_OF_A, &*address)] {
        match pair.a.add_far(number, wrong, &key) {
            Err(failure) if failure.kind == FailureKind::Invalid => {}
            Err(failure) => fail!("add_far of {wrong:?} answers {}", said(&failure)),
            Ok(()) if wrong == address => fail!("{address} is admitted twice"),
            Ok(()) => fail!("add_far takes the address {wrong:?}"),
        }
    }
    pair.a.remove_far(20);
    pair.a.remove_far(FAR_OF_A);
    pair.a.remove_far(FAR_OF_A);
    let sent = pair.a.send(&[numbered(1, SHORTEST, FAR_OF_A)])?;
    let reason = sent.refusals[0].0;
    ensure!(
        reason == Refusal::Down as u32,
        "a frame for a node that was forgotten is answered with reason {reason}"
    );
    admit(&mut pair.a, FAR_OF_A, &pair.b, 2)?;
    pair.establish().map_err(|unmet| unmet.during("after it was admitted again"))
}

fn strangers(subject: &Subject) -> Verdict {
    let mut pair = Pair::open(subject, 1)?;
    let mut stranger = port(subject, 3)?;
    admit(&mut stranger, FAR_OF_A, &pair.a, 1)?;
    for number in 100..110 {
        stranger.send(&[numbered(number, SHORTEST, FAR_OF_A)])?;
        stranger.recv(64)?;
        let mark = [numbered(number - 100, SHORTEST, FAR_OF_B)];
        let came = carry(&mut pair.b, &mut pair.a, &mark, 64)?.received;
        let numbers: Vec<_> = came.iter().filter_map(|frame| number_of(&frame.bytes)).collect();
        ensure!(
            numbers.iter().all(|number| *number < 100),
            "a frame of an endpoint came that was not admitted"
        );
    }
    Ok(())
}

fn vanishing(subject: &Subject) -> Verdict {
    let Pair { mut a, b } = Pair::open(subject, 1)?;
    drop(b);
    for number in 0..50 {
        a.send(&[numbered(number, SHORTEST, FAR_OF_A), numbered(number, SHORTEST, FAR_OF_A)])?;
        a.is_ready_within(Duration::from_millis(2))?;
        a.recv(64)?;
    }
    let mut pair = Pair { b: port(subject, 2)?, a };
    pair.a.remove_far(FAR_OF_A);
    admit(&mut pair.a, FAR_OF_A, &pair.b, 2)?;
    admit(&mut pair.b, FAR_OF_B, &pair.a, 1)?;
    pair.establish().map_err(|unmet| unmet.during("after the far end was back"))
}

fn independent(subject: &Subject) -> Verdict {
    let (mut one, mut other) = (Pair::open(subject, 1)?, Pair::open(subject, 3)?);
    let frames = |first: u32| {
        (first..first + 20).map(|number| numbered(number, SHORTEST, FAR_OF_A)).collect::<Vec<_>>()
    };
    arrives(&mut one.a, &mut one.b, &frames(0), FAR_OF_B)?;
    let foreign = other.b.recv(64)?.iter().any(|frame| number_of(&frame.bytes).is_some());
    ensure!(!foreign, "a frame of one pair came out of another");
    arrives(&mut other.a, &mut other.b, &frames(100), FAR_OF_B)?;
    drop(one);
    arrives(&mut other.a, &mut other.b, &frames(200), FAR_OF_B)
}

fn panics(subject: &Subject) -> Verdict {
    let config = panicking(subject)?;
    let mut pair = Pair::open(subject, 1)?;
    let mut doomed = Port::open_link(subject.plugin, 3, &config)?;
    for time in ["first", "second"] {
        let status = doomed.status_of_recv();
        ensure!(
            status == STATUS_PANICKED,
            "at the {time} call after a panic recv answers with status {status}"
        );
    }
    ensure!(doomed.ready_fd().is_none(), "an instance that panicked still gives a ready_fd");
    drop(doomed);
    arrives(&mut pair.a, &mut pair.b, &[numbered(1, SHORTEST, FAR_OF_A)], FAR_OF_B)
}
