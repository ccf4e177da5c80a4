//! The case of every kind that comes last: opening and closing a thousand times.

use std::time::{Duration, Instant};

use vreserve_abi::Identity;

use super::calls::open_and_close;
use super::case::{Case, Subject, Unmet, Verdict, ensure};
use super::host::{Offer, StateDir};
use super::keys;
use super::opened::opened;
use super::pool::GuardedPool;
use super::process::Holdings;

/// How often an instance is opened: this often, or fewer times if that takes long.
const MOST: usize = 1000;
const FEWEST: usize = 40;
/// What takes long: some interfaces of the kernel need a tenth of a second to go.
const LONG: Duration = Duration::from_secs(4);
/// What is made once for all instances is made by then.
const WARM_UP: usize = 20;
/// Kilobytes by which memory may grow for each opening: a page would be as much.
const GROWTH: u64 = 4;
/// Kilobytes by which an allocator may grow by itself.
const SLACK: u64 = 1024;
/// Threads and descriptors that go by themselves are gone by then.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const CASES: &[Case] = &[Case {
    name: "closed_instances_leave_nothing_behind",
    shows: "1000 instances that were closed (as many of them as four seconds allow, and at least 40) have given back descriptors, threads and memory",
    run: opened_and_closed,
}];

fn opened_and_closed(subject: &Subject) -> Verdict {
    let (pool, state) = (GuardedPool::new(), StateDir::new()?);
    let identity = if subject.kind == "link" { keys::identity(1) } else { Identity::NONE };
    let offer = Offer::new(pool.as_pool(), identity, state.path());
    let config = subject.config(1)?.to_string();
    open_times(subject, &offer, &config, WARM_UP)?;
    let before = Holdings::now()?;
    let times = open_times(subject, &offer, &config, MOST)?;
    let after = settled(&before)?;
    let what = format!("after {times} instances");
    let (fewer, more) = (before.descriptors, after.descriptors);
    ensure!(more <= fewer, "{what} the process has {more} descriptors open, {fewer} before");
    let (fewer, more) = (before.threads, after.threads);
    ensure!(more <= fewer, "{what} the process has {more} threads, {fewer} before");
    let (grown, limit) = (after.memory.saturating_sub(before.memory), SLACK.max(GROWTH * times as u64));
    ensure!(grown < limit, "{what} the process has {grown} KiB more memory");
    Ok(())
}

/// Opens and closes an instance up to `most` times; returns how often.
fn open_times(subject: &Subject, offer: &Offer, config: &str, most: usize) -> Result<usize, Unmet> {
    let once = |_: &serde_json::Value| open_and_close(subject.plugin, subject.kind, offer, config);
    let since = Instant::now();
    for time in 0..most {
        if time >= FEWEST && since.elapsed() > LONG {
            return Ok(time);
        }
        opened(subject, 1, &once).map_err(|unmet| unmet.during(&format!("after {time} times")))?;
    }
    Ok(most)
}

/// What the process has once it has no more than before, or patience is over.
fn settled(before: &Holdings) -> Result<Holdings, String> {
    let since = Instant::now();
    loop {
        let now = Holdings::now()?;
        let is_back = now.descriptors <= before.descriptors && now.threads <= before.threads;
        if is_back || since.elapsed() > PATIENCE {
            return Ok(now);
        }
        std::thread::yield_now();
    }
}
